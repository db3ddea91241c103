"""SessionWorker: how it is started and handed on, and what it may do."""

from typing import Any

import pytest
from aws_cdk import App, Stack
from parley_constructs.python_function import PythonFunction
from parley_constructs.voice_api import SessionWorker, SessionWorkerProps, SpeechEngine

from tests.infrastructure.construct_apps import Template, actions, code, of_type, only, statements, synthesize

SPEECH_MODEL = "amazon.nova-2-sonic-v1:0"


def _build(app: App) -> None:
    engines: dict[str, SpeechEngine] = {"Sonic": "nova-sonic", "Cascade": "cascade"}
    for name, engine in engines.items():
        stack = Stack(app, name)
        worker = SessionWorker(
            stack,
            "Worker",
            props=SessionWorkerProps(
                code=code(),
                handler="index.handler",
                environment={"TABLE": "frames"},
                engines=[engine],
                speech_models=[SPEECH_MODEL],
                language_models=["amazon.nova-lite-v1:0"],
                memory_size=640,
            ),
        )
        starter = PythonFunction(stack, "Starter", code=code(), handler="index.handler", service="starter")
        worker.grant_start(starter)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesize(tmp_path_factory.mktemp("session_worker"), _build)


@pytest.fixture(scope="module")
def sonic(templates: dict[str, Template]) -> Template:
    return templates["Sonic"]


def _function(template: Template) -> dict[str, Any]:
    return only(template, "AWS::Lambda::Function", having="Worker")


def test_a_worker_runs_as_long_as_lambda_lets_it(sonic: Template) -> None:
    assert _function(sonic)["Timeout"] == 900
    assert _function(sonic)["MemorySize"] == 640
    assert _function(sonic)["Environment"]["Variables"]["TABLE"] == "frames"


def test_an_invocation_is_never_repeated_and_does_not_wait_long(sonic: Template) -> None:
    config = only(sonic, "AWS::Lambda::EventInvokeConfig")

    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 60)


def test_a_long_call_is_not_taken_for_a_loop(sonic: Template) -> None:
    assert _function(sonic)["RecursiveLoop"] == "Allow"


def test_a_worker_may_invoke_itself_without_waiting_for_that_permission(sonic: Template) -> None:
    [(handoff, policy)] = [item for item in of_type(sonic, "AWS::IAM::Policy").items() if "Handoff" in item[0]]
    [function] = [name for name in of_type(sonic, "AWS::Lambda::Function") if "Worker" in name]

    [statement] = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "lambda:InvokeFunction"
    assert statement["Resource"] == {"Fn::GetAtt": [function, "Arn"]}
    assert handoff not in sonic["Resources"][function]["DependsOn"], "a circle that CloudFormation refuses"


def test_whoever_starts_workers_may_invoke_no_version_or_alias(sonic: Template) -> None:
    [function] = [name for name in of_type(sonic, "AWS::Lambda::Function") if "Worker" in name]
    [statement] = [each for each in statements(sonic, "Starter") if each["Action"] == "lambda:InvokeFunction"]

    assert statement["Resource"] == {"Fn::GetAtt": [function, "Arn"]}


def test_nova_sonic_s_worker_streams_to_its_model_and_uses_no_other_service(sonic: Template) -> None:
    allowed = actions(sonic, "Worker")

    assert {"bedrock:InvokeModel", "bedrock:InvokeModelWithBidirectionalStream", "lambda:InvokeFunction"} == allowed
    [statement] = [each for each in statements(sonic, "WorkerFunction") if "bedrock" in str(each["Action"])]
    assert f"foundation-model/{SPEECH_MODEL}" in str(statement["Resource"])


def test_a_cascade_s_worker_hears_thinks_and_speaks(templates: dict[str, Template]) -> None:
    assert actions(templates["Cascade"], "Worker") == {
        "bedrock:InvokeModelWithResponseStream",
        "lambda:InvokeFunction",
        "polly:StartSpeechSynthesisStream",
        "polly:SynthesizeSpeech",
        "transcribe:StartStreamTranscription",
    }
    for statement in statements(templates["Cascade"], "Worker"):
        if statement["Resource"] == "*":
            assert all(action.startswith(("polly:", "transcribe:")) for action in statement["Action"])
