"""Recordings of the deployed assistant: uploaded with a form, transcribed, read, deleted."""

import io
import time
import wave
from typing import Any

import httpx

from sandbox.models.speech.espeak import espeak
from tests.sandbox.people import Person

SAID = "How much does one of these cost a month?"
SETTLED_SECONDS = 90


def spoken() -> bytes:
    """Somebody asking something, as a WAV file."""
    speech = espeak().speak(SAID, "en-us")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(speech.rate)
        writer.writeframes(bytes(speech.rate * 2) + speech.pcm + bytes(speech.rate * 2))
    return file.getvalue()


def uploaded(user: Person, name: str, content: bytes, **fields: Any) -> str:
    """The id of a recording whose file was posted with the form that the API gave."""
    asked = user.http.post("/recordings", json={"name": name, "size": max(1, len(content)), **fields})
    recording: dict[str, Any] = asked.raise_for_status().json()
    assert recording["state"] == "pending"
    form = recording["upload"]
    posted = httpx.post(form["url"], data=form["fields"], files={"file": content}, trust_env=False)
    posted.raise_for_status()
    return str(recording["recording_id"])


def settled(user: Person, recording_id: str) -> dict[str, Any]:
    """The recording, once it is ready or failed."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while time.monotonic() < deadline:
        recording: dict[str, Any] = user.http.get(f"/recordings/{recording_id}").raise_for_status().json()
        if recording["state"] in ("ready", "failed"):
            return recording
        time.sleep(0.5)
    raise AssertionError(f"The recording stayed {recording['state']}.")


def test_an_uploaded_recording_is_transcribed(user: Person) -> None:
    content = spoken()
    recording = settled(user, uploaded(user, "question.wav", content, language="en-US"))
    assert recording["state"] == "ready", recording
    transcript = recording["transcript"]
    assert "month" in transcript["text"].lower()
    # A second of silence comes before the words.
    assert 0.5 < transcript["segments"][0]["start"] < transcript["segments"][-1]["end"] < recording["seconds"]
    assert httpx.get(recording["source_url"], trust_env=False).content == content
    listed = user.http.get("/recordings").json()["recordings"]
    assert [each["recording_id"] for each in listed] == [recording["recording_id"]]


def test_the_language_is_found_when_nobody_says_it(user: Person) -> None:
    recording = settled(user, uploaded(user, "question.wav", spoken()))
    assert (recording["state"], recording["language"]) == ("ready", "en-US")


def test_what_is_no_recording_fails_with_a_reason(user: Person) -> None:
    named_wrongly = settled(user, uploaded(user, "question.mp3", spoken()))
    assert named_wrongly["state"] == "failed"
    assert "it is a WAV file" in named_wrongly["reason"]
    damaged = settled(user, uploaded(user, "question.mp3", b"ID3\x04\0\0\0\0\0\0" + bytes(5_000)))
    assert damaged["state"] == "failed"
    assert "damaged" in damaged["reason"]


def test_a_deleted_recording_is_gone_for_everyone(user: Person) -> None:
    recording_id = uploaded(user, "question.wav", spoken())
    recording = settled(user, recording_id)
    assert user.http.delete(f"/recordings/{recording_id}").status_code == 204
    assert user.http.get(f"/recordings/{recording_id}").status_code == 404
    assert httpx.get(recording["source_url"], trust_env=False).status_code == 404


def test_nobody_sees_anothers_recordings(sandbox: Any, user: Person) -> None:
    recording_id = uploaded(user, "question.wav", spoken())
    other = sandbox.new_user()
    assert other.http.get(f"/recordings/{recording_id}").status_code == 404
    assert other.http.delete(f"/recordings/{recording_id}").status_code == 404
    assert other.http.get("/recordings").json()["recordings"] == []
