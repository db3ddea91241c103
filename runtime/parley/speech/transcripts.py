"""Transcripts of recordings: text with times, made from what Amazon Transcribe writes."""

from collections.abc import Sequence

import msgspec

_PAUSE_SECONDS = 2.0
"""A silence of this length ends a segment, also where no sentence ends."""

_SENTENCE_ENDS = frozenset(".?!\u3002\uff1f\uff01\u0964")
"""The last four: full stop, question and exclamation mark of Chinese and Japanese; the danda of Indian languages."""

_LONGEST_SEGMENT = 400
"""Characters, about half a minute of speech: text without punctuation is cut there."""

_UNSPACED = ("zh-", "ja-", "th-")
"""Languages that are written without spaces between words."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence or so; `start` and `end` in seconds of the recording."""

    start: float
    end: float
    text: str


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What is said in a recording: the whole text, and the same in segments. Empty when nobody speaks."""

    language: str
    text: str
    segments: tuple[Segment, ...]

    def to_json(self) -> bytes:
        """As it is stored."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(stored: bytes) -> "Transcript":
        """As it was stored."""
        return msgspec.json.decode(stored, type=Transcript)


class MalformedResult(ValueError):
    """It is no result of a transcription job."""


class _Alternative(msgspec.Struct):
    content: str


class _Item(msgspec.Struct):
    type: str
    alternatives: list[_Alternative]
    # Text in the service's JSON; absent on punctuation.
    start_time: str | None = None
    end_time: str | None = None


class _Text(msgspec.Struct):
    transcript: str


class _Results(msgspec.Struct):
    transcripts: list[_Text]
    items: list[_Item]
    language_code: str | None = None


class _Job(msgspec.Struct):
    results: _Results


def transcript_of(result: bytes, *, language: str) -> Transcript:
    """The transcript in a job's result; `language` is the one that the job was given or found.

    Raises MalformedResult.
    """
    try:
        results = msgspec.json.decode(result, type=_Job).results
        segments = _segments(results.items, "" if language.startswith(_UNSPACED) else " ")
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError, IndexError) as error:
        raise MalformedResult("The service's transcript cannot be read.") from error
    text = " ".join(part.transcript for part in results.transcripts).strip()
    return Transcript(language=results.language_code or language, text=text, segments=segments)


def _segments(items: Sequence[_Item], space: str) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    text, start, end = "", 0.0, 0.0

    def finish() -> None:
        nonlocal text
        if text:
            segments.append(Segment(start=start, end=end, text=text))
        text = ""

    for item in items:
        content = item.alternatives[0].content
        if item.start_time is None or item.end_time is None or item.type == "punctuation":
            text += content
            if content[-1:] in _SENTENCE_ENDS:
                finish()
            continue
        begins = float(item.start_time)
        if text and (begins - end > _PAUSE_SECONDS or len(text) > _LONGEST_SEGMENT):
            finish()
        if not text:
            start = begins
        text += (space if text else "") + content
        end = float(item.end_time)
    finish()
    return tuple(segments)
