"""The proof that a request came through CloudFront: several values are valid, and none before they could be read."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from parley.aws.origin_secret import CACHED_SECONDS, COOL_DOWN_SECONDS, OriginSecret


@dataclass
class Manager:
    """Secrets Manager with one secret, or none."""

    secret: str | None
    reads: list[str] = field(default_factory=list)

    def get_secret_value(self, *, SecretId: str) -> Any:
        self.reads.append(SecretId)
        if self.secret is None:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetSecretValue")
        return {"SecretString": self.secret}


@dataclass
class World:
    manager: Manager
    now: float = 0.0

    def __post_init__(self) -> None:
        self.check = OriginSecret("arn", self.manager, clock=lambda: self.now)  # type: ignore[arg-type]  # a double


def test_current_next_and_previous_are_accepted_and_nothing_else() -> None:
    world = World(Manager(json.dumps({"current": "b", "next": "c", "previous": "a"})))
    assert [world.check.accepts(value) for value in ("a", "b", "c", "d", "", "é")] == [True] * 3 + [False] * 3


def test_a_secret_that_was_never_rotated_has_one_value() -> None:
    world = World(Manager(json.dumps({"current": "b"})))
    assert world.check.accepts("b")
    assert not world.check.accepts("")


def test_it_is_read_once_and_again_after_a_while() -> None:
    world = World(Manager(json.dumps({"current": "a"})))
    for _ in range(5):
        world.check.accepts("x")
    assert len(world.manager.reads) == 1
    world.manager.secret = json.dumps({"current": "b"})
    assert not world.check.accepts("b")
    world.now = CACHED_SECONDS
    assert world.check.accepts("b")
    assert not world.check.accepts("a")


@pytest.mark.parametrize("secret", [None, "", "no JSON", "[]", '{"current": ""}'])
def test_without_a_secret_everybody_is_refused(secret: str | None) -> None:
    world = World(Manager(secret))
    assert not world.check.accepts("")
    assert not world.check.accepts("a")


def test_a_service_that_fails_is_left_alone_for_a_moment_and_what_is_known_holds() -> None:
    world = World(Manager(None))
    world.check.accepts("a")
    world.check.accepts("a")
    assert len(world.manager.reads) == 1
    world.now = COOL_DOWN_SECONDS
    world.manager.secret = json.dumps({"current": "a"})
    assert world.check.accepts("a")
    world.now += CACHED_SECONDS
    world.manager.secret = None
    assert world.check.accepts("a")
