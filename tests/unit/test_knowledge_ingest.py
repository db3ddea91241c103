from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.knowledge import ingest
from parley.knowledge.chunks import Chunk, IndexedChunk
from parley.knowledge.documents import MAX_DOCUMENT_BYTES, Document, DocumentState
from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.ingest import Ingestion, Outcome
from parley.knowledge.library import Library, Reader
from parley.knowledge.ports import StoredFile

from tests.unit.knowledge_doubles import DictFiles, DictRecords, ListIndex, WordEmbedder

OWNER, ID = "user-ada", "d1"
KEY = f"documents/{OWNER}/{ID}/notes.txt"


@dataclass
class World:
    files: DictFiles = field(default_factory=DictFiles)
    records: DictRecords = field(default_factory=DictRecords)
    embedder: WordEmbedder = field(default_factory=WordEmbedder)
    index: ListIndex = field(default_factory=ListIndex)

    @property
    def ingestion(self) -> Ingestion:
        return Ingestion(self.files, self.records, self.embedder, self.index)

    @property
    def record(self) -> Document:
        return self.records.records[OWNER, ID]

    def write(self, text: str, key: str = KEY) -> None:
        self.files.write(key, text.encode(), "text/plain")

    def texts(self) -> set[str]:
        return {chunk.text for chunk in self.records.texts.values()}

    def is_consistent(self) -> bool:
        """The index and the table hold the same chunks, all of the current version."""
        ids = set(self.records.texts)
        return ids == set(self.index.rows) and {id_.version for id_ in ids} <= {self.record.version}


@pytest.fixture
def world() -> World:
    world = World()
    world.records.put_new(Document(owner=OWNER, document_id=ID, name="notes.txt", key=KEY))
    return world


def test_a_file_becomes_a_ready_document(world: World) -> None:
    world.write("The gateway closes idle connections.")
    assert world.ingestion.reconcile(KEY) is Outcome.INDEXED
    assert world.record.state is DocumentState.READY
    assert world.record.chunk_count == 1
    assert world.texts() == {"The gateway closes idle connections."}
    assert world.is_consistent()


def test_the_same_event_twice_indexes_once(world: World) -> None:
    world.write("Once.")
    world.ingestion.reconcile(KEY)
    assert world.ingestion.reconcile(KEY) is Outcome.UNCHANGED
    assert world.embedder.asked == ["Once."]


def test_a_newer_version_replaces_every_chunk(world: World) -> None:
    world.write("Old words. " * 400)
    world.ingestion.reconcile(KEY)
    assert world.record.chunk_count > 1
    world.write("New words.")
    assert world.ingestion.reconcile(KEY) is Outcome.INDEXED
    assert world.texts() == {"New words."}
    assert world.is_consistent()


def test_a_deleted_file_takes_its_chunks_along(world: World) -> None:
    world.write("Gone soon.")
    world.ingestion.reconcile(KEY)
    world.files.delete_folder(KEY)
    assert world.ingestion.reconcile(KEY) is Outcome.REMOVED
    assert world.record.deleted
    assert not world.index.rows
    assert not world.records.texts


def test_a_late_upload_to_a_deleted_document_is_deleted_too(world: World) -> None:
    world.records.mark_deleted(OWNER, ID)
    world.write("Too late.")
    assert world.ingestion.reconcile(KEY) is Outcome.REMOVED
    assert not world.files.files
    assert not world.records.texts


def test_a_file_put_into_the_bucket_by_hand_gets_a_record() -> None:
    world = World()
    world.write("By hand.")
    assert world.ingestion.reconcile(KEY) is Outcome.INDEXED
    assert world.record.name == "notes.txt"


@pytest.mark.parametrize("key", ["indexes/faiss/manifest.json", "documents/shared/notes.txt", "documents/eve/d1/a.txt"])
def test_other_keys_are_ignored(world: World, key: str) -> None:
    world.write("Not a document.", key)
    assert world.ingestion.reconcile(key) is Outcome.IGNORED
    assert not world.records.texts


def test_an_event_of_nothing_is_ignored() -> None:
    assert World().ingestion.reconcile(KEY) is Outcome.IGNORED


def test_chunks_without_record_and_file_are_swept(world: World) -> None:
    world.write("Orphan.")
    world.ingestion.reconcile(KEY)
    world.records.records.clear()
    world.files.files.clear()
    assert world.ingestion.reconcile(KEY) is Outcome.REMOVED
    assert not world.index.rows


def test_a_renamed_replacement_leaves_no_file_of_the_old_name(world: World) -> None:
    world.write("Old name.")
    world.ingestion.reconcile(KEY)
    new_key = f"documents/{OWNER}/{ID}/guide.md"
    world.records.replace(Document(owner=OWNER, document_id=ID, name="guide.md", key=new_key), keep_version=True)
    assert world.ingestion.reconcile(KEY) is Outcome.IGNORED
    assert world.texts() == {"Old name."}
    world.write("# New\n\nNew name.", new_key)
    assert world.ingestion.reconcile(new_key) is Outcome.INDEXED
    assert set(world.files.files) == {new_key}
    assert world.is_consistent()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00\xd8 broken", "not text in UTF-8"),
        (b"caf\xe9", "not text in UTF-8"),
        (b"PK\x03\x04\x00\x00", "a compressed archive"),
        (b"a\x00b", "not a text file"),
        (b" \n\t", "holds no text"),
    ],
)
def test_an_unreadable_file_says_why_and_raises(world: World, content: bytes, words: str) -> None:
    world.files.write(KEY, content, "text/plain")
    with pytest.raises(UnreadableDocument, match=words):
        world.ingestion.reconcile(KEY)
    assert world.record.state is DocumentState.FAILED
    assert words in (world.record.reason or "")


def test_a_file_too_large_is_refused_without_reading_it(world: World) -> None:
    world.files.files[KEY] = StoredFile("v1", MAX_DOCUMENT_BYTES + 1), b""
    with pytest.raises(UnreadableDocument, match="larger than"):
        world.ingestion.reconcile(KEY)


def test_an_unknown_format_is_unreadable() -> None:
    world = World()
    key = f"documents/{OWNER}/{ID}/notes.exe"
    world.write("MZ", key)
    with pytest.raises(UnreadableDocument, match=r"\.exe are not supported"):
        world.ingestion.reconcile(key)


class Throttled(WordEmbedder):
    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked += texts
        raise KnowledgeUnavailable


def test_passing_trouble_is_healed_by_the_next_delivery(world: World) -> None:
    world.write("Try again.")
    healthy, world.embedder = world.embedder, Throttled()
    with pytest.raises(KnowledgeUnavailable):
        world.ingestion.reconcile(KEY)
    assert (world.record.state, world.record.reason) == (DocumentState.INDEXING, None)
    world.embedder = healthy
    assert world.ingestion.reconcile(KEY) is Outcome.INDEXED


def test_a_document_that_is_given_up_says_so_and_can_be_tried_again(world: World) -> None:
    world.write("Try again.")
    healthy, world.embedder = world.embedder, Throttled()
    with pytest.raises(KnowledgeUnavailable):
        world.ingestion.reconcile(KEY)
    world.ingestion.give_up(KEY, "It is over.")
    assert (world.record.state, world.record.reason) == (DocumentState.FAILED, "It is over.")
    world.embedder = healthy
    assert world.ingestion.reconcile(KEY) is Outcome.INDEXED


def test_a_document_that_no_worker_came_to_claim_can_be_given_up(world: World) -> None:
    world.ingestion.give_up(KEY, "It is over.")
    assert world.record.state is DocumentState.FAILED
    world.write("Now.")
    assert world.ingestion.reconcile(KEY) is Outcome.INDEXED


def test_giving_up_touches_nothing_that_is_ready_renamed_deleted_or_unknown(world: World) -> None:
    world.write("Ready.")
    world.ingestion.reconcile(KEY)
    for key in (KEY, f"documents/{OWNER}/{ID}/other.txt", f"documents/{OWNER}/other/notes.txt", "elsewhere"):
        world.ingestion.give_up(key, "It is over.")
    assert world.record.state is DocumentState.READY
    world.records.mark_deleted(OWNER, ID)
    world.ingestion.give_up(KEY, "It is over.")
    assert world.record.deleted
    assert world.record.state is DocumentState.READY


def keys_of(world: World, texts: Sequence[str]) -> list[str]:
    """Documents with these texts, waiting to be indexed."""
    keys = [f"documents/{OWNER}/n{number}/notes.txt" for number in range(len(texts))]
    for key, text in zip(keys, texts, strict=True):
        world.write(text, key)
    return keys


class Counting(ListIndex):
    """An index that counts what it is asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[int] = []

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        self.written.append(len(chunks))
        super().add(chunks)


def test_small_documents_are_written_into_the_index_together(world: World) -> None:
    world.index = index = Counting()
    keys = keys_of(world, [f"Note {number}." for number in range(10)])
    assert world.ingestion.reconcile_all(keys) == dict.fromkeys(keys, Outcome.INDEXED)
    assert index.written == [10]
    assert {record.state for key, record in world.records.records.items() if key[1] != ID} == {DocumentState.READY}


def test_what_goes_wrong_with_one_document_touches_no_other(world: World) -> None:
    keys = keys_of(world, ["First.", "\x00", "Third."])
    results = world.ingestion.reconcile_all([*keys, "elsewhere"])
    assert isinstance(results[keys[1]], UnreadableDocument)
    assert [results[key] for key in (keys[0], keys[2], "elsewhere")] == [*[Outcome.INDEXED] * 2, Outcome.IGNORED]


def test_a_text_that_the_model_refuses_takes_no_other_document_with_it(world: World) -> None:
    class Choosy(WordEmbedder):
        def embed(self, texts: Sequence[str]) -> list[list[float]]:
            if any("refuse" in text for text in texts):
                raise ValueError
            return super().embed(texts)

    world.embedder = Choosy()
    keys = keys_of(world, ["First.", "Please refuse me. " * 60_000, "Third."])
    results = dict(world.ingestion.reconcile_all(keys))
    assert isinstance(results.pop(keys[1]), ValueError)
    assert set(results.values()) == {Outcome.INDEXED}


def test_a_model_that_throttles_is_not_asked_for_the_next_document(world: World) -> None:
    world.embedder = throttled = Throttled()
    keys = keys_of(world, ["First.", "Second."])
    results = world.ingestion.reconcile_all(keys)
    assert [type(results[key]) for key in keys] == [KnowledgeUnavailable] * 2
    assert throttled.asked == ["First.", "Second."]


def test_when_time_is_short_the_first_document_is_done_and_the_rest_waits(world: World) -> None:
    keys = keys_of(world, ["First.", "Second.", "Third."])
    results = world.ingestion.reconcile_all(keys, seconds_left=lambda: ingest.SECONDS_FOR_A_DOCUMENT - 1)
    assert [results[key] for key in keys] == [Outcome.INDEXED, Outcome.UNFINISHED, Outcome.UNFINISHED]
    assert world.texts() == {"First."}
    assert set(world.ingestion.reconcile_all(keys[1:]).values()) == {Outcome.INDEXED}


def test_a_store_that_fails_at_the_end_fails_that_document_alone(world: World) -> None:
    class Moody(DictRecords):
        def finish(self, document: Document, version: str, chunk_count: int) -> None:
            if document.document_id == "n0":
                raise StoreUnavailable
            super().finish(document, version, chunk_count)

    world.records = Moody()
    keys = keys_of(world, ["First.", "Second."])
    results = world.ingestion.reconcile_all(keys)
    assert isinstance(results[keys[0]], StoreUnavailable)
    assert results[keys[1]] is Outcome.INDEXED


class Interrupted(DictRecords):
    """Records in which something happens just before or after a step of a worker."""

    def __init__(self, records: DictRecords) -> None:
        super().__init__()
        self.records, self.texts = records.records, records.texts
        self.before_claim: Callable[[], object] = lambda: None
        self.before_chunks: Callable[[], object] = lambda: None

    def claim(self, document: Document, version: str, size: int) -> Document | None:
        now, self.before_claim = self.before_claim, lambda: None
        now()
        return super().claim(document, version, size)

    def put_chunks(self, document: Document, version: str, chunks: Sequence[Chunk]) -> None:
        now, self.before_chunks = self.before_chunks, lambda: None
        now()
        super().put_chunks(document, version, chunks)


def test_a_late_event_does_not_bring_a_replaced_file_back(world: World) -> None:
    """The event of the old file comes between the replacement's record and its file."""
    library, ada = Library(world.records, world.files), Reader("ada", is_curator=False)
    world.write("Old.")

    class Late(DictFiles):
        def write(self, key: str, content: bytes, media_type: str) -> None:
            assert world.ingestion.reconcile(KEY) is Outcome.SUPERSEDED
            super().write(key, content, media_type)

    late = Late()
    late.files, late._versions = world.files.files, 1
    replace(library, files=late).replace_text(ada, ID, None, "New.")
    assert world.record.version is None
    world.files = late
    assert world.ingestion.reconcile(KEY) is Outcome.INDEXED
    assert world.texts() == {"New."}


def test_a_worker_that_meets_a_newer_file_indexes_that_one(world: World) -> None:
    world.write("First.")
    world.records = records = Interrupted(world.records)
    records.before_claim = lambda: world.write("Second.")
    assert world.ingestion.reconcile(KEY) is Outcome.INDEXED
    assert world.texts() == {"Second."}
    assert world.is_consistent()


def test_a_slow_worker_gives_way_to_the_newer_version(world: World) -> None:
    world.write("First.")
    world.records = records = Interrupted(world.records)

    def overtaken() -> None:
        world.write("Second.")
        assert world.ingestion.reconcile(KEY) is Outcome.INDEXED

    records.before_chunks = overtaken
    assert world.ingestion.reconcile(KEY) is Outcome.SUPERSEDED
    assert world.texts() == {"Second."}
    assert world.record.state is DocumentState.READY
    assert world.is_consistent()


def test_a_document_deleted_while_it_is_indexed_stays_deleted(world: World) -> None:
    world.write("Deleted meanwhile.")
    world.records = records = Interrupted(world.records)
    records.before_chunks = lambda: world.records.mark_deleted(OWNER, ID)
    assert world.ingestion.reconcile(KEY) is Outcome.SUPERSEDED
    assert not world.records.texts
    assert not world.index.rows


def test_a_record_that_is_gone_at_the_claim_is_no_error(world: World) -> None:
    world.write("Gone.")
    world.records = records = Interrupted(world.records)
    records.before_claim = lambda: world.records.mark_deleted(OWNER, ID)
    assert world.ingestion.reconcile(KEY) is Outcome.SUPERSEDED


def test_a_file_deleted_after_the_claim_is_left_to_its_own_event(world: World) -> None:
    world.write("Gone.")
    world.records = records = Interrupted(world.records)
    records.before_claim = lambda: world.files.delete_folder(KEY)
    assert world.ingestion.reconcile(KEY) is Outcome.SUPERSEDED
    assert world.ingestion.reconcile(KEY) is Outcome.REMOVED


def test_a_crash_before_the_end_is_healed_by_the_next_delivery(world: World) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    world.write("Old.")
    world.ingestion.reconcile(KEY)
    world.write("New.")
    healthy = world.records
    world.records = records = Interrupted(world.records)
    records.before_chunks = die
    with pytest.raises(Killed):
        world.ingestion.reconcile(KEY)
    assert world.record.version is None
    world.records = healthy
    assert world.ingestion.reconcile(KEY) is Outcome.INDEXED
    assert world.texts() == {"New."}
    assert world.is_consistent()


def test_headings_are_embedded_with_their_text(world: World) -> None:
    key = f"documents/{OWNER}/m1/guide.md"
    world.write("# Sandbox\n\n## Gateway\n\nIt listens.", key)
    world.ingestion.reconcile(key)
    assert world.embedder.asked == ["Sandbox > Gateway\nIt listens."]
