"""Audio formats of the speech path: raw PCM, 16-bit little-endian, mono."""

from parley.errors import ValidationFailed

INPUT_RATE = 16_000
"""Samples per second of what the user says: what speech models and recognisers take."""

OUTPUT_RATE = 24_000
"""Samples per second of what the assistant says: what Nova 2 Sonic gives."""

SAMPLE_BYTES = 2

FRAME_SECONDS = 0.09
"""Length of a frame as clients send them: 90 ms, so that a minute is 667 messages of 4 KB."""

MIN_FRAME_SECONDS, MAX_FRAME_SECONDS = 0.01, 0.2
"""Frames that are taken. Shorter ones cost more requests than speech is worth; longer ones are heard late."""


def input_bytes(seconds: float) -> int:
    """Bytes of `seconds` of input audio: whole samples."""
    return round(seconds * INPUT_RATE) * SAMPLE_BYTES


def output_bytes(seconds: float) -> int:
    """Bytes of `seconds` of output audio: whole samples."""
    return round(seconds * OUTPUT_RATE) * SAMPLE_BYTES


def input_seconds(size: int) -> float:
    """How long `size` bytes of input audio last."""
    return size / SAMPLE_BYTES / INPUT_RATE


def output_seconds(size: int) -> float:
    """How long `size` bytes of output audio last."""
    return size / SAMPLE_BYTES / OUTPUT_RATE


def check_frame(data: bytes) -> None:
    """Raises AudioInvalid for a frame that is no audio of this format: too short, too long, or half a sample."""
    if len(data) % SAMPLE_BYTES:
        raise AudioInvalid("An audio frame holds whole 16-bit samples; this one has an odd number of bytes.")
    if not input_bytes(MIN_FRAME_SECONDS) <= len(data) <= input_bytes(MAX_FRAME_SECONDS):
        raise AudioInvalid(
            f"An audio frame holds {MIN_FRAME_SECONDS * 1000:.0f} to {MAX_FRAME_SECONDS * 1000:.0f} ms of 16 kHz PCM, "
            f"{input_bytes(MIN_FRAME_SECONDS)} to {input_bytes(MAX_FRAME_SECONDS)} bytes; this one has {len(data)}."
        )


def silence(seconds: float) -> bytes:
    """Input audio in which nobody speaks."""
    return bytes(input_bytes(seconds))


class AudioInvalid(ValidationFailed):
    """Audio that is not in the format of the interface."""

    code = "audio_invalid"
