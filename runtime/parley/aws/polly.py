"""The synthesizer on Amazon Polly.

Generative voices are streamed at 24 kHz (StartSpeechSynthesisStream). Neural voices come whole (SynthesizeSpeech), as
PCM at 16 kHz at most, and are resampled; so does what a stream refuses.
"""

import json
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.sax.saxutils import escape

import msgspec

from parley.aws import bidirectional
from parley.aws.bidirectional import Duplex, StreamFailed, timely
from parley.speech.audio import OUTPUT_RATE, output_bytes
from parley.speech.engine import EngineUnavailable
from parley.speech.resampling import Upsampler
from parley.speech.services import SpokenPiece
from parley.speech.voices import Voice

NEURAL_RATE = 16_000
"""The highest rate at which SynthesizeSpeech gives PCM: valid are 8000 and 16000."""

PHRASE_CHARACTERS = 200
"""Longer texts are never said again word for word."""

PHRASES_BYTES = 8 * 1024 * 1024
"""What repeated phrases may take of the worker's memory: about three minutes of speech."""

type OutputFormat = Literal["mp3", "ogg_opus", "ogg_vorbis", "pcm"]

# Voices that speak two languages, which need to be told which.
_BILINGUAL = frozenset({"Hala", "Kajal", "Zayd"})
_RATE = r"x-slow|slow|medium|fast|x-fast|(?:[2-9]\d|1\d\d|200)%"
_VOLUME = r"silent|x-soft|soft|medium|loud|x-loud|[+-]\d{1,2}(?:\.\d)?dB"
# What XML 1.0 does not allow, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Prosody(msgspec.Struct, frozen=True, kw_only=True):
    """How a voice speaks. Pitch is not among it: neural and generative voices have none to set."""

    rate: str | None = None
    """A word from `x-slow` to `x-fast`, or from `20%` to `200%`."""
    volume: str | None = None
    """A word from `silent` to `x-loud`, or as `+6dB`."""

    def __post_init__(self) -> None:
        for name, value, allowed in (("rate", self.rate, _RATE), ("volume", self.volume, _VOLUME)):
            if value is not None and not re.fullmatch(allowed, value):
                raise ValueError(f"{name} cannot be {value!r}")


class PollySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How everything is spoken."""

    engine: Literal["generative", "neural"] = "generative"
    """For voices that have both. Generative ones sound better, neural ones cost about half and give speech marks."""
    prosody: Prosody | None = None
    lexicons: tuple[str, ...] = ()
    """Pronunciation lexicons of the account, by name."""
    word_marks: bool = False
    """Ask for the time of each word of a neural voice, so that what was heard is known by the word. Polly bills that as
    if the text was spoken twice; without it, a sentence's words are taken to be equally long."""


@dataclass(frozen=True, slots=True)
class _Phrase:
    pieces: tuple[SpokenPiece, ...]
    size: int


class Phrases:
    """Short texts that were spoken before, the latest up to `limit` bytes of audio. One may serve many sessions."""

    def __init__(self, limit: int = PHRASES_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._phrases: OrderedDict[tuple[object, ...], _Phrase] = OrderedDict()

    def find(self, key: tuple[object, ...]) -> Sequence[SpokenPiece] | None:
        """The pieces of a phrase."""
        phrase = self._phrases.get(key)
        if phrase is None:
            return None
        self._phrases.move_to_end(key)
        return phrase.pieces

    def keep(self, key: tuple[object, ...], pieces: Sequence[SpokenPiece]) -> None:
        """Note a phrase, and forget those that were not said for the longest time."""
        size = sum(len(piece) for piece in pieces)
        if size > self._limit or key in self._phrases:
            return
        self._phrases[key] = _Phrase(tuple(pieces), size)
        self._size += size
        while self._size > self._limit:
            _, forgotten = self._phrases.popitem(last=False)
            self._size -= forgotten.size


class PollySynthesizer:
    """See Synthesizer. Belongs to one event loop; its calls share a connection, which is replaced when it fails."""

    def __init__(self, settings: PollySettings | None = None, phrases: Phrases | None = None) -> None:
        self._settings = settings or PollySettings()
        self._phrases = phrases if phrases is not None else Phrases()
        self._client: Any = None

    async def speak(self, text: str, voice: Voice) -> AsyncIterator[SpokenPiece]:
        """See Synthesizer."""
        key = (text, voice, self._settings)
        if (known := self._phrases.find(key)) is not None:
            for piece in known:
                yield piece
            return
        pieces: list[SpokenPiece] = []
        try:
            async for piece in self._with_fallback(text, voice):
                pieces.append(piece)
                yield piece
        except StreamFailed as failure:
            raise EngineUnavailable from failure
        if len(text) <= PHRASE_CHARACTERS:
            self._phrases.keep(key, pieces)

    async def render(self, text: str, voice: Voice, output: OutputFormat) -> bytes:
        """The text spoken as one file; PCM is at NEURAL_RATE. Raises EngineUnavailable."""
        try:
            return b"".join([chunk async for chunk in timely(self._synthesize(text, voice, output))])
        except StreamFailed as failure:
            raise EngineUnavailable from failure

    async def close(self) -> None:
        """See Synthesizer."""
        await self._drop()

    async def _with_fallback(self, text: str, voice: Voice) -> AsyncIterator[SpokenPiece]:
        """The voice as it comes soonest, and if that fails before its first word, once more in the other way."""
        spoken = False
        if self._generative(voice):
            try:
                async for piece in _after(text, timely(self._stream(text, voice))):
                    spoken = True
                    yield piece
            except StreamFailed:
                await self._drop()
                if spoken:
                    raise
            else:
                return
        elif self._settings.word_marks:
            async for piece in self._marked(text, voice):
                yield piece
            return
        async for piece in _after(text, timely(self._whole(text, voice))):
            yield piece

    async def _stream(self, text: str, voice: Voice) -> AsyncGenerator[bytes]:
        from aws_sdk_polly.models import (
            CloseStreamEvent,
            StartSpeechSynthesisStreamActionStreamCloseStreamEvent,
            StartSpeechSynthesisStreamActionStreamTextEvent,
            StartSpeechSynthesisStreamInput,
            TextEvent,
        )

        content, text_type = self._content(text)
        request = StartSpeechSynthesisStreamInput(
            **self._request(voice), output_format="pcm", sample_rate=str(OUTPUT_RATE)
        )
        duplex: Duplex[Any, Any] = await bidirectional.open_duplex(
            await self._polly(),
            lambda client: client.start_speech_synthesis_stream(request),
            StartSpeechSynthesisStreamActionStreamTextEvent(value=TextEvent(text=content, text_type=text_type)),
            StartSpeechSynthesisStreamActionStreamCloseStreamEvent(value=CloseStreamEvent()),
            shared=True,
        )
        await duplex.finish()
        half = b""
        async for event in duplex.received():
            if chunk := getattr(event.value, "audio_chunk", None):
                data = half + chunk
                whole = len(data) - len(data) % 2
                half = data[whole:]
                yield data[:whole]

    async def _whole(self, text: str, voice: Voice) -> AsyncGenerator[bytes]:
        upsampler = Upsampler()
        async for chunk in self._synthesize(text, voice, "pcm"):
            if pcm := upsampler.feed(chunk):
                yield pcm
        if rest := upsampler.finish():
            yield rest

    async def _marked(self, text: str, voice: Voice) -> AsyncIterator[SpokenPiece]:
        """Each word, and after it its voice."""
        lines = b"".join([chunk async for chunk in timely(self._synthesize(text, voice, "json"))])
        words = words_at(text, lines)
        given = 0
        rest = b""
        async for chunk in timely(self._whole(text, voice)):
            rest += chunk
            while words and output_bytes(words[0][0]) <= given:
                yield words.pop(0)[1]
            while words and output_bytes(words[0][0]) <= given + len(rest):
                until = output_bytes(words[0][0]) - given
                if until:
                    yield rest[:until]
                given, rest = given + until, rest[until:]
                yield words.pop(0)[1]
        if rest:
            yield rest
        for _, word in words:
            yield word

    async def _synthesize(
        self, text: str, voice: Voice, output: OutputFormat | Literal["json"]
    ) -> AsyncGenerator[bytes]:
        from aws_sdk_polly.models import SynthesizeSpeechInput
        from smithy_core.aio.types import AsyncBytesReader

        content, text_type = self._content(text)
        request: dict[str, Any] = {"output_format": output, "text": content, "text_type": text_type}
        if output == "pcm":
            request["sample_rate"] = str(NEURAL_RATE)
        if output == "json":
            request["speech_mark_types"] = ["word"]
        client = await self._polly()
        try:
            answer = await client.synthesize_speech(SynthesizeSpeechInput(**self._request(voice), **request))
            async for chunk in AsyncBytesReader(answer.audio_stream):
                yield chunk
        except Exception:
            # Whatever was wrong, the next call begins with a connection that works.
            await self._drop()
            raise

    def _generative(self, voice: Voice) -> bool:
        return voice.generative and not (voice.neural and self._settings.engine == "neural")

    def _request(self, voice: Voice) -> dict[str, Any]:
        request: dict[str, Any] = {
            "engine": "generative" if self._generative(voice) else "neural",
            "voice_id": voice.id,
        }
        if voice.id in _BILINGUAL:
            request["language_code"] = voice.language
        if self._settings.lexicons:
            request["lexicon_names"] = list(self._settings.lexicons)
        return request

    def _content(self, text: str) -> tuple[str, Literal["ssml", "text"]]:
        prosody = self._settings.prosody
        settings = [("rate", prosody.rate), ("volume", prosody.volume)] if prosody else []
        attributes = "".join(f' {name}="{value}"' for name, value in settings if value is not None)
        if not attributes:
            return text, "text"
        return f"<speak><prosody{attributes}>{escape(_NOT_XML.sub(' ', text))}</prosody></speak>", "ssml"

    async def _polly(self) -> Any:
        if self._client is None:
            self._client = await bidirectional.polly()
        return self._client

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await bidirectional.close_client(client)


async def _after(text: str, audio: AsyncIterator[bytes]) -> AsyncIterator[SpokenPiece]:
    """The whole text, as soon as there is some of its audio, and the audio."""
    told = False
    async for chunk in audio:
        if not told:
            told = True
            yield text
        yield chunk
    if not told:
        raise StreamFailed("NoAudio")


def words_at(text: str, marks: bytes) -> list[tuple[float, str]]:
    """The text cut before each word, and the second at which it is spoken; from Polly's speech marks, JSON by line."""
    found: list[tuple[float, int]] = []
    position = 0
    for line in marks.splitlines():
        mark = json.loads(line)
        # Offsets count bytes of what was sent, which may be SSML: the words themselves tell where they are.
        at = text.find(mark.get("value") or "\0", position)
        if mark.get("type") == "word" and at >= 0:
            found.append((mark["time"] / 1000, at))
            position = at + len(mark["value"])
    starts = [0, *(at for _, at in found[1:])]
    ends = [*starts[1:], len(text)]
    times = [0.0, *(time for time, _ in found[1:])]
    return [(time, text[start:end]) for time, start, end in zip(times, starts, ends, strict=True)]
