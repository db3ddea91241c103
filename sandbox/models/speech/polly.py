"""Amazon Polly: `SynthesizeSpeech`, `StartSpeechSynthesisStream` and `DescribeVoices`, spoken by espeak-ng."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.models.event_stream import encode_event, encode_payload
from sandbox.models.faults import Faults
from sandbox.models.speech import ssml
from sandbox.models.speech.audio import encode
from sandbox.models.speech.duplex import Broken, Exchange, ServiceError
from sandbox.models.speech.espeak import EspeakError, Speech
from sandbox.models.speech.speaking import sentences, speak
from sandbox.models.speech.voices import ENGINES, POLLY, Voice, language_codes, language_name

SYNTHESIZE, STREAM = "SynthesizeSpeech", "StartSpeechSynthesisStream"
BILLED_CHARACTERS, ALL_CHARACTERS = 3_000, 6_000
_RATES = {
    "mp3": (8_000, 16_000, 22_050, 24_000, 44_100, 48_000),
    "ogg_vorbis": (8_000, 16_000, 22_050, 24_000, 44_100, 48_000),
    "ogg_opus": (48_000,),
    "pcm": (8_000, 16_000),
    "mulaw": (8_000,),
    "alaw": (8_000,),
    "json": (8_000, 16_000, 22_050, 24_000),
}
# The stream also gives PCM at the rate of generative voices.
_STREAM_PCM = (8_000, 16_000, 24_000)
_TYPES = {
    "mp3": "audio/mpeg",
    "ogg_vorbis": "audio/ogg",
    "ogg_opus": "audio/ogg",
    "pcm": "audio/pcm",
    "mulaw": "audio/mulaw",
    "alaw": "audio/alaw",
    "json": "application/x-json-stream",
}
_CONTAINERS = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg_vorbis": ("OGG", "VORBIS"),
    "ogg_opus": ("OGG", "OPUS"),
    "mulaw": ("RAW", "ULAW"),
    "alaw": ("RAW", "ALAW"),
}
_MARKS = ("sentence", "ssml", "viseme", "word")
_CHUNK = 4_096
# What espeak-ng's phonemes look like, roughly, in Polly's visemes.
_VISEMES = {
    "p": "pbm", "t": "tdnl", "S": "SZ", "T": "TD", "f": "fv", "k": "kgNhx", "r": "r", "s": "sz", "u": "uUw",
    "@": "@3", "a": "aA", "e": "eI", "E": "E", "i": "ij", "o": "o", "O": "O0V",
}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """What is to be spoken, by whom, and in which form."""

    voice: Voice
    engine: str
    language: str
    output: str
    rate: int
    marks: tuple[str, ...] = ()


async def describe_voices(request: Request) -> Response:
    """`DescribeVoices`."""
    engine, language = request.query_params.get("Engine"), request.query_params.get("LanguageCode")
    bilingual = request.query_params.get("IncludeAdditionalLanguageCodes") == "true"
    try:
        _choice("engine", engine, ENGINES, optional=True)
        _choice("languageCode", language, sorted(language_codes()), optional=True)
    except ServiceError as error:
        return refusal(error)
    return JSONResponse(
        {
            "Voices": [
                {
                    "Id": voice.id,
                    "Name": voice.id,
                    "Gender": voice.gender,
                    "LanguageCode": voice.languages[0],
                    "LanguageName": language_name(voice.languages[0]),
                    "AdditionalLanguageCodes": list(voice.languages[1:]),
                    "SupportedEngines": list(voice.engines),
                }
                for voice in POLLY.values()
                if (engine is None or engine in voice.engines)
                and (language is None or language in (voice.languages if bilingual else voice.languages[:1]))
            ]
        }
    )


def synthesize_speech(faults: Faults) -> Callable[[Request], Awaitable[Response]]:
    """`SynthesizeSpeech`'s handler."""

    async def handle(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            fault = await faults.meet("*", SYNTHESIZE, str(body.get("Text", "")))
            if fault and fault.error:
                raise ServiceError(fault.error, "This fault was asked for by a test.", fault.status)
            order = read_order(body, _RATES)
            text, is_ssml = _text(body, order)
            speech = await speak(ssml.for_espeak(text) if is_ssml else text, _voice(order), order.rate, ssml=is_ssml)
        except ServiceError as error:
            return refusal(error)
        except EspeakError as error:
            return refusal(ServiceError("ServiceFailureException", str(error), 500))
        except (ValueError, AttributeError):
            return refusal(ServiceError("ValidationException", "The request is no JSON object."))
        content = await asyncio.to_thread(_render, speech, order, text)
        characters = ssml.spoken_characters(text) if is_ssml else len(text)
        headers = {"x-amzn-RequestCharacters": str(characters)}
        return Response(content, media_type=_TYPES[order.output], headers=headers)

    return handle


def start_speech_synthesis_stream(faults: Faults) -> Callable[[Exchange], Awaitable[None]]:
    """`StartSpeechSynthesisStream`'s handler."""

    async def handle(exchange: Exchange) -> None:
        prefix = "x-amzn-"
        names = ("Engine", "LanguageCode", "LexiconNames", "OutputFormat", "SampleRate", "VoiceId")
        asked: dict[str, Any] = {n: exchange.headers[prefix + n] for n in names if prefix + n in exchange.headers}
        if asked.get("Engine") != "generative":
            raise _validation("Engine must be generative.")
        if asked.get("OutputFormat") == "json":
            raise _validation("Speech marks are not supported.")
        try:
            order = read_order(asked, _RATES | {"pcm": _STREAM_PCM})
        except ServiceError as error:
            raise _validation(error.message) from None
        fault = await faults.meet("*", STREAM, "")
        if fault and fault.error:
            raise ServiceError(fault.error, "This fault was asked for by a test.", fault.status, reason="other")
        await exchange.begin()
        stream = _Stream(exchange, order, fault.break_after if fault else None, kill=bool(fault and fault.kill))
        async for message in exchange.messages():
            if message.event_type == "CloseStreamEvent":
                await stream.flush()
                break
            if message.event_type != "TextEvent":
                raise _validation(f"The stream takes TextEvent and CloseStreamEvent, got {message.event_type}.")
            await stream.take(json.loads(message.payload))
        else:
            await stream.flush()
        await exchange.send(encode_event("StreamClosedEvent", {"RequestCharacters": stream.characters}))

    return handle


class _Stream:
    """Speaks each sentence as soon as it is whole."""

    def __init__(self, exchange: Exchange, order: Order, breaks: int | None, *, kill: bool) -> None:
        self._exchange = exchange
        self._order = order
        self._left = breaks
        self._kill = kill
        self._pending = ""
        self.characters = 0

    async def take(self, event: Mapping[str, Any]) -> None:
        text = event.get("Text")
        if not isinstance(text, str):
            raise _validation("A TextEvent holds Text.")
        if event.get("TextType") == "ssml":
            await self.flush()
            try:
                ssml.check(text, self._order.engine)
            except ServiceError as error:
                raise _validation(error.message) from None
            self.characters += ssml.spoken_characters(text)
            await self._speak(ssml.for_espeak(text), is_ssml=True)
            return
        self.characters += len(text)
        self._pending += text
        *whole, rest = sentences(self._pending + "\0") or [""]
        if (event.get("FlushStreamConfiguration") or {}).get("Force"):
            await self.flush()
            return
        for sentence in whole:
            await self._speak(sentence)
        self._pending = rest.rstrip("\0") + (" " if self._pending.endswith(" ") and rest != "\0" else "")

    async def flush(self) -> None:
        """Speak what is left."""
        pending, self._pending = self._pending.strip(), ""
        if pending:
            await self._speak(pending)

    async def _speak(self, text: str, *, is_ssml: bool = False) -> None:
        speech = await speak(text, _voice(self._order), self._order.rate, ssml=is_ssml)
        content = await asyncio.to_thread(_render, speech, self._order, text)
        for start in range(0, len(content), _CHUNK):
            if self._left is not None:
                if self._left == 0:
                    if self._kill:
                        raise Broken
                    raise ServiceError("ServiceFailureException", "The stream was broken by a test.")
                self._left -= 1
            await self._exchange.send(encode_payload("AudioEvent", content[start : start + _CHUNK]))


def read_order(body: Mapping[str, Any], rates: Mapping[str, Sequence[int]]) -> Order:
    """The order in a request. Raises `ServiceError` as Polly does."""
    _choice("voiceId", body.get("VoiceId"), sorted(POLLY))
    _choice("outputFormat", body.get("OutputFormat"), sorted(rates))
    _choice("engine", body.get("Engine"), ENGINES, optional=True)
    _choice("languageCode", body.get("LanguageCode"), sorted(language_codes()), optional=True)
    voice, output, engine = POLLY[body["VoiceId"]], body["OutputFormat"], body.get("Engine") or "standard"
    if engine not in voice.engines:
        message = f"This voice does not support the selected engine: {engine}"
        raise ServiceError("EngineNotSupportedException" if body.get("Engine") else "ValidationException", message)
    language = body.get("LanguageCode") or voice.languages[0]
    if language not in voice.languages:
        raise ServiceError("LanguageNotSupportedException", f"{voice.id} does not speak {language}.")
    if lexicons := body.get("LexiconNames"):
        name = lexicons if isinstance(lexicons, str) else lexicons[0]
        raise ServiceError("LexiconNotFoundException", f"Lexicon not found: {name}", 404)
    default = 16_000 if output == "pcm" else 22_050 if engine == "standard" else 24_000
    rate = str(body.get("SampleRate") or (default if default in rates[output] else rates[output][0]))
    if not rate.isdecimal() or int(rate) not in rates[output]:
        raise ServiceError("InvalidSampleRateException", f"The specified sample rate is not valid for {output}: {rate}")
    marks = tuple(body.get("SpeechMarkTypes") or ())
    for mark in marks:
        _choice("speechMarkTypes", mark, _MARKS)
    if bool(marks) != (output == "json"):
        message = "Speech marks are requested with the output format json, and json is for speech marks only."
        raise ServiceError("MarksNotSupportedForFormatException", message)
    return Order(voice, engine, language, output, int(rate), marks)


def _text(body: Mapping[str, Any], order: Order) -> tuple[str, bool]:
    _choice("textType", body.get("TextType"), ("text", "ssml"), optional=True)
    text, is_ssml = body.get("Text"), body.get("TextType") == "ssml"
    if not isinstance(text, str) or not text.strip():
        raise ServiceError("ValidationException", "1 validation error detected: Value at 'text' must not be empty")
    billed = ssml.spoken_characters(text) if is_ssml else len(text)
    if len(text) > ALL_CHARACTERS or billed > BILLED_CHARACTERS:
        raise ServiceError("TextLengthExceededException", "Maximum text length has been exceeded")
    if "ssml" in order.marks and not is_ssml:
        message = "SSML speech marks are not supported for plain text-type input."
        raise ServiceError("SsmlMarksNotSupportedForTextTypeException", message)
    if is_ssml:
        ssml.check(text, order.engine)
    return text, is_ssml


def _choice(name: str, value: object, allowed: Sequence[str], *, optional: bool = False) -> None:
    if (value is None and optional) or value in allowed:
        return
    message = (
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: "
        f"Member must satisfy enum value set: [{', '.join(allowed)}]"
    )
    raise ServiceError("ValidationException", message)


def _validation(message: str) -> ServiceError:
    return ServiceError("ValidationException", message, reason="fieldValidationFailed")


def _voice(order: Order) -> str:
    return order.voice.espeak(order.language)


def _render(speech: Speech, order: Order, text: str) -> bytes:
    if order.output == "pcm":
        return speech.pcm
    if order.output == "json":
        lines = (json.dumps(mark, ensure_ascii=False) for mark in _speech_marks(speech, order, text))
        return "".join(line + "\n" for line in lines).encode()
    container, subtype = _CONTAINERS[order.output]
    return encode(speech.pcm, order.rate, container=container, subtype=subtype)


def _speech_marks(speech: Speech, order: Order, text: str) -> list[dict[str, Any]]:
    found = []
    for mark in speech.marks:
        kind = {"mark": "ssml", "phoneme": "viseme"}.get(mark.kind, mark.kind)
        if kind not in order.marks:
            continue
        entry: dict[str, Any] = {"time": round(mark.time * 1000), "type": kind}
        if kind in ("word", "sentence"):
            end = mark.start + mark.length if mark.length else _sentence_end(text, mark.start)
            # Offsets count bytes.
            entry |= {"start": len(text[: mark.start].encode()), "end": len(text[:end].encode())}
            entry["value"] = text[mark.start : end]
        elif kind == "ssml":
            entry["value"] = mark.name
        else:
            entry["value"] = next((v for v, signs in _VISEMES.items() if mark.name[:1] in signs), "sil")
        found.append(entry)
    return found


def _sentence_end(text: str, start: int) -> int:
    ends = [end + 1 for sign in ".!?\n" if (end := text.find(sign, start)) >= 0]
    return min(ends, default=len(text))


def refusal(error: ServiceError) -> Response:
    """An error as Polly's REST answers have it."""
    return JSONResponse({"message": error.message} | error.fields, error.status, {"x-amzn-errortype": error.kind})
