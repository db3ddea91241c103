"""The library on its own: installed where nothing of this repository is, in a stack that it has never seen."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import parley_constructs
import pytest
import uv

CONSTRUCTS = Path(__file__).parents[2] / "constructs"

FOREIGN_APP = """
import importlib.util, json, sys

for name in ("parley", "stacks", "sandbox", "tests", "app"):
    assert importlib.util.find_spec(name) is None, f"{name} is importable"

from aws_cdk import App, Stack
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_lambda as lambda_
from parley_constructs import (
    ApiKeyIdentity, KnowledgeBase, KnowledgeBaseProps, MonitoredQueue, Monitoring, MonitoringProps, Network,
    PythonFunction, Storage, VectorStore, VoiceApi, VoiceApiProps,
)

app = App(outdir=sys.argv[1])
stack = Stack(app, "Foreign")
code = lambda_.Code.from_inline("def handler(event, context):\\n    return {}\\n")


def function(name):
    return PythonFunction(stack, name, code=code, handler="index.handler", service=name.lower())


network = Network(stack, "Network", interface_endpoints=KnowledgeBase.interface_endpoints(VectorStore.s3_vectors()))
storage = Storage(stack, "Storage")
knowledge = KnowledgeBase(
    stack,
    "Knowledge",
    props=KnowledgeBaseProps(
        documents_bucket=storage.documents_bucket,
        knowledge_table=storage.knowledge_table,
        vector_store=VectorStore.s3_vectors(),
        code=code,
        ingestion_handler="index.handler",
        retrieval_handler="index.handler",
        embedding_model="amazon.titan-embed-text-v2:0",
        vpc=network.vpc,
        vpc_subnets=network.subnets,
    ),
)
answer = function("Answer")
knowledge.grant_query(answer)
voice = VoiceApi(
    stack,
    "Voice",
    props=VoiceApiProps(
        http_authorizer=ApiKeyIdentity(stack, "Keys", authorizer_function=function("KeyCheck")).http_authorizer(),
        ticket_authorizer=function("Ticket"),
        audio_frames_table=storage.audio_frames_table,
    ),
)
voice.add_http_route("/ask", [apigatewayv2.HttpMethod.POST], answer)
Monitoring(
    stack,
    "Monitoring",
    props=MonitoringProps(
        name="foreign",
        functions={"Answer": answer},
        queues={
            "Documents": MonitoredQueue(
                queue=knowledge.ingestion_queue, dead_letter_queue=knowledge.dead_letter_queue
            )
        },
        http_api=voice.http_api,
        websocket_api=voice.websocket_api,
    ),
)
app.synth()
"""


def run(*command: str, cwd: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "AWS_PROFILE")
    }
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("foreign")
    # A copy, because building leaves files beside the sources.
    copy = shutil.copytree(CONSTRUCTS, folder / "library", ignore=shutil.ignore_patterns("*.egg-info", "build"))
    python = folder / "venv" / "bin" / "python"
    run(uv.find_uv_bin(), "venv", "--python", sys.executable, str(folder / "venv"), cwd=folder)
    run(uv.find_uv_bin(), "pip", "install", "--python", str(python), str(copy), cwd=folder)
    shutil.rmtree(copy)
    (folder / "project").mkdir()
    (folder / "project" / "foreign_app.py").write_text(FOREIGN_APP)
    run(str(python), "foreign_app.py", str(folder / "out"), cwd=folder / "project")
    found: dict[str, Any] = json.loads((folder / "out" / "Foreign.template.json").read_text())
    return found


def test_a_foreign_stack_is_composed_of_it(template: dict[str, Any]) -> None:
    kinds = {resource["Type"] for resource in template["Resources"].values()}

    assert kinds >= {
        "AWS::EC2::VPC",
        "AWS::DynamoDB::Table",
        "AWS::S3Vectors::Index",
        "AWS::ApiGatewayV2::Api",
        "AWS::CloudWatch::Alarm",
    }


def test_its_functions_run_the_code_of_the_stack(template: dict[str, Any]) -> None:
    functions = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::Lambda::Function"]

    own = [function for function in functions if function["Runtime"].startswith("python")]
    assert len(own) >= 5
    assert {function["Handler"] for function in own} == {"index.handler"}


def test_every_public_name_is_there() -> None:
    assert sorted(parley_constructs.__all__) == parley_constructs.__all__
    for name in parley_constructs.__all__:
        assert getattr(parley_constructs, name).__name__ == name


def test_an_unknown_name_is_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="Netwrok"):
        parley_constructs.Netwrok  # noqa: B018 - reading it is the test
