"""Transcribe's stand-in, spoken to through AWS's own SDK over TLS and HTTP/2."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from aws_sdk_transcribe_streaming.client import AsyncTranscribeStreamingClient
from aws_sdk_transcribe_streaming.config import AsyncTranscribeStreamingConfig
from aws_sdk_transcribe_streaming.models import (
    AudioEvent,
    AudioStreamAudioEvent,
    BadRequestException,
    InternalFailureException,
    LimitExceededException,
    StartStreamTranscriptionInput,
)

from tests.unit.speech_doubles import PATIENCE, QUESTIONS, Endpoint, endpoint, served, speech

__all__ = ["endpoint", "served"]

CHUNK = 3_200


class Listener:
    """One stream of a client."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def send(self, pcm: bytes) -> None:
        for start in range(0, len(pcm), CHUNK):
            event = AudioStreamAudioEvent(value=AudioEvent(audio_chunk=pcm[start : start + CHUNK]))
            await self._stream.input_stream.send(event)

    async def end(self) -> None:
        await self._stream.input_stream.send(AudioStreamAudioEvent(value=AudioEvent(audio_chunk=b"")))

    async def results(self) -> list[Any]:
        """Every result until the stream ends."""
        _, receiver = await asyncio.wait_for(self._stream.await_output(), PATIENCE)
        found: list[Any] = []
        while (event := await asyncio.wait_for(receiver.receive(), PATIENCE)) is not None:
            found.extend(event.value.transcript.results)
        return found

    async def close(self) -> None:
        with contextlib.suppress(OSError):
            await self._stream.close()


@contextlib.asynccontextmanager
async def listening(endpoint: Endpoint, options: dict[str, Any]) -> AsyncIterator[Listener]:
    request = {"language_code": "en-US", "media_encoding": "pcm", "media_sample_rate_hertz": 16_000} | options
    asked = StartStreamTranscriptionInput(**{name: value for name, value in request.items() if value is not None})
    async with endpoint.sdk() as settings:
        client = AsyncTranscribeStreamingClient(await AsyncTranscribeStreamingConfig.resolve(**settings))
        listener = Listener(await client.start_stream_transcription(asked))
        try:
            yield listener
        finally:
            await listener.close()


async def transcribe(
    endpoint: Endpoint, said: Sequence[bytes], options: dict[str, Any] | None = None, *, end: bool = True
) -> list[Any]:
    async with listening(endpoint, options or {}) as listener:
        results = asyncio.create_task(listener.results())
        with contextlib.suppress(OSError):
            for pcm in said:
                await listener.send(pcm)
            if end:
                await listener.end()
        return await results


def spoken(*texts: str, rate: int = 16_000) -> list[bytes]:
    return [speech(text, rate=rate) + bytes(2 * rate) for text in texts]


def text(result: Any) -> str:
    return str(result.alternatives[0].transcript)


def final(results: Sequence[Any]) -> list[Any]:
    return [result for result in results if not result.is_partial]


def test_speech_becomes_sentences_with_the_times_of_their_words(endpoint: Endpoint) -> None:
    results = final(asyncio.run(transcribe(endpoint, spoken(QUESTIONS[0], QUESTIONS[1]))))

    assert [text(result) for result in results] == QUESTIONS[:2]
    first, second = results
    assert 0 <= first.start_time < first.end_time <= second.start_time
    words = [item for item in first.alternatives[0].items if item.type == "pronunciation"]
    assert [word.content.lower() for word in words] == QUESTIONS[0].lower().rstrip("?").split()
    assert all(a.start_time < a.end_time <= b.start_time + 0.02 for a, b in pairwise(words))
    assert first.alternatives[0].items[-1].content == "?"
    assert all(0 <= word.confidence <= 1 for word in words)


def test_partial_results_come_first_and_say_what_is_stable(endpoint: Endpoint) -> None:
    options: dict[str, Any] = {"enable_partial_results_stabilization": True, "partial_results_stability": "high"}

    async def slowly() -> list[Any]:
        # Nearly in real time, so that the recogniser is free when a partial result is due.
        async with listening(endpoint, options) as listener:
            results = asyncio.create_task(listener.results())
            (pcm,) = spoken(QUESTIONS[0])
            for start in range(0, len(pcm), CHUNK):
                await listener.send(pcm[start : start + CHUNK])
                await asyncio.sleep(0.05)
            await listener.end()
            return await results

    results = asyncio.run(slowly())
    partial = [result for result in results if result.is_partial]

    assert partial
    assert {result.result_id for result in results} == {results[-1].result_id}
    assert not results[-1].is_partial
    assert all(not result.alternatives[0].items[-1].stable for result in partial)
    assert all(item.stable for item in results[-1].alternatives[0].items[:-1])


def test_what_was_said_last_is_not_lost_when_the_audio_ends(endpoint: Endpoint) -> None:
    results = final(asyncio.run(transcribe(endpoint, [speech("Stop please.")])))

    assert [text(result) for result in results] == ["Stop please."]


def test_a_telephones_rate_is_heard_too(endpoint: Endpoint) -> None:
    said = spoken(QUESTIONS[1], rate=8_000)

    results = final(asyncio.run(transcribe(endpoint, said, {"media_sample_rate_hertz": 8_000})))

    assert "ticket" in text(results[0])


def test_the_language_is_chosen_among_those_offered(endpoint: Endpoint) -> None:
    options = {"language_code": None, "identify_language": True, "language_options": "de-DE,en-GB"}

    (result,) = final(asyncio.run(transcribe(endpoint, spoken("Stop please."), options)))

    assert result.language_code == "en-GB"
    scores = {score.language_code: score.score for score in result.language_identification}
    assert scores["en-GB"] > scores["de-DE"]


@pytest.mark.parametrize(
    ("method", "expected", "matches"),
    [("mask", "Stop ***.", 1), ("remove", "Stop.", 0), ("tag", "Stop please.", 1)],
)
def test_unwanted_words_are_filtered(endpoint: Endpoint, method: str, expected: str, matches: int) -> None:
    endpoint.control("POST", "/_speech", {"vocabulary_filters": {"rude": ["Please"]}, "transcript": "Stop please."})
    options = {"vocabulary_filter_name": "rude", "vocabulary_filter_method": method}

    (result,) = final(asyncio.run(transcribe(endpoint, spoken("Stop please."), options)))

    assert text(result) == expected
    items = result.alternatives[0].items
    assert sum(bool(item.vocabulary_filter_match) for item in items) == matches


def test_speakers_are_labelled_when_asked_for(endpoint: Endpoint) -> None:
    (result,) = final(asyncio.run(transcribe(endpoint, spoken("Stop please."), {"show_speaker_label": True})))

    assert {item.speaker for item in result.alternatives[0].items if item.type == "pronunciation"} == {"0"}


def test_a_vocabulary_teaches_words(endpoint: Endpoint) -> None:
    endpoint.control("POST", "/_speech", {"vocabularies": {"names": ["Zanzibar", "visit Zanzibar"]}})

    (result,) = final(asyncio.run(transcribe(endpoint, spoken("Visit Zanzibar."), {"vocabulary_name": "names"})))

    assert "Zanzibar" in text(result)


@pytest.mark.parametrize(
    "options",
    [
        {"media_sample_rate_hertz": 4_000},
        {"media_encoding": "flac"},
        {"language_code": None},
        {"identify_language": True, "language_options": "en-US,de-DE"},
        {"language_code": None, "identify_language": True, "language_options": "en-US"},
        {"vocabulary_name": "unknown"},
        {"vocabulary_filter_name": "unknown"},
        {"content_redaction_type": "PII"},
        {"partial_results_stability": "extreme"},
        {"vocabulary_filter_method": "shout"},
    ],
)
def test_what_the_service_would_refuse_is_refused(endpoint: Endpoint, options: dict[str, Any]) -> None:
    with pytest.raises(BadRequestException):
        asyncio.run(transcribe(endpoint, [], options))


def test_half_a_sample_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(BadRequestException, match="even number"):
        asyncio.run(transcribe(endpoint, [b"\0\0\0"]))


def test_a_stream_ends_after_fifteen_seconds_without_audio(endpoint: Endpoint) -> None:
    endpoint.control("POST", "/_speech", {"time_scale": 60})

    with pytest.raises(BadRequestException, match="no new audio was received for 15 seconds"):
        asyncio.run(transcribe(endpoint, [bytes(3_200)], end=False))


def test_an_account_has_its_limit(endpoint: Endpoint) -> None:
    fault = {"operation": "StartStreamTranscription", "error": "LimitExceededException", "times": 9}
    endpoint.control("POST", "/_faults", fault)

    with pytest.raises(LimitExceededException):
        asyncio.run(transcribe(endpoint, []))


def test_a_stream_can_be_broken_after_some_results(endpoint: Endpoint) -> None:
    endpoint.control("POST", "/_speech", {"transcript": "Hello."})
    endpoint.control("POST", "/_faults", {"operation": "StartStreamTranscription", "break_after": 0})

    with pytest.raises(InternalFailureException):
        asyncio.run(transcribe(endpoint, spoken("Stop please.")))
