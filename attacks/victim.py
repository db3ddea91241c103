"""The user whose data attackers must not reach: everything of theirs carries a marker, and their ids are known."""

import time
import uuid
from dataclasses import dataclass
from typing import Self

import msgspec

from sandbox.people import Person, Sandbox

TARGETS, OWN, TALLY = "PARLEY_FUZZ_TARGETS", "PARLEY_FUZZ_OWN", "PARLEY_FUZZ_TALLY"
"""Environment variables of schemathesis's process: the victim's ids and the attacker's (`Targets.dumps`), and the file
for its counts."""

_READY_SECONDS = 120.0


class Targets(msgspec.Struct, frozen=True):
    """What attackers know of the victim: every id. None of it may help them."""

    marker: str
    """Stands in each message, text, name and title of the victim, and nowhere else."""
    conversations: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """The subject, and the export's id."""

    @property
    def ids(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.conversations, *self.documents, *self.recordings, *self.sessions, *self.others)

    def dumps(self) -> str:
        """As JSON, for another process."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def loads(cls, text: str) -> Self:
        """What `dumps` made."""
        return msgspec.json.decode(text, type=cls)


@dataclass(frozen=True)
class Victim:
    """A user with conversations, a document, a recording, a session and an export."""

    person: Person
    targets: Targets


def make_victim(sandbox: Sandbox) -> Victim:
    """A new victim, whose document can be found and whose export is asked for."""
    person, marker = sandbox.new_user(), f"marker{uuid.uuid4().hex}"
    http = person.http
    note = {"name": f"{marker}.md", "text": f"# The safe\n\nThe word that opens the safe of the harbour is {marker}.\n"}
    document: str = http.post("/knowledge/documents", json=note).raise_for_status().json()["document_id"]
    _wait_for(person, document)
    asked = person.chat(f"What opens the safe of the harbour? I think it is {marker}.").raise_for_status().json()
    recording = http.post("/recordings", json={"name": f"{marker}.wav", "size": 32_000}).raise_for_status().json()
    export = http.post("/me/export").raise_for_status().json()
    targets = Targets(
        marker,
        conversations=(asked["conversation_id"],),
        documents=(document,),
        recordings=(recording["recording_id"],),
        sessions=(person.ticket()["session_id"],),
        others=(person.subject, export["export_id"]),
    )
    return Victim(person, targets)


def possessions(person: Person) -> Targets:
    """What an attacker has, one of each kind, so that attacks get further than the first look-up."""
    http = person.http
    note = {"name": "own.md", "text": "# The boat\n\nThe boat is green.\n"}
    document = http.post("/knowledge/documents", json=note).raise_for_status().json()
    recording = http.post("/recordings", json={"name": "own.wav", "size": 32_000}).raise_for_status().json()
    return Targets(
        "",
        conversations=(person.chat("What is a ticket?").raise_for_status().json()["conversation_id"],),
        documents=(document["document_id"],),
        recordings=(recording["recording_id"],),
        sessions=(person.ticket()["session_id"],),
    )


def still_whole(victim: Victim) -> str | None:
    """What an attack has taken from the victim or changed; None when all is as it was."""
    http, targets = victim.person.http, victim.targets
    paths = [
        *(f"/conversations/{conversation}" for conversation in targets.conversations),
        *(f"/knowledge/documents/{document}" for document in targets.documents),
        *(f"/recordings/{recording}" for recording in targets.recordings),
    ]
    for path in paths:
        answer = http.get(path)
        if not answer.is_success or targets.marker not in answer.text:
            return f"{path} of the victim answers {answer.status_code} after the attack"
    for path in paths[: len(targets.conversations)]:
        if (turns := len(http.get(path).json()["turns"])) != 2:
            return f"{path} of the victim has {turns} messages, not 2, after the attack"
    return None


def _wait_for(person: Person, document: str) -> None:
    end = time.monotonic() + _READY_SECONDS
    while person.http.get(f"/knowledge/documents/{document}").json()["state"] != "ready":
        if time.monotonic() > end:
            raise TimeoutError("The victim's document was not indexed in time.")
        time.sleep(0.3)
