"""Many questions to the retrieval function in one warm process, timed without DynamoDB, embedding and search.

Usage: warm_queries COUNT < EVENT. Prints {"p50", "p99" in milliseconds, "processor" (the median of the processor's own
time), "calls" of DynamoDB a question} as JSON.
"""

import contextlib
import importlib
import io
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from parley.aws import clients
from parley.aws.items import to_item
from parley.aws.knowledge_items import chunk_key, chunk_values, record_key
from parley.knowledge.chunks import Chunk, ChunkId, Hit, IndexedChunk
from parley.knowledge.filters import NO_FILTER, Filter

from benchmarks.processes.lambda_context import Context
from benchmarks.processes.percentiles import percentiles

WARM_UP = 20
DOCUMENTS = 4
"""Documents that a question's hits are of: what answers it mostly stands in a few."""

HITS_A_DOCUMENT = 5
"""For 5 passages retrieval asks for 20 hits."""

SENTENCE = "A ticket is valid for 60 seconds and opens one connection; after that the client asks for another one. "
TABLE = "knowledge"

IDS = [ChunkId("shared", f"document-{n}", "v1", number) for number in range(HITS_A_DOCUMENT) for n in range(DOCUMENTS)]
"""What every search finds, best first."""


@dataclass(frozen=True)
class Seconds:
    """Passed on the clock, and used of the processor: where others use it too, only the second is this process's."""

    clock: float
    processor: float

    @classmethod
    def now(cls) -> "Seconds":
        """Both from some beginning."""
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.clock - other.clock, self.processor - other.processor)

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.clock + other.clock, self.processor + other.processor)


class InstantTable:
    """Answers the client's reads of the knowledge table in its place, and counts them and their seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.waited = Seconds(0.0, 0.0)
        self._items = {json.dumps({name: item[name] for name in ("pk", "sk")}): item for item in _items()}

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        """The response to one BatchGetItem, of which nothing goes over the network."""
        started = Seconds.now()
        wanted = json.loads(request.body)["RequestItems"][TABLE]["Keys"]
        found = [self._items[json.dumps({name: key[name] for name in ("pk", "sk")})] for key in wanted]
        response = _Response({"Responses": {TABLE: found}, "UnprocessedKeys": {}})
        self.count += 1
        self.waited += Seconds.now() - started
        return response


class _Response(AWSResponse):
    def __init__(self, body: Any) -> None:
        super().__init__("http://localhost", 200, HTTPHeaders(), None)
        self._content = json.dumps(body).encode()


def _items() -> list[dict[str, Any]]:
    """Records of PDF documents, and chunks of about 512 tokens, none like another."""
    items = [
        record_key("shared", f"document-{number}")
        | to_item({"name": f"guide-{number}.pdf", "key": f"documents/shared/document-{number}/guide.pdf"})
        | to_item({"state": "ready", "version": "v1", "chunk_count": HITS_A_DOCUMENT})
        for number in range(DOCUMENTS)
    ]
    for place, id_ in enumerate(IDS):
        text = f"{place} is the number. ".join([SENTENCE] * 18)
        chunk = Chunk(number=id_.number, text=text, heading="Guide > Tickets", page=2)
        items.append(chunk_key(id_) | to_item(chunk_values(chunk)))
    return items


class InstantEmbedder:
    """Embeds in no time."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """The same vector for each text."""
        return [[1.0] for _ in texts]


class InstantIndex:
    """Finds the same chunks in no time."""

    def prepare(self) -> None:
        """Nothing to do."""

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        """Nothing to do."""

    def remove(self, ids: Sequence[ChunkId]) -> None:
        """Nothing to do."""

    def search(
        self,
        vector: Sequence[float],
        *,
        owners: Sequence[str],
        limit: int,
        text: str = "",
        where: Filter = NO_FILTER,
    ) -> list[Hit]:
        """The same for every question."""
        return [Hit(id_, 0.9 - place / 100) for place, id_ in enumerate(IDS[:limit])]


def main(count: int, event: dict[str, Any]) -> None:
    """Time `count` questions."""
    table = InstantTable()
    events: Any = clients.dynamodb().meta.events  # The stubs do not know that a handler may give the answer.
    events.register("before-send.dynamodb.BatchGetItem", table.answer)
    function = importlib.import_module("parley.functions.retrieval")
    instant = replace(function.retrieval(), embedder=InstantEmbedder(), index=InstantIndex())
    setattr(function, "retrieval", lambda: instant)  # noqa: B010  (a part is replaced on purpose)

    def ask() -> Seconds:
        table.waited, started = Seconds(0.0, 0.0), Seconds.now()
        with contextlib.redirect_stdout(io.StringIO()):
            answer = function.handler(event, Context())
        taken = Seconds.now() - started - table.waited
        if answer["statusCode"] != 200 or len(json.loads(answer["body"])["passages"]) != 5:
            sys.exit(f"retrieval answered {answer['statusCode']}: {answer['body']}")
        return taken

    for _ in range(WARM_UP):
        ask()
    table.count = 0
    taken = [ask() for _ in range(count)]
    clock = percentiles([each.clock * 1000 for each in taken])
    processor = percentiles([each.processor * 1000 for each in taken])
    print(json.dumps(clock | {"processor": processor["p50"], "calls": table.count / count}))


main(int(sys.argv[1]), json.load(sys.stdin))
