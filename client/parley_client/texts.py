"""What was typed and has no answer yet. It can be sent again: its request id keeps it from being answered twice."""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class _Text:
    message: dict[str, Any]
    heard_at: float | None
    """When it was sent, or something of its answer came; None where it was refused and is the program's to repeat."""
    is_repeated: bool = False


class Texts:
    """The texts of one session. Times are the caller's clock, in seconds."""

    def __init__(self, ask_again_after: float) -> None:
        self._ask_again_after = ask_again_after
        self._texts: dict[str, _Text] = {}
        self._before_ping: list[str] = []

    def add(self, request_id: str, message: str, model_role: str | None, now: float) -> dict[str, Any]:
        """The message that sends this text."""
        text: dict[str, Any] = {"action": "text", "message": message, "request_id": request_id}
        if model_role:
            text["model_role"] = model_role
        self._texts[request_id] = _Text(text, now)
        return text

    def all(self, now: float) -> list[dict[str, Any]]:
        """What a new connection has to send."""
        for text in self._texts.values():
            text.heard_at = now
        return [text.message for text in self._texts.values()]

    def overdue(self, now: float) -> list[dict[str, Any]]:
        """What nothing was heard of for so long that whoever answered it must have died: to be sent again now."""
        late = [
            text
            for text in self._texts.values()
            if text.heard_at is not None and now - text.heard_at >= self._ask_again_after
        ]
        for text in late:
            text.heard_at, text.is_repeated = now, True
        return [text.message for text in late]

    def progress(self, request_id: str, now: float) -> None:
        """A piece of its answer has come."""
        if (text := self._texts.get(request_id)) is not None:
            text.heard_at = now

    def is_repeated(self, request_id: str) -> bool:
        """Was it sent again by itself? Then `conflict` says no more than that the first one is under way."""
        return (text := self._texts.get(request_id)) is not None and text.is_repeated

    def refused(self, request_id: str) -> None:
        """It may be sent again, which is for the program to decide."""
        if (text := self._texts.get(request_id)) is not None:
            text.heard_at = None

    def settled(self, request_id: str) -> None:
        """It has its answer, or will have none."""
        self._texts.pop(request_id, None)

    def pinged(self) -> None:
        """A ping goes out now; nothing typed since counts as arrived when it is answered."""
        self._before_ping = list(self._texts)

    def connected(self) -> None:
        """No ping of this connection is under way."""
        self._before_ping = []

    def ponged(self) -> None:
        """The ping was answered, so all that was typed before it has arrived."""
        for request_id in self._before_ping:
            self.settled(request_id)
