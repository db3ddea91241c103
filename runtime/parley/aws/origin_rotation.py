"""Rotates the secret that CloudFront sends to the APIs, in Secrets Manager's four steps.

Each step may be repeated: Secrets Manager begins a rotation again when a step fails.
"""

import json
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from parley.aws.failures import error_code

if TYPE_CHECKING:
    from mypy_boto3_cloudfront.client import CloudFrontClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

POLL_SECONDS = 15.0
"""How often CloudFront is asked whether its locations have what was changed: that takes some minutes."""

SPARE_SECONDS = 30.0
"""What a step leaves of its function's time."""

SECRET_BYTES = 32


class RotationFailed(Exception):
    """A step cannot go on. Everything works as before: what CloudFront sends is accepted all the time."""


class OriginRotation:
    """One rotation, to the version `token` of the secret.

    `accepts` tells whether the API takes a value, asked directly. `seconds_left` is how long this step may take.
    """

    def __init__(
        self,
        secret_id: str,
        token: str,
        *,
        distribution_id: str,
        header: str,
        manager: "SecretsManagerClient",
        cloudfront: "CloudFrontClient",
        accepts: Callable[[str], bool],
        seconds_left: Callable[[], float],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._secret_id = secret_id
        self._token = token
        self._distribution_id = distribution_id
        self._header = header
        self._manager = manager
        self._cloudfront = cloudfront
        self._accepts = accepts
        self._seconds_left = seconds_left
        self._pause = pause

    def run(self, step: str) -> None:
        """Do one of the steps. Raises RotationFailed, and what the services raise."""
        steps = {
            "createSecret": self.create,
            "setSecret": self.set,
            "testSecret": self.test,
            "finishSecret": self.finish,
        }
        if step not in steps:
            raise RotationFailed(f"There is no step {step}.")
        stages = self._stages()
        if self._token not in stages:
            raise RotationFailed("The secret has no such version.")
        if "AWSCURRENT" not in stages[self._token]:
            steps[step]()

    def create(self) -> None:
        """Make the next version: what was next is current, and something new is next."""
        try:
            self._pending()
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
        else:
            return
        held = json.loads(self._manager.get_secret_value(SecretId=self._secret_id)["SecretString"])
        version = {
            "previous": held["current"],
            # A secret that was never rotated has no next value yet: nothing is switched the first time.
            "current": held.get("next") or held["current"],
            "next": secrets.token_urlsafe(SECRET_BYTES),
        }
        self._manager.put_secret_value(
            SecretId=self._secret_id,
            ClientRequestToken=self._token,
            SecretString=json.dumps(version),
            VersionStages=["AWSPENDING"],
        )

    def set(self) -> None:
        """Have CloudFront send the version's current value, once the API is seen to accept it."""
        value = self._pending()["current"]
        if not self._accepts(value):
            raise RotationFailed("The API does not accept the next value: nothing was changed.")
        found = self._cloudfront.get_distribution_config(Id=self._distribution_id)
        config: Any = found["DistributionConfig"]
        headers = self._headers(config)
        if any(header["HeaderValue"] != value for header in headers):
            for header in headers:
                header["HeaderValue"] = value
            self._cloudfront.update_distribution(
                Id=self._distribution_id, IfMatch=found["ETag"], DistributionConfig=config
            )
        self._wait()

    def test(self) -> None:
        """See that every location of CloudFront sends the value, and no deployment has put another in its place."""
        self._wait()
        value = self._pending()["current"]
        config: Any = self._cloudfront.get_distribution_config(Id=self._distribution_id)["DistributionConfig"]
        if any(header["HeaderValue"] != value for header in self._headers(config)):
            raise RotationFailed("The distribution was changed meanwhile, and sends another value.")

    def finish(self) -> None:
        """Make the version the current one."""
        [current] = [version for version, stages in self._stages().items() if "AWSCURRENT" in stages]
        self._manager.update_secret_version_stage(
            SecretId=self._secret_id,
            VersionStage="AWSCURRENT",
            MoveToVersionId=self._token,
            RemoveFromVersionId=current,
        )

    def _stages(self) -> dict[str, list[str]]:
        described: Any = self._manager.describe_secret(SecretId=self._secret_id)
        return dict(described["VersionIdsToStages"])

    def _pending(self) -> dict[str, str]:
        pending = self._manager.get_secret_value(
            SecretId=self._secret_id, VersionId=self._token, VersionStage="AWSPENDING"
        )
        held: dict[str, str] = json.loads(pending["SecretString"])
        return held

    def _headers(self, config: Any) -> list[dict[str, str]]:
        headers = [
            header
            for origin in config["Origins"]["Items"]
            for header in origin.get("CustomHeaders", {}).get("Items", [])
            if header["HeaderName"].lower() == self._header
        ]
        if not headers:
            raise RotationFailed(f"No origin of the distribution is sent {self._header}.")
        return headers

    def _wait(self) -> None:
        while self._cloudfront.get_distribution(Id=self._distribution_id)["Distribution"]["Status"] != "Deployed":
            if self._seconds_left() < POLL_SECONDS + SPARE_SECONDS:
                raise RotationFailed("CloudFront needs longer to take the value up: the rotation is begun again.")
            self._pause(POLL_SECONDS)
