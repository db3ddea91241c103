"""All that is a user's, exported and deleted in the deployed sandbox: nothing of it is left in any table or bucket."""

import base64
import io
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from parley.privacy.deletion import pseudonym
from websockets.exceptions import ConnectionClosed

from tests.sandbox.people import Person, Sandbox
from tests.sandbox.test_uploaded_recordings import spoken, uploaded

WAIT_SECONDS = 120
FRAME = base64.b64encode(bytes(2880)).decode()


def wait_for[T](what: Callable[[], T | None]) -> T:
    """What comes to be there."""
    until = time.monotonic() + WAIT_SECONDS
    while (found := what()) is None:
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.5)
    return found


def is_ready(person: Person, document_id: str) -> bool | None:
    """Is the document indexed?"""
    state = person.http.get(f"/knowledge/documents/{document_id}").raise_for_status().json()["state"]
    assert state != "failed"
    return state == "ready" or None


def live(sandbox: Sandbox, person: Person, word: str, sound: bytes) -> set[str]:
    """Leave something with `word` in it everywhere; the ids of what there is then."""
    said = f"My secret word is {word}."
    conversation_id = person.chat(said, key=f"key-{word}").json()["conversation_id"]
    person.chat(f"{said} Again.", conversation_id=conversation_id)
    text = f"# The boat\n\nThe boat of this person is called {word}, and {word} lies in the harbour.\n"
    added = [
        person.http.post("/knowledge/documents", json={"name": f"{word}-{number}.md", "text": text}).json()
        for number in range(2)
    ]
    ids = [document["document_id"] for document in added]
    for id_ in ids:
        wait_for(partial(is_ready, person, id_))
    # One that was replaced, and one that was deleted before: they are versions and removals by now.
    person.http.put(f"/knowledge/documents/{ids[0]}", json={"text": f"{text}\nAnd it is blue.\n"}).raise_for_status()
    person.http.delete(f"/knowledge/documents/{ids[1]}").raise_for_status()
    wait_for(partial(is_ready, person, ids[0]))
    assert word in person.http.post("/rag/query", json={"query": f"What is the boat {word} called?"}).text
    recording_id = uploaded(person, f"{word}.wav", sound, language="en-US")
    ticket = person.ticket()
    with person.connected(ticket["ticket"]) as connected:
        connected.send("session.start", medium="voice")
        connected.receive("session.ready")
        for seq in range(1, 8):
            connected.send("audio", seq=seq, data=FRAME)
        connected.ask(f"{said} Over the WebSocket.")
        # Its sound is archived when the call ends.
        connected.send("session.end")
        connected.receive("session.ended")
    wait_for(partial(is_archived, sandbox, ticket["session_id"]))
    # A ticket that nobody used.
    person.ticket()
    return {conversation_id, *ids, recording_id, ticket["session_id"]}


def everything(sandbox: Sandbox) -> Iterator[tuple[str, bytes]]:
    """Every item of every table, and every version of every object of every bucket."""
    dynamodb, s3 = sandbox.aws("dynamodb"), sandbox.aws("s3")
    for page in dynamodb.get_paginator("list_tables").paginate():
        for table in page["TableNames"]:
            for items in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
                yield from ((table, repr(item).encode()) for item in items["Items"])
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        # The CDK's own holds the packages of functions, and this repository's documents stand in the other one.
        if name.startswith("cdk-"):
            continue
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
            yield from ((name, each["Key"].encode()) for each in page.get("DeleteMarkers", []))
            for version in page.get("Versions", []):
                where = {"Bucket": name, "Key": version["Key"], "VersionId": version["VersionId"]}
                try:
                    content = s3.get_object(**where)["Body"].read()
                except ClientError as error:
                    # Gone since the listing: another test's, or of the index, when that one's user is deleted.
                    if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion"):
                        continue
                    raise
                yield f"{name}/{version['Key']}", version["Key"].encode() + b"\0" + content


def is_archived(sandbox: Sandbox, session_id: str) -> bool | None:
    """Is what was said and what was answered in a call kept?"""
    bucket = sandbox.function("voice_worker")["Environment"]["Variables"]["AUDIO_BUCKET"]
    objects = sandbox.aws("s3").list_objects_v2(Bucket=bucket, Prefix=f"{session_id}/").get("Contents", [])
    kinds = {each["Key"].rpartition("_")[2] for each in objects}
    return kinds == {"input.wav", "output.wav"} or None


def found(sandbox: Sandbox, texts: set[str]) -> dict[str, list[str]]:
    """Where these texts stand."""
    encoded = {text: text.encode() for text in texts}
    places: dict[str, list[str]] = {}
    for place, content in everything(sandbox):
        for text, raw in encoded.items():
            if raw in content:
                places.setdefault(text, []).append(place)
    return places


def test_a_user_takes_everything_along_and_leaves_nothing_behind(sandbox: Sandbox, user: Person) -> None:
    word = f"zyx{uuid.uuid4().hex}"
    subject = user.subject
    sound = spoken()
    ids = live(sandbox, user, word, sound)
    stranger = sandbox.new_user()
    kept = stranger.chat(f"A stranger's word is {word[::-1]}.").json()["conversation_id"]

    _is_exported(user, word, sound)

    before = found(sandbox, {subject, word, *ids})
    assert set(before) == {subject, word, *ids}
    # The index, its manifest, tables of all kinds, and the buckets hold something of this user.
    assert len({place for places in before.values() for place in places}) >= 12

    with user.connected() as connected:
        assert user.http.delete("/me").raise_for_status().json()["state"] == "deleting"
        _is_done(sandbox, subject)
        # What could still write is closed.
        with pytest.raises(ConnectionClosed):
            connected.socket.recv(timeout=10)

    left = found(sandbox, {subject, word, *ids})
    assert left == {}
    records = found(sandbox, {pseudonym(subject)})
    assert [place for place in records[pseudonym(subject)] if "Conversations" not in place] == []
    assert len(records[pseudonym(subject)]) == 1
    users = sandbox.aws("cognito-idp").list_users(UserPoolId=sandbox.outputs["user_pool_id"])["Users"]
    assert subject not in repr(users)
    assert len(stranger.http.get(f"/conversations/{kept}").json()["turns"]) == 2
    # What a token that still lives asks for, finds nothing; and the index goes on answering everybody else.
    assert user.conversations() == []
    assert word not in stranger.http.post("/rag/query", json={"query": f"What is the boat {word} called?"}).text


def _is_exported(user: Person, word: str, sound: bytes) -> None:
    user.http.post("/me/export").raise_for_status()

    def ready() -> dict[str, Any] | None:
        export: dict[str, Any] = user.http.get("/me/export").raise_for_status().json()
        assert export["state"] != "failed"
        return export if export["state"] == "ready" else None

    export = wait_for(ready)
    files: dict[str, bytes] = {}
    for archive in export["archives"]:
        content = httpx.get(archive["url"], trust_env=False).raise_for_status().content
        assert len(content) == archive["size"]
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            files |= {name: opened.read(name) for name in opened.namelist()}
    folders = {name.split("/")[0] for name in files}
    assert {"conversations", "documents", "recordings", "sessions"} <= folders
    said = b"".join(content for name, content in files.items() if name.startswith("conversations/"))
    assert said.count(word.encode()) >= 4
    assert any(name.endswith(f"{word}.wav") and content == sound for name, content in files.items())
    assert any(name.startswith("documents/") and b"it is blue" in content for name, content in files.items())


def _is_done(sandbox: Sandbox, subject: str) -> None:
    """Wait for the deletion by its record: to ask the API would be to be counted as its user."""
    dynamodb = sandbox.aws("dynamodb")
    table = sandbox.outputs_of("Data")["ConversationsTableName"]
    key = {"pk": {"S": f"deletion#{pseudonym(subject)}"}, "sk": {"S": "deletion"}}

    def done() -> bool | None:
        item = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
        assert item["state"]["S"] != "failed"
        return item["state"]["S"] == "done" or None

    wait_for(done)
