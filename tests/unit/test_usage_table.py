"""Counters in DynamoDB: none is lost, windows end, and whatever fails is said in one way, soon."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from parley.aws.usage_table import UsageTable
from parley.conversation.quotas import DayUsage, OwnLimits
from parley.errors import StoreUnavailable

DAY = "2026-11-21"


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("dynamodb", "us-east-1")
        client.create_table(
            TableName="usage",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


@pytest.fixture
def usage(dynamodb: Any) -> UsageTable:
    return UsageTable("usage", dynamodb, clock=lambda: 1_000_000.0)


def test_requests_are_counted_for_each_minute(usage: UsageTable, dynamodb: Any) -> None:
    assert [usage.count_request("ada#requests", f"{DAY}T09:30Z") for _ in range(3)] == [1, 2, 3]
    assert usage.count_request("ada#requests", f"{DAY}T09:31Z") == 1
    items = dynamodb.scan(TableName="usage")["Items"]
    assert {item["expires_at"]["N"] for item in items} == {"1000120"}


def test_a_count_is_one_atomic_call(dynamodb: Any) -> None:
    calls: list[str] = []
    dynamodb.meta.events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))
    usage = UsageTable("usage", dynamodb)
    usage.count_request("ada#requests", "minute")
    usage.add("ada", DAY, "documents", 1, below=2)
    usage.day("ada", DAY)
    assert calls == ["UpdateItem", "UpdateItem", "BatchGetItem"]


def test_a_day_is_what_was_added_to_it(usage: UsageTable) -> None:
    assert usage.day("ada", DAY) == DayUsage()
    assert usage.add("ada", DAY, "tokens", 120) == 120
    assert usage.add("ada", DAY, "tokens", 30) == 150
    usage.add("ada", DAY, "voice_seconds", 30)
    assert usage.day("ada", DAY) == DayUsage(tokens=150, voice_seconds=30)
    assert usage.day("ada", "2026-11-22") == usage.day("bob", DAY) == DayUsage()


def test_an_addition_may_have_a_bound(usage: UsageTable) -> None:
    assert [usage.add("ada", DAY, "documents", 1, below=2) for _ in range(3)] == [1, 2, None]
    assert usage.add("ada", DAY, "documents", -1) == 1
    assert usage.add("ada", DAY, "documents", 1, below=2) == 2


def test_operators_may_give_a_user_limits(usage: UsageTable, dynamodb: Any) -> None:
    key = {"pk": {"S": "ada#limits"}, "sk": {"S": "own"}}
    dynamodb.put_item(TableName="usage", Item={**key, "documents_per_day": {"N": "1"}, "note": {"S": "a pilot"}})
    usage.add("ada", DAY, "documents", 1)
    found = usage.day("ada", DAY)
    assert (found.documents, found.own_limits) == (1, OwnLimits(documents_per_day=1))


class Failing:
    """A client whose every call fails."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        def call(**_: Any) -> Any:
            raise self._failure

        return call


@pytest.mark.parametrize(
    "failure",
    [
        EndpointConnectionError(endpoint_url="x"),
        *(
            ClientError({"Error": {"Code": code}}, "UpdateItem")
            for code in ("ProvisionedThroughputExceededException", "AccessDeniedException", "ValidationException")
        ),
    ],
)
def test_whatever_fails_is_an_unavailable_store(failure: Exception) -> None:
    usage = UsageTable("usage", Failing(failure))
    for use in (
        lambda: usage.count_request("ada#requests", "minute"),
        lambda: usage.day("ada", DAY),
        lambda: usage.add("ada", DAY, "tokens", 1),
    ):
        with pytest.raises(StoreUnavailable):
            use()


def test_keys_that_were_left_unread_are_no_day() -> None:
    class Partial:
        def batch_get_item(self, **_: Any) -> Any:
            return {"Responses": {"usage": []}, "UnprocessedKeys": {"usage": {"Keys": [{}]}}}

    with pytest.raises(StoreUnavailable):
        UsageTable("usage", Partial()).day("ada", DAY)  # type: ignore[arg-type]  # a throttled client
