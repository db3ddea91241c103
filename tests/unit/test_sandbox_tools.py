"""Tools over the AI endpoints: as Bedrock refuses and sends them, and when the models without weights ask for one."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.config import Config
from parley.aws.bedrock_models import BedrockModels
from parley.conversation.models import Message, Prompt
from parley.conversation.tools.search_knowledge import search_knowledge
from parley.conversation.tools.tool import ToolResult, ToolSpec
from starlette.testclient import TestClient

from sandbox.models.app import create_models
from sandbox.models.extractive import NO_ANSWER, NO_PASSAGES

SEARCH = {
    "toolSpec": {
        "name": "search_knowledge",
        "description": "Searches.",
        "inputSchema": {"json": dict(search_knowledge.spec.input_schema)},
    }
}
CLOCK = {
    "toolSpec": {
        "name": "current_time",
        "description": "Tells the time.",
        "inputSchema": {"json": {"type": "object", "properties": {}, "required": []}},
    }
}
CONFIGURATION = {"tools": [SEARCH]}
USE = {"toolUse": {"toolUseId": "use-1", "name": "search_knowledge", "input": {"query": "x"}}}


def user(*blocks: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {"role": "user", "content": [*blocks, *([{"text": text}] if text else [])]}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def result(content: dict[str, Any], use_id: str = "use-1") -> dict[str, Any]:
    return {"toolResult": {"toolUseId": use_id, "content": [{"json": content}]}}


@pytest.fixture
def models() -> Iterator[TestClient]:
    # Port 1 refuses: no Ollama of this machine answers in place of the model that is tested.
    with TestClient(create_models("127.0.0.1:1")) as client:
        yield client


def converse(models: TestClient, *messages: dict[str, Any], tools: Any = CONFIGURATION) -> Any:
    body = {"messages": list(messages)} | ({"toolConfig": tools} if tools else {})
    return models.post("/model/m/converse", json=body)


def said(response: Any) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = response.json()["output"]["message"]["content"]
    return content


TICKETS = {"id": 6, "document": "api.md", "heading": "Tickets", "text": "A ticket is valid for 60 seconds."}


def test_without_passages_the_model_searches_for_what_the_question_is_about(models: TestClient) -> None:
    response = converse(models, user(text="How long is a ticket valid?"))
    [block] = said(response)
    assert response.json()["stopReason"] == "tool_use"
    assert block["toolUse"]["name"] == "search_knowledge"
    assert block["toolUse"]["input"] == {"query": "long ticket valid"}


def test_a_follow_up_is_searched_for_by_what_it_follows_up(models: TestClient) -> None:
    asked = [user(text="How is a ticket made?"), assistant({"text": "So."}), user(text="And how long does it last?")]
    [block] = said(converse(models, *asked))
    assert block["toolUse"]["input"] == {"query": "ticket made long last"}


def test_it_answers_from_what_the_search_found_and_cites_it(models: TestClient) -> None:
    messages = [user(text="How long is a ticket valid?"), assistant(USE), user(result({"passages": [TICKETS]}))]
    response = converse(models, *messages)
    assert said(response) == [{"text": "A ticket is valid for 60 seconds. [6]"}]
    assert response.json()["stopReason"] == "end_turn"


def test_it_searches_once(models: TestClient) -> None:
    messages = [user(text="How long is a ticket valid?"), assistant(USE), user(result({"passages": []}))]
    assert said(converse(models, *messages)) == [{"text": NO_PASSAGES}]


def test_passages_that_hold_the_answer_need_no_search(models: TestClient) -> None:
    prompt = '<passages>\n<passage id="1" document="a.md" heading="">Frames are 32 KB large.</passage>\n</passages>\n'
    answered = converse(models, user(text=f"{prompt}<question>How large are frames?</question>"))
    assert said(answered) == [{"text": "Frames are 32 KB large. [1]"}]
    missed = f"{prompt}<question>Who won the football match?</question>"
    assert "toolUse" in said(converse(models, user(text=missed)))[0]
    assert said(converse(models, user(text=missed), tools=None)) == [{"text": NO_ANSWER}]


def test_a_tool_that_the_question_names_is_used_and_its_result_told(models: TestClient) -> None:
    tools = {"tools": [SEARCH, CLOCK]}
    question = user(text="What time is it?")
    [block] = said(converse(models, question, tools=tools))
    assert block["toolUse"]["name"] == "current_time"
    told = converse(models, question, assistant(block), user(result({"time": "12:00"}, block["toolUse"]["toolUseId"])))
    assert said(told) == [{"text": '{"time": "12:00"}'}]
    failed = converse(models, question, assistant(USE), user(result({"error": "It failed."})))
    assert said(failed) == [{"text": NO_PASSAGES}]


@pytest.mark.parametrize(
    ("messages", "tools", "says"),
    [
        ([user(text="?"), assistant(USE), user(result({}))], None, "toolConfig field must be defined"),
        ([user(text="?"), assistant(USE), user(text="And?")], CONFIGURATION, "Expected toolResult blocks"),
        ([user(text="?"), assistant(USE), user(result({}), result({}, "use-2"))], CONFIGURATION, "exceeds the number"),
        ([user(result({}))], CONFIGURATION, "exceeds the number"),
        ([user(text="?"), assistant(USE)], CONFIGURATION, "prefill"),
        ([user({"text": " "})], CONFIGURATION, "blank"),
        ([user(text="?")], {"tools": []}, "at least one tool"),
        (
            [user(text="?")],
            {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "string"}}}}]},
            "must be one of the following: object",
        ),
    ],
)
def test_what_bedrock_would_refuse_is_refused(models: TestClient, messages: Any, tools: Any, says: str) -> None:
    response = converse(models, *messages, tools=tools)
    assert (response.status_code, response.headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert says in response.json()["message"]


class Served:
    """The AI endpoints on a port, for the SDK."""

    def __init__(self, ollama: str) -> None:
        self._server = uvicorn.Server(uvicorn.Config(create_models(ollama), port=0, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> BedrockModels:
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        client = boto3.client(
            "bedrock-runtime",
            "us-east-1",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"max_attempts": 0}),
        )
        return BedrockModels(lambda _: client)

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(5)


SPEC = ToolSpec("search_knowledge", "Searches.", search_knowledge.spec.input_schema)
ASKED = Prompt(system="s", messages=[Message(role="user", text="How long is a ticket valid?")], tools=[SPEC])


@pytest.mark.parametrize("streams", [True, False])
def test_the_runtimes_own_adapter_uses_tools_through_the_sdk(streams: bool) -> None:
    heard: list[str] = []
    options: dict[str, Any] = {"on_text": heard.append} if streams else {}
    with Served("127.0.0.1:1") as bedrock:
        first = bedrock.generate("m", ASKED, timeout_seconds=10, **options)
        [use] = first.tool_uses
        assert (use.name, use.arguments, first.text) == ("search_knowledge", {"query": "long ticket valid"}, "")
        messages = [
            *ASKED.messages,
            Message(role="assistant", tool_uses=first.tool_uses),
            Message(role="user", tool_results={use.id: ToolResult(content={"passages": [TICKETS]})}),
        ]
        second = bedrock.generate(
            "m", Prompt(system="s", messages=messages, tools=[SPEC]), timeout_seconds=10, **options
        )
    assert second.text == "A ticket is valid for 60 seconds. [6]"
    assert "".join(heard) == (second.text if streams else "")


class FakeOllama:
    """Ollama's API: answers `/api/chat` with `lines`, or refuses tools."""

    def __init__(self, *lines: dict[str, Any], knows_tools: bool = True) -> None:
        self.asked: list[dict[str, Any]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, b'{"models": [{"name": "llama"}]}')

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.asked.append(body)
                if "tools" in body and not knows_tools:
                    self._send(400, b'{"error": "registry.ollama.ai/library/llama does not support tools"}')
                    return
                self._send(200, "\n".join(json.dumps({"message": line}) for line in lines).encode())

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FakeOllama":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_ollama_is_offered_the_tools_and_told_their_results() -> None:
    call = {"function": {"name": "search_knowledge", "arguments": {"query": "ticket"}}}
    with (
        FakeOllama({"content": "Well."}, {"content": "", "tool_calls": [call]}) as ollama,
        TestClient(create_models(ollama.address)) as models,
    ):
        [words, block] = said(converse(models, user(text="How long is a ticket valid?")))
        assert words == {"text": "Well."}
        assert block["toolUse"]["input"] == {"query": "ticket"}
        answer = user(result({"passages": [TICKETS]}, block["toolUse"]["toolUseId"]))
        converse(models, user(text="How long is a ticket valid?"), assistant(block), answer)
    function = ollama.asked[0]["tools"][0]["function"]
    assert (function["name"], function["parameters"]["required"]) == ("search_knowledge", ["query"])
    _, used, given = ollama.asked[1]["messages"]
    assert used["tool_calls"] == [call]
    assert (given["role"], given["tool_name"], json.loads(given["content"])) == (
        "tool",
        "search_knowledge",
        {"passages": [TICKETS]},
    )


@pytest.mark.parametrize("streams", [True, False])
def test_a_model_of_ollamas_without_tools_is_answered_by_without_them(streams: bool) -> None:
    options: dict[str, Any] = {"on_text": lambda _: None} if streams else {}
    with FakeOllama({"content": "Sixty."}, knows_tools=False) as ollama, Served(ollama.address) as bedrock:
        assert bedrock.generate("m", ASKED, timeout_seconds=10, **options).text == "Sixty."
    assert ["tools" in body for body in ollama.asked] == [True, False]
