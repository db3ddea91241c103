"""Tickets and API keys through their functions: whom they let in, and nobody when they cannot look."""

from typing import Any

import pytest
from parley.aws.items import to_item
from parley.errors import StoreUnavailable

from tests.unit.conversation_doubles import Context
from tests.unit.text_function_doubles import ADA, BOB, Cloud, authorize, cloud, effect

__all__ = ["cloud"]


def test_a_ticket_is_for_one_connection_of_its_owner(cloud: Cloud) -> None:
    status, ticket, _ = cloud.http("tickets", "POST", "/tickets")
    assert (status, ticket["websocket_url"]) == (201, "wss://example.com/ws")
    policy = authorize(cloud, ticket["ticket"])
    assert effect(policy) == "Allow"
    context = {"subject": ADA, "session_id": ticket["session_id"], "groups": "", "address": ""}
    assert policy["context"] == context
    assert effect(authorize(cloud, ticket["ticket"])) == "Deny"
    assert effect(authorize(cloud, "unknown")) == effect(authorize(cloud, None)) == "Deny"


def test_a_session_goes_on_for_its_owner_alone(cloud: Cloud) -> None:
    session = cloud.http("tickets", "POST", "/tickets", {})[1]["session_id"]
    assert cloud.http("tickets", "POST", "/tickets", {"session_id": session})[1]["session_id"] == session
    assert cloud.http("tickets", "POST", "/tickets", {"session_id": session}, subject=BOB)[0] == 404
    assert cloud.http("tickets", "POST", "/tickets", {"session_id": ""})[0] == 404
    assert cloud.http("tickets", "POST", "/tickets", {"other": 1})[0] == 422


def test_authorizers_refuse_when_they_cannot_look(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("parley.aws.credentials.CredentialTable.redeem_ticket", busy)
    monkeypatch.setattr("parley.aws.credentials.CredentialTable.check_api_key", busy)
    assert effect(authorize(cloud, "x")) == "Deny"
    event = {"headers": {"Authorization": "Bearer parley_k_s"}}
    assert cloud.handler("api_key_authorizer")(event, Context()) == {"isAuthorized": False}


def test_an_api_key_authorizes_its_owner(cloud: Cloud) -> None:
    secret_sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    item = {"credential_id": "api-key#k", "owner": ADA, "secret_sha256": secret_sha256, "groups": "curators"}
    cloud.dynamodb.put_item(TableName="credentials", Item=to_item(item))
    handler = cloud.handler("api_key_authorizer")
    allowed = handler({"headers": {"authorization": "Bearer parley_k_secret"}}, Context())
    assert allowed == {"isAuthorized": True, "context": {"subject": ADA, "groups": "curators"}}
    for header in ("Bearer parley_k_wrong", "Basic parley_k_secret", "", "Bearer"):
        assert handler({"headers": {"authorization": header}}, Context()) == {"isAuthorized": False}
