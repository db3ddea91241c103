"""The recogniser on Amazon Transcribe's streams."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from parley.aws import bidirectional
from parley.aws.bidirectional import Duplex, StreamFailed
from parley.speech.audio import INPUT_RATE
from parley.speech.engine import EngineUnavailable
from parley.speech.services import Recognised, Recognition

LIFETIME_SECONDS = 4 * 3600.0
"""The service ends a stream after four hours."""

IDLE_SECONDS = 15.0
"""The service ends a stream that it gets no audio from for so long, not even silence."""


class TranscribeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream asks for besides its language. Vocabularies and filters are the account's, one for a language, by
    their names."""

    stability: Literal["high", "medium", "low"] = "high"
    """How little a partial result still changes: an answer may be given to one."""
    languages: tuple[str, ...] = ()
    """Languages that may be spoken, for Transcribe to find out which; one of each at most, as `de-DE` or `de-CH`."""
    vocabularies: dict[str, str] = {}
    """Custom vocabularies: names and words of the trade."""
    vocabulary_filters: dict[str, str] = {}
    """Lists of words that are not to appear, profanity for example."""
    filter_method: Literal["mask", "remove", "tag"] = "mask"
    speaker_labels: bool = False
    """Tell voices apart."""


class TranscribeRecogniser:
    """See Recogniser."""

    lifetime_seconds: float | None = LIFETIME_SECONDS
    idle_seconds: float | None = IDLE_SECONDS

    def __init__(self, settings: TranscribeSettings | None = None) -> None:
        self._settings = settings or TranscribeSettings()

    async def open(self, language: str) -> Recognition:
        """See Recogniser."""
        from aws_sdk_transcribe_streaming.models import StartStreamTranscriptionInput

        request = StartStreamTranscriptionInput(**self._request(language))
        try:
            client = await bidirectional.transcribe()
            duplex: Duplex[Any, Any] = await bidirectional.open_duplex(
                client, lambda opened: opened.start_stream_transcription(request)
            )
        except StreamFailed as failure:
            raise EngineUnavailable from failure
        return _Stream(duplex)

    def _request(self, language: str) -> dict[str, Any]:
        own = self._settings
        request: dict[str, Any] = {
            "media_sample_rate_hertz": INPUT_RATE,
            "media_encoding": "pcm",
            "enable_partial_results_stabilization": True,
            "partial_results_stability": own.stability,
            "show_speaker_label": own.speaker_labels,
        }
        languages = list(dict.fromkeys((language, *own.languages)))
        # With one language there is nothing to find out, and the names of vocabularies go into other fields.
        several = "s" if len(languages) > 1 else ""
        if several:
            request |= {
                "identify_language": True,
                "language_options": ",".join(languages),
                "preferred_language": language,
            }
        else:
            request["language_code"] = language
        if names := _names(own.vocabularies, languages):
            request[f"vocabulary_name{several}"] = names
        if names := _names(own.vocabulary_filters, languages):
            request[f"vocabulary_filter_name{several}"] = names
            request["vocabulary_filter_method"] = own.filter_method
        return request


def _names(by_language: Mapping[str, str], languages: Sequence[str]) -> str:
    return ",".join(by_language[language] for language in languages if language in by_language)


class _Stream:
    """See Recognition."""

    def __init__(self, duplex: "Duplex[Any, Any]") -> None:
        self._duplex = duplex

    async def send(self, pcm: bytes) -> None:
        from aws_sdk_transcribe_streaming.models import AudioEvent, AudioStreamAudioEvent

        # An event without audio would end the stream.
        if not pcm:
            return
        try:
            await self._duplex.send(AudioStreamAudioEvent(value=AudioEvent(audio_chunk=pcm)))
        except StreamFailed as failure:
            raise EngineUnavailable from failure

    async def results(self) -> AsyncIterator[Recognised]:
        try:
            async for event in self._duplex.received():
                transcript = getattr(event.value, "transcript", None)
                for result in (transcript and transcript.results) or ():
                    if result.alternatives:
                        yield _recognised(result)
        except StreamFailed as failure:
            raise EngineUnavailable from failure

    async def close(self) -> None:
        await self._duplex.close()


def _recognised(result: Any) -> Recognised:
    best = result.alternatives[0]
    speakers = Counter(item.speaker for item in best.items or () if item.speaker is not None)
    return Recognised(
        id=result.result_id or "",
        text=best.transcript or "",
        final=not result.is_partial,
        language=result.language_code,
        speaker=speakers.most_common(1)[0][0] if speakers else None,
    )
