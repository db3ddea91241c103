"""How much an environment is used in a month: three named profiles, or a file of one's own."""

import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from operations.environment import OperationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What people do in a month."""

    name: str
    users: float
    conversations: float
    """In writing."""
    turns: float
    """Questions of a written conversation."""
    voice_minutes: float
    documents: float
    """That are added."""
    document_tokens: float = 6_000
    """Of one document: ten pages of 600."""
    input_tokens: float = 3_500
    """Of a turn: 500 of prompt, five passages of 512 at most, and half of the last ten messages' 100 each."""
    output_tokens: float = 300
    """Of a turn: a long paragraph."""

    @property
    def text_turns(self) -> float:
        """In a month."""
        return self.conversations * self.turns


PROFILES = {
    profile.name: profile
    for profile in (
        # Five people who try it: each asks twenty things a week, and talks to it for three minutes.
        Profile(name="small", users=5, conversations=100, turns=4, voice_minutes=60, documents=50),
        # Fifty people at work: each four conversations a week, and ten minutes of talk.
        Profile(name="team", users=50, conversations=800, turns=6, voice_minutes=2_000, documents=1_000),
        # Two thousand people, as the team; documents do not grow with them.
        Profile(name="company", users=2_000, conversations=32_000, turns=6, voice_minutes=80_000, documents=10_000),
    )
}
DEFAULT = "team"


def read(given: str) -> Profile:
    """The profile of this name, or that a TOML or JSON file holds. Raises OperationError when it cannot be used."""
    if given in PROFILES:
        return PROFILES[given]
    path = Path(given)
    if path.suffix not in {".toml", ".json"}:
        raise OperationError(
            f"There is no profile {given}; allowed are {', '.join(PROFILES)}, or a file that ends with .toml or .json."
        )
    try:
        text = path.read_text()
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise OperationError(f"The profile {given} cannot be read: {error}.") from error
    return _profile(values, path)


def _profile(values: Any, path: Path) -> Profile:
    known = {field.name for field in fields(Profile)} - {"name"}
    if not isinstance(values, dict) or (unknown := values.keys() - known - {"name"}):
        what = f"has {', '.join(sorted(unknown))}" if isinstance(values, dict) else "is no table"
        raise OperationError(f"The profile {path} {what}; allowed are {', '.join(sorted(known))}.")
    for key, value in values.items():
        if key != "name" and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise OperationError(f"The profile {path} says {key} = {value!r}; allowed are numbers from 0 on.")
    # What it does not say happens as in the smallest profile, but for what it would have to say to mean it.
    nothing = dict.fromkeys(("users", "conversations", "turns", "voice_minutes", "documents"), 0.0)
    return Profile(**{"name": path.stem, **nothing, **values})
