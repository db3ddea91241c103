"""Tools over Converse: what is sent and read, models that know none, and reasoning that stands in the text."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from parley.aws.bedrock_models import BedrockModels
from parley.aws.inline_thoughts import WithoutThoughts
from parley.conversation.models import Completion, Message, ModelFailure, Prompt
from parley.conversation.tools.tool import ToolResult, ToolSpec, ToolUse

SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
SPEC = ToolSpec("search", "Searches.", SCHEMA)
ASKED = Prompt(system="s", messages=[Message(role="user", text="Why?")], tools=[SPEC])
USE = ToolUse("use-1", "search", {"query": "x"})
IN_ROUND_TWO = Prompt(
    system="s",
    messages=[
        Message(role="user", text="Why?"),
        Message(role="assistant", text="Well.", tool_uses=(USE, ToolUse("use-2", "search", "{broken"))),
        Message(
            role="user",
            tool_results={"use-1": ToolResult(content={"a": [1]}), "use-2": ToolResult(content={"error": "e"})},
        ),
    ],
    tools=[SPEC],
)


class Client:
    """Bedrock Runtime by script: each call gives, or raises, the next of its results."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.requests: list[dict[str, Any]] = []

    def converse(self, **request: Any) -> Any:
        # As it was at that moment.
        self.requests.append(dict(request))
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def converse_stream(self, **request: Any) -> Any:
        return {"stream": self.converse(**request)}


def generate(client: Client, prompt: Prompt = ASKED, *, model_id: str = "m", **options: Any) -> Completion:
    return models(client).generate(model_id, prompt, timeout_seconds=5, **options)


def models(client: Client) -> BedrockModels:
    return BedrockModels(lambda _: client)  # type: ignore[arg-type, return-value]  # a scripted client


def response(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"output": {"message": {"content": list(blocks)}}, "usage": {"inputTokens": 7, "outputTokens": 2}}


def refused(message: str = "This model doesn't support tool use in streaming mode.") -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, "Converse")


USE_BLOCK = {"toolUse": {"toolUseId": "use-1", "name": "search", "input": {"query": "x"}}}


def test_tools_are_offered_and_uses_read() -> None:
    client = Client(response({"text": "Well."}, USE_BLOCK))
    completion = generate(client)
    assert (completion.text, completion.tool_uses) == ("Well.", (USE,))
    [request] = client.requests
    specification = {"name": "search", "description": "Searches.", "inputSchema": {"json": SCHEMA}}
    assert request["toolConfig"] == {"tools": [{"toolSpec": specification}]}


def test_a_use_without_words_is_no_empty_answer() -> None:
    assert generate(Client(response(USE_BLOCK))).tool_uses == (USE,)


def test_no_tools_no_tool_configuration() -> None:
    client = Client(response({"text": "Well."}))
    generate(client, Prompt(system="s", messages=[Message(role="user", text="Why?")]))
    assert "toolConfig" not in client.requests[0]


def test_results_go_back_with_the_uses_that_they_answer() -> None:
    client = Client(response({"text": "So."}))
    generate(client, IN_ROUND_TWO)
    _, asked, given_back = client.requests[0]["messages"]
    broken = {"toolUse": {"toolUseId": "use-2", "name": "search", "input": {}}}
    assert asked == {"role": "assistant", "content": [{"text": "Well."}, USE_BLOCK, broken]}
    assert given_back["content"] == [
        {"toolResult": {"toolUseId": "use-1", "content": [{"json": {"a": [1]}}]}},
        {"toolResult": {"toolUseId": "use-2", "content": [{"json": {"error": "e"}}]}},
    ]


def delta(index: int, **content: Any) -> dict[str, Any]:
    return {"contentBlockDelta": {"delta": content, "contentBlockIndex": index}}


def begins(index: int, use_id: str) -> dict[str, Any]:
    start = {"toolUse": {"toolUseId": use_id, "name": "search"}}
    return {"contentBlockStart": {"start": start, "contentBlockIndex": index}}


def test_a_stream_gives_words_at_once_and_uses_when_they_are_whole() -> None:
    events = [
        {"contentBlockStart": {"start": {}, "contentBlockIndex": 0}},
        delta(0, text="Well."),
        begins(1, "use-1"),
        delta(1, toolUse={"input": '{"que'}),
        delta(1, toolUse={"input": 'ry": "x"}'}),
        begins(2, "use-2"),
        begins(3, "use-3"),
        delta(3, toolUse={"input": '{"query": "cut o'}),
        {"metadata": {"usage": {"inputTokens": 7, "outputTokens": 2}}},
    ]
    heard: list[str] = []
    completion = generate(Client(events), on_text=heard.append)
    assert (heard, completion.text, completion.output_tokens) == (["Well."], "Well.", 2)
    assert [(use.id, use.arguments) for use in completion.tool_uses] == [
        ("use-1", {"query": "x"}),
        ("use-2", {}),
        ("use-3", '{"query": "cut o'),
    ]


def test_a_model_that_knows_no_tools_answers_without_and_is_not_offered_them_again() -> None:
    client = Client(refused("This model doesn't support tool use."), *[response({"text": "Well."})] * 2)
    bedrock = models(client)
    for _ in range(2):
        assert bedrock.generate("m", ASKED, timeout_seconds=5).text == "Well."
    assert ["toolConfig" in request for request in client.requests] == [True, False, False]


def test_a_model_that_uses_tools_only_in_one_piece_is_still_offered_them_there() -> None:
    client = Client(refused(), [delta(0, text="Well.")], response(USE_BLOCK))
    bedrock = models(client)
    assert bedrock.generate("m", ASKED, timeout_seconds=5, on_text=lambda _: None).text == "Well."
    assert bedrock.generate("m", ASKED, timeout_seconds=5).tool_uses == (USE,)


@pytest.mark.parametrize(("prompt", "message"), [(IN_ROUND_TWO, "support tool use."), (ASKED, "Something else.")])
def test_what_cannot_be_asked_without_tools_is_rejected(prompt: Prompt, message: str) -> None:
    client = Client(refused(message))
    with pytest.raises(ModelFailure) as caught:
        generate(client, prompt)
    assert (caught.value.reason, len(client.requests)) == ("rejected", 1)


# Reasoning that stands in the text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<thinking>They ask.</thinking>\n\nIt is so.", "It is so."),
        ("Before. <thinking>x</thinking> After.", "Before. After."),
        ("<thinking>a</thinking><thinking>b</thinking>c", "c"),
        ("a < b and <b>bold</b>", "a < b and <b>bold</b>"),
        ("No thought <thin", "No thought <thin"),
        ("Said.<thinking>cut off", "Said."),
        ("", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_thoughts_are_left_out_however_the_text_is_cut(text: str, shown: str, size: int) -> None:
    thoughts = WithoutThoughts()
    pieces = [thoughts.feed(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join(pieces) + thoughts.rest() == shown


@given(st.lists(st.text(alphabet="<think>/ ab", max_size=12)))
def test_a_text_without_thoughts_comes_through_whole(pieces: list[str]) -> None:
    text = "".join(pieces)
    thoughts = WithoutThoughts()
    shown = "".join(map(thoughts.feed, pieces)) + thoughts.rest()
    assert shown == text or "<thinking>" in text


def test_only_nova_with_tools_has_its_thoughts_left_out() -> None:
    text = "<thinking>x</thinking>y"
    nova = "us.amazon.nova-lite-v1:0"
    plain = Prompt(system="s", messages=[Message(role="user", text="Why?")])
    assert generate(Client(response({"text": text})), model_id=nova).text == "y"
    assert generate(Client(response({"text": text})), plain, model_id=nova).text == text
    assert generate(Client(response({"text": text})), model_id="m").text == text
    heard: list[str] = []
    events = [delta(0, text="<think"), delta(0, text="ing>x</thinking>"), delta(0, text="y"), delta(0, text=" <t")]
    assert generate(Client(events), model_id=nova, on_text=heard.append).text == "y <t"
    assert heard == ["y", " ", "<t"]
