"""How the speech endpoints behave: changed by `POST /_speech`, for tests and measurements."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

_KINDS: dict[str, tuple[type, ...]] = {
    "time_scale": (int, float),
    "silence_scale": (int, float, type(None)),
    "pause": (int, float, type(None)),
    "pace": (int, float),
    "transcript": (str, type(None)),
    "answer": (str, type(None)),
    "cues": (bool,),
    "vocabularies": (dict,),
    "vocabulary_filters": (dict,),
}


@dataclass
class Settings:
    """What differs from the services' own behaviour.

    `time_scale` shortens their time limits (60: a minute passes in a second), not the audio. `silence_scale` does so
    for the limit on time without audio alone; None leaves it to `time_scale`. `pause` is the silence, in seconds of
    audio, that ends an utterance; None leaves it to the service. `pace` is how many seconds of audio Nova
    Sonic sends in a second. `transcript` is "heard" in every utterance instead of what the recogniser would hear, and
    `answer` is said by Nova Sonic instead of what the model would say: so that only the transport is measured.
    `vocabularies` and `vocabulary_filters` are what the account has in Transcribe: phrases by name, words by name.
    """

    time_scale: float = 1.0
    silence_scale: float | None = None
    pause: float | None = None
    pace: float = 8.0
    transcript: str | None = None
    answer: str | None = None
    cues: bool = False
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    vocabulary_filters: dict[str, list[str]] = field(default_factory=dict)

    def change(self, document: Any) -> None:
        """Take settings from JSON. Raises `ValueError` when one is unknown or of the wrong kind."""
        if not isinstance(document, dict) or not document.keys() <= _KINDS.keys():
            raise ValueError(f"settings are {', '.join(_KINDS)} and listen; got {document!r}")
        for name, value in document.items():
            fits = isinstance(value, _KINDS[name]) and isinstance(value, bool) == (_KINDS[name] == (bool,))
            if not fits or (isinstance(value, int | float) and not isinstance(value, bool) and value <= 0):
                raise ValueError(f"{name} cannot be {value!r}")
        for name, value in document.items():
            setattr(self, name, value)

    def reset(self) -> None:
        """Behave as the services do again."""
        fresh = Settings()
        for known in fields(self):
            setattr(self, known.name, getattr(fresh, known.name))

    def document(self) -> dict[str, Any]:
        """The settings as JSON."""
        return asdict(self)
