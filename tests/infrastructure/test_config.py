"""What the configuration accepts, and the sentence that each refusal says."""

import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parley.aws.polly import PollySettings, Prosody
from parley.aws.transcribe import TranscribeSettings
from parley.speech.voices import ENGINES

from stacks.config import Configuration, ConfigurationError, Models, load
from stacks.flags import Rejected, boolean, integer, texts
from stacks.sizes import Sizes
from stacks.speech import CASCADE_VOICES, ENGINE_LANGUAGES, Polly, Transcribe, worker_environment

CDK_JSON = json.loads((Path(__file__).parents[2] / "cdk.json").read_text())
NOVEMBER = date(2026, 11, 21)


def configure(env: str = "dev", **flags: Any) -> Configuration:
    return load({**CDK_JSON["context"], "env": env, **flags}, today=NOVEMBER)


def refusal(context: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as error:
        load(context, today=NOVEMBER)
    return str(error.value)


def refused(env: str = "dev", **flags: Any) -> str:
    return refusal({**CDK_JSON["context"], "env": env, **flags})


def test_environment_is_dev_unless_told() -> None:
    assert load(CDK_JSON["context"]).environment == "dev"


def test_environments_have_the_flags_that_the_design_names() -> None:
    table = {
        env: (it.enable_rag, it.vector_store, it.enable_voice, it.enable_dax, it.auth, it.enable_web, it.enable_waf)
        for env in ("local", "dev", "staging", "prod")
        for it in (configure(env),)
    }

    assert table == {
        "local": (True, "faiss", True, False, "cognito", False, False),
        "dev": (True, "s3vectors", True, False, "cognito", True, False),
        "staging": (True, "s3vectors", True, False, "cognito", True, True),
        "prod": (True, "opensearch", True, True, "cognito", True, True),
    }


def test_only_prod_protects_its_data_and_only_local_takes_passwords() -> None:
    environments = {env: configure(env) for env in ("local", "dev", "staging", "prod")}

    assert {env: it.protect_data for env, it in environments.items()} == {
        "local": False,
        "dev": False,
        "staging": False,
        "prod": True,
    }
    assert [env for env, it in environments.items() if it.enable_password_sign_in] == ["local"]


def test_environments_differ_in_size_and_billing() -> None:
    assert configure("dev").sizes.table_billing == "on-demand"
    assert configure("prod").sizes.table_billing == "provisioned"
    assert configure("prod").sizes.chat_memory_mb > configure("dev").sizes.chat_memory_mb


def test_configuration_is_frozen() -> None:
    configuration = configure()
    with pytest.raises(AttributeError):
        configuration.enable_rag = False  # type: ignore[misc]  # that it cannot be set is the point


def test_command_line_wins_over_environment_and_environment_over_blueprint() -> None:
    environments = {"dev": {"blueprint": "personal-chatbot", "enableRag": True}}

    assert load({"environments": environments}).enable_rag is True
    assert load({"environments": environments}).enable_voice is False
    assert load({"environments": environments, "enableRag": "false"}).enable_rag is False
    assert load({"environments": environments, "blueprint": "voice-chatbot"}).enable_voice is True


def test_blueprint_personal_chatbot_starts_without_voice_and_documents() -> None:
    personal = configure(blueprint="personal-chatbot")

    assert (personal.enable_rag, personal.enable_voice) == (False, False)


def test_command_line_strings_are_parsed() -> None:
    configuration = configure(
        enableRag="TRUE",
        retentionDays="14",
        monthlyBudgetUsd="none",
        languages="en-US,de-DE",
        models='{"quick": "us.amazon.nova-2-lite-v1:0", "voice": "amazon.nova-2-sonic-v1:0"}',
        sizes='{"chatMemoryMb": 2048}',
    )

    assert configuration.enable_rag is True
    assert configuration.retention_days == 14
    assert configuration.monthly_budget_usd is None
    assert configuration.languages == ("en-US", "de-DE")
    assert configuration.models.quick == ("us.amazon.nova-2-lite-v1:0",)
    assert configuration.models.reasoning == Models().reasoning
    assert configuration.sizes.chat_memory_mb == 2048
    # The environment's own sizes stay where the command line says nothing.
    assert configuration.sizes.log_retention_days == 7


def test_keys_of_the_cdk_are_left_alone() -> None:
    keys = ["aws:cdk:bundling-stacks", "@aws-cdk/core:anything", "availability-zones:account=1:region=eu-west-1"]

    assert configure(**dict.fromkeys(keys, "x")) == configure()


REFUSALS: list[tuple[dict[str, Any], str]] = [
    (
        {"env": "production"},
        'There is no environment "production" (did you mean "prod"?); allowed are "dev", "local", "prod", "staging".',
    ),
    ({"enableRag": "yes"}, 'Flag "enableRag" cannot be "yes"; allowed: true, false.'),
    ({"enableRag": 1}, 'Flag "enableRag" cannot be 1; allowed: true, false.'),
    (
        {"vectorStore": "pinecone"},
        'Flag "vectorStore" cannot be "pinecone"; allowed: "faiss", "s3vectors", "opensearch".',
    ),
    (
        {"voiceEngine": "gemini-live"},
        'Flag "voiceEngine" cannot be "gemini-live"; allowed: "nova-sonic", "cascade" (gemini-live is not built yet).',
    ),
    (
        {"voiceEngine": "cascade,cascade"},
        'Flag "voiceEngine" cannot be "cascade,cascade"; allowed: "nova-sonic", "cascade", '
        "or a list of different ones.",
    ),
    (
        {"transcribe": {"profanity": True}},
        'There is no setting of transcribe "profanity"; allowed are "filterMethod", "identifyLanguages", '
        '"speakerLabels", "stability", "vocabularies", "vocabularyFilters".',
    ),
    (
        {"transcribe": {"vocabularies": "products"}},
        'Flag "transcribe.vocabularies" cannot be "products"; allowed: names of custom vocabularies by '
        'language such as {"en-US": "our-products"}.',
    ),
    (
        {"transcribe": {"vocabularies": {"vi-VN": "products"}}},
        'Flag "transcribe.vocabularies" cannot be {"vi-VN": "products"}; allowed: names of custom vocabularies by '
        'language such as {"en-US": "our-products"}.',
    ),
    (
        {"polly": {"rate": "very fast"}},
        'Flag "polly.rate" cannot be "very fast"; allowed: a word from "x-slow" to "x-fast", or from "20%" to "200%", '
        'or "none".',
    ),
    ({"auth": "oauth"}, 'Flag "auth" cannot be "oauth"; allowed: "cognito", "api-key".'),
    ({"compliance": "sox"}, 'Flag "compliance" cannot be "sox"; allowed: "hipaa", "nist", "pci", or "none".'),
    ({"retentionDays": "0"}, 'Flag "retentionDays" cannot be "0"; allowed: a whole number from 1 to 3650.'),
    ({"alarmEmail": "me"}, 'Flag "alarmEmail" cannot be "me"; allowed: an e-mail address, or "none".'),
    ({"account": "123"}, 'Flag "account" cannot be "123"; allowed: an account number of 12 digits, or "none".'),
    ({"models": "{"}, 'Flag "models" cannot be "{"; allowed: valid JSON.'),
    ({"sizes": "[]"}, 'Flag "sizes" cannot be "[]"; allowed: a JSON object.'),
    (
        {"models": {"quick": []}},
        'Flag "models.quick" cannot be []; '
        'allowed: a list of Bedrock model or inference profile ids such as ["us.amazon.nova-2-lite-v1:0"].',
    ),
    (
        {"models": {"fast": "x"}},
        'There is no model role "fast"; allowed are "embedding", "quick", "reasoning", "summary", "voice".',
    ),
    (
        {"sizes": {"logRetentionDays": 8}},
        'Flag "sizes.logRetentionDays" cannot be 8; allowed: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, '
        "731, 1096, 1827, 2192, 2557, 2922, 3288.",
    ),
    (
        {"enableDax": "true", "enableRag": "false"},
        "enableDax is true while enableRag is false, but the cache is in front of the knowledge table; "
        "allowed: enableRag true, or enableDax false.",
    ),
    (
        {"previousVectorStore": "chalkboard"},
        'Flag "previousVectorStore" cannot be "chalkboard"; allowed: "faiss", "s3vectors", "opensearch", or "none".',
    ),
    (
        {"vectorStore": "faiss", "previousVectorStore": "faiss"},
        'previousVectorStore is "faiss" like vectorStore, but it names the store that a reindex moves from; '
        'allowed: another store, or "none".',
    ),
    (
        {"env": "local", "previousVectorStore": "s3vectors"},
        'The environment "local" cannot have previousVectorStore "s3vectors", because the sandbox cannot create it; '
        "allowed: null.",
    ),
    (
        {"enableAudioArchive": "true", "enableVoice": "false"},
        "enableAudioArchive is true while enableVoice is false; "
        "allowed: enableVoice true, or enableAudioArchive false.",
    ),
    (
        {"enableWaf": "true"},
        "enableWaf is true without a region, but what it needs in us-east-1 is referred to from the environment's "
        'region; allowed: a region such as "eu-west-1", or enableWaf false.',
    ),
    (
        {"domain": "talk.example.com"},
        'domain is "talk.example.com" without a region, but what it needs in us-east-1 is referred to from the '
        'environment\'s region; allowed: a region such as "eu-west-1", or domain "none".',
    ),
    (
        {"enableWaf": "true", "region": "eu-west-1", "enableWeb": "false"},
        "enableWaf is true while enableWeb is false, but it applies to the web distribution; "
        "allowed: enableWeb true, or enableWaf false.",
    ),
    (
        {"hostedZoneId": "Z0123456789"},
        'hostedZoneId is "Z0123456789" without a domain; allowed: a domain, or hostedZoneId "none".',
    ),
    (
        {"languages": "vi-VN"},
        'The speech engine "nova-sonic" does not speak "vi-VN"; allowed languages: "de-DE", "en-AU", "en-GB", "en-IN", '
        '"en-US", "es-US", "fr-FR", "hi-IN", "it-IT", "pt-BR".',
    ),
    (
        {"languages": "en-US,th-TH", "voiceEngine": "cascade"},
        'The speech engine "cascade" does not speak "th-TH"; allowed languages: "ar-AE", "ca-ES", "cs-CZ", "da-DK", '
        '"de-CH", "de-DE", "en-AU", "en-GB", "en-IE", "en-IN", "en-NZ", "en-US", "en-ZA", "es-ES", "es-US", "fi-FI", '
        '"fr-CA", "fr-FR", "hi-IN", "it-IT", "ja-JP", "ko-KR", "nl-NL", "no-NO", "pl-PL", "pt-BR", "pt-PT", "sv-SE", '
        '"zh-CN".',
    ),
    (
        {"languages": "nl-NL", "voiceEngine": "cascade,nova-sonic"},
        'The speech engine "nova-sonic" does not speak "nl-NL"; allowed languages: "de-DE", "en-AU", "en-GB", "en-IN", '
        '"en-US", "es-US", "fr-FR", "hi-IN", "it-IT", "pt-BR".',
    ),
    (
        {"polly": {"engine": "neural"}},
        'polly has settings while voiceEngine is "nova-sonic", which does not use them; '
        'allowed: voiceEngine "cascade", or no polly.',
    ),
    (
        {"voiceEngine": "cascade", "polly": {"voices": {"de-DE": "Ruth"}}},
        'polly.voices has no voice "Ruth" for "de-DE"; allowed: "Vicki", "Daniel", "Lennart".',
    ),
    (
        {"voiceEngine": "cascade", "languages": "en-US,en-GB", "transcribe": {"identifyLanguages": True}},
        'transcribe.identifyLanguages is true while languages are "en-US", "en-GB"; '
        'allowed: two languages or more, each once, such as "en-US", "de-DE".',
    ),
    (
        {"models": {"voice": "amazon.nova-sonic-v1:0"}},
        'The model "amazon.nova-sonic-v1:0" for the role "voice" reached its end of life on 2026-09-14; '
        'allowed: a model that Bedrock still serves, such as "amazon.nova-2-sonic-v1:0".',
    ),
    (
        {"enablePasswordSignIn": "true"},
        'enablePasswordSignIn is true in environment "dev", but plain passwords are for the sandbox alone; '
        'allowed: false, or the environment "local".',
    ),
    (
        {"env": "local", "vectorStore": "s3vectors"},
        'The environment "local" cannot have vectorStore "s3vectors", because the sandbox cannot create it; '
        'allowed: "faiss".',
    ),
    (
        {"sizes": {"tableBilling": "provisioned", "tableReadCapacity": 200}},
        "sizes.tableMaxCapacity is 100, which is less than the tables start with; allowed: 200 or more.",
    ),
]


@pytest.mark.parametrize(("flags", "sentence"), REFUSALS, ids=[json.dumps(flags) for flags, _ in REFUSALS])
def test_refusal_says_what_was_wrong_what_was_given_and_what_is_allowed(flags: dict[str, Any], sentence: str) -> None:
    assert refused(**flags) == sentence


def test_unknown_flag_names_the_nearest_one() -> None:
    sentence = refused(enableRAG="true")

    assert sentence.startswith('There is no flag "enableRAG" (did you mean "enableRag"?); allowed are "account", ')
    assert "\n" not in sentence


def test_unknown_flag_of_an_environment_is_refused_like_one_of_the_command_line() -> None:
    assert 'no flag "vectorstore" (did you mean "vectorStore"?)' in refusal(
        {"environments": {"dev": {"vectorstore": "faiss"}}}
    )


def test_unknown_size_names_the_nearest_one() -> None:
    assert 'no size "chatMemory" (did you mean "chatMemoryMb"?)' in refused(sizes={"chatMemory": 1})


@pytest.mark.parametrize("environments", [None, [], {}])
def test_context_without_environments_is_refused(environments: object) -> None:
    assert "needs `environments`" in refusal({"environments": environments})


def test_environment_that_is_no_object_is_refused() -> None:
    assert refusal({"environments": {"dev": "x"}}) == 'Environment "dev" cannot be "x"; allowed: valid JSON.'


def test_a_model_is_accepted_until_its_end_of_life() -> None:
    flags = {**CDK_JSON["context"], "models": {"voice": "amazon.nova-sonic-v1:0"}}

    assert load(flags, today=date(2026, 9, 13)).models.voice == "amazon.nova-sonic-v1:0"
    with pytest.raises(ConfigurationError, match="end of life"):
        load(flags, today=date(2026, 9, 14))


def test_the_languages_and_voices_that_synth_admits_are_those_that_the_runtime_has() -> None:
    assert {
        language: tuple(voice.id for voice in voices) for language, voices in ENGINES["cascade"].voices.items()
    } == CASCADE_VOICES
    assert {name: set(languages) for name, languages in ENGINE_LANGUAGES.items()} == {
        name: set(engine.languages) for name, engine in ENGINES.items()
    }


def test_several_engines_share_an_environment_and_the_first_is_its_own() -> None:
    assert configure().voice_engine == ("nova-sonic",)
    assert configure(voiceEngine="cascade").voice_engine == ("cascade",)
    for listed in (["cascade", "nova-sonic"], '["cascade", "nova-sonic"]', "cascade, nova-sonic"):
        assert configure(voiceEngine=listed).voice_engine == ("cascade", "nova-sonic")


def test_the_settings_of_the_cascade_reach_the_runtime_in_its_own_words() -> None:
    it = configure(
        voiceEngine="cascade",
        languages="en-US,de-DE",
        transcribe='{"vocabularies": {"en-US": "products"}, "vocabularyFilters": {"de-DE": "rude"}, '
        '"filterMethod": "remove", "identifyLanguages": true, "speakerLabels": true, "stability": "low"}',
        polly={
            "engine": "neural",
            "voices": {"en-US": "Ruth"},
            "rate": "110%",
            "volume": "+2dB",
            "lexicons": ["names"],
            "wordMarks": True,
        },
    )
    environment = worker_environment(it.languages, it.transcribe, it.polly)

    assert msgspec.json.decode(environment["TRANSCRIBE_SETTINGS"], type=TranscribeSettings) == TranscribeSettings(
        languages=("en-US", "de-DE"),
        vocabularies={"en-US": "products"},
        vocabulary_filters={"de-DE": "rude"},
        filter_method="remove",
        speaker_labels=True,
        stability="low",
    )
    assert msgspec.json.decode(environment["POLLY_SETTINGS"], type=PollySettings) == PollySettings(
        engine="neural", prosody=Prosody(rate="110%", volume="+2dB"), lexicons=("names",), word_marks=True
    )
    assert json.loads(environment["POLLY_VOICES"]) == {"en-US": "Ruth"}


def test_the_cascade_without_settings_is_the_runtime_s_own() -> None:
    environment = worker_environment(["en-US"], Transcribe(), Polly())

    assert msgspec.json.decode(environment["TRANSCRIBE_SETTINGS"], type=TranscribeSettings) == TranscribeSettings()
    assert msgspec.json.decode(environment["POLLY_SETTINGS"], type=PollySettings) == PollySettings(prosody=Prosody())


def test_a_language_that_no_engine_speaks_is_no_matter_without_voice() -> None:
    assert configure(languages="vi-VN", enableVoice="false").languages == ("vi-VN",)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
FLAGS = st.sampled_from(
    [*CDK_JSON["context"]["environments"]["prod"], "languages", "models", "env", "environments", "x"]
)


@given(st.dictionaries(FLAGS, JSON_VALUES, max_size=2))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_given_the_answer_is_a_configuration_or_one_sentence(flags: dict[str, Any]) -> None:
    try:
        answer = load({**CDK_JSON["context"], **flags}, today=NOVEMBER)
    except ConfigurationError as error:
        sentence = str(error)
    else:
        assert isinstance(answer, Configuration)
        return
    assert sentence.endswith(".")
    assert "\n" not in sentence


@given(st.booleans(), st.sampled_from([str.lower, str.upper, str.title]))
def test_boolean_reads_its_own_spelling(value: bool, spell: Any) -> None:
    assert boolean(value) is value
    assert boolean(spell(str(value))) is value


@given(st.integers(min_value=-(10**9), max_value=10**9))
def test_integer_reads_numbers_and_their_text_alike_within_its_bounds(value: int) -> None:
    parser = integer(1, 3_650)
    for form in (value, str(value)):
        if 1 <= value <= 3_650:
            assert parser(form) == value
        else:
            with pytest.raises(Rejected):
                parser(form)


@given(st.lists(st.from_regex(r"[a-z]{2}-[A-Z]{2}", fullmatch=True), min_size=1, max_size=5, unique=True))
def test_list_reads_json_and_commas_alike(items: list[str]) -> None:
    parser = texts(r"[a-z]{2}-[A-Z]{2}", "codes")

    assert parser(items) == parser(json.dumps(items)) == parser(",".join(items)) == tuple(items)


def test_default_sizes_are_those_of_a_small_environment() -> None:
    assert Sizes().table_billing == "on-demand"
    assert Sizes().dax_nodes == 1


def test_every_flag_and_size_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    names = [*vars(Configuration(environment="dev")), *vars(Sizes())]
    flags = {re.sub("_([a-z])", lambda letter: letter[1].upper(), name) for name in names} - {"environment"}

    assert {flag for flag in flags if f"`{flag}`" not in text} == set()
