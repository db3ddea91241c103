"""Conversations in DynamoDB with their content encrypted: moto's tables and keys."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws
from parley.aws.content_encryption import ContentCipher, ContentUnreadable
from parley.aws.conversation_table import ConversationTable
from parley.conversation.errors import AlreadyAnswered, ConversationBusy, ConversationNotFound
from parley.conversation.store import Exchange
from parley.conversation.turns import RequestKey, Turn, Usage, new_id
from parley.errors import StoreUnavailable, ValidationFailed
from parley.knowledge.passages import Citation

from tests.unit.conversation_doubles import Clock, passage, turn

ADA, BOB = "ada-0001", "bob-0002"
KEY = RequestKey(key="key-1", fingerprint="f")
START = datetime(2026, 11, 21, tzinfo=UTC)
DAY = 86_400


@dataclass
class Cloud:
    dynamodb: Any
    kms: Any
    key_arn: str
    clock: Clock = field(default_factory=Clock)

    def cipher(self) -> ContentCipher:
        return ContentCipher(self.key_arn, self.kms)

    def store(self, client: Any = None) -> ConversationTable:
        cipher = self.cipher()
        return ConversationTable(
            "conversations",
            client or self.dynamodb,
            lambda: cipher,
            retention_days=30,
            clock=self.clock,
            pause=self.clock.sleep,
        )

    def items(self) -> list[dict[str, Any]]:
        return list(self.dynamodb.scan(TableName="conversations")["Items"])


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        dynamodb, kms = boto3.client("dynamodb"), boto3.client("kms")
        dynamodb.create_table(
            TableName="conversations",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        yield Cloud(dynamodb, kms, kms.create_key()["KeyMetadata"]["Arn"])


class Meddling:
    """A DynamoDB client that does something, or fails, before some of its calls."""

    def __init__(self, client: Any, operation: str, *before: Any) -> None:
        self._client, self._operation, self._before = client, operation, list(before)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name != self._operation:
            return call

        def meddled(**arguments: Any) -> Any:
            if self._before:
                first = self._before.pop(0)
                if isinstance(first, Exception):
                    raise first
                first()
            return call(**arguments)

        return meddled


def client_error(code: str, status: int = 400, **more: Any) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}
    return ClientError(response, "Operation")


def exchange(question: str = "Why?", answer: str = "So.", *, request: RequestKey | None = None) -> Exchange:
    said = turn(
        "assistant",
        answer,
        turn_id=new_id(START),
        citations=(Citation.of(passage(1, page=3), 1),),
        knowledge="used",
        model="m",
        usage=Usage(input_tokens=3, output_tokens=2, cost_usd=0.000012),
    )
    return Exchange(question=turn("user", question, turn_id=new_id(START)), answer=said, title="Why", request=request)


def begun(cloud: Cloud, *, subject: str = ADA, at: datetime = START, request: RequestKey | None = None) -> str:
    conversation_id = new_id(at)
    cloud.store().append(subject, conversation_id, exchange(request=request), turn_count=0)
    return conversation_id


def texts(turns: Any) -> list[str]:
    return [each.text for each in turns]


def test_what_is_stored_is_read_back_whole(cloud: Cloud) -> None:
    conversation_id = begun(cloud)
    first = exchange()
    found: list[Turn] = list(cloud.store().turns(ADA, conversation_id))
    assert texts(found) == ["Why?", "So."]
    assert (found[1].citations, found[1].usage, found[1].model, found[1].knowledge) == (
        first.answer.citations,
        first.answer.usage,
        "m",
        "used",
    )
    assert cloud.store().conversation(ADA, conversation_id).title == "Why"


def test_nothing_that_was_said_is_stored_in_clear(cloud: Cloud) -> None:
    conversation_id = new_id(START)
    secret = exchange("my secret question", "my secret answer", request=KEY)
    cloud.store().append(ADA, conversation_id, secret, turn_count=0)
    stored = repr(cloud.items())
    assert "secret" not in stored
    assert KEY.key not in stored


def test_history_is_the_last_turns_in_order(cloud: Cloud) -> None:
    conversation_id, store = begun(cloud), cloud.store()
    for n in range(1, 8):
        store.append(ADA, conversation_id, exchange(f"q{n}", f"a{n}"), turn_count=2 * n)
    history = store.history(ADA, conversation_id, 10)
    assert texts(history.turns) == [text for n in range(3, 8) for text in (f"q{n}", f"a{n}")]
    assert history.turn_count == 16


def test_turns_of_one_conversation_at_once_are_stored_one_after_the_other(cloud: Cloud) -> None:
    conversation_id = begun(cloud)

    def other() -> None:
        cloud.store().append(ADA, conversation_id, exchange("other", "turn"), turn_count=2)

    racing = cloud.store(Meddling(cloud.dynamodb, "transact_write_items", other))
    racing.append(ADA, conversation_id, exchange("mine", "too"), turn_count=2)
    assert texts(racing.turns(ADA, conversation_id)) == ["Why?", "So.", "other", "turn", "mine", "too"]
    assert racing.conversation(ADA, conversation_id).turn_count == 6


def test_a_conversation_deleted_during_a_turn_does_not_come_back(cloud: Cloud) -> None:
    conversation_id = begun(cloud)
    racing = cloud.store(
        Meddling(cloud.dynamodb, "transact_write_items", lambda: cloud.store().delete(ADA, conversation_id))
    )
    with pytest.raises(ConversationNotFound):
        racing.append(ADA, conversation_id, exchange(), turn_count=2)
    assert cloud.items() == []


def test_a_request_is_stored_once(cloud: Cloud) -> None:
    conversation_id = begun(cloud, request=KEY)
    with pytest.raises(AlreadyAnswered):
        cloud.store().append(ADA, new_id(START), exchange(request=KEY), turn_count=0)
    stored = cloud.store().answer_to(ADA, KEY)
    assert stored
    assert (stored.conversation_id, stored.turn.text, stored.fingerprint) == (conversation_id, "So.", "f")
    assert len([item for item in cloud.items() if item["sk"]["S"].startswith("turn#")]) == 2
    assert cloud.store().answer_to(BOB, KEY) is None


def test_the_answer_of_a_deleted_conversation_is_gone(cloud: Cloud) -> None:
    begun(cloud, request=KEY)
    turns = [item for item in cloud.items() if item["sk"]["S"].startswith("turn#")]
    for item in turns:
        cloud.dynamodb.delete_item(TableName="conversations", Key={name: item[name] for name in ("pk", "sk")})
    with pytest.raises(ConversationNotFound):
        cloud.store().answer_to(ADA, KEY)


def test_deleting_leaves_nothing_and_touches_nothing_else(cloud: Cloud) -> None:
    kept, store = begun(cloud), cloud.store()
    long = begun(cloud, at=START + timedelta(seconds=1), request=KEY)
    for n in range(1, 20):
        store.append(ADA, long, exchange(), turn_count=2 * n)
    store.delete(ADA, long)
    assert [c.conversation_id for c in store.page(ADA, 10, None).conversations] == [kept]
    assert {item["pk"]["S"] for item in cloud.items()} == {ADA, f"{ADA}#{kept}"}
    assert store.answer_to(ADA, KEY) is None
    with pytest.raises(ConversationNotFound):
        store.delete(ADA, long)


def test_a_deletion_takes_turns_that_arrive_meanwhile_with_it(cloud: Cloud) -> None:
    conversation_id = begun(cloud)

    def other() -> None:
        cloud.store().append(ADA, conversation_id, exchange(), turn_count=2)

    cloud.store(Meddling(cloud.dynamodb, "delete_item", other)).delete(ADA, conversation_id)
    assert cloud.items() == []


def test_a_deletion_that_broke_off_can_be_asked_for_again(cloud: Cloud) -> None:
    conversation_id = begun(cloud)
    broken = cloud.store(Meddling(cloud.dynamodb, "delete_item", client_error("InternalServerError", 500)))
    with pytest.raises(StoreUnavailable):
        broken.delete(ADA, conversation_id)
    cloud.store().delete(ADA, conversation_id)
    assert cloud.items() == []


def test_a_batch_that_is_never_taken_whole_is_an_error(cloud: Cloud) -> None:
    class Reluctant:
        def __getattr__(self, name: str) -> Any:
            if name == "batch_write_item":
                return lambda RequestItems: {"UnprocessedItems": RequestItems}
            return getattr(cloud.dynamodb, name)

    conversation_id = begun(cloud)
    with pytest.raises(StoreUnavailable):
        cloud.store(Reluctant()).delete(ADA, conversation_id)


def test_pages_hold_every_conversation_once_the_newest_first(cloud: Cloud) -> None:
    ids = [begun(cloud, at=START + timedelta(minutes=n)) for n in range(5)]
    begun(cloud, subject=BOB)
    seen, cursor = [], None
    while True:
        page = cloud.store().page(ADA, 2, cursor)
        seen += [conversation.conversation_id for conversation in page.conversations]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == ids[::-1]


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "AAAA", "é"])
def test_a_cursor_that_no_page_gave_is_refused(cloud: Cloud, cursor: str) -> None:
    with pytest.raises(ValidationFailed):
        cloud.store().page(ADA, 2, cursor)


def test_another_users_conversation_is_not_there(cloud: Cloud) -> None:
    conversation_id, store = begun(cloud), cloud.store()
    for act in (
        lambda: store.history(BOB, conversation_id, 10),
        lambda: store.conversation(BOB, conversation_id),
        lambda: store.delete(BOB, conversation_id),
        lambda: store.append(BOB, conversation_id, exchange(), turn_count=2),
    ):
        with pytest.raises(ConversationNotFound):
            act()
    assert list(store.turns(BOB, conversation_id)) == []


def test_what_has_expired_is_hidden_before_it_is_removed(cloud: Cloud) -> None:
    conversation_id = begun(cloud, request=KEY)
    cloud.clock.sleep(30 * DAY + 1)
    store = cloud.store()
    assert cloud.items()
    assert (store.page(ADA, 10, None).conversations, list(store.turns(ADA, conversation_id))) == ([], [])
    assert store.answer_to(ADA, KEY) is None
    with pytest.raises(ConversationNotFound):
        store.history(ADA, conversation_id, 10)


@pytest.mark.parametrize(
    "failure",
    [
        client_error("ProvisionedThroughputExceededException"),
        client_error("ThrottlingException"),
        client_error("InternalServerError", 500),
        ReadTimeoutError(endpoint_url="https://dynamodb"),
    ],
)
def test_a_store_that_throttles_or_fails_is_a_retryable_error(cloud: Cloud, failure: Exception) -> None:
    for operation in ("transact_write_items", "query"):
        store = cloud.store(Meddling(cloud.dynamodb, operation, failure))
        with pytest.raises(StoreUnavailable) as caught:
            store.append(ADA, new_id(START), exchange(), turn_count=0) if operation != "query" else store.history(
                ADA, new_id(START), 10
            )
        assert caught.value.retryable
    assert cloud.items() == []


def cancelled(*codes: str) -> ClientError:
    return client_error("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes])


def test_a_transaction_that_meets_another_tries_again(cloud: Cloud) -> None:
    meets = cancelled("TransactionConflict", "None", "None")
    conversation_id = new_id(START)
    cloud.store(Meddling(cloud.dynamodb, "transact_write_items", meets, meets)).append(
        ADA, conversation_id, exchange(), turn_count=0
    )
    assert cloud.store().conversation(ADA, conversation_id).turn_count == 2


def test_a_conversation_that_is_always_busy_is_a_retryable_error(cloud: Cloud) -> None:
    meets = [cancelled("TransactionConflict", "None", "None")] * 20
    with pytest.raises(ConversationBusy) as caught:
        cloud.store(Meddling(cloud.dynamodb, "transact_write_items", *meets)).append(
            ADA, new_id(START), exchange(), turn_count=0
        )
    assert caught.value.retryable


def test_a_transaction_that_is_always_throttled_is_a_busy_store(cloud: Cloud) -> None:
    throttled = [cancelled("None", "ThrottlingError", "None")] * 20
    with pytest.raises(StoreUnavailable):
        cloud.store(Meddling(cloud.dynamodb, "transact_write_items", *throttled)).append(
            ADA, new_id(START), exchange(), turn_count=0
        )


@pytest.mark.parametrize(
    "mistake", [client_error("AccessDeniedException"), cancelled("ValidationError", "None", "None")]
)
def test_a_mistake_in_a_call_is_not_called_a_busy_store(cloud: Cloud, mistake: ClientError) -> None:
    with pytest.raises(ClientError):
        cloud.store(Meddling(cloud.dynamodb, "transact_write_items", mistake)).append(
            ADA, new_id(START), exchange(), turn_count=0
        )


# Encryption

CONTEXT = {"subject": ADA, "conversation_id": "c"}


def test_content_moved_to_another_record_does_not_decrypt(cloud: Cloud) -> None:
    cipher = cloud.cipher()
    ciphertext = cipher.encrypt(b"hello", CONTEXT)
    assert cipher.decrypt(ciphertext, CONTEXT) == b"hello"
    for other in ({**CONTEXT, "subject": BOB}, {**CONTEXT, "conversation_id": "d"}):
        with pytest.raises(ContentUnreadable):
            cipher.decrypt(ciphertext, other)


@pytest.mark.parametrize("position", [0, 1, -1, -20])
def test_damaged_content_is_an_error_and_never_garbage(cloud: Cloud, position: int) -> None:
    cipher = cloud.cipher()
    damaged = bytearray(cipher.encrypt(b"hello", CONTEXT))
    damaged[position] ^= 1
    with pytest.raises(ContentUnreadable):
        cipher.decrypt(bytes(damaged), CONTEXT)


def test_a_message_that_ends_early_is_an_error(cloud: Cloud) -> None:
    cipher = cloud.cipher()
    whole = cipher.encrypt(b"hello" * 2000, CONTEXT)
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ContentUnreadable):
            cipher.decrypt(whole[:length], CONTEXT)


def test_ten_messages_are_not_ten_calls_to_kms(cloud: Cloud) -> None:
    calls: list[str] = []
    cloud.kms.meta.events.register("before-call.kms", lambda model, **_: calls.append(model.name))
    conversation_id, store = begun(cloud), cloud.store()
    for n in range(1, 6):
        store.append(ADA, conversation_id, exchange(), turn_count=2 * n)
    list(store.turns(ADA, conversation_id))
    assert calls.count("GenerateDataKey") == 2
    assert calls.count("Decrypt") <= 2


def test_a_key_service_that_fails_is_a_retryable_error(cloud: Cloud) -> None:
    ciphertext = cloud.cipher().encrypt(b"hello", CONTEXT)
    for failure in (client_error("ThrottlingException"), ReadTimeoutError(endpoint_url="https://kms")):

        def fail(failure: Exception = failure, **_: Any) -> None:
            raise failure

        cloud.kms.meta.events.register_first("before-parameter-build.kms", fail, unique_id="fail")
        with pytest.raises(StoreUnavailable):
            cloud.cipher().encrypt(b"hello", CONTEXT)
        with pytest.raises(StoreUnavailable):
            cloud.cipher().decrypt(ciphertext, CONTEXT)
        cloud.kms.meta.events.unregister("before-parameter-build.kms", unique_id="fail")
