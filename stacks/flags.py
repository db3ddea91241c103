"""How one flag's value is read: every parser takes what cdk.json or `-c flag=value` gave and returns a typed value.

`-c` gives strings only, so every parser accepts the string form of its type as well as the JSON form.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Parser = Callable[[Any], Any]


class ConfigurationError(Exception):
    """The configuration cannot be used. The message is one sentence: what is wrong, what was given, what is allowed."""


class Rejected(Exception):
    """A parser refuses a value. The message says what is allowed; the caller adds the flag and what was given."""


def quoted(values: Iterable[str]) -> str:
    """The values as a sentence lists them: `"a", "b"`."""
    return ", ".join(json.dumps(value) for value in values)


def given(value: Any) -> str:
    """A value as its author wrote it: JSON where it has a JSON form."""
    try:
        return json.dumps(value)
    except TypeError:
        return repr(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean "x"?)` for the known name most like `name`, or nothing."""
    spelling = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), spelling, n=1, cutoff=0.5)
    return f" (did you mean {json.dumps(spelling[matches[0]])}?)" if matches else ""


def refuse_unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ConfigurationError for the first of `names` that is not `known`."""
    allowed = sorted(known)
    for name in names:
        if name not in allowed:
            raise ConfigurationError(
                f"There is no {kind} {given(name)}{nearest(name, allowed)}; allowed are {quoted(allowed)}."
            )


def parse(flag: str, parser: Parser, value: Any) -> Any:
    """The typed value of one flag; ConfigurationError names the flag, the value and what is allowed."""
    try:
        return parser(value)
    except Rejected as rejection:
        raise ConfigurationError(f'Flag "{flag}" cannot be {given(value)}; allowed: {rejection}.') from None


def boolean(value: Any) -> bool:
    """true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    raise Rejected("true, false")


def choice(*values: str, refused: Mapping[str, str] | None = None) -> Parser:
    """One of `values`. `refused` holds values that people try, each with the reason that its refusal gives."""

    def read(value: Any) -> str:
        if isinstance(value, str) and value in values:
            return value
        reason = (refused or {}).get(value) if isinstance(value, str) else None
        raise Rejected(quoted(values) + (f" ({reason})" if reason else ""))

    return read


def choices(*values: str, refused: Mapping[str, str] | None = None) -> Parser:
    """One of `values`, or several different ones as a JSON list or separated by commas; `refused` as for `choice`."""
    one = choice(*values, refused=refused)

    def read(value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            value = json_value(value) if value.startswith("[") else value.split(",")
        if not isinstance(value, list | tuple) or not value or len(set(map(str, value))) != len(value):
            raise Rejected(f"{quoted(values)}, or a list of different ones")
        return tuple(one(item.strip() if isinstance(item, str) else item) for item in value)

    return read


def optional(parser: Parser) -> Parser:
    """What `parser` accepts, or null or "none" for nothing."""

    def read(value: Any) -> Any:
        if value is None or value == "none":
            return None
        try:
            return parser(value)
        except Rejected as rejection:
            raise Rejected(f'{rejection}, or "none"') from None

    return read


def integer(minimum: int, maximum: int) -> Parser:
    """A whole number from `minimum` to `maximum`."""

    def read(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
            return value
        raise Rejected(f"a whole number from {minimum} to {maximum}")

    return read


def one_of_numbers(*values: int) -> Parser:
    """One of some whole numbers, for what AWS accepts only in steps."""
    within = integer(min(values), max(values))

    def read(value: Any) -> int:
        try:
            number: int = within(value)
        except Rejected:
            number = -1
        if number not in values:
            raise Rejected(", ".join(map(str, values)))
        return number

    return read


def text(pattern: str, description: str) -> Parser:
    """A string that matches `pattern` whole; `description` says what that is."""

    def read(value: Any) -> str:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return value
        raise Rejected(description)

    return read


def texts(pattern: str, description: str) -> Parser:
    """A list of different strings, as a JSON list or separated by commas, each matching `pattern`."""

    def read(value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            value = json_value(value) if value.startswith("[") else value.split(",")
        if not isinstance(value, list | tuple):
            raise Rejected(description)
        items = tuple(item.strip() if isinstance(item, str) else item for item in value)
        valid = all(isinstance(item, str) and re.fullmatch(pattern, item) for item in items)
        if not items or not valid or len(set(items)) != len(items):
            raise Rejected(description)
        return items

    return read


def json_value(value: str) -> Any:
    """The value that a JSON text stands for."""
    try:
        return json.loads(value)
    except ValueError:
        raise Rejected("valid JSON") from None


def json_object(value: Any) -> dict[str, Any]:
    """A JSON object, given as such or as its text."""
    if isinstance(value, str):
        value = json_value(value)
    if not isinstance(value, Mapping):
        raise Rejected("a JSON object")
    return dict(value)
