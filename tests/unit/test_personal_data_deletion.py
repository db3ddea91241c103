"""A user is deleted through the functions that do it: everywhere, in steps, and made good where something fails."""

import json
from datetime import timedelta
from typing import Any

import pytest
from parley.aws import personal_data_records, personal_items
from parley.aws.connection_posts import ConnectionGone, ConnectionUnreachable
from parley.aws.idempotency import record_id
from parley.aws.items import to_item
from parley.aws.sessions import SessionTable
from parley.conversation.turns import RequestKey
from parley.errors import StoreUnavailable
from parley.knowledge.documents import owner_of
from parley.privacy.deletion import DeletionState, pseudonym

from tests.unit.personal_data_doubles import ADA, BOB, SENT, START, TURNS, World, world

__all__ = ["world"]


def test_a_deleted_user_leaves_nothing_but_the_record_of_it_and_nobody_else_loses_anything(world: World) -> None:
    before = world.everything()
    assert before.count(ADA) > 40
    status, deletion = world.http("DELETE", "/me")
    assert (status, deletion["state"]) == (202, "deleting")

    world.work_off()

    after = world.everything()
    assert ADA not in after
    assert world.conversations[ADA] not in after
    assert world.forgotten == [owner_of(ADA), owner_of(ADA)]
    assert world.closed == [f"c-{ADA}"]
    lines = [line for line in before.splitlines() if BOB in line or world.conversations[BOB] in line]
    assert len(lines) > 40
    assert set(lines) <= set(after.splitlines())
    remaining = [line for line in after.splitlines() if pseudonym(ADA) in line]
    assert len(remaining) == 1
    _, shown = world.http("GET", "/me/deletion")
    assert shown["state"] == "done"
    assert shown["finished_at"] > "2026-11-21T10:30"
    some = {"conversations": TURNS * 3 // 2 + 1, "sessions": 6, "account": 1, "credentials": 2}
    assert some.items() <= shown["deleted"].items()
    assert world.accounts == {BOB}


def test_what_was_under_way_is_found_when_it_is_looked_again(world: World) -> None:
    world.http("DELETE", "/me")
    [(body, _)] = SENT
    SENT.clear()
    assert world.run(body) == []
    _, shown = world.http("GET", "/me/deletion")
    assert shown["state"] == "settling"
    # The worker of a call, which has not noticed yet; a call that had been taken up; an upload whose form was signed.
    world.s3.put_object(Bucket="audio", Key=f"session-{ADA}/20261121T090100000Z_output.wav", Body=b"late")
    SessionTable("sessions", world.dynamodb, retention_days=30).create("late", ADA)
    world.s3.put_object(Bucket="documents", Key=f"documents/{owner_of(ADA)}/late/late.md", Body=b"late")

    world.work_off()

    assert ADA not in world.everything()
    _, shown = world.http("GET", "/me/deletion")
    assert shown["state"] == "done"
    # Found at the first look; a second one found nothing.
    assert world.now >= START + timedelta(minutes=90)


def test_a_deletion_is_waited_for_in_steps_that_the_queue_takes(world: World) -> None:
    world.http("DELETE", "/me")
    bodies = 0
    while SENT:
        [(body, delay)] = SENT
        SENT.clear()
        assert delay <= 900
        world.now += timedelta(seconds=delay)
        world.run(body)
        bodies += 1
    assert bodies >= 6


def test_a_deletion_goes_on_where_its_time_ended(world: World) -> None:
    world.http("DELETE", "/me")
    [(body, _)] = SENT
    SENT.clear()

    assert world.run(body, left=[900.0, 900.0, 30.0]) == []

    _, shown = world.http("GET", "/me/deletion")
    assert shown["state"] == "deleting"
    assert 0 < sum(shown["deleted"].values()) < 10
    assert [(body, 1)] == SENT or [(body, 0)] == SENT
    world.work_off()
    assert ADA not in world.everything()
    _, shown = world.http("GET", "/me/deletion")
    assert shown["deleted"]["conversations"] == TURNS * 3 // 2 + 1


def test_asking_twice_is_asking_once(world: World) -> None:
    first, second = world.http("DELETE", "/me"), world.http("DELETE", "/me")
    assert first == second
    world.work_off()
    assert ADA not in world.everything()
    status, again = world.http("DELETE", "/me")
    assert (status, again["state"]) == (202, "deleting")


def test_one_failing_place_is_tried_again_and_given_up_at_last_and_can_be_resumed(world: World) -> None:
    world.connection_failure = ConnectionUnreachable("no answer")
    world.http("DELETE", "/me")
    [(body, _)] = SENT
    SENT.clear()
    assert world.run(body) == [{"itemIdentifier": "m-1"}]
    assert world.http("GET", "/me/deletion")[1]["state"] == "deleting"

    assert world.run(body, attempt=10) == []

    assert world.http("GET", "/me/deletion")[1]["state"] == "failed"
    assert [message["Body"] for message in world.messages(world.dead_letters)] == [body]
    world.connection_failure = ConnectionGone()
    SENT.append((body, 0))
    world.work_off()
    assert ADA not in world.everything()
    assert world.http("GET", "/me/deletion")[1]["state"] == "done"


def test_a_message_that_asks_for_nothing_is_buried(world: World) -> None:
    assert world.run('{"job": "mischief", "subject": "x"}') == []
    assert len(world.messages(world.dead_letters)) == 1


def test_an_unexpected_failure_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("What nobody foresaw")

    monkeypatch.setattr(personal_items.Sessions, "erase", fail)
    assert world.run(json.dumps({"job": "deletion", "subject": ADA})) == []
    world.http("DELETE", "/me")
    assert world.run(SENT[0][0]) == [{"itemIdentifier": "m-1"}]


def test_the_record_of_a_deletion_ends_too(world: World) -> None:
    world.http("DELETE", "/me")
    key = to_item({"pk": f"deletion#{pseudonym(ADA)}", "sk": "deletion"})
    item = world.dynamodb.get_item(TableName="conversations", Key=key)["Item"]
    seconds = int(item["expires_at"]["N"]) - START.timestamp()
    assert seconds == personal_data_records.DELETION_RECORD_SECONDS
    assert ADA not in repr(item)
    assert item["state"]["S"] == DeletionState.DELETING


def test_a_requests_record_is_found_where_powertools_keeps_it(world: World) -> None:
    ids = {item["id"]["S"] for item in world.dynamodb.scan(TableName="idempotency")["Items"]}
    assert ids == {record_id(s, RequestKey(key=f"{s}-{TURNS // 2 - 1}", fingerprint="").digest) for s in (ADA, BOB)}


def test_a_table_that_leaves_writes_undone_is_asked_again_and_given_up_at_last() -> None:
    class Busy:
        calls = 0

        def batch_write_item(self, *, RequestItems: Any) -> Any:
            self.calls += 1
            return {"UnprocessedItems": RequestItems}

    busy = Busy()
    table = personal_items.Table("t", busy, pause=lambda _: None)  # type: ignore[arg-type]  # the one call that is made
    with pytest.raises(StoreUnavailable):
        list(table.delete([{"pk": "x"}]))
    assert busy.calls == personal_items.WRITE_ATTEMPTS
