"""A user's export through the functions that make it: all that is the user's, in archives that end with their week."""

import importlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from parley.aws import personal_files
from parley.aws.items import to_item
from parley.errors import StoreUnavailable
from parley.knowledge.documents import owner_of

from tests.unit.personal_data_doubles import ADA, BOB, SENT, TURNS, World, world

__all__ = ["world"]


def test_an_export_holds_all_that_is_the_users_and_nothing_else(world: World) -> None:
    assert world.http("GET", "/me/export")[0] == 404
    status, asked = world.http("POST", "/me/export")
    assert (status, asked["state"], asked["archives"]) == (202, "running", [])
    world.work_off()

    files = world.archive()

    assert BOB not in repr(files)
    [recording] = [name.split("/")[1] for name in files if name.endswith("talk.wav")]
    assert set(files) == {
        f"conversations/{world.conversations[ADA]}.json",
        f"recordings/{recording}/talk.wav",
        f"recordings/{recording}/transcript.json",
        f"sessions/session-{ADA}/session.json",
        f"sessions/session-{ADA}/20261121T090000000Z_input.wav",
        "documents/d1/about.json",
        "documents/d1/boat.md",
        "usage/days.json",
    }
    conversation = json.loads(files[f"conversations/{world.conversations[ADA]}.json"])
    assert conversation["title"] == f"Title of {ADA}"
    assert len(conversation["turns"]) == TURNS
    assert conversation["turns"][0]["text"] == f"Question 0 of {ADA}"
    assert files["documents/d1/boat.md"] == f"The boat of {ADA}".encode()
    assert files[f"recordings/{recording}/talk.wav"] == f"sound of {ADA}".encode()
    assert json.loads(files["usage/days.json"]) == [{"date": "2026-11-21", "tokens": 7}]


def test_a_large_export_comes_in_several_archives_and_goes_on_where_its_time_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        document = {"pk": owner_of(ADA), "sk": f"document#e{number}", "name": "n", "key": "k", "state": "ready"}
        world.dynamodb.put_item(TableName="knowledge", Item=to_item(document))
        key = f"documents/{owner_of(ADA)}/e{number}/n.pdf"
        world.s3.put_object(Bucket="documents", Key=key, Body=bytes([number]) * 7_000_000)
    module = importlib.import_module("parley.functions.personal_data_jobs")
    export = module.jobs().export
    monkeypatch.setattr(module.jobs(), "export", _with(export, archive_bytes=20_000_000))
    world.http("POST", "/me/export")

    assert world.work_off(left=[900, 900, 10, 10, 10]) >= 2

    _, shown = world.http("GET", "/me/export")
    assert len(shown["archives"]) >= 4
    files = world.archive()
    assert all(files[f"documents/e{number}/n.pdf"] == bytes([number]) * 7_000_000 for number in range(8))
    assert f"conversations/{world.conversations[ADA]}.json" in files


def _with(export: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(export, **changes)


def test_an_archive_that_breaks_off_is_nowhere_and_is_made_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.http("POST", "/me/export")
    [(body, _)] = SENT
    SENT.clear()
    read = personal_files.Files.read

    def fail(self: Any, key: str) -> Iterator[bytes]:
        raise StoreUnavailable

    monkeypatch.setattr(personal_files.Files, "read", fail)
    assert world.run(body) == [{"itemIdentifier": "m-1"}]
    assert "exports/" not in "".join(
        each["Key"] for each in world.s3.list_objects_v2(Bucket="documents").get("Contents", [])
    )
    assert not world.s3.list_multipart_uploads(Bucket="documents").get("Uploads")
    monkeypatch.setattr(personal_files.Files, "read", read)
    SENT.append((body, 0))
    world.work_off()
    assert len(world.archive()) == 8


def test_an_export_that_is_given_up_says_so(world: World) -> None:
    world.http("POST", "/me/export")
    [(body, _)] = SENT
    world.run(body, attempt=10)
    assert world.http("GET", "/me/export")[1]["state"] == "failed"
    # And can be asked for anew.
    assert world.http("POST", "/me/export")[1]["state"] == "running"


def test_an_export_ends_with_its_week(world: World) -> None:
    world.http("POST", "/me/export")
    world.work_off()
    world.now += timedelta(days=8)
    assert world.http("GET", "/me/export")[0] == 404


def test_nothing_is_exported_while_it_is_deleted_and_an_export_is_deleted_too(world: World) -> None:
    world.http("POST", "/me/export")
    world.work_off()
    world.http("POST", "/me/export")
    [(export, _)] = SENT
    SENT.clear()
    world.http("DELETE", "/me")
    assert world.http("POST", "/me/export")[0] == 409
    world.work_off()
    # The message of an export that the deletion overtook.
    assert world.run(export) == []
    after = world.everything()
    assert "exports/" not in after
    assert ADA not in after


def test_nobody_sees_anothers_export_or_deletion(world: World) -> None:
    world.http("POST", "/me/export")
    world.http("DELETE", "/me")
    assert world.http("GET", "/me/export", subject=BOB)[0] == 404
    assert world.http("GET", "/me/deletion", subject=BOB)[0] == 404
