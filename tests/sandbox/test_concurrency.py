"""Many at once: every session gets its own answer."""

import asyncio
import json
import uuid

import httpx
import pytest
import websockets

from tests.sandbox.people import Person, Sandbox

SESSIONS = 100
SECONDS = 120


@pytest.mark.alone
def test_a_hundred_sessions_each_get_their_own_answer(sandbox: Sandbox) -> None:
    """Each asks in its own words, as one of ten users; an answer of another session would carry other words."""
    people = [sandbox.new_user() for _ in range(10)]
    questions = {uuid.uuid4().hex: people[number % 10] for number in range(SESSIONS)}

    answers = asyncio.run(_ask_all(sandbox.outputs["http_url"], questions))

    assert {answer["request_id"] for answer in answers} == set(questions)
    assert all("60" in answer["message"] and answer["citations"] for answer in answers)
    assert len({answer["turn_id"] for answer in answers}) == SESSIONS
    for word, answer in zip(questions, answers, strict=True):
        assert answer["request_id"] == word
    for person in people:
        stored = person.http.get("/conversations", params={"limit": 100}).json()["conversations"]
        mine = {word for word, owner in questions.items() if owner is person}
        asked = {word for word in mine for entry in stored if word in entry["title"]}
        assert asked == mine
        assert len(stored) == len(mine)


async def _ask_all(url: str, questions: dict[str, Person]) -> list[dict[str, str]]:
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False) as http:
        return await asyncio.gather(*(_ask(http, person, word) for word, person in questions.items()))


async def _ask(http: httpx.AsyncClient, person: Person, word: str) -> dict[str, str]:
    headers = {"Authorization": person.http.headers["Authorization"]}
    ticket = (await http.post("/tickets", json={}, headers=headers)).raise_for_status().json()["ticket"]
    async with (
        asyncio.timeout(SECONDS),
        websockets.connect(f"{person.websocket_url}?ticket={ticket}", open_timeout=SECONDS) as socket,
    ):
        message = f"({word}) How long is a ticket valid, and how many connections does it open?"
        await socket.send(json.dumps({"action": "text", "message": message, "request_id": word}))
        pieces = ""
        while (received := json.loads(await socket.recv()))["type"] != "message.done":
            assert received["type"] in {"message.delta", "usage"}, received
            assert received.get("request_id", word) == word
            pieces += received.get("text", "")
    assert received["message"] == pieces
    answer: dict[str, str] = received
    return answer
