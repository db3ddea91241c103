"""`scripts/api-key` and the authorizer that checks its keys, over the sandbox's own table."""

import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from parley.aws import clients
from parley.functions import api_key_authorizer

from sandbox.state import PROJECT
from tests.sandbox.people import Sandbox
from tests.unit.conversation_doubles import Context


@pytest.fixture(autouse=True)
def authorizer(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is the authorizer."""
    monkeypatch.setenv("CREDENTIALS_TABLE", sandbox.outputs_of("Data")["CredentialsTableName"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", sandbox.outputs["aws_endpoint"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", sandbox.outputs["region"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "000000000000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Parley")
    for made_once in (clients.dynamodb, api_key_authorizer.credentials):
        made_once.cache_clear()
    yield
    for made_once in (clients.dynamodb, api_key_authorizer.credentials):
        made_once.cache_clear()


def test_a_key_names_its_owner_until_it_is_revoked(sandbox: Sandbox) -> None:
    owner = f"owner-{uuid.uuid4().hex[:8]}"
    key = _api_key("issue", "--owner", owner, "--label", "a laptop", "--group", "curators").split()[-1]
    _, key_id, secret = key.split("_")

    assert _authorize(f"Bearer {key}") == {
        "isAuthorized": True,
        "context": {"subject": owner, "groups": "curators"},
    }
    assert _authorize(f"Bearer parley_{key_id}_{'0' * len(secret)}") == {"isAuthorized": False}
    assert _authorize(key) == {"isAuthorized": False}
    listed = _api_key("list")
    assert owner in listed
    assert secret not in listed

    _api_key("revoke", key_id)

    assert _authorize(f"Bearer {key}") == {"isAuthorized": False}


def test_a_secret_is_not_in_the_store(sandbox: Sandbox) -> None:
    key = _api_key("issue", "--owner", "somebody", "--label", "test").split()[-1]
    table = sandbox.outputs_of("Data")["CredentialsTableName"]

    pages = sandbox.aws("dynamodb").get_paginator("scan").paginate(TableName=table)

    assert key.rsplit("_", 1)[1] not in str([item for page in pages for item in page["Items"]])


def _api_key(*arguments: str) -> str:
    command = [str(PROJECT / "scripts" / "api-key"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _authorize(header: str) -> Any:
    return api_key_authorizer.handler({"headers": {"authorization": header}, "requestContext": {}}, Context())
