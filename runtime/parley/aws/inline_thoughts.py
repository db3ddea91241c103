"""What a model thinks aloud in the middle of its answer, and what of that a user reads: nothing."""

OPENS, CLOSES = "<thinking>", "</thinking>"


class WithoutThoughts:
    """Takes a text in pieces, and gives it without what stands between `<thinking>` and `</thinking>`.

    Amazon Nova (version 1) writes its reasoning so, as text, when it is offered tools:
    https://docs.aws.amazon.com/nova/latest/userguide/tool-use-invocation.html
    """

    def __init__(self) -> None:
        self._held = ""
        self._thinks = False
        self._trims = False

    def feed(self, text: str) -> str:
        """What can be given out now: a piece that may be the beginning of a mark is held back."""
        self._held += text
        given = ""
        while True:
            mark = CLOSES if self._thinks else OPENS
            before, found, after = self._held.partition(mark)
            kept = 0 if found else _begun(before, mark)
            if not self._thinks:
                given += self._trimmed(before[: len(before) - kept])
            if not found:
                self._held = before[len(before) - kept :]
                return given
            self._held = after
            self._trims = self._thinks
            self._thinks = not self._thinks

    def rest(self) -> str:
        """What was held back, at the end of the text. A thought that was never closed is one all the same."""
        return "" if self._thinks else self._trimmed(self._held)

    def _trimmed(self, text: str) -> str:
        # The blank lines after a thought belong to it.
        if self._trims and text:
            text = text.lstrip()
            self._trims = not text
        return text


def _begun(text: str, mark: str) -> int:
    """How many of the last characters of `text` are the beginning of `mark`."""
    return next((size for size in range(min(len(text), len(mark) - 1), 0, -1) if mark.startswith(text[-size:])), 0)
