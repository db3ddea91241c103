"""Audio frames through the deployed WebSocket API: API Gateway's template and DynamoDB's own rules, no function."""

import base64
import json
import time
from typing import Any

import pytest

from tests.sandbox.people import Connected, Person, Sandbox

PCM = bytes(range(256)) * 11 + bytes(64)
FRAME = base64.b64encode(PCM).decode()


def kept(sandbox: Sandbox, session_id: str) -> dict[Any, dict[str, Any]]:
    """The session's frames by their number, as DynamoDB holds them."""
    pages = (
        sandbox.aws("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=sandbox.outputs_of("Data")["AudioFramesTableName"],
            KeyConditionExpression="session_id = :session",
            ExpressionAttributeValues={":session": {"S": session_id}},
            ConsistentRead=True,
        )
    )
    return {item["seq"]["N"]: item for page in pages for item in page["Items"]}


def settle(connected: Connected) -> None:
    """Return when what was sent before has been handled; a frame has no answer of its own."""
    connected.send("ping")
    assert connected.receive("pong")["type"] == "pong"
    time.sleep(0.5)


def test_a_minute_of_frames_is_kept_whole_under_the_tickets_session(sandbox: Sandbox, user: Person) -> None:
    ticket = user.ticket()
    with user.connected(ticket["ticket"]) as connected:
        for seq in range(1, 668):
            connected.send("audio", seq=seq, data=FRAME)
        settle(connected)
        frames = kept(sandbox, ticket["session_id"])

    assert sorted(map(int, frames)) == list(range(1, 668))
    assert {frame["data"]["B"] for frame in frames.values()} == {PCM}
    frame = frames["667"]
    assert set(frame) == {"session_id", "seq", "data", "connection_id", "received_at", "expires_at"}
    assert abs(int(frame["received_at"]["N"]) / 1000 - time.time()) < 60
    assert 3500 < int(frame["expires_at"]["N"]) - time.time() <= 3600


def test_a_frame_is_written_once(sandbox: Sandbox, user: Person) -> None:
    ticket = user.ticket()
    with user.connected(ticket["ticket"]) as connected:
        connected.send("audio", seq=1, data=FRAME)
        settle(connected)
        connected.send("audio", seq=1, data=base64.b64encode(b"another").decode())
        settle(connected)

    assert kept(sandbox, ticket["session_id"])["1"]["data"]["B"] == PCM


def test_frames_go_on_under_the_session_over_a_new_connection(sandbox: Sandbox, user: Person) -> None:
    ticket = user.ticket()
    with user.connected(ticket["ticket"]) as connected:
        connected.send("audio", seq=1, data=FRAME)
        settle(connected)
    again = user.ticket(session_id=ticket["session_id"])
    with user.connected(again["ticket"]) as connected:
        connected.send("audio", seq=2, data=FRAME)
        settle(connected)

    frames = kept(sandbox, ticket["session_id"])
    assert set(frames) == {"1", "2"}
    assert frames["1"]["connection_id"] != frames["2"]["connection_id"]


HOSTILE: dict[str, dict[str, Any]] = {
    "an attribute of one's own": {"seq": '1"}, "owner": {"S": "me', "data": FRAME},
    "another session": {"seq": 1, "data": 'AA=="}, "session_id": {"S": "theirs"}, "x": {"S": "'},
    "another table": {"seq": 1, "data": 'AA=="}}, "TableName": "x", "Item": {"session_id": {"S": "theirs'},
    "a quote": {"seq": 1, "data": "it's"},
    "an object for a number": {"seq": {"N": "1"}, "data": FRAME},
    "an object for data": {"seq": 1, "data": {"B": FRAME}},
    "a list": {"seq": [1], "data": [FRAME]},
    "a word for a number": {"seq": "one", "data": FRAME},
    "no number": {"data": FRAME},
    "nothing": {},
    "not base64": {"seq": 1, "data": "!!!!"},
}


@pytest.mark.parametrize("fields", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_frame_leaves_no_trace_and_the_next_one_passes(
    sandbox: Sandbox, user: Person, fields: dict[str, Any]
) -> None:
    ticket = user.ticket()
    with user.connected(ticket["ticket"]) as connected:
        connected.send("audio", **fields)
        # No answer, not even an error: the next message is the pong.
        settle(connected)
        connected.send("audio", seq=9, data=FRAME)
        settle(connected)

    assert set(kept(sandbox, ticket["session_id"])) == {"9"}
    assert kept(sandbox, "theirs") == {}


def test_a_frame_without_data_is_an_empty_one_for_the_worker_to_refuse(sandbox: Sandbox, user: Person) -> None:
    ticket = user.ticket()
    with user.connected(ticket["ticket"]) as connected:
        connected.send("audio", seq=1)
        settle(connected)

    # DynamoDB takes an empty binary where it is no key.
    assert kept(sandbox, ticket["session_id"])["1"]["data"]["B"] == b""


def test_the_body_does_not_choose_the_session(sandbox: Sandbox, user: Person) -> None:
    ticket, theirs = user.ticket(), sandbox.new_user().ticket()["session_id"]
    with user.connected(ticket["ticket"]) as connected:
        connected.send("audio", seq=1, data=FRAME, session_id=theirs, connection_id="x", expires_at=1)
        settle(connected)

    assert set(kept(sandbox, ticket["session_id"])) == {"1"}
    assert kept(sandbox, theirs) == {}


def test_a_frame_as_large_as_a_frame_may_be_is_kept(sandbox: Sandbox, user: Person) -> None:
    ticket = user.ticket()
    room = 32 * 1024 - len(json.dumps({"action": "audio", "seq": 1, "data": ""}))
    data = "A" * (room // 4 * 4)
    with user.connected(ticket["ticket"]) as connected:
        connected.send("audio", seq=1, data=data)
        settle(connected)

    assert len(kept(sandbox, ticket["session_id"])["1"]["data"]["B"]) == len(data) // 4 * 3
