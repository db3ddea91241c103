"""What every environment is made of, synthesized offline and without credentials."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_logs as logs

from stacks.checks import add_checks
from tests.infrastructure.assemblies import ROOT, Assembly, Synth

ENVIRONMENTS = ("local", "dev", "staging", "prod")
STACKS = {
    "local": {"Data", "Knowledge", "Assistant", "Monitoring"},
    "dev": {"Data", "Knowledge", "Assistant", "Monitoring", "Web"},
    "staging": {"Data", "Knowledge", "Assistant", "Monitoring", "Web", "Edge"},
    "prod": {"Data", "Network", "Knowledge", "Assistant", "Monitoring", "Web", "Edge"},
}
FUNCTIONS = {
    "Health": "health",
    "Chat": "chat",
    "Conversations": "conversations",
    "Tickets": "tickets",
    "Documents": "documents",
    "TicketAuthorizer": "ticket_authorizer",
    "WebSocket": "websocket",
    "Turn": "turn",
    "VoiceWorker": "voice_worker",
    "Recordings": "recordings",
    "RecordingJobs": "recording_jobs",
    "PersonalData": "personal_data",
    "PersonalDataJobs": "personal_data_jobs",
}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_environment_has_its_stacks_and_the_account_s(synth: Synth, env: str) -> None:
    assert set(synth(env).templates) == {f"Parley-{env}-{part}" for part in STACKS[env]} | {"Parley-Account"}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_nothing_is_found_that_nobody_acknowledged(synth: Synth, env: str) -> None:
    assert [finding for finding in synth(env).findings if finding["severity"] != "warning"] == []


@pytest.mark.parametrize("compliance", ["hipaa", "nist", "pci"])
def test_compliance_leaves_nothing_unanswered(synth: Synth, compliance: str) -> None:
    findings = synth("prod", compliance=compliance).findings

    assert [finding for finding in findings if finding["severity"] != "warning"] == []


@pytest.mark.parametrize(
    ("compliance", "pack"), [("hipaa", "HIPAA.Security"), ("nist", "NIST.800.53.R5"), ("pci", "PCI.DSS.321")]
)
def test_compliance_adds_its_pack(tmp_path: Path, compliance: str, pack: str) -> None:
    app = App(outdir=str(tmp_path))
    logs.CfnLogGroup(Stack(app, "Stack"), "InTheClear", retention_in_days=30)
    add_checks(app, compliance=compliance)

    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    assert f"{pack}-CloudWatchLogGroupEncrypted" in {finding["ruleName"] for finding in Assembly(tmp_path).findings}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_synth_asks_for_nothing_that_only_aws_knows(synth: Synth, env: str) -> None:
    assert synth(env).manifest.get("missing", []) == []


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_taggable_resource_carries_the_three_tags(synth: Synth, env: str) -> None:
    for name, resource in synth(env).resources("AWS::DynamoDB::Table", "AWS::Lambda::Function", "AWS::S3::Bucket"):
        if "/Custom" in name:
            # CDK's own helpers take no tags in the template; the stack's tags reach them.
            continue
        tags = {tag["Key"]: tag["Value"] for tag in resource["Properties"]["Tags"]}
        assert tags.get("application") == "parley", name
        assert tags.get("environment") == env, name
        assert tags.get("cost-centre") == "parley", name


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_stacks_carry_tags_too(synth: Synth, env: str) -> None:
    for name, artifact in synth(env).manifest["artifacts"].items():
        if artifact["type"] == "aws:cloudformation:stack":
            assert set(artifact["properties"]["tags"]) == {"application", "environment", "cost-centre"}, name


def test_only_prod_is_protected_and_retained(synth: Synth) -> None:
    for env in ENVIRONMENTS:
        protected = {
            name
            for name, artifact in synth(env).manifest["artifacts"].items()
            if artifact.get("properties", {}).get("terminationProtection")
        }
        assert protected == ({f"Parley-prod-{part}" for part in STACKS["prod"]} if env == "prod" else set())
        stateful = synth(env).resources("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key", part="Data")
        assert {resource["DeletionPolicy"] for _, resource in stateful} == {"Retain" if env == "prod" else "Delete"}


def test_tables_are_billed_as_the_environment_says(synth: Synth) -> None:
    for env, mode in {"local": "PAY_PER_REQUEST", "dev": "PAY_PER_REQUEST", "prod": None}.items():
        tables = list(synth(env).resources("AWS::DynamoDB::Table", part="Data"))
        assert len(tables) == 8
        # Counters and frames pay by the request everywhere.
        by_request = [name for name, _ in tables if "Usage" in name or "AudioFrames" in name]
        assert len(by_request) == 2
        modes = {table["Properties"].get("BillingMode") for name, table in tables if name not in by_request}
        assert modes == {mode}


def test_plain_passwords_sign_in_nowhere_but_in_the_sandbox(synth: Synth) -> None:
    flows = {
        env: set(client["Properties"]["ExplicitAuthFlows"])
        for env in ENVIRONMENTS
        for _, client in synth(env).resources("AWS::Cognito::UserPoolClient")
    }

    assert "ALLOW_USER_PASSWORD_AUTH" in flows.pop("local")
    assert set(flows) == {"dev", "staging", "prod"}
    for env, allowed in flows.items():
        assert "ALLOW_USER_SRP_AUTH" in allowed, env
        assert not allowed & {"ALLOW_USER_PASSWORD_AUTH", "ALLOW_ADMIN_USER_PASSWORD_AUTH"}, env


def test_assistant_has_the_documented_routes(synth: Synth) -> None:
    keys = {route["Properties"]["RouteKey"] for _, route in synth("dev").resources("AWS::ApiGatewayV2::Route")}

    assert keys == {
        "GET /health",
        "POST /chat",
        "GET /conversations",
        "GET /conversations/{id}",
        "DELETE /conversations/{id}",
        "GET /conversations/{id}/export",
        "POST /tickets",
        "POST /rag/query",
        "GET /knowledge/documents",
        "POST /knowledge/documents",
        "GET /knowledge/documents/{id}",
        "PUT /knowledge/documents/{id}",
        "DELETE /knowledge/documents/{id}",
        "GET /me/export",
        "POST /me/export",
        "DELETE /me",
        "GET /me/deletion",
        "GET /recordings",
        "POST /recordings",
        "GET /recordings/{id}",
        "DELETE /recordings/{id}",
        "$connect",
        "$disconnect",
        "$default",
        "session.start",
        "session.end",
        "text",
        "ping",
        "audio",
        "played",
    }


def test_only_health_answers_without_authorization(synth: Synth) -> None:
    public = {
        route["Properties"]["RouteKey"]
        for _, route in synth("dev").resources("AWS::ApiGatewayV2::Route")
        if route["Properties"].get("AuthorizationType", "NONE") == "NONE"
    }

    # A connection is authorized once, by $connect; its messages belong to it.
    messages = {"$disconnect", "$default", "session.start", "session.end", "text", "ping", "audio", "played"}
    assert public == {"GET /health"} | messages


def test_functions_run_the_handler_of_their_module(synth: Synth) -> None:
    functions = {
        name.split("/")[1].rstrip("0123456789ABCDEF"): resource["Properties"]
        for name, resource in synth("dev").resources("AWS::Lambda::Function", part="Assistant")
    }

    assert {properties["Handler"] for properties in functions.values()} == {
        f"parley.functions.{module}.handler" for module in FUNCTIONS.values()
    }
    for name, properties in functions.items():
        assert properties["Runtime"] == "python3.13", name
        assert properties["Architectures"] == ["arm64"], name
        assert properties["TracingConfig"] == {"Mode": "Active"}, name


def _variables(synth: Synth, module: str, env: str = "dev", /, **flags: object) -> Mapping[str, object]:
    [properties] = [
        resource["Properties"]
        for _, resource in synth(env, **flags).resources("AWS::Lambda::Function")
        if resource["Properties"].get("Handler") == f"parley.functions.{module}.handler"
    ]
    variables: dict[str, object] = properties["Environment"]["Variables"]
    return {name: value for name, value in variables.items() if not name.startswith("POWERTOOLS_")}


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("health", "CONVERSATIONS_TABLE RETRIEVAL_FUNCTION"),
        (
            "chat",
            "CONVERSATIONS_TABLE IDEMPOTENCY_TABLE CONTENT_KEY_ARN MODELS RETENTION_DAYS RETRIEVAL_FUNCTION",
        ),
        ("conversations", "CONVERSATIONS_TABLE CONTENT_KEY_ARN"),
        ("tickets", "CREDENTIALS_TABLE SESSIONS_TABLE WEBSOCKET_URL RETENTION_DAYS"),
        ("documents", "KNOWLEDGE_TABLE DOCUMENTS_BUCKET"),
        ("ticket_authorizer", "CREDENTIALS_TABLE"),
        (
            "websocket",
            "SESSIONS_TABLE CONNECTIONS_TABLE TURN_FUNCTION WEBSOCKET_CALLBACK_URL RETENTION_DAYS RETRIEVAL_FUNCTION "
            "VOICE_WORKER_FUNCTION VOICE_ENGINES LANGUAGES",
        ),
        (
            "voice_worker",
            "SESSIONS_TABLE AUDIO_FRAMES_TABLE CONVERSATIONS_TABLE CONTENT_KEY_ARN MODELS "
            "RETENTION_DAYS WEBSOCKET_CALLBACK_URL RETRIEVAL_FUNCTION VOICE_ENGINES VOICE_MODEL LANGUAGES",
        ),
        (
            "turn",
            "CONVERSATIONS_TABLE IDEMPOTENCY_TABLE CONTENT_KEY_ARN MODELS RETENTION_DAYS RETRIEVAL_FUNCTION "
            "CONNECTIONS_TABLE WEBSOCKET_CALLBACK_URL",
        ),
    ],
)
def test_function_is_told_what_it_needs(synth: Synth, module: str, names: str) -> None:
    counted = {"USAGE_TABLE", "LIMITS"} if module != "ticket_authorizer" else set()
    assert set(_variables(synth, module)) == set(names.split()) | counted


def test_the_archive_of_audio_is_the_worker_s_to_write_and_nobody_s_to_read(synth: Synth) -> None:
    flags: dict[str, object] = {"enableAudioArchive": True, "voiceEngine": "cascade", "languages": ["nl-NL"]}

    assert "AUDIO_BUCKET" in _variables(synth, "voice_worker", **flags)
    assert _variables(synth, "voice_worker", **flags)["LANGUAGES"] == '["nl-NL"]'
    granted = json.dumps(list(synth("dev", **flags).resources("AWS::IAM::Policy", part="Assistant")))
    assert "s3:PutObject" in granted
    assert "transcribe:StartStreamTranscription" in granted
    assert [finding for finding in synth("dev", **flags).findings if finding["severity"] != "warning"] == []


def test_an_environment_with_both_engines_is_told_of_both_and_may_use_both(synth: Synth) -> None:
    told = _variables(synth, "voice_worker", "local")
    assert told["VOICE_ENGINES"] == _variables(synth, "websocket", "local")["VOICE_ENGINES"]
    assert told["VOICE_ENGINES"] == '["nova-sonic", "cascade"]'
    assert {"TRANSCRIBE_SETTINGS", "POLLY_SETTINGS", "POLLY_VOICES"} <= set(told)
    granted = json.dumps(list(synth("local").resources("AWS::IAM::Policy", part="Assistant")))
    for action in (
        "bedrock:InvokeModelWithBidirectionalStream",
        "transcribe:StartStreamTranscription",
        "polly:StartSpeechSynthesisStream",
    ):
        assert action in granted


def test_without_voice_nothing_of_it_is_there(synth: Synth) -> None:
    assembly = synth("dev", enableVoice=False)

    handlers = [each["Properties"].get("Handler") for _, each in assembly.resources("AWS::Lambda::Function")]
    assert "parley.functions.voice_worker.handler" not in handlers
    routes = {route["Properties"]["RouteKey"] for _, route in assembly.resources("AWS::ApiGatewayV2::Route")}
    assert not routes & {"audio", "played"}
    assert not {"VOICE_WORKER_FUNCTION", "VOICE_ENGINES"} & set(_variables(synth, "websocket", enableVoice=False))


def test_audio_frames_have_a_throttle_of_their_own_for_the_calls_that_the_environment_is_for(synth: Synth) -> None:
    for env, calls in {"dev": 50, "prod": 200}.items():
        [stage] = [
            stage["Properties"]
            for _, stage in synth(env).resources("AWS::ApiGatewayV2::Stage")
            if stage["Properties"]["StageName"] == "ws"
        ]
        settings = stage["RouteSettings"]["audio"]
        # A call's 11.1 frames a second, and a little to catch up with.
        assert settings["ThrottlingRateLimit"] == 12 * calls
        assert settings["ThrottlingBurstLimit"] <= 5000


@pytest.mark.parametrize(("env", "gradually"), [("dev", False), ("staging", True), ("prod", True)])
def test_routes_lead_to_what_code_deploy_has_released(synth: Synth, env: str, gradually: bool) -> None:
    assembly = synth(env)
    aliases = {name.partition("/")[2] for name, _ in assembly.resources("AWS::Lambda::Alias", part="Assistant")}
    integrations = [each for _, each in assembly.resources("AWS::ApiGatewayV2::Integration")]
    targets = [json.dumps(each["Properties"].get("IntegrationUri")) for each in integrations]
    released = [target for target in targets if any(f'"{alias}"' in target for alias in aliases)]
    # The audio route goes straight into the table, and retrieval is another stack's.
    others = [target for target in targets if target not in released]
    if gradually:
        assert len(released) > len(others)
        assert all("dynamodb" in each or "Retrieval" in each for each in others)
    else:
        assert aliases == set()


def test_a_turn_by_its_alias_is_tried_once_as_the_function_is(synth: Synth) -> None:
    configs = [
        each["Properties"]
        for name, each in synth("prod").resources("AWS::Lambda::EventInvokeConfig")
        if "/Turn" in name
    ]
    assert len(configs) == 2
    assert {(each["MaximumRetryAttempts"], each["MaximumEventAgeInSeconds"]) for each in configs} == {(0, 60)}
    environment = json.dumps(_variables(synth, "websocket", "prod")["TURN_FUNCTION"])
    assert "TurnAlias" in environment


def test_github_deploys_by_a_role_that_only_its_environment_gets(synth: Synth) -> None:
    delivery = synth("dev", githubRepository="acme/assistant").stack("Delivery")
    trust = json.dumps(delivery["Resources"])
    assert "repo:acme/assistant:environment:dev" in trust
    assert "AWS::IAM::OIDCProvider" not in trust


def test_models_reach_the_runtime_as_json_by_role(synth: Synth) -> None:
    models = json.loads(str(_variables(synth, "chat")["MODELS"]))

    assert set(models) == {"quick", "reasoning", "summary"}
    assert models["quick"][0] == "global.amazon.nova-2-lite-v1:0"


def test_bad_configuration_ends_cdk_synth_in_its_sentence_alone(tmp_path: object) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    result = subprocess.run(
        [ROOT / "node_modules/.bin/cdk", "synth", "-q", "-c", "env=dev", "-c", "enableDacks=true", "-o", str(tmp_path)],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert 'There is no flag "enableDacks" (did you mean "enableDax"?); allowed are' in result.stderr
    assert "Traceback" not in result.stderr
