"""`scripts/ingest` against an API that throttles, breaks and refuses: what it waits out, and what ends it."""

import pytest

from operations.ingest import main
from tests.unit.documents_api_double import Answer, Asked, answering
from tests.unit.ingest_desk import Desk, desk, own_home, pauses

__all__ = ["desk", "own_home", "pauses"]


def failing(status: int, **headers: str) -> Answer:
    return status, {"message": "Trouble"}, {name.replace("_", "-"): value for name, value in headers.items()}


def test_passing_trouble_is_waited_out(desk: Desk, pauses: list[float]) -> None:
    desk.write("a.md")
    desk.write("b.pdf")
    desk.api.faults += answering(failing(429, Retry_After="7"), failing(503), failing(500))
    desk.api.faults += answering(failing(503), path="/bucket/")
    hung_up: list[Asked] = []

    def hang_up(asked: Asked) -> None:
        if asked.method == "GET" and len(hung_up) < 3:
            hung_up.append(asked)
            raise ConnectionError

    desk.api.faults.append(hang_up)

    status, out, _ = desk.ingest()

    assert (status, out[:9]) == (0, "2 indexed")
    assert len(desk.api.documents) == 2
    assert len(hung_up) == 3
    assert [pause for pause in pauses if 7 < pause < 9]


@pytest.mark.parametrize(
    ("answer", "said"), [(failing(429), "it answers 429 Too Many Requests"), (None, "Server disconnected")]
)
def test_lasting_trouble_ends_it_and_the_next_run_goes_on(desk: Desk, answer: Answer | None, said: str) -> None:
    desk.write("a.md")
    desk.write("b.md")

    def trouble(asked: Asked) -> Answer | None:
        if asked.method == "POST" and desk.api.count("POST") > 1:
            if answer is None:
                raise ConnectionError
            desk.api.faults.append(trouble)
            return answer
        return None

    desk.api.faults.append(trouble)
    status, _, err = desk.ingest(desk.folder, "--concurrency", "1")
    desk.api.faults.clear()

    assert status == 2
    assert said in err
    assert err.endswith("files are not done: the same command goes on from here.\n")
    assert len(desk.api.documents) == 1
    assert desk.ingest()[0] == 0
    assert desk.api.names() == ["a.md", "b.md"]


def test_an_address_where_nobody_listens_ends_it(desk: Desk) -> None:
    path = desk.write("a.md")

    status = main([str(path), "--url", "http://127.0.0.1:9", "--token", "good"])

    assert status == 2
    assert "127.0.0.1:9 did not answer 8 requests: " in desk.capsys.readouterr().err


def test_a_document_that_breaks_the_api_fails_alone(desk: Desk) -> None:
    desk.write("good.md")
    desk.write("odd.md")

    def crash(asked: Asked) -> Answer | None:
        if asked.method == "POST" and asked.body["name"] == "odd.md":
            desk.api.faults.append(crash)
            return 500, {"error": {"code": "internal", "message": "Something went wrong on our side."}}, {}
        return None

    desk.api.faults.append(crash)

    status, out, _ = desk.ingest()

    assert status == 1
    assert out.startswith("1 indexed, 1 failed")
    assert "odd.md: Something went wrong on our side." in out


@pytest.mark.parametrize(
    ("answer", "path", "said"),
    [
        (failing(403), "/bucket/", "The bucket refused the file (403)."),
        ((413, {"message": "Request Entity Too Large"}, {}), "/knowledge", "API Gateway refused it (413): "),
        ((403, ["a page of the firewall"], {}), "/knowledge", "It was refused with 403 Forbidden."),
    ],
)
def test_a_refusal_is_the_files_reason(desk: Desk, answer: Answer, path: str, said: str) -> None:
    desk.write("a.pdf")
    desk.api.faults += answering(answer, path=path)

    status, out, _ = desk.ingest()

    assert status == 1
    assert said in out


def test_a_document_that_is_never_indexed_fails(desk: Desk) -> None:
    desk.write("a.md")
    desk.api.frozen = True

    status, out, _ = desk.ingest(desk.folder, "--patience", "0.1")

    assert status == 1
    assert "a.md: It is not indexed yet, and nothing else was for 0 s: ask again later." in out


def test_an_environment_without_a_knowledge_base_says_so(desk: Desk) -> None:
    desk.write("a.md")
    desk.api.faults += answering((404, {"message": "Not Found"}, {}), method="GET")

    status, _, err = desk.ingest()

    assert status == 2
    assert err.startswith("This environment has no knowledge base: its enableRag is off.")


def test_only_curators_share_and_are_told_so_once(desk: Desk) -> None:
    desk.write("a.md")
    desk.write("b.md")
    desk.api.curator = False

    status, _, err = desk.ingest(desk.folder, "--shared")

    assert status == 2
    assert err.count("Only curators may write shared documents.") == 1
