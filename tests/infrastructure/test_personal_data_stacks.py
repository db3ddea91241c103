"""What exports and deletes users' data: a queue, its function, and the permissions of both."""

import json
from typing import Any

import pytest
from parley_constructs.knowledge_base import KnowledgeBase

from tests.infrastructure.assemblies import Assembly, Synth


@pytest.fixture
def dev(synth: Synth) -> Assembly:
    return synth("dev")


def function(assembly: Assembly, module: str) -> dict[str, Any]:
    """The function that runs a module of `parley.functions`."""
    handler = f"parley.functions.{module}.handler"
    [found] = [
        resource["Properties"]
        for _, resource in assembly.resources("AWS::Lambda::Function")
        if resource["Properties"]["Handler"] == handler
    ]
    return dict(found)


def statements(assembly: Assembly, module: str) -> list[dict[str, Any]]:
    """What the function's own policy admits."""
    role = function(assembly, module)["Role"]["Fn::GetAtt"][0]
    [policy] = [
        resource["Properties"]["PolicyDocument"]["Statement"]
        for _, resource in assembly.resources("AWS::IAM::Policy")
        if {"Ref": role} in resource["Properties"]["Roles"]
    ]
    return list(policy)


def actions(assembly: Assembly, module: str) -> set[str]:
    found: set[str] = set()
    for statement in statements(assembly, module):
        action = statement["Action"]
        found |= {action} if isinstance(action, str) else set(action)
    return found


def test_a_job_waits_in_a_queue_that_ends_in_a_dead_letter_queue(dev: Assembly) -> None:
    environment = function(dev, "personal_data_jobs")["Environment"]["Variables"]
    name, queue = next(
        (name.rsplit("/", 1)[1], resource["Properties"])
        for name, resource in dev.resources("AWS::SQS::Queue")
        if "PersonalData" in name and "RedrivePolicy" in resource["Properties"]
    )
    assert environment["PERSONAL_DATA_QUEUE_URL"] == {"Ref": name}
    assert queue["SqsManagedSseEnabled"] is True
    assert queue["VisibilityTimeout"] >= function(dev, "personal_data_jobs")["Timeout"] == 900
    # The function gives up, and notes it, before the queue would.
    assert queue["RedrivePolicy"]["maxReceiveCount"] > int(environment["MAX_DELIVERIES"])


def test_a_deletion_looks_again_when_the_last_token_and_the_last_call_have_ended(dev: Assembly) -> None:
    settle = int(function(dev, "personal_data_jobs")["Environment"]["Variables"]["SETTLE_SECONDS"])
    [client] = [resource["Properties"] for _, resource in dev.resources("AWS::Cognito::UserPoolClient")]
    minutes = {client["AccessTokenValidity"], client["IdTokenValidity"]}
    worker = function(dev, "voice_worker")["Timeout"]
    # A form for an upload is valid for a quarter of an hour; half of the time is kept for what a worker writes late.
    assert settle >= 60 * max(minutes) + max(worker, 900)
    assert settle / 2 >= worker


def test_who_deletes_may_delete_for_good_and_write_nothing_that_people_say(dev: Assembly) -> None:
    allowed = actions(dev, "personal_data_jobs")
    assert {"s3:DeleteObjectVersion", "s3:ListBucketVersions", "cognito-idp:AdminDeleteUser"} <= allowed
    assert allowed.isdisjoint({"dynamodb:*", "s3:*", "dynamodb:UpdateItem", "s3:DeleteBucket", "kms:Encrypt*"})
    for statement in statements(dev, "personal_data_jobs"):
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        assert "*" not in resources
        if "s3:PutObject" in statement["Action"]:
            assert all("/exports/*" in json.dumps(resource) for resource in resources)
        if "s3:DeleteObjectVersion" in statement["Action"]:
            assert all(json.dumps(resource).count("*") == 1 for resource in resources)


def test_who_asks_for_an_export_reads_exports_and_nothing_else(dev: Assembly) -> None:
    allowed = {action for action in actions(dev, "personal_data") if action.startswith(("s3:", "dynamodb:"))}
    assert allowed == {"s3:GetObject", "s3:ListBucket", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}
    [objects] = [it["Resource"] for it in statements(dev, "personal_data") if it["Action"] == "s3:GetObject"]
    assert "/exports/*" in json.dumps(objects)


def test_exports_end_after_a_week_in_every_version(dev: Assembly) -> None:
    rules = [
        rule
        for _, bucket in dev.resources("AWS::S3::Bucket")
        for rule in bucket["Properties"].get("LifecycleConfiguration", {}).get("Rules", [])
        if rule.get("Prefix") == "exports/"
    ]
    assert [(rule["ExpirationInDays"], rule["NoncurrentVersionExpiration"]["NoncurrentDays"]) for rule in rules] == [
        (7, 1)
    ]


def test_every_route_to_personal_data_asks_who_is_there(dev: Assembly) -> None:
    routes = {
        route["Properties"]["RouteKey"]: route["Properties"].get("AuthorizationType")
        for _, route in dev.resources("AWS::ApiGatewayV2::Route")
        if "/me" in route["Properties"]["RouteKey"]
    }
    assert routes == dict.fromkeys(("DELETE /me", "GET /me/deletion", "GET /me/export", "POST /me/export"), "JWT")


def test_an_index_of_files_is_forgotten_in_every_version(synth: Synth) -> None:
    local = synth("local")
    assert {"s3:DeleteObjectVersion", "s3:ListBucketVersions"} <= actions(local, "forgetting")
    assert "s3vectors:ListVectors" in actions(synth("dev"), "forgetting")


def test_without_documents_there_is_no_index_to_forget(synth: Synth) -> None:
    lean = synth("dev", enableRag=False)
    assert "FORGETTING_FUNCTION" not in function(lean, "personal_data_jobs")["Environment"]["Variables"]
    assert not any(
        "forgetting" in resource["Properties"].get("Handler", "")
        for _, resource in lean.resources("AWS::Lambda::Function")
    )


def test_with_api_keys_there_is_no_account_to_delete(synth: Synth) -> None:
    keys = synth("dev", auth="api-key")
    assert "USER_POOL_ID" not in function(keys, "personal_data_jobs")["Environment"]["Variables"]
    assert "cognito-idp:AdminDeleteUser" not in actions(keys, "personal_data_jobs")


def test_whoever_has_no_forgetting_handler_is_told_so() -> None:
    class Lacking:
        forgetting_function = None

    with pytest.raises(ValueError, match="forgetting_handler"):
        KnowledgeBase.grant_forget(Lacking(), None)  # type: ignore[arg-type]  # as little as the method looks at


@pytest.mark.parametrize("env", ["dev", "local"])
def test_the_rule_packs_find_nothing(synth: Synth, env: str) -> None:
    found = [finding for finding in synth(env).findings if "PersonalData" in repr(finding) or "Forget" in repr(finding)]
    assert found == []
