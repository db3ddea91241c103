"""How an answer goes over a connection: gathered, split, and given up when the client has left."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.aws.connection_posts import MESSAGE_BYTES, ConnectionGone, ConnectionUnreachable
from parley.functions.api_documents import asyncapi, openapi, render, routes
from parley.functions.identity import Caller, http_caller, parse_groups
from parley.functions.messages import DELTA_BYTES, Deltas, Outbox, split_text
from parley.server_messages import MessageDone, Pong

from tests.unit.conversation_doubles import Clock


class Line:
    """A connection that keeps what is posted, or fails as told."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.posted: list[bytes] = []
        self.failure = failure

    def post(self, data: bytes) -> None:
        if self.failure:
            raise self.failure
        self.posted.append(data)


def outbox(line: Line) -> Outbox:
    return Outbox(line)  # type: ignore[arg-type]  # a line is all of a connection that an outbox needs


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.integers(6, 40))
def test_split_text_is_whole_and_its_parts_are_small(text: str, limit: int) -> None:
    parts = list(split_text(text, limit))
    assert "".join(parts) == text
    assert all(parts)
    assert all(len(msgspec.json.encode(part)) - 2 <= limit for part in parts)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1), max_size=30))
def test_deltas_lose_nothing(pieces: list[str]) -> None:
    line, clock = Line(), Clock()
    deltas = Deltas(outbox(line), "t", clock=clock)
    for piece in pieces:
        deltas.add(piece)
        clock.sleep(0.01)
    deltas.flush()
    assert "".join(json.loads(data)["text"] for data in line.posted) == "".join(pieces)


def test_many_pieces_are_few_messages() -> None:
    line, clock = Line(), Clock()
    deltas = Deltas(outbox(line), "t", clock=clock)
    for _ in range(100):
        deltas.add("word ")
        clock.sleep(0.005)
    deltas.flush()
    assert 1 < len(line.posted) <= 12


def test_a_long_piece_is_split_below_the_limit_of_a_frame() -> None:
    line = Line()
    Deltas(outbox(line), "t").add('"ế' * DELTA_BYTES)
    assert len(line.posted) > 1
    assert all(len(data) <= MESSAGE_BYTES for data in line.posted)


def test_a_message_above_the_limit_becomes_a_documented_error() -> None:
    line = Line()
    outbox(line).send(
        MessageDone(
            turn_id="t",
            conversation_id="c",
            message="x" * MESSAGE_BYTES,
            citations=(),
            model="m",
            knowledge="off",
            request_id="r",
        )
    )
    error = json.loads(line.posted[0])
    assert (error["code"], error["request_id"], "/conversations/c" in error["message"]) == (
        "payload_too_large",
        "r",
        True,
    )


@pytest.mark.parametrize("failure", [ConnectionGone(), ConnectionUnreachable()])
def test_a_client_that_has_left_is_posted_to_once(failure: Exception) -> None:
    line = Line(failure)
    sender = outbox(line)
    sender.send(Pong())
    assert not sender.is_open
    line.failure = None
    sender.send(Pong())
    assert line.posted == []


# Identity


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        ("[curators editors]", {"curators", "editors"}),
        ("a b", {"a", "b"}),
        (["a"], {"a"}),
        (None, set()),
        ("[]", set()),
    ],
)
def test_groups_are_read_from_every_form_of_claim(claim: object, groups: set[str]) -> None:
    assert parse_groups(claim) == groups


def test_an_api_keys_context_is_an_identity_too() -> None:
    event = {"requestContext": {"authorizer": {"lambda": {"subject": "ada", "groups": "curators"}}}}
    assert http_caller(event) == Caller("ada", frozenset({"curators"}))
    assert http_caller(event).is_curator


# The generated documents


def test_the_committed_documents_are_current() -> None:
    for name, document in (("openapi", openapi()), ("asyncapi", asyncapi())):
        with open(f"docs/{name}.json", encoding="utf-8") as file:
            assert file.read() == render(document), f"run: python -m parley.functions.api_documents docs ({name})"


def test_the_document_describes_every_route_and_both_shapes_of_errors() -> None:
    document = openapi()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in routes()}
    assert {"/health", "/chat", "/conversations/{id}/export", "/tickets", "/rag/query"} <= set(document["paths"])
    assert {"ErrorResponse", "GatewayError"} <= set(document["components"]["schemas"])
    assert "413" in document["paths"]["/chat"]["post"]["responses"]


def test_every_reference_in_the_documents_leads_somewhere() -> None:
    for document in (openapi(), asyncapi()):
        text = render(document)
        for reference in {part.split('"')[0] for part in text.split('"$ref": "#/')[1:]}:
            place = document
            for step in reference.split("/"):
                place = place[step]
