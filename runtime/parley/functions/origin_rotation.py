"""Rotates the secret by which CloudFront proves itself: called by Secrets Manager, once for each step."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from parley.aws import clients
from parley.aws.origin_rotation import OriginRotation
from parley.functions.telemetry import instrument, logger
from parley.settings import Settings

PROBE_SECONDS = 30
"""The API's own limit for an answer."""

REFUSED = 403


class RotationSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    distribution_id: str
    origin_header: str
    api_url: str


def rotate(event: Mapping[str, str], context: Any) -> None:
    """Do one step. Raises when it cannot be done: Secrets Manager begins the rotation again, and tells of it."""
    settings = RotationSettings.load()
    rotation = OriginRotation(
        event["SecretId"],
        event["ClientRequestToken"],
        distribution_id=settings.distribution_id,
        header=settings.origin_header,
        manager=clients.secrets_manager(),
        cloudfront=clients.cloudfront(),
        accepts=lambda value: accepted(settings.api_url, settings.origin_header, value),
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    rotation.run(event["Step"])
    logger.info("Step done", step=event["Step"])


def accepted(api_url: str, header: str, value: str) -> bool:
    """Does the API answer a request that carries this value? A deployment that is unwell answers it too."""
    request = urllib.request.Request(f"{api_url}/health", headers={header: value})  # noqa: S310 - https, from our stack
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):  # noqa: S310 - as above
            return True
    except urllib.error.HTTPError as error:
        return error.code != REFUSED


handler = instrument(rotate)
