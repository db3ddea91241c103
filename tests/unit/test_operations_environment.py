"""What tools find out about a deployed environment, over CloudFormation's own wire format."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import boto3
import pytest

from operations.environment import OperationError, locate, resolve
from tests.unit.http_double import Asked, Server, serving

STACKS = {
    "Parley-dev-Data": {"DocumentsBucketName": "documents-1", "KnowledgeTableName": "knowledge-1"},
    "Parley-dev-Assistant": {
        "HttpApiUrl": "https://abc.execute-api.eu-central-1.amazonaws.com/",
        "UserPoolId": "eu-central-1_pool",
        "UserPoolClientId": "app",
    },
    "Parley-dev-Knowledge": {"IngestionFunctionName": "ingestion-1", "RetrievalFunctionName": "retrieval-1"},
    "Parley-half-Data": {"DocumentsBucketName": "documents-2"},
    "Parley-local-Data": {"DocumentsBucketName": "documents-3"},
    "Parley-local-Assistant": {"HttpApiUrl": "http://127.0.0.1:4566/restapis", "UserPoolId": "us-east-1_pool"},
}


def cloudformation(request: Asked) -> tuple[int, bytes]:
    """DescribeStacks, as the service answers it; beside it Lambda's GetFunctionConfiguration."""
    name = parse_qs(request.body.decode())["StackName"][0]
    if name not in STACKS:
        return error("ValidationError", f"Stack with id {name} does not exist")
    outputs = "".join(
        f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
        for key, value in STACKS[name].items()
    )
    stack = (
        f"<StackName>{name}</StackName><StackStatus>UPDATE_COMPLETE</StackStatus>"
        f"<CreationTime>2026-11-21T12:00:00Z</CreationTime><Outputs>{outputs}</Outputs>"
    )
    return 200, (
        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
        f"{stack}</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
    ).encode()


def error(code: str, message: str, status: int = 400) -> tuple[int, bytes]:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    return status, body.encode()


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """An AWS account on loopback, and a shell with credentials for it."""
    with serving(cloudformation) as server:
        # boto3 keeps a session with the credentials that it once found.
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PARLEY_SANDBOX_DIR", str(tmp_path / "sandbox"))
        yield server


def test_an_environment_is_read_from_its_stacks(aws: Server, tmp_path: Path) -> None:
    environment = resolve("dev", "eu-central-1")

    assert environment.api_url == "https://abc.execute-api.eu-central-1.amazonaws.com"
    assert (environment.region, environment.documents_bucket) == ("eu-central-1", "documents-1")
    assert environment.tables == {"Knowledge": "knowledge-1"}
    assert environment.functions == {"Ingestion": "ingestion-1", "Retrieval": "retrieval-1"}
    assert (environment.user_pool_id, environment.user_pool_client_id) == ("eu-central-1_pool", "app")
    assert environment.folder.is_relative_to(tmp_path / "home")
    assert environment.demo is None
    assert all("/eu-central-1/cloudformation/" in asked.headers["authorization"] for asked in aws.asked)


def test_behind_cloudfront_tools_use_the_address_that_users_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STACKS, "Parley-dev-Web", {"WebUrl": "https://talk.example.com"})

    environment = resolve("dev", "eu-central-1")

    assert environment.api_url == "https://talk.example.com/api"
    assert environment.websocket_url == "wss://talk.example.com/ws"


def test_an_environment_is_where_cdk_json_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-southeast-1")

    assert locate("prod").region == "us-east-1"
    assert locate("prod", "eu-west-1").region == "eu-west-1"
    assert locate("dev").region == "ap-southeast-1"
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(OperationError, match="give --region"):
        locate("dev")


def test_a_place_knows_its_account_and_the_sandboxs_is_its_own(
    aws: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OperationError, match="No sandbox is up"):
        locate("local")
    _sandbox(tmp_path, aws.url)

    assert locate("local").is_sandbox
    assert not locate("dev", "eu-central-1").is_sandbox


def test_the_region_may_come_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-southeast-1")

    assert resolve("dev").region == "ap-southeast-1"


def test_the_sandbox_is_found_by_its_state(aws: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    _sandbox(tmp_path, aws.url)

    environment = resolve("local")

    assert environment.api_url == "http://127.0.0.1:8080/api"
    assert environment.folder == tmp_path / "sandbox"
    assert environment.demo is not None
    assert environment.demo.username == "demo@example.com"
    assert environment.client("s3").meta.endpoint_url == aws.url


def test_a_functions_settings_are_those_that_are_deployed(aws: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = resolve("dev", "eu-central-1")

    class Functions:
        def get_function_configuration(self, **request: str) -> dict[str, object]:
            assert request == {"FunctionName": "ingestion-1"}
            return {"Environment": {"Variables": {"VECTOR_STORE": "s3vectors"}}}

    monkeypatch.setattr("operations.environment.boto3.client", lambda service, **options: Functions())

    assert environment.function_settings("Ingestion") == {"VECTOR_STORE": "s3vectors"}
    with pytest.raises(OperationError, match="dev has no knowledge base"):
        environment.function_settings("Reindexing")


def test_a_function_that_cannot_be_read_is_one_sentence(aws: Server) -> None:
    environment = resolve("dev", "eu-central-1")
    # Lambda's request is a GET, which this account does not answer.
    with pytest.raises(OperationError, match=r"^The environment dev could not be read: "):
        environment.function_settings("Ingestion")


@pytest.mark.parametrize(
    ("name", "region", "said"),
    [
        ("qa", "eu-central-1", "No environment qa is deployed in eu-central-1: check --env, --region and AWS_PROFILE."),
        ("half", "eu-central-1", "The environment half is not wholly deployed (no HttpApiUrl): deploy it again."),
        ("dev", None, "The AWS region of dev is not known: give --region, or set AWS_REGION."),
        ("local", None, "No sandbox is up: run ./scripts/up first."),
    ],
)
def test_an_environment_that_is_not_there_is_one_sentence(name: str, region: str | None, said: str) -> None:
    with pytest.raises(OperationError, match=f"^{re.escape(said)}$"):
        resolve(name, region)


def test_missing_credentials_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(OperationError, match=r"^There are no AWS credentials for dev: sign in, or set AWS_PROFILE\.$"):
        resolve("dev", "eu-central-1")


def test_an_unknown_profile_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(OperationError, match=r"nobody.* could not be found: check AWS_PROFILE\.$"):
        resolve("dev", "eu-central-1")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ExpiredToken", r"^The AWS credentials for dev are not valid or have expired: sign in again\.$"),
        ("AccessDenied", r"^The environment dev could not be read: .*Not for you"),
    ],
)
def test_refused_credentials_are_one_sentence(aws: Server, code: str, said: str) -> None:
    aws.answer = lambda request: error(code, "Not for you", 403)
    with pytest.raises(OperationError, match=said):
        resolve("dev", "eu-central-1")


def test_a_sandbox_that_has_stopped_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    _sandbox(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(OperationError, match=r"^The sandbox is not running: run \./scripts/up\.$"):
        resolve("local")


def _sandbox(tmp_path: Path, aws_endpoint: str) -> None:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    outputs = {
        "http_url": "http://127.0.0.1:8080/api",
        "aws_endpoint": aws_endpoint,
        "region": "us-east-1",
        "username": "demo@example.com",
        "password": "a password",
    }
    (folder / "outputs.json").write_text(json.dumps(outputs))
