"""schemathesis against the HTTP API, as users who would like to read what is another's."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attacks.report import Report
from attacks.victim import OWN, TALLY, TARGETS, Targets, Victim, make_victim, possessions, still_whole
from sandbox.people import Person, Sandbox
from sandbox.state import PROJECT

DOCUMENT = PROJECT / "docs" / "openapi.json"
REQUEST_SECONDS = 30
"""A request that takes longer hangs: API Gateway itself ends it at 29 seconds."""

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "tells_nothing_of_others",
)
"""Not `positive_data_acceptance`: a schema cannot say that an id exists, or which endings a file's name may have."""

REFUSALS = [400, 401, 403, 404, 405, 409, 413, 415, 422, 429]
"""How a request may be answered that its schema forbids."""

DOOMED = ("DELETE /me", "GET /me/deletion")
"""What ends the user who asks for it: users of their own do."""

TOKEN = "PARLEY_FUZZ_TOKEN"  # noqa: S105 - the name of the variable that holds it

TURNS = "POST /chat"
"""A model turn where it succeeds, so it gets fewer cases."""
TURN_SHARE = 0.25


def fuzz_http(sandbox: Sandbox, *, cases: int, seed: int, thorough: bool = True) -> Report:
    """About so many generated cases, and with `thorough` every boundary of the document's schemas besides."""
    victim = make_victim(sandbox)
    report = Report()
    document = json.loads(DOCUMENT.read_text())
    operations = sum(len(methods) for methods in document["paths"].values())
    each = max(1, round(cases / (operations - 1 + TURN_SHARE)))
    attacker = sandbox.new_user()
    _run(report, attacker, victim, each=each, seed=seed, thorough=thorough)
    for number in range(2 if thorough else 1):
        doomed = sandbox.new_user()
        _run(report, doomed, victim, each=max(1, each // 4), seed=seed + number, only=DOOMED)
    if trouble := still_whole(victim):
        report.failures.append(trouble)
    return report


def _run(
    report: Report,
    attacker: Person,
    victim: Victim,
    *,
    each: int,
    seed: int,
    thorough: bool = False,
    only: Sequence[str] = (),
) -> None:
    """One run of schemathesis's own command, whose hooks are ours."""
    own = Targets("") if only else possessions(attacker)
    with tempfile.TemporaryDirectory() as folder:
        settings, tally = Path(folder) / "schemathesis.toml", Path(folder) / "tally.json"
        settings.write_text(_settings(each))
        selection = [("--include-name", name) for name in only] or [("--exclude-name", name) for name in DOOMED]
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", str(DOCUMENT)),
            *("--url", str(attacker.http.base_url).rstrip("/")),
            *("--phases", "examples,coverage,fuzzing" if thorough else "fuzzing"),
            *("--seed", str(seed), "--request-timeout", str(REQUEST_SECONDS)),
            *("--checks", ",".join(CHECKS), "--continue-on-failure", "--suppress-health-check", "all"),
            *("--generation-database", "none", "--warnings", "off", "--no-color"),
            *(word for pair in selection for word in pair),
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "SCHEMATHESIS_HOOKS": "attacks.http_hooks",
            TOKEN: attacker.http.headers["Authorization"],
            TARGETS: victim.targets.dumps(),
            OWN: own.dumps(),
            TALLY: str(tally),
        }
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        counted: dict[str, int] = json.loads(tally.read_text()) if tally.exists() else {}
    for name, count in counted.items():
        operation, _, status = name.rpartition(" ")
        report.sent[operation] += count
        report.answers[status] += count
    if ended.returncode != 0 or not counted:
        report.failures.append(f"{ended.stdout}\n{ended.stderr}".strip())


def _settings(each: int) -> str:
    """schemathesis's own configuration: what its command has no options for."""
    turns = max(1, round(each * TURN_SHARE))
    return f"""\
headers = {{ Authorization = "${{{TOKEN}}}" }}
generation.max-examples = {each}
checks.negative_data_rejection.expected-statuses = {REFUSALS}

[[operations]]
include-name = "{TURNS}"
generation.max-examples = {turns}
"""
