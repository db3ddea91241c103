"""A short form of both fuzzers, the same cases each time; `scripts/fuzz` sends thousands."""

import logging

from attacks.http import fuzz_http
from attacks.websocket import fuzz_websocket
from tests.sandbox.people import Sandbox

logger = logging.getLogger(__name__)

CASES = 300
SEED = 1


def test_generated_requests_are_answered_as_documented_and_tell_nothing_of_others(sandbox: Sandbox) -> None:
    report = fuzz_http(sandbox, cases=CASES, seed=SEED, thorough=False)
    logger.info("%d requests: %s", report.cases, dict(report.answers))

    assert report.failures == []
    # Some inputs have few cases.
    assert report.cases > CASES / 2
    assert report.answers["200"]
    assert report.answers["404"]


def test_generated_messages_leave_every_connection_answering_or_closed(sandbox: Sandbox) -> None:
    report = fuzz_websocket(sandbox, cases=CASES, seed=SEED, calls=False)
    logger.info("%d messages: %s", report.cases, dict(report.answers))

    assert report.failures == []
    assert report.cases > CASES / 2
    assert report.answers["pong"]
    assert report.answers["error: validation_failed"]
