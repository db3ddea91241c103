"""A short form of the soak: mixed traffic while functions are killed, and nothing acknowledged is lost."""

import logging

import pytest

from attacks.soak import MIX, soak
from tests.sandbox.people import Sandbox

logger = logging.getLogger(__name__)

SECONDS, KILL_EVERY = 30, 5


@pytest.mark.alone
def test_nothing_acknowledged_is_lost_while_functions_are_killed(sandbox: Sandbox) -> None:
    outcome = soak(sandbox, seconds=SECONDS, kill_every=KILL_EVERY, seed=1)
    logger.info("%s", outcome.document())

    assert outcome.failures == []
    assert outcome.killed.total() >= SECONDS / KILL_EVERY / 2
    assert outcome.ledger.documents
    assert outcome.ledger.seconds.keys() == {kind.kind for kind in MIX}
