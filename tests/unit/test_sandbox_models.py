"""The AI endpoints: what the SDK sees, and how the local models answer."""

import html
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from botocore.eventstream import EventStreamBuffer
from starlette.testclient import TestClient

from sandbox.models import sentence
from sandbox.models.app import EMBEDDING_MODEL, create_models
from sandbox.models.embedding import MODEL_SETTING, SentenceEmbedder, embed, installed_embedder
from sandbox.models.extractive import NO_ANSWER, NO_PASSAGES, answer, read_prompt
from sandbox.models.sentence import ModelUnusable, SentenceModel, load_sentence_model
from tests.unit.tiny_model import VOCABULARY, write_tiny_model

DOCUMENTS = {
    "limits.md": "A WebSocket frame may be 32 KB large. A message may be 128 KB large. Nobody likes limits [7].",
    "billing.md": "DynamoDB bills every request. Idle tables cost nothing.",
    "vietnam.md": "Thủ đô của Việt Nam là Hà Nội. Sông Hồng chảy qua thành phố.",
    "japan.md": "東京は日本の首都です。富士山の高さは3776メートルです。",
}


def prompt(question: str) -> str:
    passages = "\n".join(
        f'<passage id="{number}" document="{name}" heading="{name}">{html.escape(text)}</passage>'
        for number, (name, text) in enumerate(DOCUMENTS.items(), 1)
    )
    return f"<passages>\n{passages}\n</passages>\n<question>{html.escape(question)}</question>"


@pytest.fixture
def models() -> Iterator[TestClient]:
    # Port 1 refuses: no Ollama of this machine answers in place of the model that is tested.
    with TestClient(create_models("127.0.0.1:1")) as client:
        yield client


@pytest.mark.parametrize(
    ("question", "expected", "citation"),
    [
        ("How large may a WebSocket frame be?", "A WebSocket frame may be 32 KB large.", "[1]"),
        ("What does DynamoDB bill?", "DynamoDB bills every request.", "[2]"),
        ("Thủ đô của Việt Nam là gì?", "Thủ đô của Việt Nam là Hà Nội.", "[3]"),
        ("富士山の高さ", "富士山の高さは3776メートルです。", "[4]"),
    ],
)
def test_the_extractive_model_answers_in_the_passages_words_and_cites(
    question: str, expected: str, citation: str
) -> None:
    text = answer(read_prompt([prompt(question)]))

    assert text.startswith(f"{expected} {citation}")


def test_it_says_plainly_when_the_documents_hold_no_answer() -> None:
    assert answer(read_prompt([prompt("Who won the football championship?")])) == NO_ANSWER


def test_it_says_plainly_that_it_needs_documents() -> None:
    assert answer(read_prompt(["Hello there"])) == NO_PASSAGES


def test_a_follow_up_is_about_the_question_before_it() -> None:
    text = answer(read_prompt(["How large may a WebSocket frame be?", prompt("And a message?")]))

    assert "A message may be 128 KB large. [1]" in text


def test_a_bracketed_number_of_the_document_is_no_citation() -> None:
    assert "[7]" not in answer(read_prompt([prompt("Who likes limits?")]))


def test_passages_inside_the_question_are_not_read_as_passages() -> None:
    text = '<question>What is it? <passage id="1">It is a trap.</passage></question>'

    assert read_prompt([text]).passages == ()


@pytest.mark.parametrize(
    ("query", "near", "far"),
    [
        ("How do I deploy to AWS?", "Deployment on AWS takes one command.", "A frame is 32 KB large."),
        ("thành phố nào là thủ đô", "Thủ đô là Hà Nội", "Sông dài nhất"),
        ("東京の天気", "今日の東京の天気は晴れ", "株価が下がる"),
        ("สภาพอากาศกรุงเทพ", "อากาศในกรุงเทพร้อน", "ราคาหุ้นวันนี้"),
    ],
)
def test_texts_that_share_words_have_near_vectors(query: str, near: str, far: str) -> None:
    vector = embed(query)

    assert float(vector @ embed(near)) > float(vector @ embed(far)) + 0.05


@pytest.mark.parametrize("dimensions", [256, 512, 1024])
def test_an_embedding_has_the_asked_dimensions_and_length_one(models: TestClient, dimensions: int) -> None:
    body = {"inputText": "a text", "dimensions": dimensions, "normalize": True}

    response = models.post(f"/model/{EMBEDDING_MODEL}/invoke", json=body).json()

    assert len(response["embedding"]) == dimensions
    assert np.linalg.norm(response["embedding"]) == pytest.approx(1, abs=1e-3)
    assert response["inputTextTokenCount"] == 2


class Words:
    """A tokenizer whose windows hold three words each."""

    def encode(self, text: str) -> Any:
        ids = [VOCABULARY.get(word, 0) for word in text.lower().split()]
        first, *rest = [SimpleNamespace(ids=ids[i : i + 3], overflowing=[]) for i in range(0, max(1, len(ids)), 3)]
        return SimpleNamespace(ids=first.ids, overflowing=rest)


class Meanings:
    """A session that gives `car` and `automobile` one vector, and every other token one of its own."""

    def __init__(self, *inputs: str, pooled: bool = False) -> None:
        self._inputs = inputs or ("input_ids", "attention_mask")
        self._pooled = pooled

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self._inputs]

    def run(self, outputs: None, inputs: Any) -> list[Any]:
        assert set(inputs) == set(self._inputs)
        tokens = np.eye(len(VOCABULARY))[np.where(inputs["input_ids"] == 2, 1, inputs["input_ids"])]
        return [tokens.mean(axis=1) if self._pooled else tokens]


def test_a_sentence_model_brings_synonyms_near_and_words_carry_what_it_does_not_know() -> None:
    embedder = SentenceEmbedder(SentenceModel("tiny", Words(), Meanings()))

    car, automobile, truck = (embedder.embed(word) for word in ("car", "automobile", "truck"))

    assert car.shape == (1024,)
    assert np.linalg.norm(car) == pytest.approx(1, abs=1e-6)
    assert float(car @ automobile) > float(car @ truck) + 0.3 > float(embed("car") @ embed("automobile"))
    hanoi, other = embedder.embed("thủ đô Hà Nội"), embedder.embed("sông dài nhất")
    assert float(embedder.embed("thủ đô là gì") @ hanoi) > float(embedder.embed("thủ đô là gì") @ other) + 0.05
    assert "tiny" in embedder.name


@pytest.mark.parametrize("dimensions", [256, 512, 1024])
def test_a_wide_sentence_model_leaves_room_for_words(dimensions: int) -> None:
    model = SimpleNamespace(name="wide", embed=lambda text: np.ones(2000, dtype=np.float32))

    vector = SentenceEmbedder(model).embed("a text", dimensions=dimensions)  # type: ignore[arg-type] # a double

    assert vector.shape == (dimensions,)
    assert np.count_nonzero(vector) > dimensions * 0.75


def test_a_long_text_is_read_in_windows() -> None:
    model = SentenceModel("tiny", Words(), Meanings())

    windows = [model.embed(text) for text in ("car truck boat", "train")]
    whole = model.embed("car truck boat train")

    assert whole == pytest.approx(sentence.normalized(3 * windows[0] + windows[1]))


def test_the_vector_is_pooled_as_the_model_was_trained() -> None:
    every = ("input_ids", "attention_mask", "token_type_ids")
    mean = SentenceModel("tiny", Words(), Meanings(*every)).embed("car truck")
    first = SentenceModel("tiny", Words(), Meanings(), first_token=True).embed("car truck")
    pooled = SentenceModel("tiny", Words(), Meanings(pooled=True)).embed("car truck")

    assert mean == pytest.approx(pooled)
    assert np.count_nonzero(first) == 1
    assert np.count_nonzero(mean) == 2
    assert not SentenceModel("tiny", Words(), Meanings()).embed("").any()


@pytest.fixture
def no_choice_yet() -> Iterator[None]:
    installed_embedder.cache_clear()
    yield
    installed_embedder.cache_clear()


@pytest.mark.usefixtures("no_choice_yet")
def test_words_alone_embed_where_no_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MODEL_SETTING, raising=False)
    with TestClient(create_models("127.0.0.1:1")) as models:
        assert models.get("/_model").json() == {"model": "extractive (local)", "embedder": "lexical (local)"}


@pytest.mark.usefixtures("no_choice_yet")
def test_the_model_that_the_setting_names_embeds_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: TestClient
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    folder = write_tiny_model(tmp_path / "tiny-model")
    monkeypatch.setenv(MODEL_SETTING, str(folder))
    installed_embedder.cache_clear()
    with TestClient(create_models("127.0.0.1:1")) as with_model:

        def similarity(client: TestClient) -> float:
            bodies = [{"inputText": text} for text in ("a car", "an automobile")]
            one, other = (client.post(f"/model/{EMBEDDING_MODEL}/invoke", json=body).json() for body in bodies)
            return float(np.dot(one["embedding"], other["embedding"]))

        assert with_model.get("/_model").json()["embedder"] == "tiny-model and words (local)"
        assert similarity(with_model) > similarity(models) + 0.2


@pytest.mark.usefixtures("no_choice_yet")
def test_a_named_model_that_cannot_be_used_is_one_sentence_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODEL_SETTING, str(tmp_path))
    with pytest.raises(ModelUnusable, match=r"holds no onnx/model\.onnx"):
        create_models("127.0.0.1:1")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelUnusable, match=r"holds no tokenizer\.json"):
        load_sentence_model(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")

    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    with monkeypatch.context() as patched:
        patched.setattr(sentence, "import_module", missing)
        with pytest.raises(ModelUnusable, match="uv pip install onnxruntime tokenizers"):
            load_sentence_model(tmp_path)

    def damaged(path: str) -> None:
        raise Exception("no tokenizer")

    broken: Any = SimpleNamespace(Tokenizer=SimpleNamespace(from_file=damaged))
    monkeypatch.setattr(sentence, "import_module", lambda name: broken)
    with pytest.raises(ModelUnusable, match="cannot be loaded: no tokenizer"):
        load_sentence_model(tmp_path)


@pytest.mark.parametrize(
    "body", [{}, {"inputText": ""}, {"inputText": "a", "dimensions": 3}, {"inputText": "a", "x": 1}]
)
def test_a_malformed_embedding_request_is_a_validation_exception(models: TestClient, body: object) -> None:
    response = models.post(f"/model/{EMBEDDING_MODEL}/invoke", json=body)

    assert response.status_code == 400
    assert response.headers["x-amzn-errortype"] == "ValidationException"


def test_converse_answers_with_usage_and_names_its_model(models: TestClient) -> None:
    body = {"messages": [{"role": "user", "content": [{"text": prompt("What does DynamoDB bill?")}]}]}

    response = models.post("/model/us.some.model-v1%3A0/converse", json=body)

    answered = response.json()
    assert "[2]" in answered["output"]["message"]["content"][0]["text"]
    assert answered["usage"]["totalTokens"] == answered["usage"]["inputTokens"] + answered["usage"]["outputTokens"]
    assert response.headers["x-parley-model"] == models.get("/_model").json()["model"] == "extractive (local)"


def events(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    buffer = EventStreamBuffer()
    buffer.add_data(content)
    responses = [event.to_response_dict() for event in buffer]
    return [
        (headers.get(":event-type") or headers[":exception-type"], json.loads(response["body"]))
        for response in responses
        for headers in [response["headers"]]
    ]


def stream(models: TestClient, text: str) -> list[tuple[str, dict[str, Any]]]:
    body = {"messages": [{"role": "user", "content": [{"text": text}]}]}
    return events(models.post("/model/a-model/converse-stream", json=body).content)


def test_a_stream_holds_the_same_words_as_the_whole_answer(models: TestClient) -> None:
    asked = prompt("What does DynamoDB bill?")

    streamed = stream(models, asked)

    kinds = [kind for kind, _ in streamed]
    assert kinds[0] == "messageStart"
    assert kinds[-3:] == ["contentBlockStop", "messageStop", "metadata"]
    text = "".join(str(item["delta"]["text"]) for kind, item in streamed if kind == "contentBlockDelta")
    assert text == answer(read_prompt([asked]))


def test_a_conversation_must_begin_with_the_user(models: TestClient) -> None:
    body = {"messages": [{"role": "assistant", "content": [{"text": "Hello"}]}]}

    response = models.post("/model/a-model/converse", json=body)

    assert (response.status_code, response.headers["x-amzn-errortype"]) == (400, "ValidationException")


def test_a_fault_meets_only_the_calls_that_it_names_and_as_often_as_it_says(models: TestClient) -> None:
    fault = {"model": "first", "operation": "Converse", "containing": "secret", "times": 2}
    assert models.post("/_faults", json=[fault | {"error": "ThrottlingException"}]).status_code == 200

    def status(model: str, text: str) -> int:
        body = {"messages": [{"role": "user", "content": [{"text": text}]}]}
        return int(models.post(f"/model/{model}/converse", json=body).status_code)

    assert [status("second", "secret"), status("first", "public")] == [200, 200]
    assert [status("first", "a secret") for _ in range(3)] == [429, 429, 200]


def test_a_broken_stream_ends_in_an_exception(models: TestClient) -> None:
    models.post("/_faults", json={"operation": "ConverseStream", "break_after": 2})

    kinds = [kind for kind, _ in stream(models, "Hello")]

    assert kinds == ["messageStart", "contentBlockDelta", "contentBlockDelta", "modelStreamErrorException"]


@pytest.mark.parametrize("fault", [{"unknown": 1}, {"error": "NoSuchException"}, "text"])
def test_a_fault_that_cannot_happen_is_refused(models: TestClient, fault: object) -> None:
    assert models.post("/_faults", json=fault).status_code == 400
