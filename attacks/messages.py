"""Messages to send over the WebSocket: those that the AsyncAPI document allows, and what becomes of them by malice."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hypothesis import strategies as st

from attacks.victim import Targets

FRAME_BYTES, MESSAGE_BYTES = 32 * 1024, 128 * 1024
"""API Gateway's limits of a frame and of a message: beyond them a connection is closed with 1009."""

FLOOD = 60
"""Messages of a flood, sent without waiting."""

_LONGEST = 200
"""Characters of a generated text: longer ones are made on purpose, below."""


@dataclass(frozen=True)
class Frame:
    """One thing that is sent. `fragments` are the frames of one message."""

    kind: str
    fragments: tuple[str | bytes, ...]
    times: int = 1

    @property
    def closes_with(self) -> int | None:
        """The code with which the connection must be closed, where it must be."""
        if any(isinstance(fragment, bytes) for fragment in self.fragments):
            return 1003
        sizes = [len(str(fragment).encode()) for fragment in self.fragments]
        return 1009 if max(sizes) > FRAME_BYTES or sum(sizes) > MESSAGE_BYTES else None

    @classmethod
    def of(cls, kind: str, message: object, *, times: int = 1) -> Self:
        """A message in one frame."""
        return cls(kind, (json.dumps(message),), times)


def from_schema(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema allows: of the part of JSON Schema that the document is written in.

    Raises KeyError for a form that it does not use.
    """
    if "$ref" in schema:
        return from_schema(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*(from_schema(each, definitions) for each in schema["anyOf"]))
    match schema["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "number":
            return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False)
        case "string" if schema.get("contentEncoding") == "base64":
            return st.binary(max_size=4_000).map(lambda data: base64.b64encode(data).decode())
        case "string":
            return st.text(
                min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", _LONGEST), _LONGEST)
            )
        case "array":
            return st.lists(from_schema(schema["items"], definitions), max_size=5)
        case "object":
            required = set(schema.get("required", ()))
            fields = {name: from_schema(each, definitions) for name, each in schema.get("properties", {}).items()}
            return st.fixed_dictionaries(
                {name: each for name, each in fields.items() if name in required},
                optional={name: each for name, each in fields.items() if name not in required},
            )
    raise KeyError(f"a schema of the form {schema}")


class Arsenal:
    """Strategies for what may be sent, from the AsyncAPI document, by somebody who knows the victim's ids."""

    def __init__(self, document: Mapping[str, Any], victim: Targets) -> None:
        self._victim = victim
        schemas = document["components"]["schemas"]
        channel = document["channels"]["session"]["messages"]
        components = document["components"]["messages"]
        self.messages: dict[str, st.SearchStrategy[dict[str, Any]]] = {}
        """By action: what the document allows."""
        for reference in document["operations"]["send"]["messages"]:
            message = components[_last(channel[_last(reference)])]
            self.messages[message["name"]] = from_schema(message["payload"], schemas)

    def batches(self, *, voice_in: int | None) -> st.SearchStrategy[list[Frame]]:
        """What is sent before it is asked whether the connection still lives. One in `voice_in` begins a call."""
        batch = st.lists(self._frames(), min_size=4, max_size=20)
        if voice_in is None:
            return batch
        call = Frame.of("begin a call", {"action": "session.start", "medium": "voice"})
        return st.tuples(st.integers(1, voice_in), batch).map(
            lambda drawn: [call, *drawn[1]] if drawn[0] == voice_in else drawn[1]
        )

    def _frames(self) -> st.SearchStrategy[Frame]:
        valid = self._valid()
        kinds: dict[str, tuple[int, st.SearchStrategy[Frame]]] = {
            "valid": (30, valid.map(lambda message: Frame.of(f"valid {message['action']}", message))),
            "another's": (15, st.tuples(valid, st.sampled_from(self._victim.ids)).map(_foreign)),
            "retyped": (12, st.tuples(valid, st.integers(0, 99), _ANYTHING).map(_retyped)),
            "incomplete": (8, st.tuples(valid, st.integers(0, 99)).map(_incomplete)),
            "additional": (8, st.tuples(valid, st.text(max_size=20), _ANYTHING).map(_with_more)),
            "twice": (6, st.tuples(valid, _ANYTHING).map(_twice)),
            "nested": (3, st.tuples(valid, st.sampled_from((100, 1_000, 10_000))).map(_nested)),
            "cut": (8, st.tuples(valid, st.floats(0, 1)).map(_cut)),
            "nonsense": (8, st.one_of(st.text(max_size=100), _ANYTHING.map(json.dumps)).map(_nonsense)),
            "large": (2, st.tuples(valid, st.integers(FRAME_BYTES, 2 * MESSAGE_BYTES), st.booleans()).map(_large)),
            "binary": (1, st.binary(max_size=100).map(lambda data: Frame("binary", (data,)))),
            "flood": (1, valid.map(_flood)),
        }
        weighted = [kind for kind, (weight, _) in kinds.items() for _ in range(weight)]
        return st.sampled_from(weighted).flatmap(lambda kind: kinds[kind][1])

    def _valid(self) -> st.SearchStrategy[dict[str, Any]]:
        """What the document allows; turns of a model and calls seldom come of it, because they take long."""
        conversations = st.sampled_from([*self._victim.conversations * 19, None])
        return st.sampled_from(sorted(self.messages)).flatmap(
            lambda action: st.tuples(self.messages[action], conversations).map(_cheap)
        )


_ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.text(st.characters(), max_size=40),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.sampled_from(("\ud800", "\x00", "\u202e", "$context.authorizer.subject", '"}}', "../..", "A" * 5_000)),
)
"""Values of every type: numbers beyond any machine word, not-a-number, half characters, and what templates expand."""


def _cheap(drawn: tuple[dict[str, Any], str | None]) -> dict[str, Any]:
    message, conversation = drawn
    if message["action"] == "text":
        return message | {"conversation_id": conversation}
    if message.get("medium") == "voice" and not isinstance(message.get("language"), str):
        return message | {"medium": "text"}
    return message


def _foreign(drawn: tuple[dict[str, Any], str]) -> Frame:
    message, identifier = drawn
    places = {"text": "conversation_id", "session.start": "session_id", "played": "turn_id"}
    place = places.get(message["action"], "session_id")
    return Frame.of(f"another's {place}", message | {place: identifier})


def _retyped(drawn: tuple[dict[str, Any], int, Any]) -> Frame:
    message, number, value = drawn
    return Frame.of("another type", message | {_one(message, number): value})


def _incomplete(drawn: tuple[dict[str, Any], int]) -> Frame:
    message, number = drawn
    missing = _one(message, number)
    return Frame.of("incomplete", {name: value for name, value in message.items() if name != missing})


def _with_more(drawn: tuple[dict[str, Any], str, Any]) -> Frame:
    message, name, value = drawn
    return Frame.of("an additional field", {name: value} | message)


def _twice(drawn: tuple[dict[str, Any], Any]) -> Frame:
    """Every field twice: readers differ in which one counts."""
    message, value = drawn
    fields = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name in message)
    return Frame("fields twice", (f"{{{fields}, {json.dumps(message)[1:]}",))


def _nested(drawn: tuple[dict[str, Any], int]) -> Frame:
    message, depth = drawn
    deep = "[" * depth + "]" * depth
    return Frame("deeply nested", (f'{json.dumps(message)[:-1]}, "deep": {deep}}}',))


def _cut(drawn: tuple[dict[str, Any], float]) -> Frame:
    message, share = drawn
    text = json.dumps(message)
    return Frame("cut off", (text[: int(share * len(text))],))


def _nonsense(text: str) -> Frame:
    return Frame("no message", (text.encode("utf-8", "replace").decode(),))


def _large(drawn: tuple[dict[str, Any], int, bool]) -> Frame:
    """One frame above its limit, or a message of allowed frames, which may be above that of messages."""
    message, size, in_fragments = drawn
    text = json.dumps(message | {"padding": "x" * size})
    if not in_fragments:
        return Frame("a frame above 32 KB", (text,))
    step = FRAME_BYTES - 1
    fragments = tuple(text[at : at + step] for at in range(0, len(text), step))
    return Frame("in fragments", fragments)


def _flood(message: dict[str, Any]) -> Frame:
    # Each text would start a process of its own here, which proves nothing of AWS: theirs are refused.
    cheap = message | {"message": ""} if message["action"] == "text" else message
    return Frame.of(f"flood of {message['action']}", cheap, times=FLOOD)


def _one(message: Mapping[str, Any], number: int) -> str:
    names = sorted(message)
    return names[number % len(names)]


def _last(reference: Mapping[str, str]) -> str:
    return reference["$ref"].rsplit("/", 1)[1]
