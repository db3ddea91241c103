"""The deployed assistant that the page tests use: the sandbox that is up."""

from dataclasses import dataclass

import pytest

from sandbox.state import State


@dataclass(frozen=True)
class Web:
    """Where the page is, and who may sign in."""

    url: str
    username: str
    password: str


@pytest.fixture(scope="session")
def web() -> Web:
    outputs = State.locate().outputs()
    return Web(url=outputs["web_url"], username=outputs["username"], password=outputs["password"])
