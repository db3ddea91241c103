"""Polly's stand-in, through boto3 and through AWS's SDK for streams."""

import asyncio
import contextlib
import io
import json
from typing import Any

import boto3
import pytest
import soundfile
from aws_sdk_polly.client import AsyncPollyClient
from aws_sdk_polly.config import AsyncPollyConfig
from aws_sdk_polly.models import (
    CloseStreamEvent,
    FlushStreamConfiguration,
    ServiceFailureException,
    StartSpeechSynthesisStreamActionStreamCloseStreamEvent,
    StartSpeechSynthesisStreamActionStreamTextEvent,
    StartSpeechSynthesisStreamInput,
    TextEvent,
    ValidationException,
)
from botocore.config import Config

from sandbox.models.speech.espeak import espeak
from tests.unit.speech_doubles import PATIENCE, Endpoint, endpoint, served

__all__ = ["endpoint", "served"]

TEXT = "A ticket is valid. It opens one connection."


@pytest.fixture
def polly(endpoint: Endpoint) -> Any:
    return boto3.client(
        "polly",
        endpoint_url=endpoint.url,
        verify=str(endpoint.authority),
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


def order(**changes: Any) -> dict[str, Any]:
    return {"VoiceId": "Joanna", "Engine": "neural", "OutputFormat": "pcm", "Text": TEXT} | changes


def seconds_of(polly: Any, text: str, **changes: Any) -> float:
    answer = polly.synthesize_speech(**order(Text=text, **changes))
    return len(answer["AudioStream"].read()) / 2 / 16_000


def test_pcm_has_the_rate_that_was_asked_for(polly: Any) -> None:
    at_16, at_8 = (
        polly.synthesize_speech(**order(SampleRate=rate))["AudioStream"].read() for rate in ("16000", "8000")
    )

    assert 1.5 < len(at_16) / 2 / 16_000 < 6
    assert len(at_16) == pytest.approx(2 * len(at_8), rel=0.05)


@pytest.mark.parametrize(
    ("output", "container", "rate", "content_type"),
    [
        ("mp3", "MP3", 24_000, "audio/mpeg"),
        ("ogg_vorbis", "OGG", 24_000, "audio/ogg"),
        ("ogg_opus", "OGG", 48_000, "audio/ogg"),
    ],
)
def test_compressed_speech_can_be_played(polly: Any, output: str, container: str, rate: int, content_type: str) -> None:
    answer = polly.synthesize_speech(**order(OutputFormat=output))
    file = soundfile.SoundFile(io.BytesIO(answer["AudioStream"].read()))

    assert (file.format, file.samplerate, answer["ContentType"]) == (container, rate, content_type)
    assert 1.5 < file.frames / file.samplerate < 6
    assert answer["RequestCharacters"] == len(TEXT)


def test_speech_marks_say_when_each_word_is_spoken(polly: Any) -> None:
    kinds = ["word", "sentence", "viseme"]
    answer = polly.synthesize_speech(**order(OutputFormat="json", SpeechMarkTypes=kinds))
    marks = [json.loads(line) for line in answer["AudioStream"].read().splitlines()]
    words = [mark for mark in marks if mark["type"] == "word"]
    sentences = [mark["value"] for mark in marks if mark["type"] == "sentence"]

    assert [mark["value"] for mark in words] == TEXT.replace(".", "").split()
    assert all(TEXT.encode()[mark["start"] : mark["end"]].decode() == mark["value"] for mark in words)
    assert [mark["time"] for mark in marks] == sorted(mark["time"] for mark in marks)
    assert sentences == ["A ticket is valid.", "It opens one connection."]
    assert any(mark["type"] == "viseme" for mark in marks)


def test_a_longer_text_before_it_leaves_no_word_in_another() -> None:
    longer = "Hello world, this is a longer text with several words. And two sentences."
    espeak().speak(longer, "en-us")
    words = [mark for mark in espeak().speak(TEXT, "en-us").marks if mark.kind == "word"]

    assert [TEXT[word.start : word.start + word.length] for word in words] == TEXT.replace(".", "").split()


def test_marks_of_the_text_come_back(polly: Any) -> None:
    text = '<speak>Grüße <mark name="here"/>now</speak>'
    answer = polly.synthesize_speech(
        **order(Text=text, TextType="ssml", OutputFormat="json", SpeechMarkTypes=["ssml", "word"])
    )
    marks = [json.loads(line) for line in answer["AudioStream"].read().splitlines()]

    assert [mark["value"] for mark in marks if mark["type"] == "ssml"] == ["here"]
    now = next(mark for mark in marks if mark["value"] == "now")
    assert text.encode()[now["start"] : now["end"]] == b"now"


def test_prosody_and_breaks_are_heard(polly: Any) -> None:
    plain = seconds_of(polly, "<speak>One two three four.</speak>", TextType="ssml")
    slow = seconds_of(polly, '<speak><prosody rate="50%">One two three four.</prosody></speak>', TextType="ssml")
    broken = seconds_of(polly, '<speak>One two <break time="2s"/> three four.</speak>', TextType="ssml")

    assert slow > 1.3 * plain
    assert broken > plain + 1.5


@pytest.mark.parametrize(
    ("voice", "engine", "language", "text"),
    [
        ("Lupe", "neural", None, "Un billete vale sesenta segundos."),
        ("Vicki", "generative", "de-DE", "Ein Ticket gilt sechzig Sekunden."),
        ("Zhiyu", "neural", None, "你好。"),
        ("Kajal", "neural", "hi-IN", "नमस्ते"),
        ("Tatyana", "standard", None, "Здравствуйте"),
    ],
)
def test_voices_speak_their_languages(polly: Any, voice: str, engine: str, language: str | None, text: str) -> None:
    extra = {"LanguageCode": language} if language else {}

    assert seconds_of(polly, text, VoiceId=voice, Engine=engine, **extra) > 0.2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Engine": "generative", "VoiceId": "Ivy"}, "EngineNotSupportedException"),
        ({"LanguageCode": "fr-FR"}, "LanguageNotSupportedException"),
        ({"LexiconNames": ["mine"]}, "LexiconNotFoundException"),
        ({"SampleRate": "24000"}, "InvalidSampleRateException"),
        ({"SampleRate": "many"}, "InvalidSampleRateException"),
        ({"SpeechMarkTypes": ["word"]}, "MarksNotSupportedForFormatException"),
        ({"OutputFormat": "json"}, "MarksNotSupportedForFormatException"),
        ({"OutputFormat": "json", "SpeechMarkTypes": ["ssml"]}, "SsmlMarksNotSupportedForTextTypeException"),
        ({"Text": "a" * 3_001}, "TextLengthExceededException"),
        ({"Text": f"<speak>{'<p>a</p>' * 800}</speak>", "TextType": "ssml"}, "TextLengthExceededException"),
        ({"Text": "<speak>Hello", "TextType": "ssml"}, "InvalidSsmlException"),
        ({"Text": "Hello", "TextType": "ssml"}, "InvalidSsmlException"),
        ({"Text": "<speak><b>Hello</b></speak>", "TextType": "ssml"}, "InvalidSsmlException"),
        ({"Text": "<speak><speak>Hello</speak></speak>", "TextType": "ssml"}, "InvalidSsmlException"),
        ({"Text": "<speak><emphasis>Hello</emphasis></speak>", "TextType": "ssml"}, "InvalidSsmlException"),
        ({"Text": '<speak><prosody pitch="high">Hi</prosody></speak>', "TextType": "ssml"}, "InvalidSsmlException"),
        ({"Text": '<speak><prosody rate="warp">Hi</prosody></speak>', "TextType": "ssml"}, "InvalidSsmlException"),
        ({"Text": "<speak><prosody>Hi</prosody></speak>", "TextType": "ssml"}, "InvalidSsmlException"),
        ({"Text": '<speak><break time="11s"/></speak>', "TextType": "ssml"}, "InvalidSsmlException"),
        (
            {"Text": '<speak><amazon:effect name="whispered">Hi</amazon:effect></speak>', "TextType": "ssml"},
            "InvalidSsmlException",
        ),
        ({"Text": "<!DOCTYPE x><speak>Hello</speak>", "TextType": "ssml"}, "InvalidSsmlException"),
        ({"Text": " "}, "ValidationException"),
        ({"VoiceId": "Nobody"}, "ValidationException"),
        ({"OutputFormat": "wav"}, "ValidationException"),
    ],
)
def test_what_polly_refuses_is_refused(polly: Any, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(polly.exceptions.ClientError) as refused:
        polly.synthesize_speech(**order(**changes))

    assert refused.value.response["Error"]["Code"] == code


def test_standard_voices_know_more_ssml(polly: Any) -> None:
    text = (
        '<speak><prosody pitch="high"><emphasis level="strong">Hello</emphasis></prosody>'
        '<amazon:effect name="whispered">you</amazon:effect></speak>'
    )

    assert seconds_of(polly, text, TextType="ssml", Engine="standard") > 0.3


def test_a_fault_can_be_asked_for(endpoint: Endpoint, polly: Any) -> None:
    fault = {"operation": "SynthesizeSpeech", "containing": "ticket", "error": "ThrottlingException"}
    endpoint.control("POST", "/_faults", fault)

    with pytest.raises(polly.exceptions.ClientError, match="ThrottlingException"):
        polly.synthesize_speech(**order())


def test_voices_are_listed_by_engine_and_language(polly: Any) -> None:
    german = polly.describe_voices(LanguageCode="de-DE", Engine="generative")["Voices"]
    hindi = polly.describe_voices(LanguageCode="hi-IN", IncludeAdditionalLanguageCodes=True)["Voices"]

    assert {voice["Id"] for voice in german} == {"Daniel", "Lennart", "Vicki"}
    assert {voice["Id"] for voice in hindi} == {"Aditi", "Kajal"}
    with pytest.raises(polly.exceptions.ClientError, match="ValidationException"):
        polly.describe_voices(LanguageCode="xx-XX")


async def stream(endpoint: Endpoint, texts: list[TextEvent], **options: Any) -> tuple[list[bytes], int]:
    """The audio of each event, and how many characters were billed."""
    asked = {"engine": "generative", "voice_id": "Ruth", "output_format": "pcm", "sample_rate": "24000"} | options
    chunks: list[bytes] = []
    async with endpoint.sdk() as settings:
        client = AsyncPollyClient(await AsyncPollyConfig.resolve(**settings))
        opened = await client.start_speech_synthesis_stream(StartSpeechSynthesisStreamInput(**asked))
        with contextlib.suppress(OSError):
            for text in texts:
                await opened.input_stream.send(StartSpeechSynthesisStreamActionStreamTextEvent(value=text))
            closing = StartSpeechSynthesisStreamActionStreamCloseStreamEvent(value=CloseStreamEvent())
            await opened.input_stream.send(closing)
        try:
            _, receiver = await asyncio.wait_for(opened.await_output(), PATIENCE)
            while (event := await asyncio.wait_for(receiver.receive(), PATIENCE)) is not None:
                if not hasattr(event.value, "audio_chunk"):
                    return chunks, event.value.request_characters
                chunks.append(event.value.audio_chunk)
        finally:
            with contextlib.suppress(OSError):
                await opened.close()
    raise AssertionError("the stream ended without its last event")


def test_words_that_come_in_pieces_are_spoken_as_one_text(endpoint: Endpoint) -> None:
    whole, _ = asyncio.run(stream(endpoint, [TextEvent(text=TEXT)]))
    pieces = [TextEvent(text=word + " ") for word in TEXT.split()]
    parts, characters = asyncio.run(stream(endpoint, pieces))

    assert sum(map(len, parts)) == pytest.approx(sum(map(len, whole)), rel=0.05)
    assert sum(map(len, whole)) / 2 / 24_000 > 1.5
    assert characters == len(TEXT) + 1


def test_a_flush_speaks_what_is_no_sentence_yet(endpoint: Endpoint) -> None:
    flushed = TextEvent(text="A ticket", flush_stream_configuration=FlushStreamConfiguration(force=True))

    parts, _ = asyncio.run(stream(endpoint, [flushed, TextEvent(text=" opens.")]))
    whole, _ = asyncio.run(stream(endpoint, [TextEvent(text="A ticket opens.")]))

    # Two clauses end twice: each has a pause of its own.
    assert sum(map(len, parts)) > sum(map(len, whole))


def test_ssml_is_spoken_in_a_stream(endpoint: Endpoint) -> None:
    ssml = TextEvent(text='<speak>One <break time="1s"/> two.</speak>', text_type="ssml")

    chunks, characters = asyncio.run(stream(endpoint, [ssml]))

    assert sum(map(len, chunks)) / 2 / 24_000 > 1.5
    assert characters == len("One  two.")


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "neural"},
        {"voice_id": "Ivy"},
        {"output_format": "json"},
        {"sample_rate": "12345"},
        {"language_code": "fr-FR"},
    ],
)
def test_a_wrong_order_is_refused(endpoint: Endpoint, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationException):
        asyncio.run(stream(endpoint, [], **options))


def test_wrong_ssml_ends_the_stream(endpoint: Endpoint) -> None:
    with pytest.raises(ValidationException, match="Invalid SSML"):
        asyncio.run(stream(endpoint, [TextEvent(text="<speak>", text_type="ssml")]))


def test_a_stream_can_be_broken(endpoint: Endpoint) -> None:
    endpoint.control("POST", "/_faults", {"operation": "StartSpeechSynthesisStream", "break_after": 2})

    with pytest.raises(ServiceFailureException):
        asyncio.run(stream(endpoint, [TextEvent(text=TEXT)]))
