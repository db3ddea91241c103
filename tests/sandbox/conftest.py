"""The deployed assistant that these tests share: the sandbox that is up."""

from collections.abc import Iterator

import pytest

from sandbox.state import State
from tests.sandbox.people import Person, Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(State.locate().outputs())
    yield sandbox
    sandbox.close()


@pytest.fixture
def user(sandbox: Sandbox) -> Person:
    return sandbox.new_user()
