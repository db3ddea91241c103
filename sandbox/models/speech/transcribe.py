"""`StartStreamTranscription`: Amazon Transcribe's streaming protocol in front of the recogniser."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.models.event_stream import encode_event
from sandbox.models.speech.audio import Resampler
from sandbox.models.speech.duplex import Broken, Exchange, ServiceError
from sandbox.models.speech.heard import Heard, HeardWord
from sandbox.models.speech.hearing import RATE, Began, Ear, Utterance
from sandbox.models.speech.limits import Limits, run_together
from sandbox.models.speech.sonic import Behind

OPERATION = "StartStreamTranscription"
LONGEST_STREAM, LONGEST_SILENCE = 4 * 3600.0, 15.0
NO_AUDIO = "Your request timed out because no new audio was received for 15 seconds."
TOO_LONG = "The stream has reached its limit of 4 hours."
# Silence that ends a result, where the settings name none.
_PAUSE = 0.8
# A partial result is made of so many more seconds of speech than the one before.
_PARTIAL_STEP = 0.5
_PREFIX = "x-amzn-transcribe-"
# How many of a partial result's last words may still change.
_UNSTABLE = {"high": 1, "medium": 2, "low": 4}
_FILTER_METHODS = ("remove", "mask", "tag")
# What the local recognisers cannot do is refused rather than left out silently.
_UNSUPPORTED = (
    "content-identification-type",
    "content-redaction-type",
    "pii-entity-types",
    "language-model-name",
    "enable-channel-identification",
)
# Answered as they were asked.
_ECHOED = (
    "language-code",
    "sample-rate",
    "media-encoding",
    "vocabulary-name",
    "vocabulary-filter-name",
    "vocabulary-filter-method",
    "show-speaker-label",
    "enable-partial-results-stabilization",
    "partial-results-stability",
    "identify-language",
    "language-options",
    "preferred-language",
    "identify-multiple-languages",
)


@dataclass(frozen=True)
class Request:
    """What a stream asks for."""

    rate: int
    language: str | None
    options: tuple[str, ...]
    stability: str | None
    speakers: bool
    filtered: frozenset[str]
    method: str


def start_stream_transcription(behind: Behind) -> Callable[[Exchange], Awaitable[None]]:
    """The operation's handler."""

    async def handle(exchange: Exchange) -> None:
        asked = {
            name.removeprefix(_PREFIX): value for name, value in exchange.headers.items() if name.startswith(_PREFIX)
        }
        request = read_request(asked, behind)
        fault = await behind.faults.meet("*", OPERATION, "")
        if fault and fault.error:
            raise ServiceError(fault.error, "This fault was asked for by a test.", fault.status)
        echoed = {_PREFIX + name: asked[name] for name in _ECHOED if name in asked}
        session = asked.get("session-id") or str(uuid.uuid4())
        headers = {"x-amzn-request-id": exchange.request_id, _PREFIX + "session-id": session}
        await exchange.begin(headers | echoed)
        breaks = fault.break_after if fault else None
        await _Transcription(behind, exchange, request, breaks, kill=bool(fault and fault.kill)).run()

    return handle


def read_request(asked: Mapping[str, str], behind: Behind) -> Request:
    """The request in its headers. Raises `ServiceError` (`BadRequestException`) as the service does."""
    for name in _UNSUPPORTED:
        if asked.get(name, "false") != "false":
            raise _bad(f"The sandbox's Transcribe has no {name}.")
    rate = asked.get("sample-rate", "")
    if not rate.isdecimal() or not 8_000 <= int(rate) <= 48_000:
        raise _bad("MediaSampleRateHertz must be from 8000 to 48000.")
    if asked.get("media-encoding") != "pcm":
        raise _bad("The sandbox's Transcribe takes the media encoding pcm only.")
    language = asked.get("language-code")
    identify = "true" in (asked.get("identify-language"), asked.get("identify-multiple-languages"))
    options = tuple(option.strip() for option in asked.get("language-options", "").split(",") if option.strip())
    if identify == bool(language):
        raise _bad("Give either LanguageCode, or IdentifyLanguage or IdentifyMultipleLanguages.")
    if identify and len(options) < 2:
        raise _bad("LanguageOptions must hold at least two languages.")
    method = asked.get("vocabulary-filter-method", "mask")
    if method not in _FILTER_METHODS:
        raise _bad(f"VocabularyFilterMethod is one of {', '.join(_FILTER_METHODS)}.")
    stability = asked.get("partial-results-stability", "high")
    if stability not in _UNSTABLE:
        raise _bad(f"PartialResultsStability is one of {', '.join(_UNSTABLE)}.")
    for vocabulary in _names(asked, "vocabulary-name"):
        _known(behind.settings.vocabularies, vocabulary, "vocabulary")
    filters = [_known(behind.settings.vocabulary_filters, n, "filter") for n in _names(asked, "vocabulary-filter-name")]
    return Request(
        rate=int(rate),
        language=language,
        options=options,
        stability=stability if asked.get("enable-partial-results-stabilization") == "true" else None,
        speakers=asked.get("show-speaker-label") == "true",
        filtered=frozenset(word.lower() for words in filters for word in words),
        method=method,
    )


def _names(asked: Mapping[str, str], header: str) -> list[str]:
    listed = asked.get(header, "") + "," + asked.get(header + "s", "")
    return [name.strip() for name in listed.split(",") if name.strip()]


def _known(account: Mapping[str, list[str]], name: str, kind: str) -> list[str]:
    if name not in account:
        raise _bad(f"The requested {kind} couldn't be found. Check the {kind} name and try your request again.")
    return account[name]


def _bad(message: str) -> ServiceError:
    return ServiceError("BadRequestException", message)


class _Transcription:
    def __init__(self, behind: Behind, exchange: Exchange, request: Request, breaks: int | None, *, kill: bool) -> None:
        self._behind = behind
        self._exchange = exchange
        self._request = request
        self._left = breaks
        self._kill = kill
        self._resampler = Resampler(request.rate, RATE)
        self._ear = Ear(behind.settings.pause or _PAUSE)
        self._utterances: asyncio.Queue[Utterance | None] = asyncio.Queue()
        self._limits = Limits(behind.settings)
        self._limits.after_start(LONGEST_STREAM, ServiceError("LimitExceededException", TOO_LONG))
        self._limits.after_silence(LONGEST_SILENCE, _bad(NO_AUDIO))
        self._partial: asyncio.Task[None] | None = None
        self._partial_end = 0.0
        self._result = str(uuid.uuid4())

    async def run(self) -> None:
        """Until the client ends its audio, or a limit is met."""
        try:
            await run_together(self._read(), self._report(), self._limits.watch())
        finally:
            if self._partial:
                self._partial.cancel()

    async def _read(self) -> None:
        try:
            async for message in self._exchange.messages():
                if message.event_type != "AudioEvent":
                    raise _bad(f"The stream takes AudioEvents, got {message.event_type or 'no type'}.")
                if len(message.payload) % 2:
                    raise _bad("16-bit audio has an even number of bytes.")
                self._limits.heard()
                if not message.payload:
                    break
                self._listen(message.payload)
        finally:
            for utterance in self._ear.finish():
                self._hear(utterance)
            self._utterances.put_nowait(None)

    def _listen(self, audio: bytes) -> None:
        for found in self._ear.feed(self._resampler.feed(audio)):
            self._hear(found)
        grown = self._ear.position - self._partial_end
        if self._ear.speaking and grown >= _PARTIAL_STEP and (self._partial is None or self._partial.done()):
            # Under load partial results are left out: a final one never waits for them longer than for one.
            self._partial_end = self._ear.position
            if not self._behind.recogniser.waiting:
                self._partial = asyncio.create_task(self._say(self._ear.so_far, self._result, partial=True))

    def _hear(self, found: Began | Utterance) -> None:
        if isinstance(found, Began):
            self._partial_end = found.at
        else:
            self._utterances.put_nowait(found)

    async def _report(self) -> None:
        while (utterance := await self._utterances.get()) is not None:
            result, self._result = self._result, str(uuid.uuid4())
            if self._partial:
                await self._partial
            await self._say(utterance, result, partial=False)

    async def _say(self, utterance: Utterance, result: str, *, partial: bool) -> None:
        heard = await self._heard(utterance)
        if not heard.words:
            return
        if self._left is not None:
            if self._left == 0:
                if self._kill:
                    raise Broken
                raise ServiceError("InternalFailureException", "The stream was broken by a test.")
            self._left -= 1
        document = self._document(heard, utterance, result, partial=partial)
        await self._exchange.send(encode_event("TranscriptEvent", {"Transcript": {"Results": [document]}}))

    async def _heard(self, utterance: Utterance) -> Heard:
        if (transcript := self._behind.settings.transcript) is not None:
            words = transcript.rstrip(".?!").split()
            step = (utterance.end - utterance.start) / max(1, len(words))
            spread = [HeardWord(word, n * step, (n + 1) * step, 1.0) for n, word in enumerate(words)]
            return Heard(tuple(spread), self._request.language or self._request.options[0])
        return await self._behind.recogniser.hear(utterance.pcm, self._request.language)

    def _document(self, heard: Heard, utterance: Utterance, result: str, *, partial: bool) -> dict[str, Any]:
        request = self._request
        items = [item for word in heard.words if (item := self._item(word, utterance.start))]
        if request.stability:
            settled = len(items) - (_UNSTABLE[request.stability] if partial else 0)
            for number, item in enumerate(items):
                item["Stable"] = number < settled
        text = " ".join(item["Content"] for item in items)
        if not partial and items:
            last = items[-1]["EndTime"]
            mark = {"Content": heard.mark, "StartTime": last, "EndTime": last, "Type": "punctuation"}
            items.append(mark | {"VocabularyFilterMatch": False})
            text = text[:1].upper() + text[1:] + heard.mark
        document: dict[str, Any] = {
            "ResultId": result,
            "StartTime": round(utterance.start, 3),
            "EndTime": round(utterance.end, 3),
            "IsPartial": partial,
            "Alternatives": [{"Transcript": text, "Items": items}],
            "ChannelId": "ch_0",
        }
        if request.options:
            language = self._language(heard.language)
            document["LanguageCode"] = language
            rest = [option for option in request.options if option != language]
            scores = {language: 0.99} | {option: round(0.01 / max(1, len(rest)), 4) for option in rest}
            document["LanguageIdentification"] = [{"LanguageCode": k, "Score": v} for k, v in scores.items()]
        return document

    def _language(self, heard: str) -> str:
        """Of the languages that were offered the one that is nearest to what was heard."""
        same = [option for option in self._request.options if option == heard]
        near = [option for option in self._request.options if option.partition("-")[0] == heard.partition("-")[0]]
        return (same or near or list(self._request.options))[0]

    def _item(self, word: HeardWord, start: float) -> dict[str, Any] | None:
        matched = word.text.lower() in self._request.filtered
        if matched and self._request.method == "remove":
            return None
        item: dict[str, Any] = {
            "Content": "***" if matched and self._request.method == "mask" else word.text,
            "StartTime": round(start + word.start, 3),
            "EndTime": round(start + word.end, 3),
            "Type": "pronunciation",
            "VocabularyFilterMatch": matched,
            "Confidence": round(word.confidence, 4),
        }
        # One microphone, one speaker: the recognisers tell no voices apart.
        return item | {"Speaker": "0"} if self._request.speakers else item
