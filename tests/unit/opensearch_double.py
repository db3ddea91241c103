"""A vector collection of OpenSearch Serverless, as documented, behind `http_double`.

It checks each request's signature, gives documents its own ids, shows what is written only after a refresh, deletes
by id alone, and fails whole requests, single items or shards as told.
"""

import json
import math
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.unit.http_double import Asked

INDEX = "passages-a"
FIELDS = {"owner", "document_id", "version", "chunk", "fields", "text", "vector"}
"""The fields of the index's mapping; a template test holds the construct to the same."""
CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", "token")


@dataclass
class VectorCollection:
    """A vector collection with one index, as far as the store uses it."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    visible: dict[str, dict[str, Any]] = field(default_factory=dict)
    refreshes: bool = True
    """Is what was written visible at once?"""
    failures: list[int] = field(default_factory=list)
    """Statuses that the next requests get."""
    item_failures: list[int] = field(default_factory=list)
    """Statuses that the next items of a bulk get."""
    failed_shards: list[int] = field(default_factory=list)
    """How many shards fail in the next searches."""

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        check_signature(asked)
        if self.failures:
            return self.failures.pop(0), b'{"message": "busy"}'
        assert asked.headers["content-type"] == "application/json"
        if asked.path == f"/{INDEX}/_search":
            answer = self.search(json.loads(asked.body))
        else:
            assert asked.path == f"/{INDEX}/_bulk"
            lines = asked.body.split(b"\n")
            assert lines.pop() == b"", "the body of a bulk ends with a line break"
            answer = self.bulk([json.loads(line) for line in lines])
        if self.refreshes:
            self.refresh()
        return 200, json.dumps(answer).encode()

    def refresh(self) -> None:
        self.visible = dict(self.documents)

    def bulk(self, lines: list[Any]) -> Any:
        items = []
        while lines:
            [(action, target)] = lines.pop(0).items()
            items.append({action: self.operate(action, target, lines)})
        return {"took": 1, "errors": any(item["status"] >= 400 for [item] in map(dict.values, items)), "items": items}

    def operate(self, action: str, target: Any, lines: list[Any]) -> Any:
        document = lines.pop(0) if action == "index" else None
        if self.item_failures and (status := self.item_failures.pop(0)) >= 400:
            return {"_index": INDEX, "_id": "", "status": status, "error": {"type": "some_exception", "reason": "x"}}
        if document is None:
            found = self.documents.pop(target["_id"], None)
            return {"_index": INDEX, "_id": target["_id"], "status": 404 if found is None else 200}
        assert target == {}, "Document ID is not supported in create/index operation request"
        assert set(document) == FIELDS
        id_ = f"1%3A0%3A{len(self.documents)}-{sha256(json.dumps(document).encode()).hexdigest()[:6]}"
        self.documents[id_] = document
        return {"_index": INDEX, "_id": id_, "status": 201}

    def search(self, body: Any) -> Any:
        assert body["size"] <= 10_000
        scored = [(score(body["query"], id_, document), id_) for id_, document in self.visible.items()]
        best = sorted(((points, id_) for points, id_ in scored if points is not None), key=lambda each: -each[0])
        hits: list[dict[str, Any]] = [
            {"_index": INDEX, "_id": id_, "_score": points} for points, id_ in best[: body["size"]]
        ]
        for hit in hits:
            if body.get("_source"):
                hit["_source"] = {name: self.visible[hit["_id"]][name] for name in body["_source"]}
        failed = self.failed_shards.pop(0) if self.failed_shards else 0
        shards = {"total": 2, "successful": 2 - failed, "skipped": 0, "failed": failed}
        counted = len(best) if body.get("track_total_hits") else min(len(best), 10_000)
        found = {"total": {"value": counted, "relation": "eq"}, "max_score": 1.0, "hits": hits}
        return {"took": 1, "timed_out": False, "_shards": shards, "hits": found}


def score(query: Any, id_: str, document: dict[str, Any]) -> float | None:
    """The score of a document by a query; None when it does not match."""
    [(kind, body)] = query.items()
    match kind:
        case "match_all":
            return 1.0
        case "term":
            [(name, value)] = body.items()
            return 0.0 if document[name] == value else None
        case "terms":
            [(name, values)] = body.items()
            held = document[name] if isinstance(document[name], list) else [document[name]]
            return None if set(values).isdisjoint(held) else 0.0
        case "ids":
            return 0.0 if id_ in body["values"] else None
        case "match":
            shared = set(body["text"].lower().split()) & set(document["text"].lower().split())
            return float(len(shared)) or None
        case "knn":
            asked = body["vector"]
            assert asked["k"] >= 1
            if score(asked["filter"], id_, document) is None:
                return None
            # As documented for cosinesimil: (2 - d) / 2, where d is 1 minus the cosine.
            return (2 - (1 - cosine(asked["vector"], document["vector"]))) / 2
        case "bool":
            parts = [score(part, id_, document) for part in [*body.get("must", []), *body["filter"]]]
            return None if None in parts else sum(part or 0 for part in parts)
    raise AssertionError(f"the server knows no query `{kind}`")


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


def check_signature(asked: Asked) -> None:
    """Sign the request as it arrived, by the same rules, and compare."""
    given = asked.headers["authorization"]
    signed = given.split("SignedHeaders=")[1].split(",")[0].split(";")
    assert "content-length" not in signed, "the service refuses a signed Content-Length"
    assert {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"} <= set(signed)
    assert asked.headers["x-amz-content-sha256"] == sha256(asked.body).hexdigest()
    assert "/us-east-1/aoss/aws4_request" in given
    request = AWSRequest("POST", f"http://{asked.headers['host']}{asked.path}", data=asked.body)
    for name in signed:
        request.headers[name] = asked.headers[name]
    request.context["timestamp"] = asked.headers["x-amz-date"]
    signer = SigV4Auth(CREDENTIALS, "aoss", "us-east-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert given.endswith(f"Signature={signer.signature(text, request)}")
