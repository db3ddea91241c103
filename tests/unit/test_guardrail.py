"""Bedrock Guardrails: what requests carry, what an intervention becomes, and what the next turn shows the model."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from parley.aws.bedrock_models import BLOCKED, BedrockModels, Guardrail
from parley.conversation.assistant import Assistant, Question
from parley.conversation.deadline import Deadline
from parley.conversation.models import Completion, Message, ModelChoice, Prompt
from parley.conversation.prompts import build_prompt, history_window
from parley.conversation.tools.tool import ToolResult, ToolUse
from parley.conversation.turns import GUARDRAIL
from starlette.testclient import TestClient

from sandbox.models.app import create_models
from sandbox.models.converse import GUARDRAIL_REFUSES, GUARDRAIL_SAYS
from tests.unit.conversation_doubles import Store, passage, turn

GUARD = Guardrail(id="gr1abc2def3", version="4")


class Client:
    """A Bedrock client that gives one answer and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.request: dict[str, Any] = {}

    def converse(self, **request: Any) -> Any:
        self.request = request
        return self.answer

    def converse_stream(self, **request: Any) -> Any:
        self.request = request
        return {"stream": self.answer}


def response(text: str, reason: str = "end_turn", **message: Any) -> dict[str, Any]:
    content = [{"text": text}] if text else []
    return {
        "output": {"message": {"role": "assistant", "content": [*content, *message.get("more", [])]}},
        "stopReason": reason,
        "usage": {"inputTokens": 7, "outputTokens": 2},
    }


def generate(client: Client, prompt: Prompt, heard: list[str] | None = None) -> Completion:
    models = BedrockModels(lambda _: client, guardrail=GUARD)  # type: ignore[arg-type, return-value]  # a double
    return models.generate("m", prompt, timeout_seconds=5, on_text=heard.append if heard is not None else None)


def ask(question: str = "Why?") -> Prompt:
    return build_prompt([turn(text="Before?"), turn("assistant", "So.")], question, [passage(1)])


def test_a_request_names_the_guardrail_and_marks_the_question_alone() -> None:
    client = Client(response("So."))
    generate(client, ask())
    assert client.request["guardrailConfig"] == {"guardrailIdentifier": "gr1abc2def3", "guardrailVersion": "4"}
    before, _, last = client.request["messages"]
    assert before["content"] == [{"text": "Before?"}]
    passages, question, end = last["content"]
    assert passages["text"].endswith("</passages>\n<question>")
    assert question == {"guardContent": {"text": {"text": "Why?"}}}
    assert end == {"text": "</question>"}


def test_a_stream_says_nothing_before_it_is_judged() -> None:
    client = Client([{"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "So."}}}])
    generate(client, ask(), heard=[])
    assert client.request["guardrailConfig"]["streamProcessingMode"] == "sync"


def test_what_tools_gave_comes_after_the_question_that_is_judged() -> None:
    prompt = Prompt(
        system="s",
        question="Why?",
        messages=[
            Message(role="user", text="Why?"),
            Message(role="assistant", tool_uses=(ToolUse("t1", "search", {}),)),
            Message(role="user", tool_results={"t1": ToolResult(content={"found": "x"})}),
        ],
    )
    client = Client(response("So."))
    generate(client, prompt)
    first, _, last = client.request["messages"]
    assert first["content"] == [{"guardContent": {"text": {"text": "Why?"}}}]
    assert "toolResult" in last["content"][0]


def test_without_a_guardrail_nothing_is_marked() -> None:
    client = Client(response("So."))
    models = BedrockModels(lambda _: client)  # type: ignore[arg-type, return-value]  # a double
    assert not models.generate("m", ask(), timeout_seconds=5).guarded
    assert "guardrailConfig" not in client.request
    assert "guardContent" not in json.dumps(client.request["messages"])


def test_an_intervention_is_an_answer_and_asks_for_no_tools() -> None:
    use = {"toolUse": {"toolUseId": "t1", "name": "search", "input": {}}}
    completion = generate(Client(response("No.", "guardrail_intervened", more=[use])), ask())
    assert (completion.text, completion.guarded, completion.tool_uses) == ("No.", True, ())


@pytest.mark.parametrize("streams", [False, True])
def test_an_intervention_without_words_has_ours(streams: bool) -> None:
    heard: list[str] | None = [] if streams else None
    events = [{"messageStop": {"stopReason": "guardrail_intervened"}}]
    completion = generate(Client(events if streams else response("", "guardrail_intervened")), ask(), heard)
    assert (completion.text, completion.guarded) == (BLOCKED, True)
    assert heard in (None, [BLOCKED])


def test_an_intervention_in_a_stream_is_noticed() -> None:
    heard: list[str] = []
    events = [
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "No."}}},
        {"messageStop": {"stopReason": "guardrail_intervened"}},
        {"metadata": {"usage": {"inputTokens": 0, "outputTokens": 0}}},
    ]
    completion = generate(Client(events), ask(), heard)
    assert (completion.text, completion.guarded, heard) == ("No.", True, ["No."])


class Guarded:
    """A model behind a guardrail that blocks one question."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    def generate(self, model_id: str, prompt: Prompt, **_: Any) -> Completion:
        self.prompts.append(prompt)
        blocked = "forbidden" in prompt.messages[-1].text
        return Completion(text="No." if blocked else "Yes.", input_tokens=1, output_tokens=1, guarded=blocked)


def test_a_blocked_turn_is_stored_and_its_question_never_reaches_the_model_again() -> None:
    model, store = Guarded(), Store()
    assistant = Assistant(store=store, models=ModelChoice(model=model, ids_by_role={"quick": ["m"]}))

    def say(message: str, conversation_id: str | None = None) -> Any:
        question = Question(subject="ada", message=message, conversation_id=conversation_id)
        return assistant.answer(question, Deadline.after(20))

    first = say("Hello.")
    blocked = say("forbidden thing", first.conversation_id)
    assert (blocked.turn.text, blocked.turn.model) == ("No.", GUARDRAIL)
    after = say("Go on.", first.conversation_id)
    assert after.turn.model == "m"
    assert [message.text for message in model.prompts[-1].messages] == ["Hello.", "Yes.", "Go on."]
    # The user still sees it.
    assert [turn.text for turn in store.turns("ada", first.conversation_id)][2:4] == ["forbidden thing", "No."]


def test_a_window_that_begins_with_a_blocked_answer_leaves_it_out() -> None:
    history = [turn("assistant", "No.", model=GUARDRAIL), turn(text="Why?"), turn("assistant", "So.", model="m")]
    assert [message.text for message in history_window(history)] == ["Why?", "So."]


# The sandbox's endpoint understands what the runtime sends.


@pytest.fixture
def models() -> Iterator[TestClient]:
    # Port 1 refuses: no Ollama of this machine answers in place of the model that is tested.
    with TestClient(create_models("127.0.0.1:1")) as client:
        yield client


def body_of(question: str, heard: list[str] | None = None) -> dict[str, Any]:
    client = Client([] if heard is not None else response("x"))
    try:
        generate(client, ask(question), heard)
    except Exception:
        assert heard is not None  # an empty stream is no answer; what was asked is what counts here
    return {name: value for name, value in client.request.items() if name != "modelId"}


def test_the_sandbox_blocks_and_answers_as_the_service_does(models: TestClient) -> None:
    blocked = models.post("/model/m/converse", json=body_of(f"Please {GUARDRAIL_REFUSES.upper()}.")).json()
    assert blocked["stopReason"] == "guardrail_intervened"
    assert blocked["output"]["message"]["content"] == [{"text": GUARDRAIL_SAYS}]
    assert blocked["usage"]["inputTokens"] == 0
    assert models.post("/model/m/converse", json=body_of("Why?")).json()["stopReason"] == "end_turn"


def test_the_sandbox_judges_nothing_but_the_question_that_is_marked(models: TestClient) -> None:
    body = body_of("Why?")
    body["messages"][0]["content"] = [{"text": GUARDRAIL_REFUSES}]
    assert models.post("/model/m/converse", json=body).json()["stopReason"] == "end_turn"
    body["messages"][-1]["content"] = [{"text": "Why?"}]
    assert models.post("/model/m/converse", json=body).json()["stopReason"] == "guardrail_intervened"


def test_the_sandbox_streams_a_blocked_answer(models: TestClient) -> None:
    answer = models.post("/model/m/converse-stream", json=body_of(GUARDRAIL_REFUSES, heard=[]))
    buffer: Any = EventStreamBuffer()
    buffer.add_data(answer.content)
    events: dict[Any, Any] = {event.headers[":event-type"]: json.loads(event.payload) for event in buffer}
    assert events["messageStop"]["stopReason"] == "guardrail_intervened"
    assert events["contentBlockDelta"]["delta"]["text"] == GUARDRAIL_SAYS


def test_the_sandbox_refuses_a_guardrail_without_a_version(models: TestClient) -> None:
    body = body_of("Why?")
    del body["guardrailConfig"]["guardrailVersion"]
    assert models.post("/model/m/converse", json=body).status_code == 400
