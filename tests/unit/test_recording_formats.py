"""What a recording is by its first bytes, and the transcript that is made of Transcribe's result."""

import io
import json
import wave
from typing import Any

import pytest
from parley.speech.recording_formats import MAX_SECONDS, UnreadableRecording, inspect
from parley.speech.transcripts import MalformedResult, Segment, transcript_of

WEBM = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm"
MATROSKA = WEBM.replace(b"webm", b"matroska")
MP3 = b"\xff\xfb\x90\x64" + bytes(100)
TAGGED_MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00" + MP3


def wav(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(round(seconds * rate) * 2))
    return file.getvalue()


def refusal(head: bytes, named: Any, size: int | None = None) -> str:
    with pytest.raises(UnreadableRecording) as refused:
        inspect(head, len(head) if size is None else size, named=named)
    return refused.value.reason


@pytest.mark.parametrize(("content", "format"), [(wav(), "wav"), (MP3, "mp3"), (TAGGED_MP3, "mp3"), (WEBM, "webm")])
def test_files_are_known_by_their_first_bytes(content: bytes, format: Any) -> None:
    assert inspect(content, len(content), named=format).format == format


def test_a_wav_file_says_how_long_it_lasts() -> None:
    content = wav(2.5, rate=44_100)
    assert inspect(content, len(content), named="wav").seconds == pytest.approx(2.5)


def test_a_wav_file_whose_writer_left_the_length_open_lasts_to_its_end() -> None:
    content = bytearray(wav(3))
    content[40:44] = b"\xff\xff\xff\xff"
    assert inspect(bytes(content), len(content), named="wav").seconds == pytest.approx(3)


def test_a_wav_file_may_describe_itself_at_length_before_its_sound() -> None:
    content = wav()
    described = content[:36] + b"LIST" + (100_001).to_bytes(4, "little") + bytes(100_002) + content[36:]
    assert inspect(described[:65_536], len(described), named="wav").seconds is None


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"", "wav") == "The file is empty."


@pytest.mark.parametrize(
    ("content", "named", "what"),
    [
        (wav(), "mp3", "it is a WAV file"),
        (MP3, "wav", "it is an MP3 file"),
        (WEBM, "mp3", "it is a WebM file"),
        (MATROSKA, "webm", "it is a Matroska file"),
        (b"\0\0\0\x20ftypM4A ", "mp3", "it is an MP4 file"),
        (b"OggS\0\x02", "webm", "it is an Ogg file"),
        (b"%PDF-1.7", "wav", "it is a PDF"),
        (b"hello, this is text", "wav", "or it is damaged"),
        (b"\xff\xff\xff\xff", "mp3", "or it is damaged"),
        (b"\xff", "mp3", "or it is damaged"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(content: bytes, named: Any, what: str) -> None:
    assert refusal(content, named).startswith(f"The file is not what its name says (.{named})")
    assert what in refusal(content, named)


def test_a_wav_file_without_sound_is_refused() -> None:
    assert "no sound" in refusal(wav(0), "wav")
    assert "no sound" in refusal(wav()[:30], "wav")
    assert "no sound" in refusal(wav()[:12] + b"data\x10\0\0\0" + bytes(16), "wav")


def test_compressed_samples_in_a_wav_file_are_refused() -> None:
    content = bytearray(wav())
    content[20:22] = (0x55).to_bytes(2, "little")
    assert "PCM" in refusal(bytes(content), "wav")


def test_a_recording_that_is_too_long_is_refused() -> None:
    content = bytearray(wav())
    bytes_in_all = (MAX_SECONDS + 1) * 32_000
    content[40:44] = bytes_in_all.to_bytes(4, "little")
    assert "longer than 4 hours" in refusal(bytes(content), "wav", size=bytes_in_all + 44)


def result(*items: tuple[str, float, float] | str, text: str = "", **results: Any) -> bytes:
    """A job's result: words with their times, and punctuation."""
    described = [
        {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": item}]}
        if isinstance(item, str)
        else {
            "type": "pronunciation",
            "alternatives": [{"confidence": "0.99", "content": item[0]}],
            "start_time": str(item[1]),
            "end_time": str(item[2]),
        }
        for item in items
    ]
    return json.dumps({"results": {"transcripts": [{"transcript": text}], "items": described, **results}}).encode()


def test_a_transcript_has_a_segment_for_each_sentence() -> None:
    words = (("Hello", 0.1, 0.5), ",", ("Ada", 0.6, 0.9), ".", ("Bye", 1.2, 1.5), "!")
    transcript = transcript_of(result(*words, text="Hello, Ada. Bye!"), language="en-US")
    assert transcript.text == "Hello, Ada. Bye!"
    assert transcript.language == "en-US"
    assert transcript.segments == (
        Segment(start=0.1, end=0.9, text="Hello, Ada."),
        Segment(start=1.2, end=1.5, text="Bye!"),
    )


def test_without_punctuation_a_pause_ends_a_segment() -> None:
    transcript = transcript_of(result(("one", 0, 0.5), ("two", 0.6, 1), ("three", 3.5, 4)), language="en-US")
    assert [segment.text for segment in transcript.segments] == ["one two", "three"]


def test_without_pauses_segments_are_still_short() -> None:
    words = [(f"word{number}", number * 0.3, number * 0.3 + 0.2) for number in range(200)]
    transcript = transcript_of(result(*words), language="en-US")
    assert len(transcript.segments) > 2
    assert " ".join(segment.text for segment in transcript.segments) == " ".join(word for word, *_ in words)


def test_the_language_that_was_found_counts() -> None:
    assert transcript_of(result(language_code="de-DE"), language="").language == "de-DE"


def test_languages_without_spaces_get_none() -> None:
    transcript = transcript_of(result(("你", 0, 1), ("好", 1, 2), "。"), language="zh-CN")
    assert [segment.text for segment in transcript.segments] == ["你好。"]


def test_nobody_speaking_is_an_empty_transcript() -> None:
    assert transcript_of(result(), language="en-US").segments == ()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", result(("one", 0, 1)).replace(b'"0"', b'"soon"')])
def test_what_is_no_result_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedResult):
        transcript_of(content, language="en-US")
