"""The rotation of the origin's secret: what CloudFront sends is never refused, wherever a rotation breaks off."""

import copy
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from parley.aws import clients
from parley.aws.origin_rotation import POLL_SECONDS, OriginRotation, RotationFailed
from parley.aws.origin_secret import values_of
from parley.functions import origin_rotation

from tests.unit.conversation_doubles import Context

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
HEADER = "x-parley-origin"


@dataclass
class Manager:
    """Secrets Manager with one secret: versions by their tokens, and the stages of each."""

    versions: dict[str, str] = field(default_factory=lambda: {"v0": json.dumps({"current": "first"})})
    stages: dict[str, set[str]] = field(default_factory=lambda: {"v0": {"AWSCURRENT"}})

    def begin(self, token: str) -> None:
        """What RotateSecret does before it calls the function."""
        for stages in self.stages.values():
            stages.discard("AWSPENDING")
        self.stages.setdefault(token, set()).add("AWSPENDING")

    def describe_secret(self, *, SecretId: str) -> Any:
        return {"VersionIdsToStages": {version: list(stages) for version, stages in self.stages.items() if stages}}

    def get_secret_value(self, *, SecretId: str, VersionId: str | None = None, VersionStage: str = "AWSCURRENT") -> Any:
        for version, stages in self.stages.items():
            if VersionStage in stages and version in self.versions and VersionId in {None, version}:
                return {"SecretString": self.versions[version]}
        raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetSecretValue")

    def put_secret_value(
        self, *, SecretId: str, ClientRequestToken: str, SecretString: str, VersionStages: list[str]
    ) -> None:
        self.versions[ClientRequestToken] = SecretString
        self.stages.setdefault(ClientRequestToken, set()).update(VersionStages)

    def update_secret_version_stage(
        self, *, SecretId: str, VersionStage: str, MoveToVersionId: str, RemoveFromVersionId: str
    ) -> None:
        self.stages[RemoveFromVersionId].remove(VersionStage)
        self.stages[MoveToVersionId].add(VersionStage)

    @property
    def accepted(self) -> set[str]:
        """What functions accept that have read the secret now."""
        return set(values_of(self.get_secret_value(SecretId="arn")["SecretString"]))


@dataclass
class CloudFront:
    """A distribution of two APIs and a bucket, which takes some time to take a change up."""

    sent: str = "first"
    deploys_in: float = 0.0
    updates: int = 0
    header: str = HEADER

    def __post_init__(self) -> None:
        api = {"CustomHeaders": {"Quantity": 1, "Items": [{"HeaderName": self.header, "HeaderValue": self.sent}]}}
        bucket = {"CustomHeaders": {"Quantity": 0}}
        self.config: dict[str, Any] = {"Origins": {"Items": [copy.deepcopy(api), bucket, copy.deepcopy(api)]}}

    def get_distribution_config(self, *, Id: str) -> Any:
        return {"ETag": f"e{self.updates}", "DistributionConfig": copy.deepcopy(self.config)}

    def update_distribution(self, *, Id: str, IfMatch: str, DistributionConfig: Any) -> None:
        assert IfMatch == f"e{self.updates}"
        self.config = DistributionConfig
        self.updates += 1
        self.deploys_in = 100.0

    def get_distribution(self, *, Id: str) -> Any:
        return {"Distribution": {"Status": "InProgress" if self.deploys_in > 0 else "Deployed"}}

    @property
    def sends(self) -> set[str]:
        """What either API is sent: while a change is on its way, CloudFront's locations differ."""
        items = [origin["CustomHeaders"].get("Items", []) for origin in self.config["Origins"]["Items"]]
        return {header["HeaderValue"] for headers in items for header in headers}


@dataclass
class World:
    manager: Manager = field(default_factory=Manager)
    cloudfront: CloudFront = field(default_factory=CloudFront)
    known: set[str] = field(default_factory=lambda: {"first"})
    """What functions accept that read the secret a while ago."""
    seconds: float = 900.0
    sent: set[str] = field(default_factory=set)

    def step(self, name: str, token: str) -> None:
        left = self.seconds

        def pause(seconds: float) -> None:
            nonlocal left
            left -= seconds
            self.cloudfront.deploys_in -= seconds

        OriginRotation(
            "arn",
            token,
            distribution_id="E1",
            header=HEADER,
            manager=self.manager,  # type: ignore[arg-type]  # a double
            cloudfront=self.cloudfront,  # type: ignore[arg-type]  # a double
            accepts=lambda value: value in self.known & self.manager.accepted,
            seconds_left=lambda: left,
            pause=pause,
        ).run(name)

    def rotate(self, token: str) -> None:
        """A whole rotation. After each step what is sent is accepted, by whoever read the secret now or before."""
        self.manager.begin(token)
        before = self.manager.accepted
        for name in STEPS:
            self.step(name, token)
            assert self.cloudfront.sends <= before & self.manager.accepted
        self.known = self.manager.accepted


def test_nobody_is_refused_through_three_rotations_and_the_value_changes() -> None:
    world = World()
    seen = []
    for token in ("v1", "v2", "v3"):
        world.rotate(token)
        seen.append(world.cloudfront.sends)
    # The first only adds what the second switches to.
    assert seen[0] == {"first"}
    assert len({*seen[0], *seen[1], *seen[2]}) == 3
    assert all(len(values) == 1 for values in seen)
    assert "first" not in world.manager.accepted
    assert world.cloudfront.updates == 2


@pytest.mark.parametrize("broken_after", range(1, 4))
def test_a_rotation_that_breaks_off_anywhere_is_begun_again_and_refuses_nobody(broken_after: int) -> None:
    world = World()
    world.rotate("v1")
    before = world.manager.accepted
    world.manager.begin("v2")
    for name in STEPS[:broken_after]:
        world.step(name, "v2")
        assert world.cloudfront.sends <= before & world.manager.accepted
    world.rotate("v2")
    world.manager.begin("v3")
    # Secrets Manager may also begin it again under another token.
    world.step("createSecret", "v3")
    world.rotate("v4")
    assert world.cloudfront.sends <= world.manager.accepted


def test_a_step_waits_for_cloudfront_and_gives_up_before_its_time_is_up() -> None:
    world = World()
    world.rotate("v1")
    world.seconds = 3 * POLL_SECONDS
    world.manager.begin("v2")
    world.step("createSecret", "v2")
    with pytest.raises(RotationFailed, match="needs longer"):
        world.step("setSecret", "v2")
    assert world.cloudfront.sends <= world.manager.accepted
    world.seconds = 900.0
    world.step("setSecret", "v2")
    assert world.cloudfront.deploys_in <= 0
    assert world.cloudfront.updates == 1


def test_a_value_that_the_api_does_not_know_is_never_sent() -> None:
    world = World()
    world.rotate("v1")
    world.known = {"first"}
    world.manager.begin("v2")
    world.step("createSecret", "v2")
    with pytest.raises(RotationFailed, match="does not accept"):
        world.step("setSecret", "v2")
    assert world.cloudfront.sends == {"first"}


def test_a_deployment_that_puts_the_old_value_back_is_noticed() -> None:
    world = World()
    world.rotate("v1")
    world.manager.begin("v2")
    world.step("createSecret", "v2")
    world.step("setSecret", "v2")
    world.cloudfront.config["Origins"]["Items"][0]["CustomHeaders"]["Items"][0]["HeaderValue"] = "first"
    with pytest.raises(RotationFailed, match="was changed meanwhile"):
        world.step("testSecret", "v2")
    world.rotate("v2")


def test_a_distribution_without_the_header_is_left_alone() -> None:
    world = World(cloudfront=CloudFront(header="x-something-else"))
    world.manager.begin("v1")
    world.step("createSecret", "v1")
    with pytest.raises(RotationFailed, match="No origin"):
        world.step("setSecret", "v1")
    assert world.cloudfront.updates == 0


def test_what_is_no_step_and_no_version_is_refused_and_what_is_done_is_done() -> None:
    world = World()
    with pytest.raises(RotationFailed, match="no such version"):
        world.step("createSecret", "unknown")
    world.rotate("v1")
    with pytest.raises(RotationFailed, match="no step"):
        world.step("cleanUp", "v1")
    before = copy.deepcopy(world.manager)
    for name in STEPS:
        world.step(name, "v1")
    assert world.manager == before


# The function


@pytest.fixture
def api() -> Iterator[str]:
    """An API that accepts one value, and is unwell."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.headers.get(HEADER) == "first" else 403)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_function_asks_the_api_and_does_the_step(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, cloudfront = Manager(), CloudFront()
    monkeypatch.setattr(clients, "secrets_manager", lambda: manager)
    monkeypatch.setattr(clients, "cloudfront", lambda: cloudfront)
    for name, value in {
        "DISTRIBUTION_ID": "E1",
        "ORIGIN_HEADER": HEADER,
        "API_URL": api,
        "POWERTOOLS_TRACE_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    manager.begin("v1")
    for step in STEPS:
        event = {"Step": step, "SecretId": "arn", "ClientRequestToken": "v1", "RotationToken": "r"}
        origin_rotation.handler(event, Context(seconds=900.0))
    assert manager.stages["v1"] >= {"AWSCURRENT"}
    assert not origin_rotation.accepted(api, HEADER, "unknown")
