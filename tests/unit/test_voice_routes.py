"""Voice sessions through the WebSocket function: moto's sessions table, and a worker that takes a session up or not."""

import importlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws import clients
from parley.aws.items import from_item, to_item
from parley.aws.session_routes import INBOX_MESSAGES, SessionRoutes, VoiceRequest
from parley.functions.voice_routes import TEXT_LENGTH, VoiceRoutes

from tests.unit.conversation_doubles import Context

ADA = "ada-0001"
WORKER = "voice-worker"


@dataclass
class Posts:
    """API Gateway's management API."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:
        self._check(ConnectionId)
        self.messages.append({"to": ConnectionId} | json.loads(Data))

    def delete_connection(self, *, ConnectionId: str) -> None:
        self._check(ConnectionId)
        self.closed.append(ConnectionId)

    def _check(self, connection_id: str) -> None:
        if connection_id in self.gone:
            raise ClientError({"Error": {"Code": "GoneException"}}, "PostToConnection")


@dataclass
class Cloud:
    """The function under test and what it calls; `worker_lives` says whether an invoked worker takes its session up."""

    dynamodb: Any
    posts: Posts = field(default_factory=Posts)
    worker_lives: bool = True
    invoked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    now: float = field(default_factory=time.time)

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:
        self.invoked.append((FunctionName, json.loads(Payload)))
        if FunctionName == WORKER and self.worker_lives:
            self.lease()
        return {"StatusCode": 202}

    @property
    def workers(self) -> list[dict[str, Any]]:
        return [order for name, order in self.invoked if name == WORKER]

    def lease(self, *, seconds: float = 10, **values: Any) -> None:
        """What a worker writes when it takes up the session."""
        lease = {"lease_until": round((self.now + seconds) * 1000), "announced_number": 1_000} | values
        self.put(state="live", **lease)

    def put(self, **values: Any) -> None:
        item = self.session() | values
        self.dynamodb.put_item(TableName="sessions", Item=to_item(item))

    def session(self, session_id: str = "s-1") -> dict[str, Any]:
        found = self.dynamodb.get_item(TableName="sessions", Key=to_item({"session_id": session_id}))
        return from_item(found["Item"])

    def send(self, message: dict[str, Any], *, connection: str = "c-1", subject: str = ADA) -> None:
        identity = {"subject": subject, "session_id": "s-1", "groups": ""}
        event = {
            "requestContext": {"connectionId": connection, "eventType": "MESSAGE", "authorizer": identity},
            "body": json.dumps(message),
        }
        answer = importlib.import_module("parley.functions.websocket").handler(event, Context())
        assert answer == {"statusCode": 200}

    def start(self, connection: str = "c-1", **values: Any) -> None:
        self.send({"action": "session.start", "medium": "voice", **values}, connection=connection)

    def told(self, connection: str = "c-1") -> list[dict[str, Any]]:
        return [message for message in self.posts.messages if message["to"] == connection]

    def refused(self, connection: str = "c-1") -> list[str]:
        return [message["code"] for message in self.told(connection) if message["type"] == "error"]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with mock_aws():
        for name, value in {
            "AWS_DEFAULT_REGION": "us-east-1",
            "POWERTOOLS_TRACE_DISABLED": "true",
            "POWERTOOLS_METRICS_NAMESPACE": "Parley",
            "POWERTOOLS_SERVICE_NAME": "test",
            "SESSIONS_TABLE": "sessions",
            "CONNECTIONS_TABLE": "connections",
            "RETENTION_DAYS": "30",
            "WEBSOCKET_CALLBACK_URL": "https://example.com/ws",
            "TURN_FUNCTION": "turn",
            "VOICE_WORKER_FUNCTION": WORKER,
            "VOICE_ENGINES": '["nova-sonic"]',
            "LANGUAGES": '["en-US", "de-DE"]',
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("RETRIEVAL_FUNCTION", "AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name, raising=False)
        clients.dynamodb.cache_clear()
        found = Cloud(clients.dynamodb())
        found.dynamodb.create_table(
            TableName="sessions",
            KeySchema=[{"AttributeName": "session_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "session_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        session = {"session_id": "s-1", "subject": ADA, "created_at": 1, "expires_at": round(found.now) + 3600}
        found.dynamodb.put_item(TableName="sessions", Item=to_item(session))
        websocket = importlib.import_module("parley.functions.websocket")
        for name in ("settings", "connections", "turns", "voice"):
            getattr(websocket, name).cache_clear()
        monkeypatch.setattr(clients, "connections_api", lambda url: found.posts)
        monkeypatch.setattr(clients, "lambda_", lambda *_: found)
        # A clock that stands while nobody waits, so that a worker that never comes is found out at once.
        build = VoiceRoutes.__init__

        def with_clock(routes: VoiceRoutes, sessions: SessionRoutes, *given: Any, **options: Any) -> None:
            sessions._clock = lambda: found.now

            def pass_time(seconds: float) -> None:
                found.now += seconds

            build(routes, sessions, *given, **options, pause=pass_time, now=lambda: found.now)

        monkeypatch.setattr(VoiceRoutes, "__init__", with_clock)
        yield found
        clients.dynamodb.cache_clear()
        for name in ("settings", "connections", "turns", "voice"):
            getattr(websocket, name).cache_clear()


def test_a_voice_session_starts_its_worker_and_is_this_connections(cloud: Cloud) -> None:
    cloud.start(language="de-DE", voice="tina", conversation_id="abc", last_seq=7)

    session = cloud.session()
    assert cloud.workers == [{"session_id": "s-1", "correlation_id": Context.aws_request_id}]
    # The worker knows the next frame, so `session.ready` is its to send.
    assert cloud.told() == []
    assert (session["medium"], session["engine"], session["language"]) == ("voice", "nova-sonic", "de-DE")
    assert (session["connection_id"], session["connection_number"], session["last_seq"]) == ("c-1", 1, 7)
    assert (session["voice"], session["conversation_id"]) == ("tina", "abc")


def test_the_first_language_is_spoken_unless_another_is_asked_for(cloud: Cloud) -> None:
    cloud.start()

    assert cloud.session()["language"] == "en-US"


def test_a_client_whose_worker_does_not_come_is_told_to_try_again(cloud: Cloud) -> None:
    cloud.worker_lives = False
    begun = cloud.now

    cloud.start()

    [error] = cloud.told()
    assert (error["code"], error["retryable"]) == ("session_unavailable", True)
    assert 5 <= cloud.now - begun < 6
    assert cloud.session()["state"] == "starting"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"language": "vi-VN"}, "language_unsupported"),
        ({"voice": "nobody"}, "language_unsupported"),
        ({"language": "de-DE", "voice": "matthew"}, "language_unsupported"),
        ({"engine": "cascade"}, "validation_failed"),
        ({"medium": "smell"}, "validation_failed"),
        ({"last_seq": -1}, "validation_failed"),
        ({"last_seq": "7"}, "validation_failed"),
        ({"voice": ""}, "validation_failed"),
        ({"session_id": "s-2"}, "not_found"),
    ],
)
def test_what_cannot_be_started_is_refused_and_starts_nothing(cloud: Cloud, values: dict[str, Any], code: str) -> None:
    cloud.start(**values)

    assert cloud.refused() == [code]
    assert cloud.workers == []
    assert "medium" not in cloud.session()


def test_nobody_starts_a_session_of_somebody_else_or_of_the_past(cloud: Cloud) -> None:
    cloud.send({"action": "session.start", "medium": "voice"}, subject="bob-0002")
    cloud.put(expires_at=round(cloud.now) - 1)
    cloud.start()

    assert cloud.refused() == ["not_found", "not_found"]
    assert cloud.workers == []


def test_a_client_that_comes_back_takes_the_session_over_from_its_former_connection(cloud: Cloud) -> None:
    cloud.start(language="de-DE", conversation_id="abc")
    cloud.start("c-2", last_seq=90)

    session = cloud.session()
    assert (session["connection_id"], session["connection_number"], session["last_seq"]) == ("c-2", 2, 90)
    assert (session["language"], session["conversation_id"]) == ("de-DE", "abc")
    assert cloud.told("c-1") == [{"to": "c-1", "type": "session.ended", "reason": "replaced"}]
    assert cloud.posts.closed == ["c-1"]
    assert len(cloud.workers) == 1, "the worker of the session lives: it takes up the new connection"


def test_a_former_connection_that_has_gone_is_no_hindrance(cloud: Cloud) -> None:
    cloud.start()
    cloud.posts.gone.add("c-1")

    cloud.start("c-2")

    assert cloud.refused("c-2") == []
    assert cloud.session()["connection_id"] == "c-2"


def test_the_same_connection_may_start_again(cloud: Cloud) -> None:
    cloud.start()
    cloud.start()

    assert cloud.posts.closed == []
    assert cloud.session()["connection_number"] == 2


@pytest.mark.parametrize("values", [{"language": "en-US"}, {"voice": "matthew"}, {"conversation_id": "other"}])
def test_a_session_stays_what_it_is_until_it_has_ended(cloud: Cloud, values: dict[str, Any]) -> None:
    cloud.start(language="de-DE", voice="tina", conversation_id="abc")
    cloud.start("c-2", **values)
    assert cloud.refused("c-2") == ["validation_failed"]

    cloud.put(state="ended", lease_until=0, answered_seq=40, inbox=[{"id": "1", "kind": "end"}])
    cloud.start("c-2", **values)

    session = cloud.session()
    assert session.items() >= values.items()
    assert session["answered_seq"] == 40, "frames go on counting"
    assert "inbox" not in session, "what was left for the old session does not end the new one"
    assert len(cloud.workers) == 2


def test_two_connections_at_the_same_moment_do_not_both_get_the_session(cloud: Cloud) -> None:
    routes = SessionRoutes("sessions", cloud.dynamodb)
    seen = routes.find("s-1", ADA)
    cloud.start("c-2")

    assert routes.start_voice("s-1", seen, "c-1", VoiceRequest(engine="nova-sonic", language="en-US")) is None
    assert cloud.session()["connection_id"] == "c-2"


def test_a_start_that_finds_the_session_changed_looks_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    find = SessionRoutes.find
    stale: list[Any] = []

    def find_late(routes: SessionRoutes, session_id: str, subject: str) -> Any:
        found = find(routes, session_id, subject)
        if len(stale) < disturbances:
            stale.append(found)
            # Another message of this client is handled between reading and writing.
            cloud.put(connection_number=found.connection_number + 1)
        return found

    monkeypatch.setattr(SessionRoutes, "find", find_late)
    disturbances = 1
    cloud.start()
    assert (cloud.refused(), cloud.session()["connection_number"]) == ([], 2)

    disturbances = 100
    cloud.start()
    assert cloud.refused() == ["conflict"]


def test_a_ping_starts_a_successor_of_a_dead_worker_once(cloud: Cloud) -> None:
    cloud.start()
    cloud.send({"action": "ping"})
    assert len(cloud.workers) == 1, "its worker lives"

    cloud.now += 11
    cloud.worker_lives = False
    cloud.send({"action": "ping"})
    cloud.send({"action": "ping"})
    assert len(cloud.workers) == 2, "the first has not had time to take the lease yet"

    cloud.now += 5
    cloud.send({"action": "ping"})
    assert len(cloud.workers) == 3
    assert [message["type"] for message in cloud.told()] == ["pong"] * 4


@pytest.mark.parametrize("case", ["text session", "ended", "another connection's"])
def test_a_ping_starts_no_worker_where_none_belongs(cloud: Cloud, case: str) -> None:
    if case == "text session":
        cloud.send({"action": "session.start"})
    else:
        cloud.start("c-2" if case == "another connection's" else "c-1")
        cloud.put(lease_until=0, state="ended" if case == "ended" else "live")
    before = len(cloud.workers)
    cloud.now += 60

    cloud.send({"action": "ping"})

    assert len(cloud.workers) == before


def test_what_was_played_is_noted_for_the_worker(cloud: Cloud) -> None:
    cloud.start()
    cloud.send({"action": "played", "turn_id": "t-1", "ms": 480})

    assert cloud.session()["played"] == {"turn_id": "t-1", "ms": 480}


@pytest.mark.parametrize("connection", ["c-1", "c-2"])
def test_what_was_played_elsewhere_or_in_no_session_is_refused(cloud: Cloud, connection: str) -> None:
    if connection == "c-2":
        cloud.start("c-1")
    cloud.send({"action": "played", "turn_id": "t-1", "ms": 480}, connection=connection)

    assert cloud.refused(connection) == ["session_not_started"]
    assert "played" not in cloud.session()


@pytest.mark.parametrize(("turn_id", "ms"), [("t", -1), ("", 1), ("t", 10**12), ("t", "1"), ("t", 1.5), ("x" * 200, 1)])
def test_a_report_that_is_none_is_refused(cloud: Cloud, turn_id: str, ms: Any) -> None:
    cloud.start()
    cloud.send({"action": "played", "turn_id": turn_id, "ms": ms})

    assert cloud.refused() == ["validation_failed"]


def test_text_in_a_voice_session_waits_for_its_worker(cloud: Cloud) -> None:
    cloud.start()
    cloud.send({"action": "text", "message": "How far is it?", "request_id": "r-1"})
    cloud.send({"action": "text", "message": "And back?"})

    first, second = cloud.session()["inbox"]
    assert first == {"id": "r-1", "kind": "text", "text": "How far is it?", "request_id": "r-1"}
    assert (second["kind"], second["text"]) == ("text", "And back?")
    assert len(second["id"]) == 28
    assert [name for name, _ in cloud.invoked] == [WORKER]


@pytest.mark.parametrize("case", ["no voice session", "ended", "another conversation"])
def test_text_outside_of_a_voice_session_is_a_text_turn(cloud: Cloud, case: str) -> None:
    if case != "no voice session":
        cloud.start(conversation_id="abc")
    if case == "ended":
        cloud.put(state="ended")
    cloud.send({"action": "text", "message": "Why?", "conversation_id": "other"})

    assert cloud.invoked[-1][0] == "turn"
    assert "inbox" not in cloud.session()


def test_text_finds_a_dead_worker_a_successor(cloud: Cloud) -> None:
    cloud.start()
    cloud.now += 60
    cloud.send({"action": "text", "message": "Are you there?"})

    assert len(cloud.workers) == 2
    assert len(cloud.session()["inbox"]) == 1


def test_long_text_and_many_texts_are_refused_in_a_voice_session(cloud: Cloud) -> None:
    cloud.start()
    cloud.send({"action": "text", "message": "x" * 30_000})
    assert cloud.refused() == ["payload_too_large"]

    for _ in range(INBOX_MESSAGES + 1):
        # The longest there is, in characters of four bytes: DynamoDB takes the full inbox.
        cloud.send({"action": "text", "message": "\U0001f3a4" * TEXT_LENGTH})
    assert cloud.refused() == ["payload_too_large", "throttled"]
    assert len(cloud.session()["inbox"]) == INBOX_MESSAGES


def test_the_worker_ends_a_voice_session(cloud: Cloud) -> None:
    cloud.start()
    cloud.send({"action": "session.end"})

    assert [message["kind"] for message in cloud.session()["inbox"]] == ["end"]
    assert cloud.told() == [], "the worker says so when all is stored"


def test_a_session_without_voice_ends_at_once(cloud: Cloud) -> None:
    cloud.send({"action": "session.end"})

    assert cloud.told() == [{"to": "c-1", "type": "session.ended"}]


def test_an_environment_without_voice_says_so(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOICE_WORKER_FUNCTION")
    cloud.start()
    cloud.send({"action": "played", "turn_id": "t", "ms": 1})
    cloud.send({"action": "ping"})
    cloud.send({"action": "session.end"})
    cloud.send({"action": "audio", "seq": 1, "data": "AA=="})

    assert cloud.refused() == ["validation_failed", "session_not_started", "bad_request"]
    assert [message["type"] for message in cloud.told()] == ["error", "error", "pong", "session.ended", "error"]


def test_a_worker_that_lambda_does_not_take_is_a_passing_error(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")

    monkeypatch.setattr(cloud, "invoke", full)
    cloud.start()

    assert [(error["code"], error["retryable"]) for error in cloud.told()] == [("throttled", True)]
