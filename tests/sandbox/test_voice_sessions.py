"""Voice sessions of the deployed assistant: their workers start, are killed and replaced, and serve one client."""

import time
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.sandbox.people import Connected, Person, Sandbox

QUESTION = "How large may a WebSocket frame be?"


def start(connected: Connected, *, patience: float = 90, **fields: Any) -> dict[str, Any]:
    """The `session.ready` of a voice session; on a busy machine a worker may need more than its five seconds."""
    end = time.monotonic() + patience
    while True:
        connected.send("session.start", medium="voice", **fields)
        answer = connected.receive("session.ready")
        if answer["type"] == "session.ready":
            return answer
        assert answer["retryable"], answer
        assert time.monotonic() < end, answer


def answered(connected: Connected, question: str = QUESTION) -> dict[str, Any]:
    connected.send("text", message=question)
    return connected.receive("message.done")


def test_a_voice_session_answers_a_typed_message_by_voice_and_ends(user: Person) -> None:
    with user.connected() as connected:
        ready = start(connected)
        assert (ready["engine"], ready["language"], ready["next_seq"]) == ("nova-sonic", "en-US", 1)

        connected.send("text", message=QUESTION, request_id="request-1")
        assert connected.receive("audio")["data"]
        done = connected.receive("message.done")
        assert done["request_id"] == "request-1"
        assert "32 KB" in done["message"]
        assert done["medium"] == "voice"
        connected.send("session.end")
        assert connected.receive("session.ended")["type"] == "session.ended"
    assert [each["conversation_id"] for each in user.conversations()] == [done["conversation_id"]]


def test_audio_that_is_none_is_answered_and_the_session_goes_on(user: Person) -> None:
    with user.connected() as connected:
        start(connected)
        connected.send("audio", seq=1, data="")

        refused = connected.receive()
        assert (refused["code"], refused["retryable"]) == ("audio_invalid", False)
        assert connected.receive("ack")["seq"] == 1
        assert "32 KB" in answered(connected)["message"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"language": "vi-VN"}, "language_unsupported"), ({"engine": "gemini-live"}, "validation_failed")],
)
def test_what_is_not_spoken_here_is_refused(user: Person, fields: dict[str, str], code: str) -> None:
    with user.connected() as connected:
        connected.send("session.start", medium="voice", **fields)

        assert connected.receive("session.ready")["code"] == code


def test_the_newer_of_two_clients_gets_the_session_and_the_older_is_told(user: Person) -> None:
    ticket = user.ticket()
    with user.connected(ticket["ticket"]) as older:
        start(older)
        again = user.ticket(session_id=ticket["session_id"])
        with user.connected(again["ticket"]) as newer:
            start(newer, last_seq=0)

            assert older.receive("session.ended")["reason"] == "replaced"
            with pytest.raises(ConnectionClosed) as closing:
                older.socket.recv(timeout=10)
            assert closing.value.rcvd is not None
            assert closing.value.rcvd.code == 1000
            assert "32 KB" in answered(newer)["message"]


@pytest.mark.alone
def test_a_killed_worker_is_replaced_by_a_ping_and_the_session_goes_on(sandbox: Sandbox, user: Person) -> None:
    with user.connected() as connected:
        start(connected)
        first = answered(connected)
        killed = time.monotonic()
        for worker in sandbox.running("voice_worker"):
            worker.kill()

        connected.send("text", message=QUESTION)
        connected.send("ping")
        while (message := connected.receive("pong", "audio"))["type"] == "pong":
            assert time.monotonic() < killed + 60, "nobody answers any more"
            time.sleep(1)
            connected.send("ping")
        assert message["type"] == "audio", message
        done = connected.receive("message.done")

    assert done["turn_id"] != first["turn_id"]
    assert done["conversation_id"] == first["conversation_id"]


@pytest.mark.alone
def test_twenty_calls_have_a_worker_each(sandbox: Sandbox, user: Person) -> None:
    with ExitStack() as calls:
        connections = [calls.enter_context(user.connected()) for _ in range(20)]
        for connected in connections:
            start(connected)
        workers = sandbox.running("voice_worker")
        for connected in connections:
            connected.send("session.end")
        for connected in connections:
            assert connected.receive("session.ended")["type"] == "session.ended"

    assert len(workers) >= 20, "a call waits for another one's worker"
