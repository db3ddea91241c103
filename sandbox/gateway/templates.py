"""Velocity request templates, with the variables API Gateway gives to WebSocket integrations.

Reference: "WebSocket API mapping template reference" and "Mapping template transformations" in the developer guide.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import quote, unquote

from sandbox.gateway.velocity import VelocityTemplate

# Apache Commons Lang 2 `escapeJavaScript`, which API Gateway uses: it escapes both quotes and the slash.
_JAVASCRIPT_ESCAPES = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "/": "\\/",
    "\b": "\\b",
    "\n": "\\n",
    "\t": "\\t",
    "\f": "\\f",
    "\r": "\\r",
}
# An audio frame is 3,840 characters of which sixty need escaping: none of the others may cost anything.
_ESCAPED = re.compile(r"""[^ -~]|[\\'"/]""")
# What means itself in a regular expression, and in what takes the place of its matches.
_PLAIN = re.compile(r"[\w '\"!/,:;=-]+", re.ASCII)
_PATH_STEP = re.compile(
    r"\.(?P<name>[^.\[\]]+)|\['(?P<single>[^']*)'\]|\[\"(?P<double>[^\"]*)\"\]|\[(?P<index>-?\d+)\]"
)


@dataclass(frozen=True)
class Message:
    """What a client sent."""

    text: str

    @cached_property
    def document(self) -> Any:
        """Its JSON, or None where it is none."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None


def select_template(templates: Mapping[str, str], selection_expression: str | None, message: Message) -> str | None:
    """The template that an integration's selection expression picks, `$default` when none is named so."""
    chosen = "$default"
    expression = (selection_expression or "").replace("\\$", "$").strip()
    match = re.fullmatch(r"\$\{?request\.body\.(?P<path>[^}]+)\}?", expression)
    if match:
        try:
            chosen = str(json_path(message.document, "$." + match["path"]))
        except ValueError:
            chosen = "$default"
    elif expression:
        chosen = expression
    return templates.get(chosen, templates.get("$default"))


def render(template: str, message: Message, *, context: Mapping[str, Any], stage_variables: Mapping[str, str]) -> str:
    """The template's text for one message; raises `TemplateFailure`."""
    namespace = {
        "input": _Input(message),
        "util": _Util(),
        "context": _wrap(context),
        "stageVariables": _wrap(stage_variables),
    }
    return _compiled(template).render(namespace)


def json_path(document: Any, expression: str) -> Any:
    """The value at a JSONPath of plain steps (`$.a['b'][0]`), or None when a step leads nowhere."""
    value = document
    for step in _steps(expression):
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and -len(value) <= step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


@lru_cache(maxsize=128)
def _steps(expression: str) -> tuple[int | str, ...]:
    """Indexes and names on the way of a JSONPath. Raises ValueError."""
    if not expression.startswith("$"):
        raise ValueError(f"a JSONPath starts with $, got {expression!r}")
    steps: list[int | str] = []
    position = 1
    while position < len(expression):
        step = _PATH_STEP.match(expression, position)
        if step is None:
            raise ValueError(f"unsupported JSONPath {expression!r}")
        position = step.end()
        if step["index"] is not None:
            steps.append(int(step["index"]))
        else:
            steps.append(next(part for part in (step["name"], step["single"], step["double"]) if part is not None))
    return tuple(steps)


@lru_cache(maxsize=128)
def _compiled(template: str) -> VelocityTemplate:
    return VelocityTemplate(template, _Text)


class _Text(str):
    """A string with the methods of Java's that templates use."""

    def replaceAll(self, pattern: str, replacement: str) -> "_Text":
        if _PLAIN.fullmatch(pattern) and _PLAIN.fullmatch(replacement):
            return _Text(self.replace(pattern, replacement))
        return _Text(re.sub(pattern, re.sub(r"\$(\d)", r"\\\1", replacement), self))

    def length(self) -> int:
        return len(self)

    def isEmpty(self) -> bool:
        return not self

    def equals(self, other: object) -> bool:
        return str(self) == other

    def contains(self, part: str) -> bool:
        return part in self

    def startsWith(self, part: str) -> bool:
        return self.startswith(part)

    def endsWith(self, part: str) -> bool:
        return self.endswith(part)

    def matches(self, pattern: str) -> bool:
        return re.fullmatch(pattern, self) is not None

    def trim(self) -> "_Text":
        return _Text(self.strip())

    def substring(self, begin: int, end: int | None = None) -> "_Text":
        return _Text(self[begin:end])

    def toLowerCase(self) -> "_Text":
        return _Text(self.lower())

    def toUpperCase(self) -> "_Text":
        return _Text(self.upper())


class _Nothing(_Text):
    """What stands where nothing was found: it prints as "", and so does all below it."""

    def __getattr__(self, name: str) -> "_Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class _Object(dict[str, Any]):
    """A JSON object that prints as JSON and reads as "" where nothing stands, as API Gateway's do.

    Its values are wrapped when they are read: a template reads few of a message's context.
    """

    def __getitem__(self, key: str) -> Any:
        return _wrap(super().__getitem__(key))

    def __missing__(self, key: str) -> str:
        return _Nothing()

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else _wrap(default)

    def values(self) -> Any:
        return [_wrap(value) for value in super().values()]

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False, separators=(",", ":"))


class _Array(list[Any]):
    """A JSON array that prints as JSON."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False, separators=(",", ":"))


def _wrap(value: Any) -> Any:
    if isinstance(value, _Text | _Object | _Array):
        return value
    if isinstance(value, str):
        return _Text(value)
    if isinstance(value, Mapping):
        return _Object(value)
    if isinstance(value, list):
        return _Array([_wrap(item) for item in value])
    if isinstance(value, bool):
        return _Text("true" if value else "false")
    return _Nothing() if value is None else value


class _Input:
    def __init__(self, message: Message) -> None:
        self.body = _Text(message.text)
        self._document = {} if message.document is None else message.document

    def path(self, expression: str) -> Any:
        return _wrap(json_path(self._document, str(expression)))

    def json(self, expression: str) -> str:
        value = json_path(self._document, str(expression))
        return _Text("" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def params(self, name: str | None = None) -> Any:
        # A WebSocket message has neither path, query string nor headers.
        return _Object({"path": _Object(), "querystring": _Object(), "header": _Object()}) if name is None else ""


class _Util:
    def escapeJavaScript(self, value: object) -> str:
        text = str(value)
        if text.isascii() and text.isprintable():
            for character in "\\'\"/":
                text = text.replace(character, _JAVASCRIPT_ESCAPES[character])
            return _Text(text)
        return _Text(_ESCAPED.sub(_escape, text))

    def base64Encode(self, value: object) -> str:
        return _Text(base64.b64encode(str(value).encode()).decode())

    def base64Decode(self, value: object) -> str:
        return _Text(base64.b64decode(str(value)).decode())

    def parseJson(self, value: object) -> Any:
        return _wrap(json.loads(str(value)))

    def urlEncode(self, value: object) -> str:
        return _Text(quote(str(value), safe="*-._").replace("%20", "+"))

    def urlDecode(self, value: object) -> str:
        return _Text(unquote(str(value).replace("+", " ")))


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    escaped = _JAVASCRIPT_ESCAPES.get(character)
    if escaped is not None:
        return escaped
    # Java escapes UTF-16 code units: two for a character beyond the basic plane.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02X}{units[i + 1]:02X}" for i in range(0, len(units), 2))
