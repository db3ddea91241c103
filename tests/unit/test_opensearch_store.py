"""The OpenSearch store against a server that behaves as a vector collection is documented to, over HTTP."""

import json
import math
import threading
from collections.abc import Callable, Iterator

import pytest
from botocore.exceptions import NoCredentialsError
from parley.aws import clients, opensearch_http, opensearch_store
from parley.aws.opensearch_http import Collection, OpenSearchRefused, Patience
from parley.aws.opensearch_store import OpenSearchStore
from parley.errors import StoreUnavailable
from parley.functions.knowledge_parts import KnowledgeSettings, index_opener
from parley.knowledge.chunks import ChunkId, IndexedChunk, Metadata
from parley.knowledge.filters import Filter
from parley.knowledge.index_slots import IndexAddress
from parley.settings import SettingsError

from tests.unit.conversation_doubles import Clock
from tests.unit.http_double import Asked, Server, serving
from tests.unit.opensearch_double import CREDENTIALS, INDEX, VectorCollection

ADDRESS, NAME = IndexAddress("opensearch", "a"), INDEX.removesuffix("-a")
DIMENSIONS = 8


@pytest.fixture
def collection() -> VectorCollection:
    return VectorCollection()


@pytest.fixture
def server(collection: VectorCollection) -> Iterator[Server]:
    with serving(collection.answer) as server:
        yield server


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def make(server: Server, pauses: list[float]) -> Callable[[], OpenSearchStore]:
    def connect() -> Collection:
        return Collection(f"{server.url}/", credentials=CREDENTIALS, region="us-east-1", pause=pauses.append)

    def make() -> OpenSearchStore:
        http = connect()
        return OpenSearchStore(lambda: http, INDEX)

    return make


@pytest.fixture
def store(make: Callable[[], OpenSearchStore]) -> OpenSearchStore:
    return make()


def vector(number: int) -> list[float]:
    angle = number / 1000
    return [math.cos(angle), math.sin(angle), *[0.0] * (DIMENSIONS - 2)]


def document(name: str, count: int = 1, *, owner: str = "shared", text: str = "bees") -> list[IndexedChunk]:
    return [IndexedChunk(ChunkId(owner, name, "v1", n), vector(n), text) for n in range(count)]


def ids(chunks: list[IndexedChunk]) -> list[ChunkId]:
    return [chunk.id for chunk in chunks]


def paths(server: Server) -> list[str]:
    return [asked.path.rsplit("/", 1)[1] for asked in server.asked]


def test_the_nearest_chunks_of_the_owners_come_first_with_their_similarity(store: OpenSearchStore) -> None:
    mine = document("mine", 3, owner="user-ada")
    store.add([*mine, *document("theirs", 3, owner="user-bob"), *document("ours")])
    hits = store.search(vector(2), owners=["user-ada", "shared"], limit=2)
    assert [hit.id for hit in hits] == [mine[2].id, mine[1].id]
    assert [hit.score for hit in hits] == pytest.approx([1.0, math.cos(0.001)])
    assert len(store.search(vector(2), owners=["user-ada", "shared"], limit=50)) == 4


def test_words_lift_a_chunk_and_scores_stay_similarities(store: OpenSearchStore) -> None:
    chunks = document("a", 30, text="nothing of note")
    far = IndexedChunk(ChunkId("shared", "far", "v1", 0), vector(1500), "Error E1234 in the pump")
    hidden = IndexedChunk(ChunkId("user-bob", "b", "v1", 0), vector(0), "Error E1234 in the pump")
    store.add([*chunks, far, hidden])
    plain = store.search(vector(0), owners=["shared"], limit=5)
    fused = store.search(vector(0), owners=["shared"], limit=5, text="what does E1234 mean")
    assert far.id not in [hit.id for hit in plain]
    assert {hit.id: hit.score for hit in fused}[far.id] == pytest.approx(math.cos(1.5))
    assert fused[0].id in (far.id, chunks[0].id)
    assert hidden.id not in [hit.id for hit in fused]
    both = IndexedChunk(ChunkId("shared", "both", "v1", 0), vector(1), "E1234 too")
    store.add([both])
    assert store.search(vector(0), owners=["shared"], limit=5, text="E1234")[0].id == both.id


AWKWARD = 'Ελλάδα "terms" {"bool": {}} \\ = , * % \n'
RECORDS: list[Metadata] = [
    {"language": "fr", "level": 1, "draft": True},
    {"language": "fr", "level": 2.5, "draft": False},
    {"language": "de", "level": "1", "draft": "true"},
    {"language": AWKWARD, "owner": "user-ada", "fields": "fr"},
    {},
]


@pytest.mark.parametrize("text", ["", "bees hum"])
@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"language": ("fr",)}, {0, 1}),
        ({"language": ("fr", "de"), "draft": (False, "true")}, {1, 2}),
        ({"level": (1.0, 2.5)}, {0, 1}),
        ({"level": ("1",)}, {2}),
        ({"draft": (True,)}, {0}),
        ({"language": (AWKWARD,)}, {3}),
        ({"owner": ("user-ada",)}, {3}),
        ({"fields": ("fr",)}, {3}),
        ({"nothing": (1,)}, set()),
    ],
)
def test_only_chunks_that_pass_the_filter_are_found(
    store: OpenSearchStore, where: Filter, found: set[int], text: str
) -> None:
    store.add(
        [
            IndexedChunk(ChunkId("shared", "a", "v1", number), vector(number), "bees", fields)
            for number, fields in enumerate(RECORDS)
        ]
    )
    hits = store.search(vector(0), owners=["shared"], limit=10, text=text, where=where)
    assert {hit.id.number for hit in hits} == found


def test_a_filter_holds_for_both_rankings(server: Server, store: OpenSearchStore) -> None:
    store.add([IndexedChunk(ChunkId("shared", name, "v1", 0), vector(0), "bees", {"x": 1}) for name in "abc"])
    server.asked.clear()
    where: Filter = {"document_id": ("a", "c"), "x": (1, 2)}
    hits = store.search(vector(0), owners=["shared"], limit=10, text="bees", where=where)
    assert {hit.id.document_id for hit in hits} == {"a", "c"}
    condition = {
        "bool": {
            "filter": [
                {"terms": {"owner": ["shared"]}},
                {"terms": {"document_id": ["a", "c"]}},
                {"terms": {"fields": ['["x",1]', '["x",2]']}},
            ]
        }
    }
    bodies = [json.loads(asked.body)["query"] for asked in server.asked]
    assert [body["knn"]["vector"]["filter"] for body in bodies if "knn" in body] == [condition]
    assert [body["bool"]["filter"] for body in bodies if "bool" in body] == [[condition]]


def test_a_question_without_words_of_the_documents_is_answered_by_meaning(store: OpenSearchStore) -> None:
    chunks = document("a", 3)
    store.add(chunks)
    for text in ("", "   ", "zebra"):
        assert [hit.id for hit in store.search(vector(0), owners=["shared"], limit=9, text=text)] == ids(chunks)


def test_a_long_question_is_cut_before_it_has_too_many_clauses(server: Server, store: OpenSearchStore) -> None:
    store.search(vector(0), owners=["shared"], limit=1, text="私は" * 16_000)
    [words] = [
        query["bool"]["must"][0]["match"]["text"]
        for query in (json.loads(asked.body)["query"] for asked in server.asked)
        if "bool" in query
    ]
    assert len(words) == opensearch_store.LEXICAL_CHARACTERS


def test_adding_again_leaves_one_copy_with_the_new_vector(store: OpenSearchStore, collection: VectorCollection) -> None:
    [chunk] = document("a")
    store.add([chunk])
    store.add([IndexedChunk(chunk.id, vector(700), "changed")])
    [stored] = collection.documents.values()
    assert stored["text"] == "changed"
    [hit] = store.search(vector(700), owners=["shared"], limit=5)
    assert hit.score == pytest.approx(1.0)


def test_copies_that_nobody_could_see_are_folded_and_make_no_room_scarce(
    make: Callable[[], OpenSearchStore], server: Server, collection: VectorCollection
) -> None:
    collection.refreshes = False
    chunks = document("a", 10)
    for _ in range(3):
        make().add(chunks)  # Each another process.
    assert len(collection.documents) == 30
    collection.refresh()
    server.asked.clear()
    hits = make().search(vector(0), owners=["shared"], limit=8)
    assert [hit.id for hit in hits] == ids(chunks)[:8]
    assert len(server.asked) == 3


def test_removing_finds_every_copy_page_by_page(
    make: Callable[[], OpenSearchStore], server: Server, collection: VectorCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.refreshes = False
    chunks, kept = document("a", 1_200), document("b", 3)
    make().add([*chunks, *kept])
    make().add(chunks[:10])
    collection.refresh()
    server.asked.clear()
    make().remove(ids(chunks))
    assert sorted(each["document_id"] for each in collection.documents.values()) == ["b"] * 3
    assert paths(server) == ["_search"] * 3 + ["_bulk"] * 5
    make().remove(ids(chunks))
    assert len(collection.documents) == 3


def test_what_this_process_has_just_added_is_removed_though_no_search_sees_it(
    store: OpenSearchStore, collection: VectorCollection
) -> None:
    collection.refreshes = False
    chunks = document("a", 3)
    store.add(chunks)
    store.remove(ids(chunks)[:2])
    assert [each["chunk"] for each in collection.documents.values()] == [2]


def test_ids_are_forgotten_when_searches_see_their_documents(
    make: Callable[[], OpenSearchStore], server: Server, collection: VectorCollection, pauses: list[float]
) -> None:
    clock = Clock()
    http = Collection(server.url, credentials=CREDENTIALS, region="us-east-1", pause=pauses.append)
    store = OpenSearchStore(lambda: http, INDEX, clock=clock)
    collection.refreshes = False
    store.add(document("a"))
    clock.sleep(opensearch_store.VISIBLE_SECONDS + 1)
    store.remove(ids(document("a")))
    assert len(collection.documents) == 1
    collection.refresh()
    store.remove(ids(document("a")))
    assert collection.documents == {}


def test_items_that_fail_in_passing_are_sent_again_alone(
    store: OpenSearchStore, server: Server, collection: VectorCollection, pauses: list[float]
) -> None:
    chunks = document("a", 5)
    collection.item_failures = [200, 429, 200, 503, 200]
    store.add(chunks)
    assert sorted(each["chunk"] for each in collection.documents.values()) == [0, 1, 2, 3, 4]
    bulks = [asked.body.count(b"\n") // 2 for asked in server.asked if asked.path.endswith("_bulk")]
    assert bulks == [5, 2]
    collection.item_failures = [429]
    store.remove(ids(chunks))
    assert collection.documents == {}
    assert any(pauses)


def test_the_ids_of_retried_items_belong_to_their_chunks(store: OpenSearchStore, collection: VectorCollection) -> None:
    collection.refreshes = False
    chunks = document("a", 3)
    collection.item_failures = [429]
    store.add(chunks)
    store.remove([chunks[0].id])
    assert sorted(each["chunk"] for each in collection.documents.values()) == [1, 2]


def test_an_item_that_is_refused_for_good_is_an_error_without_its_content(
    store: OpenSearchStore, collection: VectorCollection
) -> None:
    collection.item_failures = [400]
    with pytest.raises(OpenSearchRefused, match=r"400 some_exception$"):
        store.add(document("a"))


def test_an_answer_without_all_shards_is_asked_for_again(
    store: OpenSearchStore, server: Server, collection: VectorCollection
) -> None:
    store.add(document("a"))
    server.asked.clear()
    collection.failed_shards = [1]
    assert len(store.search(vector(0), owners=["shared"], limit=3)) == 1
    assert len(server.asked) == 2
    collection.failed_shards = [1] * 99
    with pytest.raises(StoreUnavailable):
        store.remove(ids(document("a")))
    assert len(collection.documents) == 1


@pytest.mark.parametrize("status", sorted(opensearch_http.PASSING))
def test_a_busy_collection_is_asked_again_after_growing_random_pauses(
    store: OpenSearchStore, server: Server, collection: VectorCollection, pauses: list[float], status: int
) -> None:
    collection.failures = [status] * 2
    assert store.search(vector(0), owners=["shared"], limit=1) == []
    assert len(server.asked) == 3
    collection.failures = [status] * 3
    with pytest.raises(StoreUnavailable):
        store.search(vector(0), owners=["shared"], limit=1)
    assert all(pause <= opensearch_store.SEARCHING.longest_pause for pause in pauses)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_mistake_is_not_tried_again(
    store: OpenSearchStore, server: Server, collection: VectorCollection, status: int
) -> None:
    collection.failures = [status]
    with pytest.raises(OpenSearchRefused) as caught:
        store.add(document("a"))
    assert caught.value.status == status
    assert len(server.asked) == 1


def test_a_connection_that_breaks_is_made_again(store: OpenSearchStore, server: Server) -> None:
    behave = server.answer
    broken = iter([True, False])
    server.answer = lambda asked: None if next(broken, False) else behave(asked)
    assert store.search(vector(0), owners=["shared"], limit=1) == []
    assert len(server.asked) == 2


def test_nobody_listening_is_an_unavailable_store(pauses: list[float]) -> None:
    http = Collection("http://127.0.0.1:9", credentials=CREDENTIALS, region="us-east-1", pause=pauses.append)
    with pytest.raises(StoreUnavailable):
        OpenSearchStore(lambda: http, INDEX).search(vector(0), owners=["shared"], limit=1)
    assert len(pauses) == opensearch_store.SEARCHING.attempts


def test_a_collection_that_holds_its_first_request_is_awaited(
    store: OpenSearchStore, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        opensearch_store, "KNOCKING", Patience(attempts=1, read_seconds=0.05, longest_pause=0, total_seconds=60)
    )
    behave, asleep = server.answer, threading.Event()

    def answer(asked: Asked) -> tuple[int, bytes] | None:
        if len(server.asked) == 1:
            asleep.wait(30)  # Ends when the client has given up: its second request sets it.
        asleep.set()
        return behave(asked)

    server.answer = answer
    store.prepare()
    assert len(server.asked) == 2


def test_a_collection_that_refuses_while_it_wakes_is_asked_until_it_does(
    store: OpenSearchStore, server: Server, collection: VectorCollection
) -> None:
    collection.failures = [503, 503, 429]
    store.prepare()
    assert len(server.asked) == 4
    collection.failures = [503] * 99
    store.prepare()
    assert len(server.asked) == 4, "what has just answered is awake"


def test_a_collection_that_stays_asleep_is_given_up_in_time(server: Server, collection: VectorCollection) -> None:
    clock = Clock()
    begun = clock()
    http = Collection(server.url, credentials=CREDENTIALS, region="us-east-1", pause=clock.sleep, clock=clock)
    collection.failures = [503] * 999
    with pytest.raises(StoreUnavailable):
        OpenSearchStore(lambda: http, INDEX, clock=clock).prepare()
    waking = opensearch_store.WAKING
    assert waking.total_seconds < clock() - begun < waking.total_seconds + waking.longest_pause


def test_a_collection_is_woken_again_after_a_quiet_time(server: Server, pauses: list[float]) -> None:
    clock = Clock()
    http = Collection(server.url, credentials=CREDENTIALS, region="us-east-1", pause=pauses.append)
    store = OpenSearchStore(lambda: http, INDEX, clock=clock)
    store.search(vector(0), owners=["shared"], limit=1)
    store.prepare()
    assert len(server.asked) == 1
    clock.sleep(opensearch_store.AWAKE_SECONDS)
    store.prepare()
    assert len(server.asked) == 2


def test_nothing_is_asked_before_it_is_needed(server: Server) -> None:
    OpenSearchStore(lambda: pytest.fail("connected"), INDEX)
    with pytest.raises(NoCredentialsError):
        Collection(server.url, credentials=None, region="us-east-1")


def settings(**more: str) -> KnowledgeSettings:
    variables = {"KNOWLEDGE_TABLE": "t", "DOCUMENTS_BUCKET": "b", "EMBEDDING_MODEL": "m", "VECTOR_STORE": "opensearch"}
    return KnowledgeSettings.load({**variables, **more})


def test_the_functions_settings_choose_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(clients, "collection", clients.collection.__wrapped__)
    index, chunks = index_opener(settings(COLLECTION_ENDPOINT=server.url, VECTOR_INDEX=NAME))(ADDRESS), document("a", 3)
    index.prepare()
    index.add(chunks)
    assert [hit.id for hit in index.search(vector(1), owners=["shared"], limit=1)] == [chunks[1].id]


@pytest.mark.parametrize("missing", ["COLLECTION_ENDPOINT", "VECTOR_INDEX"])
def test_a_deployment_without_its_index_fails_at_start(missing: str) -> None:
    given = {"COLLECTION_ENDPOINT": "https://example.aoss.amazonaws.com", "VECTOR_INDEX": NAME, missing: ""}
    with pytest.raises(SettingsError, match=f"{missing} is missing"):
        index_opener(settings(**given))


def test_an_index_is_empty_when_no_search_finds_anything(server: Server, collection: VectorCollection) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            collection.refresh()

    http = Collection(server.url, credentials=CREDENTIALS, region="us-east-1")
    store = OpenSearchStore(lambda: http, INDEX, pause=pause)
    store.add(document("a", 300))
    assert store.count() == 300
    collection.refreshes = False
    store.clear()
    assert (collection.documents, store.count(), len(pauses)) == ({}, 0, 3)


def test_an_index_that_never_gets_empty_is_given_up(server: Server, collection: VectorCollection) -> None:
    http = Collection(server.url, credentials=CREDENTIALS, region="us-east-1")
    store = OpenSearchStore(lambda: http, INDEX, pause=lambda _: None)
    store.add(document("a", 3))
    collection.refreshes = False
    with pytest.raises(StoreUnavailable):
        store.clear()
