"""What an uploaded recording is, by its first bytes: names lie, and a service's error says less than a sentence can."""

from dataclasses import dataclass
from typing import Literal

type Format = Literal["wav", "mp3", "webm"]

MEDIA_TYPES: dict[Format, str] = {"wav": "audio/wav", "mp3": "audio/mpeg", "webm": "audio/webm"}
"""Formats that are transcribed, and the media type each is stored under. A file's name ends in its format."""

HEAD_BYTES = 64 * 1024
"""How much of a file is looked at: its headers, with room for what WAV writers put before the sound."""

MAX_SECONDS = 4 * 3600
"""The longest recording: docs.aws.amazon.com/transcribe/latest/dg/limits-guidelines.html"""

_PCM_KINDS = frozenset({1, 0xFFFE})
"""Integer samples, described in the short way or in the long one."""

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "an MP4 file"),
    (0, b"OggS", "an Ogg file"),
    (0, b"fLaC", "a FLAC file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"%PDF-", "a PDF"),
    (0, b"PK\x03\x04", "an archive or an Office document"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
)
_EBML = b"\x1a\x45\xdf\xa3"
_DOCTYPE_WITHIN = 64
_NAMES: dict[Format, str] = {"wav": "a WAV file", "mp3": "an MP3 file", "webm": "a WebM file"}


class UnreadableRecording(Exception):
    """The file cannot be transcribed; `reason` is a sentence for its owner."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Sound:
    """What a file's headers say. The length is None where only the whole file would tell."""

    format: Format
    seconds: float | None


def inspect(head: bytes, size: int, *, named: Format) -> Sound:
    """What the file of `size` bytes that begins with `head` is. Raises UnreadableRecording.

    `named` is what the file's name says; a file that is something else is refused, because its owner meant another.
    """
    if size == 0:
        raise UnreadableRecording("The file is empty.")
    found = _format(head)
    if found != named:
        what = _NAMES[found] if found else _other(head)
        raise UnreadableRecording(
            f"The file is not what its name says (.{named}): it is {what}."
            if what
            else f"The file is not what its name says (.{named}), or it is damaged."
        )
    seconds = _wav_seconds(head, size) if found == "wav" else None
    if seconds is not None and seconds > MAX_SECONDS:
        raise UnreadableRecording(
            f"The recording is longer than {MAX_SECONDS // 3600} hours: upload it in shorter parts."
        )
    return Sound(found, seconds)


def _format(head: bytes) -> Format | None:
    if head.startswith((b"RIFF", b"RF64")) and head[8:12] == b"WAVE":
        return "wav"
    if head.startswith(_EBML) and b"webm" in head[:_DOCTYPE_WITHIN]:
        return "webm"
    if head.startswith(b"ID3") or _is_mp3_frame(head):
        return "mp3"
    return None


def _is_mp3_frame(head: bytes) -> bool:
    """Does an MPEG audio frame of layer III begin here, with a bit rate and a sample rate that exist?"""
    return (
        len(head) >= 4
        and head[0] == 0xFF
        and head[1] & 0xE0 == 0xE0
        and head[1] & 0x18 != 0x08
        and head[1] & 0x06 == 0x02
        and head[2] & 0xF0 not in (0x00, 0xF0)
        and head[2] & 0x0C != 0x0C
    )


def _other(head: bytes) -> str | None:
    if head.startswith(_EBML):
        return "a Matroska file"
    return next((name for at, mark, name in _OTHERS if head[at:].startswith(mark)), None)


def _wav_seconds(head: bytes, size: int) -> float | None:
    """How long a WAV file's sound lasts; None when the sound begins after `head`. Raises UnreadableRecording."""
    bytes_a_second = 0
    at = 12
    while at + 8 <= len(head):
        name, length = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        body = head[at + 8 : at + 8 + length]
        if name == b"fmt " and len(body) >= 16:
            kind, bytes_a_second = int.from_bytes(body[:2], "little"), int.from_bytes(body[8:12], "little")
            if kind not in _PCM_KINDS or not bytes_a_second:
                raise UnreadableRecording("The WAV file holds no plain PCM samples: save it as PCM, or as MP3.")
        if name == b"data":
            # Writers that stream leave the length open; then the rest of the file is the sound.
            sound = min(length, size - at - 8)
            if not bytes_a_second or sound <= 0:
                raise UnreadableRecording("The WAV file holds no sound, or it is damaged.")
            return sound / bytes_a_second
        at += 8 + length + length % 2
    if size <= len(head):
        raise UnreadableRecording("The WAV file holds no sound, or it is damaged.")
    return None
