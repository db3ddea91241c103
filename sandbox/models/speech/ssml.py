"""Polly's dialect of SSML: what is refused, and what espeak-ng is given."""

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from sandbox.models.speech.duplex import ServiceError

_AMAZON = "https://aws.amazon.com/polly/ssml"
_TAGS = frozenset({"speak", "break", "emphasis", "lang", "mark", "p", "phoneme", "prosody", "s", "say-as", "sub", "w"})
_AMAZON_TAGS = frozenset({"auto-breaths", "breath", "domain", "effect"})
# "Supported SSML tags" in Polly's developer guide: what only standard voices understand.
_STANDARD_TAGS = frozenset({"emphasis", "auto-breaths", "breath"})
_PROSODY = {
    "rate": re.compile(r"x-slow|slow|medium|fast|x-fast|default|\d+(\.\d+)?%"),
    "volume": re.compile(r"default|silent|x-soft|soft|medium|loud|x-loud|[+-]\d+(\.\d+)?dB"),
    "pitch": re.compile(r"default|x-low|low|medium|high|x-high|[+-]\d+(\.\d+)?%"),
}
_DURATION = re.compile(r"\d+(\.\d+)?(s|ms)")
# Those that name no document of their own cannot be XML bombs.
_DECLARATION = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
_NAMESPACE_FREE = re.compile(r"<speak\b(?![^>]*xmlns:amazon)")


def check(text: str, engine: str) -> None:
    """Raise `ServiceError` (`InvalidSsmlException`) for SSML that Polly would refuse for this engine."""
    if _DECLARATION.search(text):
        raise invalid("Invalid SSML request")
    try:
        root = ElementTree.fromstring(_NAMESPACE_FREE.sub(f'<speak xmlns:amazon="{_AMAZON}"', text, count=1))  # noqa: S314 - no declarations
    except ElementTree.ParseError:
        raise invalid("Invalid SSML request") from None
    for position, element in enumerate(root.iter()):
        name = _name(element.tag)
        if (name == "speak") != (position == 0) or name not in (_AMAZON_TAGS if _is_amazon(element.tag) else _TAGS):
            raise invalid("Invalid SSML request")
        if engine != "standard" and name in _STANDARD_TAGS:
            raise invalid(f"Unsupported {engine.capitalize()} feature")
        _check_attributes(name, element.attrib, engine)


def for_espeak(text: str) -> str:
    """The same SSML with what espeak-ng does not know taken out, every character in its place."""
    return re.sub(r"</?amazon:[^>]*>", lambda tag: " " * len(tag[0]), text)


def spoken_characters(text: str) -> int:
    """How many characters Polly bills: those outside of tags."""
    return len(re.sub(r"<[^>]*>", "", text))


def _check_attributes(name: str, attributes: Mapping[str, str], engine: str) -> None:
    if name == "prosody":
        if not attributes:
            raise invalid("Invalid SSML request")
        for attribute, value in attributes.items():
            if _is_amazon(attribute):
                continue
            if attribute not in _PROSODY or not _PROSODY[attribute].fullmatch(value):
                raise invalid("Invalid SSML request")
            if attribute == "pitch" and engine != "standard":
                raise invalid(f"Unsupported {engine.capitalize()} feature")
    if name == "effect" and engine != "standard" and attributes.get("name") != "drc":
        raise invalid(f"Unsupported {engine.capitalize()} feature")
    if name == "break" and "time" in attributes:
        time = attributes["time"]
        if not _DURATION.fullmatch(time) or float(time.rstrip("ms")) > (10_000 if time.endswith("ms") else 10):
            raise invalid("Invalid SSML request")


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _is_amazon(tag: str) -> bool:
    return tag.startswith("{" + _AMAZON)


def invalid(message: str) -> ServiceError:
    """Polly's refusal."""
    return ServiceError("InvalidSsmlException", message)
