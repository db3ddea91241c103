from dataclasses import replace

import pytest
from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.knowledge.calibration import Calibration
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.documents import Document, DocumentState, owner_of
from parley.knowledge.duplicates import are_near_duplicates, shingles
from parley.knowledge.filters import NO_FILTER
from parley.knowledge.retrieval import DUPLICATE_SIMILARITY, QUERY_BYTES, Retrieval

from tests.unit.knowledge_doubles import DictRecords, ListIndex, WordEmbedder, bag_of_words

ADA = owner_of("ada")


class Shelf:
    """Documents that are indexed already."""

    def __init__(self) -> None:
        self.embedder, self.index, self.records = WordEmbedder(), ListIndex(), DictRecords()

    def put(self, document_id: str, *texts: str, owner: str = ADA, version: str = "v1") -> Document:
        document = Document(
            owner=owner, document_id=document_id, name=f"{document_id}.md", key="k", state=DocumentState.READY
        )
        document = replace(document, version=version)
        self.records.records[owner, document_id] = document
        found = [Chunk(number=number, text=text, heading="H") for number, text in enumerate(texts)]
        self.records.put_chunks(document, version, found)
        self.index.add(
            [
                IndexedChunk(ChunkId(owner, document_id, version, chunk.number), bag_of_words(chunk.text))
                for chunk in found
            ]
        )
        return document

    def ask(self, query: str, *, top_k: int = 5, minimum_score: float = 0.1) -> list[str]:
        calibration = Calibration(minimum_score, 1.0, "this test")
        retrieval = Retrieval(self.embedder, self.index, self.records, lambda: calibration)
        return [passage.text for passage in retrieval.passages("ada", query, top_k=top_k)]


def test_passages_come_best_first_up_to_top_k() -> None:
    shelf = Shelf()
    shelf.put("a", "bees hum", "bees hum loudly today", "volcanoes erupt")
    assert shelf.ask("bees hum") == ["bees hum", "bees hum loudly today"]
    assert shelf.ask("bees hum", top_k=1) == ["bees hum"]
    assert shelf.index.prepared == 2


def test_below_the_threshold_there_is_no_answer() -> None:
    shelf = Shelf()
    shelf.put("a", "bees hum loudly")
    assert shelf.ask("bees hum quietly", minimum_score=0.5) == ["bees hum loudly"]
    assert shelf.ask("bees hum quietly", minimum_score=0.9) == []


@pytest.mark.parametrize(
    "change", [{"version": "v2"}, {"version": None}, {"deleted": True}], ids=["replaced", "indexing", "deleted"]
)
def test_chunks_of_no_current_version_are_dropped_whatever_the_index_says(change: dict[str, object]) -> None:
    shelf = Shelf()
    document = shelf.put("a", "bees hum")
    shelf.records.records[ADA, "a"] = replace(document, **change)  # type: ignore[arg-type]  # fields vary by case
    assert shelf.ask("bees hum") == []


def test_chunks_of_a_vanished_record_or_text_are_dropped() -> None:
    shelf = Shelf()
    shelf.put("a", "bees hum")
    shelf.put("b", "bees hum too")
    del shelf.records.records[ADA, "a"]
    shelf.records.texts.clear()
    assert shelf.ask("bees hum") == []


def test_many_hidden_chunks_do_not_hide_another_document() -> None:
    shelf = Shelf()
    hidden = shelf.put("a", *["bees hum"] * 300)
    shelf.records.records[ADA, "a"] = replace(hidden, version=None)
    shelf.put("b", "bees hum softly")
    assert shelf.ask("bees hum", top_k=2) == ["bees hum softly"]


def test_a_foreign_hit_of_a_careless_index_is_dropped() -> None:
    class Careless(ListIndex):
        def search(self, vector, *, owners, limit, text="", where=NO_FILTER):  # type: ignore[no-untyped-def]  # as the protocol
            return super().search(vector, owners=[owner_of("bob")], limit=limit)

    shelf = Shelf()
    shelf.put("b", "bees hum", owner=owner_of("bob"))
    shelf.index, careless = Careless(), shelf.index
    shelf.index.rows, shelf.index.fields = careless.rows, careless.fields
    assert shelf.ask("bees hum") == []


def test_passages_that_all_but_repeat_a_better_one_are_folded() -> None:
    text = " ".join(f"bees word{n}" for n in range(60))
    shelf = Shelf()
    shelf.put("a", *[text] * 30, text + " indeed")
    shelf.put("b", "bees hum")
    shelf.put("c", text, owner=owner_of("bob"))
    assert sorted(map(len, shelf.ask("bees", top_k=3))) == sorted([len("bees hum"), len(text)])
    # Another owner's copy is a passage of its own: one may be taken away without the other.
    shelf.put("s", text, owner="shared")
    assert len(shelf.ask("bees", top_k=5)) == 3


def test_texts_that_differ_in_more_than_a_tenth_are_both_kept() -> None:
    text = " ".join(f"bees word{n}" for n in range(60))
    same = text.upper().replace(" ", "\n")
    for other, folded in ((same, True), (text + " and so on", True), (text[: len(text) // 2], False)):
        assert are_near_duplicates(shingles(text), shingles(other), above=DUPLICATE_SIMILARITY) is folded
    # Half of a pair of surrogates is no character of any text, but may stand in one.
    assert are_near_duplicates(shingles("\ud83d"), shingles("\ud83d"), above=DUPLICATE_SIMILARITY)
    assert len(shingles("abcdefghij")) == 3
    changed = text.replace("word3", "term3")
    assert not are_near_duplicates(shingles(text), shingles(changed), above=DUPLICATE_SIMILARITY)
    assert are_near_duplicates(shingles(""), shingles(""), above=DUPLICATE_SIMILARITY)


def test_the_best_score_decides_for_all_passages() -> None:
    shelf = Shelf()
    shelf.put("a", "bees hum", "bees hum among a great many other insects of the garden")
    assert len(shelf.ask("bees hum", minimum_score=0.9)) == 2
    assert shelf.ask("bees sing of summer", minimum_score=0.9) == []


def test_the_index_is_given_the_questions_words() -> None:
    class Curious(ListIndex):
        asked = ""

        def search(self, vector, *, owners, limit, text="", where=NO_FILTER):  # type: ignore[no-untyped-def]  # as the protocol
            self.asked = text
            return super().search(vector, owners=owners, limit=limit)

    shelf = Shelf()
    shelf.index = curious = Curious()
    shelf.put("a", "bees hum")
    shelf.ask("do bees hum?")
    assert curious.asked == "do bees hum?"


def test_only_the_beginning_of_a_very_long_question_is_embedded() -> None:
    shelf = Shelf()
    shelf.put("a", "bees hum")
    shelf.ask("蜂" * 32_000)
    [asked] = shelf.embedder.asked
    assert len(asked.encode()) <= QUERY_BYTES
    assert set(asked) == {"蜂"}


def test_an_index_that_cannot_get_ready_is_an_error() -> None:
    class Broken(ListIndex):
        def prepare(self) -> None:
            raise StoreUnavailable

    shelf = Shelf()
    shelf.index = Broken()
    with pytest.raises(StoreUnavailable):
        shelf.ask("bees")


def test_an_embedder_that_fails_is_an_error() -> None:
    class Broken(WordEmbedder):
        def embed(self, texts):  # type: ignore[no-untyped-def]  # as the protocol
            raise KnowledgeUnavailable

    shelf = Shelf()
    shelf.embedder = Broken()
    with pytest.raises(KnowledgeUnavailable):
        shelf.ask("bees")
