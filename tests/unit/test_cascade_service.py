"""The cascade through AWS's own SDKs against the AI endpoints: Transcribe, Converse and Polly over the wire."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from parley.aws.bedrock_models import BedrockModels
from parley.aws.polly import Phrases, PollySettings, PollySynthesizer, Prosody
from parley.aws.transcribe import TranscribeRecogniser, TranscribeSettings
from parley.conversation.models import ModelChoice
from parley.conversation.tools.tool import ToolResult, ToolSpec
from parley.functions import voice_worker
from parley.speech.audio import output_seconds
from parley.speech.cascade import cascade_factory
from parley.speech.engine import (
    AssistantAudio,
    EngineClosed,
    EngineRequest,
    EngineUnavailable,
    Interrupted,
    SpeechEngine,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)
from parley.speech.services import Recognised
from parley.speech.voices import CASCADE, NOVA_SONIC, Voice

from stacks.speech import polly, transcribe, worker_environment
from tests.unit.engine_doubles import Witness, point_at, say, witnessed
from tests.unit.speech_doubles import Endpoint, endpoints, speech

QUESTION = "How large may a frame be?"
JOANNA, KEVIN, TIFFANY = (CASCADE.voice("en-US", name) for name in ("Joanna", "Kevin", "Tiffany"))
VICKI = CASCADE.voice("de-DE")
TEXT = "A frame may be large, or not."


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with endpoints(tmp_path_factory.mktemp("certificate")) as served:
        yield served


@pytest.fixture(autouse=True)
def service(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    point_at(monkeypatch, endpoint)
    behave(endpoint)
    yield
    endpoint.control("DELETE", "/_speech")
    endpoint.control("DELETE", "/_faults")


def behave(endpoint: Endpoint, **settings: Any) -> None:
    endpoint.control("POST", "/_speech", {"transcript": QUESTION, "pause": 0.4} | settings)


def fault(endpoint: Endpoint, operation: str, **fields: Any) -> None:
    endpoint.control("POST", "/_faults", [{"operation": operation, **fields}])


# The whole engine.


async def opened(endpoint: Endpoint, **fields: Any) -> SpeechEngine:
    client = boto3.client(
        "bedrock-runtime", endpoint_url=endpoint.url, region_name="us-east-1", verify=str(endpoint.authority)
    )
    models = ModelChoice(
        model=BedrockModels(lambda _seconds: client), ids_by_role={"quick": ["amazon.nova-2-lite-v1:0"]}
    )
    factory = cascade_factory(TranscribeRecogniser(), PollySynthesizer, models)
    return await factory.open(EngineRequest(**({"system": "Be kind.", "language": "en-US"} | fields)))


SEARCH = ToolSpec(
    "search_knowledge",
    "Finds passages.",
    {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)


def test_a_spoken_question_is_answered_aloud(endpoint: Endpoint) -> None:
    async def scenario() -> Witness:
        async with witnessed(await opened(endpoint)) as witness:
            await say(witness.engine, speech(QUESTION))
            await witness.until(TurnEnded)
            return witness

    witness = asyncio.run(scenario())
    assert UserTranscript(QUESTION, final=True) in witness.events
    kinds = witness.kinds()
    assert [kind for kind in kinds if kind != "UserTranscript"][:3] == [
        "TurnStarted",
        "AssistantTranscript",
        "AssistantAudio",
    ]
    assert output_seconds(len(witness.audio)) > 1
    (started,) = [event for event in witness.events if isinstance(event, TurnStarted)]
    assert started.audio_seconds == pytest.approx(len(speech(QUESTION)) / 32_000, abs=0.4)
    assert witness.events[-1] == EngineClosed("ended", retryable=False)


def test_a_tool_is_used_for_a_spoken_question(endpoint: Endpoint) -> None:
    async def scenario() -> Witness:
        async with witnessed(await opened(endpoint, tools=[SEARCH])) as witness:
            await say(witness.engine, speech(QUESTION))
            use: ToolRequest = await witness.until(ToolRequest)
            found = {"passages": [{"id": 1, "document": "limits.md", "text": "A frame may be 32 KB large."}]}
            await witness.engine.send_tool_result(use.id, ToolResult(content=found))
            ended: TurnEnded = await witness.until(TurnEnded)
            assert ended.input_tokens
        return witness

    assert "32 KB" in asyncio.run(scenario()).said


def test_who_speaks_into_the_answer_interrupts_it(endpoint: Endpoint) -> None:
    async def scenario() -> Witness:
        async with witnessed(await opened(endpoint)) as witness:
            await say(witness.engine, speech(QUESTION))
            await witness.until(AssistantAudio)
            await say(witness.engine, speech("Stop please, that is enough."))
            await witness.until(Interrupted)
            await witness.until(TurnEnded)
        return witness

    kinds = asyncio.run(scenario()).kinds()
    assert "UserTranscript" in kinds[kinds.index("Interrupted") :]


@pytest.mark.parametrize("kill", [False, True])
def test_a_recogniser_that_breaks_ends_the_connection(endpoint: Endpoint, kill: bool) -> None:
    fault(endpoint, "StartStreamTranscription", break_after=0, kill=kill)

    async def scenario() -> EngineClosed:
        async with witnessed(await opened(endpoint)) as witness:
            with contextlib.suppress(EngineUnavailable):
                await say(witness.engine, speech(QUESTION))
            closed: EngineClosed = await witness.until(EngineClosed)
            return closed

    assert asyncio.run(scenario()) == EngineClosed("failed", retryable=True)


def test_a_recogniser_that_refuses_is_unavailable(endpoint: Endpoint) -> None:
    fault(endpoint, "StartStreamTranscription", error="LimitExceededException")
    with pytest.raises(EngineUnavailable):
        asyncio.run(opened(endpoint))


# Transcribe alone.


def recognised(settings: TranscribeSettings, text: str, language: str = "en-US") -> list[Recognised]:
    async def scenario() -> list[Recognised]:
        stream = await TranscribeRecogniser(settings).open(language)
        found: list[Recognised] = []

        heard = asyncio.Event()

        async def take() -> None:
            async for result in stream.results():
                found.append(result)
                if result.final:
                    heard.set()

        taking = asyncio.create_task(take())
        pcm = speech(text) + bytes(32_000)
        await stream.send(b"")
        for start in range(0, len(pcm), 2_880):
            await stream.send(pcm[start : start + 2_880])
            await asyncio.sleep(0.01)
        await asyncio.wait_for(heard.wait(), 20)
        await stream.close()
        await taking
        return found

    return asyncio.run(scenario())


def test_partial_results_come_before_the_final_one() -> None:
    results = recognised(TranscribeSettings(), QUESTION + " I would really like to know.")
    assert [result.final for result in results[:-1]] == [False] * (len(results) - 1)
    assert results[-1].final
    assert len({result.id for result in results}) == 1


def test_vocabulary_filter_language_identification_and_speakers(endpoint: Endpoint) -> None:
    behave(endpoint, vocabularies={"words": ["frame"]}, vocabulary_filters={"rude": ["large"]})
    settings = TranscribeSettings(
        languages=("de-DE", "en-US"),
        vocabularies={"en-US": "words"},
        vocabulary_filters={"en-US": "rude", "fr-FR": "of a language that nobody speaks here"},
        speaker_labels=True,
    )
    final = recognised(settings, QUESTION)[-1]
    assert final.text == "How *** may a frame be?"
    assert final.language == "en-US"
    assert final.speaker == "0"
    removed = recognised(TranscribeSettings(vocabulary_filters={"en-US": "rude"}, filter_method="remove"), QUESTION)[-1]
    assert "large" not in removed.text
    assert removed.language is None
    assert removed.speaker is None


def test_a_vocabulary_that_the_account_does_not_have_is_refused() -> None:
    with pytest.raises(EngineUnavailable):
        recognised(TranscribeSettings(vocabularies={"en-US": "unknown"}), QUESTION)


# Polly alone.


def spoken(voice: Voice, settings: PollySettings | None = None, text: str = TEXT) -> tuple[list[str], bytes]:
    async def scenario() -> tuple[list[str], bytes]:
        polly = PollySynthesizer(settings)
        pieces = [piece async for piece in polly.speak(text, voice)]
        await polly.close()
        assert isinstance(pieces[0], str)
        texts = [piece for piece in pieces if isinstance(piece, str)]
        return texts, b"".join(piece for piece in pieces if isinstance(piece, bytes))

    return asyncio.run(scenario())


@pytest.mark.parametrize("voice", [JOANNA, KEVIN, VICKI])
def test_neural_and_generative_voices_speak_at_24_khz(voice: Voice) -> None:
    texts, pcm = spoken(voice)
    assert texts == [TEXT]
    assert 1 < output_seconds(len(pcm)) < 5
    assert len(pcm) % 2 == 0


def test_prosody_makes_speech_slower() -> None:
    for voice in (JOANNA, KEVIN):
        slow = spoken(voice, PollySettings(prosody=Prosody(rate="50%", volume="soft")), text="Slow & <steady>.")[1]
        assert len(slow) > 1.3 * len(spoken(voice, text="Slow & <steady>.")[1])


def test_a_voice_with_both_engines_is_neural_where_that_is_preferred(endpoint: Endpoint) -> None:
    fault(endpoint, "StartSpeechSynthesisStream", times=2, error="ServiceFailureException")
    settings = PollySettings(engine="neural", word_marks=True)
    # Words come one by one, and nothing was streamed: neural it is.
    assert len(spoken(JOANNA, settings)[0]) > 1
    # This one has no neural engine.
    assert spoken(TIFFANY, settings)[0] == [TEXT]


def test_speech_marks_tell_where_each_word_is_spoken() -> None:
    async def scenario() -> list[str | bytes]:
        polly = PollySynthesizer(PollySettings(word_marks=True))
        pieces = [piece async for piece in polly.speak(TEXT, KEVIN)]
        await polly.close()
        return pieces

    pieces = asyncio.run(scenario())
    words = [piece for piece in pieces if isinstance(piece, str)]
    assert words == ["A ", "frame ", "may ", "be ", "large, ", "or ", "not."]
    pcm = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    assert pcm == spoken(KEVIN)[1]
    at = pieces.index("large, ")
    before = sum(len(piece) for piece in pieces[:at] if isinstance(piece, bytes))
    assert 0.3 < before / len(pcm) < 0.8


def test_a_repeated_phrase_is_spoken_from_memory(endpoint: Endpoint) -> None:
    async def scenario() -> tuple[list[str | bytes], list[str | bytes]]:
        phrases = Phrases()
        first = PollySynthesizer(phrases=phrases)
        once = [piece async for piece in first.speak(TEXT, KEVIN)]
        await first.close()
        fault(endpoint, "SynthesizeSpeech", times=9, error="ServiceFailureException")
        again = PollySynthesizer(phrases=phrases)
        twice = [piece async for piece in again.speak(TEXT, KEVIN)]
        with pytest.raises(EngineUnavailable):
            _ = [piece async for piece in again.speak("Something else.", KEVIN)]
        await again.close()
        return once, twice

    once, twice = asyncio.run(scenario())
    assert once == twice


@pytest.mark.parametrize("failing", [{"error": "ServiceQuotaExceededException"}, {"break_after": 0, "kill": True}])
def test_a_voice_that_is_not_streamed_speaks_all_the_same(endpoint: Endpoint, failing: dict[str, Any]) -> None:
    fault(endpoint, "StartSpeechSynthesisStream", **failing)
    texts, pcm = spoken(JOANNA)
    assert texts == [TEXT]
    assert output_seconds(len(pcm)) > 1


def test_a_stream_that_breaks_within_a_sentence_is_told(endpoint: Endpoint) -> None:
    fault(endpoint, "StartSpeechSynthesisStream", break_after=2)
    with pytest.raises(EngineUnavailable):
        spoken(JOANNA)


@pytest.mark.parametrize(("output", "begins"), [("mp3", b"\xff"), ("ogg_vorbis", b"OggS"), ("pcm", b"")])
def test_a_text_is_rendered_in_other_formats(output: Any, begins: bytes, tmp_path: Path) -> None:
    async def scenario() -> bytes:
        polly = PollySynthesizer()
        try:
            return await polly.render(TEXT, KEVIN, output)
        finally:
            await polly.close()

    content = asyncio.run(scenario())
    assert content[:3] == b"ID3" if output == "mp3" and content[:1] == b"I" else content.startswith(begins)
    assert len(content) > 1_000


def test_speaking_may_be_given_up_in_the_middle_and_goes_on_afterwards() -> None:
    async def scenario() -> int:
        polly = PollySynthesizer()

        async def speak(voice: Voice, begun: asyncio.Event) -> None:
            async for piece in polly.speak("A long story. " * 20, voice):
                if isinstance(piece, bytes):
                    begun.set()

        for voice in (JOANNA, KEVIN):
            begun = asyncio.Event()
            speaking = asyncio.create_task(speak(voice, begun))
            await begun.wait()
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        after = [piece async for piece in polly.speak(TEXT, JOANNA)]
        await polly.close()
        return sum(len(piece) for piece in after if isinstance(piece, bytes))

    assert output_seconds(asyncio.run(scenario())) > 1


# The worker's engine.


def test_the_worker_has_the_engine_and_the_settings_of_its_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "SESSIONS_TABLE": "sessions",
        "AUDIO_FRAMES_TABLE": "frames",
        "CONVERSATIONS_TABLE": "conversations",
        "CONTENT_KEY_ARN": "arn:aws:kms:us-east-1:123456789012:key/1",
        "MODELS": '{"quick": ["amazon.nova-2-lite-v1:0"]}',
        "RETENTION_DAYS": "90",
        "WEBSOCKET_CALLBACK_URL": "https://example.com/ws",
        "AWS_LAMBDA_FUNCTION_NAME": "worker",
        "VOICE_ENGINES": '["nova-sonic", "cascade"]',
        **worker_environment(
            ["en-US", "de-DE"],
            transcribe({"vocabularies": {"en-US": "unknown"}, "identifyLanguages": True, "speakerLabels": True}),
            polly({"voices": {"en-US": "Ruth"}, "engine": "neural", "rate": "fast", "wordMarks": True}),
        ),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for made_once in (voice_worker.settings, voice_worker.engine):
        made_once.cache_clear()
    try:
        assert voice_worker.engine("nova-sonic").voices is NOVA_SONIC
        # A session outlives the deployment that it began in.
        assert voice_worker.engine("gone").voices is NOVA_SONIC
        engine = voice_worker.engine("cascade")
        assert engine.voices.voice("en-US").id == "Ruth"
        assert engine.voices.voice("de-DE").id == "Vicki"
        assert engine.model == "amazon.nova-2-lite-v1:0"
        assert engine.idle_seconds == 15
        # The vocabulary is not the account's: so it was asked for.
        with pytest.raises(EngineUnavailable):
            asyncio.run(engine.open(EngineRequest(system="Be kind.", language="en-US")))
    finally:
        for made_once in (voice_worker.settings, voice_worker.engine):
            made_once.cache_clear()
