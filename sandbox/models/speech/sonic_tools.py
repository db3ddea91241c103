"""What the stand-in for Nova 2 Sonic makes of a tool's result."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_TEXT_KEYS = ("text", "content", "passage", "excerpt")
FAILED = "I could not find that out just now."
NOTHING = "I found nothing about that."


def prompt(result: str, question: str) -> str | None:
    """The question with the passages of a search's result, as the text models read them; None when it holds none."""
    found = list(_passages(_parsed(result)))
    if not found:
        return None
    blocks = [
        f'<passage id="{number}" document="{html.escape(name)}" heading="{html.escape(heading)}">'
        f"{html.escape(text)}</passage>"
        for number, (name, heading, text) in enumerate(found, 1)
    ]
    return f"<passages>\n{chr(10).join(blocks)}\n</passages>\n<question>{html.escape(question)}</question>"


def statement(result: str) -> str:
    """A result that is no passage, read out."""
    parsed = _parsed(result)
    if isinstance(parsed, str) and parsed.strip():
        return parsed
    if not isinstance(parsed, dict):
        return NOTHING
    if "error" in parsed:
        return FAILED
    facts = [
        f"The {' '.join(_PARTS.findall(name)).lower()} is {value}."
        for name, value in parsed.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    ]
    return " ".join(facts) or NOTHING


def _parsed(result: str) -> Any:
    try:
        return json.loads(result)
    except ValueError:
        return result


def _passages(value: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _passages(item)
    elif isinstance(value, dict):
        text = next((value[key] for key in _TEXT_KEYS if isinstance(value.get(key), str)), None)
        if text is not None:
            document = value.get("document") or value.get("title") or value.get("source") or ""
            yield str(document), str(value.get("heading") or ""), text
            return
        for item in value.values():
            if isinstance(item, list | dict):
                yield from _passages(item)
