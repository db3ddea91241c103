"""What is a user's in the tables: the Holding and Exportable protocols over DynamoDB.

Where the subject is part of the key, its items are queried. Sessions, connections and credentials are found by their
own ids all day long, and by their subject only here: their tables are scanned, once for each pass.
"""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any

import msgspec

from parley.aws.connection_posts import Connection, ConnectionGone, ConnectionUnreachable
from parley.aws.conversation_table import ConversationTable
from parley.aws.failures import store_errors
from parley.aws.idempotency import record_id
from parley.aws.items import from_item, to_item
from parley.errors import StoreUnavailable
from parley.knowledge.documents import owner_of
from parley.privacy.deletion import pseudonym
from parley.privacy.holdings import Part

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

    from parley.aws.personal_files import Files

WRITE_BATCH = 25
"""Items of one BatchWriteItem: DynamoDB's limit."""

SCAN_PAGE = 500
"""Items that one read of a scan looks at: a provisioned table is not taken from those who talk."""

WRITE_ATTEMPTS = 8

type Key = Mapping[str, Any]


class Table:
    """Reads and deletes many items of one table."""

    def __init__(self, name: str, client: "DynamoDBClient", *, pause: Callable[[float], None] = time.sleep) -> None:
        self.name = name
        self._client = client
        self._pause = pause

    def query(self, key: str, value: str, *, prefix: str = "", after: str = "", only: str = "") -> Iterator[Any]:
        """Items of a partition, in order; with `after`, those whose sort key is greater. Consistent."""
        condition, values = f"{key} = :key", {":key": value}
        if after:
            condition, values = f"{condition} AND sk > :after", {**values, ":after": after}
        elif prefix:
            condition, values = f"{condition} AND begins_with(sk, :prefix)", {**values, ":prefix": prefix}
        options = {"ProjectionExpression": only} if only else {}
        return self._pages(
            self._client.query,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=to_item(values),
            ConsistentRead=True,
            **options,
        )

    def scan(self, attribute: str, value: str, *, only: str) -> Iterator[Any]:
        """Items with this value, wherever they stand. Consistent."""
        names = {f"#{name}": name for name in {attribute, *only.split(", ")}}
        return self._pages(
            self._client.scan,
            FilterExpression=f"#{attribute} = :value",
            ProjectionExpression=", ".join(f"#{name}" for name in only.split(", ")),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=to_item({":value": value}),
            ConsistentRead=True,
            Limit=SCAN_PAGE,
        )

    def put(self, values: Mapping[str, Any]) -> None:
        """Store an item. Raises StoreUnavailable."""
        with store_errors():
            self._client.put_item(TableName=self.name, Item=to_item(values))

    def delete(self, keys: Iterable[Key]) -> Iterator[int]:
        """Delete items, batch by batch; each step says how many."""
        for batch in batched(keys, WRITE_BATCH):
            waiting: Any = {self.name: [{"DeleteRequest": {"Key": to_item(key)}} for key in batch]}
            for attempt in range(WRITE_ATTEMPTS):
                if attempt:
                    self._pause(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - spreads writes out, guards nothing
                with store_errors():
                    waiting = self._client.batch_write_item(RequestItems=waiting).get("UnprocessedItems")
                if not waiting:
                    break
            else:
                raise StoreUnavailable
            yield len(batch)

    def _pages(self, read: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
        while True:
            with store_errors():
                found = read(TableName=self.name, **arguments)
            yield from map(from_item, found["Items"])
            if not found.get("LastEvaluatedKey"):
                return
            arguments["ExclusiveStartKey"] = found["LastEvaluatedKey"]


class Conversations:
    """Conversations with their turns, and what the service remembers of the requests that asked for them."""

    name = "conversations"

    def __init__(self, table: Table, idempotency: Table, store: Callable[[], ConversationTable]) -> None:
        self._table = table
        self._idempotency = idempotency
        self._store = store

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding. The conversations' own items go last: by them the turns are found."""
        found = list(self._table.query("pk", subject, only="pk, sk, conversation_id"))
        markers = [item for item in found if item["sk"].startswith("request#")]
        ids = {item["sk"].removeprefix("conversation#") for item in found if item["sk"].startswith("conversation#")}
        # One that is being deleted, or expired, may be known by its markers alone.
        ids |= {item["conversation_id"] for item in markers}
        digests = [item["sk"].removeprefix("request#") for item in markers]
        for _ in self._idempotency.delete({"id": record_id(subject, digest)} for digest in digests):
            yield 0
        for id_ in sorted(ids):
            yield from self._table.delete(self._table.query("pk", f"{subject}#{id_}", only="pk, sk"))
        yield from self._table.delete(
            {"pk": item["pk"], "sk": item["sk"]}
            for item in found
            if item["sk"].startswith(("conversation#", "request#"))
        )

    def parts(self, subject: str, after: str) -> Iterator[Part]:
        """See Exportable: a file for each conversation."""
        start = f"conversation#{after}" if after else ""
        for item in self._table.query("pk", subject, prefix="conversation#", after=start, only="sk"):
            if not item["sk"].startswith("conversation#"):
                return
            id_ = item["sk"].removeprefix("conversation#")
            yield Part(id_, f"{id_}.json", self._lines(subject, id_))

    def _lines(self, subject: str, id_: str) -> Iterator[bytes]:
        store = self._store()
        about = msgspec.to_builtins(store.conversation(subject, id_))
        yield json.dumps(about, ensure_ascii=False).encode()[:-1] + b', "turns": ['
        for number, turn in enumerate(store.turns(subject, id_)):
            yield (b",\n" if number else b"\n") + msgspec.json.encode(turn)
        yield b"\n]}\n"


class Records:
    """What else lies in a user's partition: records of recordings and exports."""

    name = "records"

    def __init__(self, table: Table) -> None:
        self._table = table

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding. Comes after whatever is found by these records."""
        yield from self._table.delete(self._table.query("pk", subject, only="pk, sk"))


class Connections:
    """Open connections. They are closed: what comes through one would be written again."""

    name = "connections"

    def __init__(self, table: Table, connect: Callable[[str], Connection]) -> None:
        self._table = table
        self._connect = connect

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding."""
        for item in list(self._table.scan("subject", subject, only="connection_id")):
            try:
                self._connect(item["connection_id"]).close()
            except ConnectionGone:
                pass
            except ConnectionUnreachable as error:
                raise StoreUnavailable from error
            yield from self._table.delete([item])


class Sessions:
    """Sessions, with the frames that are on their way and the archive of their sound.

    The worker of a live session notices only after a while that its session is gone, and still archives what it has. So
    the ids of deleted sessions are remembered, beside the record of the deletion, for `late`.
    """

    name = "sessions"

    def __init__(
        self,
        table: Table,
        frames: Table,
        archive: "Files",
        *,
        remembered: Table,
        late: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._table = table
        self._frames = frames
        self._archive = archive
        self._remembered = remembered
        self._late = late
        self._now = now

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding. A session that is still remembered counts: it is to be looked again."""
        now = self._now().timestamp()
        for item in list(self._remembered.query("pk", _deletion(subject), prefix="session#")):
            yield from self._erase_sound(item["sk"].removeprefix("session#"))
            if item["until"] > now:
                yield 1
            else:
                yield from (0 for _ in self._remembered.delete([{"pk": item["pk"], "sk": item["sk"]}]))
        for item in list(self._table.scan("subject", subject, only="session_id")):
            id_ = item["session_id"]
            until = now + self._late.total_seconds()
            self._remembered.put({"pk": _deletion(subject), "sk": f"session#{id_}", "until": until})
            yield from self._table.delete([item])
            yield from self._erase_sound(id_)

    def _erase_sound(self, session_id: str) -> Iterator[int]:
        yield from self._frames.delete(self._frames.query("session_id", session_id, only="session_id, seq"))
        yield from self._archive.erase(f"{session_id}/")

    def parts(self, subject: str, after: str) -> Iterator[Part]:
        """See Exportable: what was asked for, and the sound that was archived."""
        only = "session_id, created_at, medium, engine, language, voice, conversation_id"
        found = sorted(self._table.scan("subject", subject, only=only), key=lambda item: str(item["session_id"]))
        for item in found:
            id_ = item["session_id"]
            parts: list[tuple[str, Iterable[bytes]]] = [(f"{id_}/session.json", [_json(item)])]
            parts += [(key, self._archive.read(key)) for key in self._archive.keys(f"{id_}/")]
            for path, content in parts:
                if path > after:
                    yield Part(path, path, content)


class Credentials:
    """Tickets and API keys."""

    name = "credentials"

    def __init__(self, table: Table) -> None:
        self._table = table

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding. A ticket names a subject, a key its owner."""
        for attribute in ("subject", "owner"):
            yield from self._table.delete(list(self._table.scan(attribute, subject, only="credential_id")))


class UsageCounters:
    """What a user has used."""

    name = "usage"

    COUNTED = ("requests", "day", "limits")
    """After the subject in the partition key."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding. The minute's counter counts requests that ask how far the deletion is: it is no find."""
        for counted in self.COUNTED:
            for count in self._table.delete(self._table.query("pk", f"{subject}#{counted}", only="pk, sk")):
                yield 0 if counted == "requests" else count

    def parts(self, subject: str, after: str) -> Iterator[Part]:
        """See Exportable."""
        if after:
            return
        kept = ("tokens", "voice_seconds", "documents")
        days = [
            {"date": item["sk"], **{name: item[name] for name in kept if name in item}}
            for item in self._table.query("pk", f"{subject}#day")
        ]
        if days:
            yield Part("days", "days.json", [_json(days)])


class Documents:
    """Documents: their files, records and the text of their chunks. `forget` takes them out of the vector indexes."""

    name = "documents"

    def __init__(self, table: Table, files: "Files", forget: Callable[[str], None] | None) -> None:
        self._table = table
        self._files = files
        self._forget = forget

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding. Records first say that they are deleted (`forget` does it); they go last: by them the rest is
        found."""
        owner = owner_of(subject)
        folder = f"documents/{owner}/"
        records = list(self._table.query("pk", owner, only="pk, sk"))
        if self._forget is not None:
            # Also without records: an index may have kept what was removed from it before.
            self._forget(owner)
        yield 0
        yield from self._files.erase(folder)
        for record in records:
            partition = f"{owner}#{record['sk'].removeprefix('document#')}"
            yield from self._table.delete(self._table.query("pk", partition, only="pk, sk"))
        yield from self._table.delete(records)

    def parts(self, subject: str, after: str) -> Iterator[Part]:
        """See Exportable: each document's file as it was uploaded, beside what is known of it."""
        owner = owner_of(subject)
        start = f"document#{after.split('/')[0]}" if after else ""
        about = ("name", "state", "size", "chunk_count", "created_at", "updated_at")
        for item in self._from(owner, start):
            id_ = item["sk"].removeprefix("document#")
            if item.get("deleted"):
                continue
            shown = {"document_id": id_, **{name: item[name] for name in about if name in item}}
            parts: list[tuple[str, str, Iterable[bytes]]] = [(f"{id_}/0", f"{id_}/about.json", [_json(shown)])]
            names = self._files.keys(f"documents/{owner}/{id_}/")
            parts += [(f"{id_}/1{key}", f"{id_}/{key.rsplit('/', 1)[1]}", self._files.read(key)) for key in names]
            for position, path, content in parts:
                if position > after:
                    yield Part(position, path, content)

    def _from(self, owner: str, start: str) -> Iterator[Any]:
        """Records from this one on: the last one that was packed may have more files."""
        for item in self._table.query("pk", owner, prefix="document#"):
            if item["sk"] >= start:
                yield item


def _deletion(subject: str) -> str:
    return f"deletion#{pseudonym(subject)}"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str).encode() + b"\n"
