"""A session's item in DynamoDB: its lease, what only its holder writes, and the turns that are fenced by it."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from moto import mock_aws
from parley.aws.audio_frames_table import AudioFramesTable
from parley.aws.content_encryption import ContentCipher
from parley.aws.conversation_table import ConversationTable
from parley.aws.live_sessions import LiveSessions, SessionLease, SessionSeal
from parley.aws.session_routes import SessionRoutes, VoiceRequest
from parley.aws.sessions import SessionTable
from parley.conversation.errors import AlreadyAnswered
from parley.conversation.store import Exchange
from parley.conversation.turns import RequestKey
from parley.errors import ParleyError, StoreUnavailable
from parley.speech.lease import InboxMessage, LeaseLost, Played

from tests.unit.conversation_doubles import Clock, turn
from tests.unit.dynamodb_calls import Calls

ADA = "ada-0001"


def wait[T](work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@dataclass
class Cloud:
    dynamodb: Any
    kms: Any
    key_arn: str
    clock: Clock = field(default_factory=Clock)

    def begin(self, connection_id: str = "c-1", **request: Any) -> SessionRoutes:
        """A voice session as the routes begin it."""
        routes = SessionRoutes("sessions", self.dynamodb, clock=self.clock)
        wanted = VoiceRequest(engine="nova-sonic", language="en-US", **request)
        assert routes.start_voice("s-1", routes.find("s-1", ADA), connection_id, wanted)
        return routes

    def acquire(self, owner: str) -> SessionLease | None:
        return wait(LiveSessions("sessions", Calls(self.dynamodb), clock=self.clock).acquire("s-1", owner))

    def lease(self, owner: str = "worker-1") -> SessionLease:
        lease = self.acquire(owner)
        assert lease is not None
        return lease

    def store(self, lease: SessionLease | None, client: Any = None) -> ConversationTable:
        cipher = ContentCipher(self.key_arn, self.kms)
        return ConversationTable(
            "conversations",
            client or self.dynamodb,
            lambda: cipher,
            fence=lease.condition_check() if lease else None,
            clock=self.clock,
            pause=self.clock.sleep,
        )


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        dynamodb, kms = boto3.client("dynamodb"), boto3.client("kms")
        for name, keys in {
            "sessions": {"session_id": "S"},
            "conversations": {"pk": "S", "sk": "S"},
            "frames": {"session_id": "S", "seq": "N"},
        }.items():
            dynamodb.create_table(
                TableName=name,
                KeySchema=[
                    {"AttributeName": key, "KeyType": kind}  # type: ignore[typeddict-item]  # the two kinds there are
                    for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
                ],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind in keys.items()],  # type: ignore[typeddict-item]  # see above
                BillingMode="PAY_PER_REQUEST",
            )
        made = Cloud(dynamodb, kms, kms.create_key()["KeyMetadata"]["Arn"])
        SessionTable("sessions", dynamodb, retention_days=1, clock=made.clock).create("s-1", ADA)
        yield made


def test_a_session_without_voice_has_no_worker(cloud: Cloud) -> None:
    assert cloud.acquire("worker-1") is None
    assert wait(LiveSessions("sessions", Calls(cloud.dynamodb)).acquire("unknown", "worker-1")) is None


def test_the_lease_is_one_workers_until_it_runs_out(cloud: Cloud) -> None:
    cloud.begin()
    first = cloud.lease()
    assert cloud.acquire("worker-2") is None
    cloud.clock.sleep(8)
    wait(first.renew())
    cloud.clock.sleep(8)
    assert cloud.acquire("worker-2") is None
    cloud.clock.sleep(3)
    second = cloud.lease("worker-2")
    assert second.epoch == first.epoch + 1
    for write in (
        first.renew(),
        first.session(),
        first.announce(1),
        first.save_progress(answered_seq=1, pending=None, conversation_id=None),
        first.release(state="handing_over"),
    ):
        with pytest.raises(LeaseLost):
            wait(write)
    assert wait(second.session()).epoch == second.epoch


def test_a_repeated_acquisition_of_the_same_worker_is_no_refusal(cloud: Cloud) -> None:
    cloud.begin()
    cloud.lease()
    assert cloud.acquire("worker-1") is not None


def test_a_session_that_was_given_up_is_free_at_once_and_one_that_ended_is_nobodys(cloud: Cloud) -> None:
    cloud.begin()
    wait(cloud.lease("worker-1").release(state="handing_over"))
    second = cloud.lease("worker-2")
    wait(second.release(state="ended"))
    assert cloud.acquire("worker-3") is None
    with pytest.raises(LeaseLost):
        wait(second.session())
    # The client comes again: the session goes on, and frames count on.
    cloud.begin("c-2")
    assert wait(cloud.lease("worker-3").session()).connection_id == "c-2"


def test_a_worker_sees_what_the_routes_write_and_they_see_it(cloud: Cloud) -> None:
    routes = cloud.begin(voice="tiffany", conversation_id="c" * 28, last_seq=7)
    lease = cloud.lease()
    routes.add_to_inbox("s-1", "c-1", InboxMessage("m-1", "text", "Hello", "m-1"))
    routes.add_to_inbox("s-1", "c-1", InboxMessage("m-2", "end"))
    routes.report_played("s-1", "c-1", Played("t-1", 250))
    session = wait(lease.session())
    assert (session.subject, session.connection_id, session.connection_number) == (ADA, "c-1", 1)
    assert (session.voice, session.conversation_id, session.last_seq) == ("tiffany", "c" * 28, 7)
    assert (session.answered_seq, session.pending, session.announced_number) == (0, None, 0)
    assert session.inbox == (InboxMessage("m-1", "text", "Hello", "m-1"), InboxMessage("m-2", "end"))
    assert session.played == Played("t-1", 250)
    assert not routes.is_live(routes.find("s-1", ADA), 1)
    wait(lease.announce(1))
    assert routes.is_live(routes.find("s-1", ADA), 1)


def test_progress_is_kept_with_the_messages_it_takes(cloud: Cloud) -> None:
    routes = cloud.begin()
    lease = cloud.lease()
    routes.add_to_inbox("s-1", "c-1", InboxMessage("m-1", "text", "Hello"))
    routes.add_to_inbox("s-1", "c-1", InboxMessage("m-2", "text", "Again"))

    def progress(pending: bytes | None) -> None:
        work = lease.save_progress(answered_seq=9, pending=pending, conversation_id="c" * 28, taken=["m-1"])
        wait(work)

    progress(b"sealed")
    # The SDK may send a write twice: the second message must not go with it.
    progress(b"sealed")
    session = wait(lease.session())
    assert (session.answered_seq, session.pending, session.conversation_id) == (9, b"sealed", "c" * 28)
    assert [message.id for message in session.inbox] == ["m-2"]
    progress(None)
    assert wait(lease.session()).pending is None
    # One that is not the first is found.
    routes.add_to_inbox("s-1", "c-1", InboxMessage("m-3", "text", "And again"))
    wait(lease.save_progress(answered_seq=9, pending=None, conversation_id=None, taken=["m-3"]))
    assert [message.id for message in wait(lease.session()).inbox] == ["m-2"]
    cloud.clock.sleep(11)
    cloud.lease("worker-2")
    with pytest.raises(LeaseLost):
        wait(lease.save_progress(answered_seq=9, pending=None, conversation_id=None, taken=["m-2"]))


def exchange(key: str = "s-1:t-1") -> Exchange:
    return Exchange(
        question=turn("user", "Hello?", medium="voice"),
        answer=turn("assistant", "Hello.", medium="voice"),
        title="Hello?",
        request=RequestKey(key=key, fingerprint="f"),
    )


def test_a_turn_is_stored_under_the_lease_and_once(cloud: Cloud) -> None:
    cloud.begin()
    store = cloud.store(cloud.lease())
    store.append(ADA, "c" * 28, exchange(), turn_count=0)
    with pytest.raises(AlreadyAnswered):
        store.append(ADA, "c" * 28, exchange(), turn_count=2)
    # A text turn came between: the next one finds its place after it.
    cloud.store(None).append(ADA, "c" * 28, exchange("text"), turn_count=2)
    store.append(ADA, "c" * 28, exchange("s-1:t-2"), turn_count=2)
    assert store.history(ADA, "c" * 28, 10).turn_count == 6
    assert {stored.medium for stored in store.turns(ADA, "c" * 28)} == {"voice"}


def test_a_stale_workers_turn_is_refused(cloud: Cloud) -> None:
    cloud.begin()
    stale = cloud.store(cloud.lease())
    cloud.clock.sleep(11)
    fresh = cloud.store(cloud.lease("worker-2"))
    with pytest.raises(LeaseLost):
        stale.append(ADA, "c" * 28, exchange(), turn_count=0)
    fresh.append(ADA, "c" * 28, exchange(), turn_count=0)
    assert fresh.history(ADA, "c" * 28, 10).turn_count == 2


def test_what_is_kept_on_a_session_is_sealed_for_it_alone(cloud: Cloud) -> None:
    cipher = ContentCipher(cloud.key_arn, cloud.kms)
    sealed = SessionSeal(lambda: cipher, ADA, "s-1").seal(b"What was said")
    assert b"What was said" not in sealed
    assert SessionSeal(lambda: cipher, ADA, "s-1").open(sealed) == b"What was said"
    with pytest.raises(ParleyError):
        SessionSeal(lambda: cipher, ADA, "s-2").open(sealed)


def put(cloud: Cloud, seq: int, data: bytes = bytes(2880), session_id: str = "s-1") -> None:
    cloud.dynamodb.put_item(
        TableName="frames",
        Item={
            "session_id": {"S": session_id},
            "seq": {"N": str(seq)},
            "data": {"B": data},
            "connection_id": {"S": "c-1"},
            "received_at": {"N": "1700000000123"},
        },
    )


def test_frames_are_read_by_their_numbers(cloud: Cloud) -> None:
    for seq in (1, 2, 4):
        put(cloud, seq)
    put(cloud, 3, session_id="s-2")
    relay = AudioFramesTable("frames", Calls(cloud.dynamodb), "s-1")
    assert wait(relay.read([3])) == {}
    frame = wait(relay.read([2]))[2]
    assert (frame.seq, frame.data, frame.connection_id, frame.received_at) == (2, bytes(2880), "c-1", 1700000000.123)
    assert sorted(wait(relay.read([1, 2, 3, 4, 5]))) == [1, 2, 4]


def test_a_frame_without_a_byte_is_read_too_so_that_it_can_be_refused(cloud: Cloud) -> None:
    put(cloud, 1, data=b"")
    relay = AudioFramesTable("frames", Calls(cloud.dynamodb), "s-1")
    assert wait(relay.read([1]))[1].data == b""


@dataclass
class Throttling:
    """Leaves some keys of a batch unread, for `times` calls."""

    client: Any
    times: int

    def batch_get_item(self, RequestItems: Any) -> Any:
        keys = RequestItems["frames"]["Keys"]
        if self.times == 0:
            return self.client.batch_get_item(RequestItems=RequestItems)
        self.times -= 1
        found = self.client.batch_get_item(RequestItems={"frames": {"Keys": keys[:1]}})
        return {**found, "UnprocessedKeys": {"frames": {"Keys": keys[1:]}}}


def test_what_a_batch_leaves_out_is_read_again(cloud: Cloud) -> None:
    for seq in range(1, 5):
        put(cloud, seq)
    relay = AudioFramesTable("frames", Calls(Throttling(cloud.dynamodb, 2)), "s-1")
    assert sorted(wait(relay.read([1, 2, 3, 4]))) == [1, 2, 3, 4]
    relay = AudioFramesTable("frames", Calls(Throttling(cloud.dynamodb, 9)), "s-1")
    with pytest.raises(StoreUnavailable):
        wait(relay.read([1, 2, 3, 4, 5, 6]))
