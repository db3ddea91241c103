"""Who is let in: requests that came through CloudFront, where the environment asks for that, and within their limits.

The same for HTTP and for WebSocket messages. What a function's environment does not name is not asked for.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import msgspec
from aws_lambda_powertools.metrics import MetricUnit

from parley.aws import clients
from parley.aws.origin_secret import OriginSecret
from parley.aws.usage_table import UsageTable
from parley.conversation.quotas import Allowances, Limits
from parley.errors import Forbidden
from parley.functions.telemetry import logger, metrics
from parley.settings import Settings

ORIGIN_HEADER = "x-parley-origin"
"""Carries the secret; CloudFront sets it on its way to the API, whatever a client sent."""

VIEWER_HEADER = "x-parley-viewer"
"""The client's IP address, as CloudFront saw it. Anybody can send it: only the secret makes it true."""

HOST_HEADER = "x-parley-host"
"""The name under which the client called CloudFront. As true as VIEWER_HEADER."""


class AdmissionSettings(Settings, frozen=True, kw_only=True):
    """Settings of every function that an API invokes."""

    origin_secret_arn: str | None = None
    """With it, only requests that carry the secret are let in."""
    usage_table: str | None = None
    """With it, requests are counted there."""
    limits: Limits = msgspec.field(default_factory=Limits)


@cache
def settings() -> AdmissionSettings:
    """This process's settings."""
    return AdmissionSettings.load()


@cache
def origin() -> OriginSecret | None:
    """The check of where requests come from; None in an environment whose APIs are open to direct calls."""
    arn = settings().origin_secret_arn
    return OriginSecret(arn, clients.secrets_manager()) if arn else None


@cache
def allowances() -> Allowances | None:
    """The limits; None in an environment that counts nothing."""
    own = settings()
    if own.usage_table is None:
        return None
    return Allowances(own.limits, UsageTable(own.usage_table, clients.usage_dynamodb()), on_failure=_count_failure)


def check_origin(headers: Mapping[str, str]) -> None:
    """Raises Forbidden for a request that went round CloudFront, where that is asked for. Names are in lower case."""
    check = origin()
    if check is not None and not check.accepts(headers.get(ORIGIN_HEADER, "")):
        raise Forbidden("This address answers nobody directly; use the assistant's public address.")


def client_address(headers: Mapping[str, str], source_ip: str) -> str:
    """Where a request that passed `check_origin` came from: CloudFront's word counts only where it is proved."""
    return (headers.get(VIEWER_HEADER) if origin() is not None else None) or source_ip


def public_host(headers: Mapping[str, str]) -> str | None:
    """The name under which CloudFront was called, for a request that passed `check_origin`; None without CloudFront."""
    return headers.get(HOST_HEADER) if origin() is not None else None


def admit(subject: str | None, address: str) -> None:
    """Count a request of a user (None: of nobody known) from an address. Raises Throttled."""
    limits = allowances()
    if limits is None:
        return
    if subject is None:
        limits.admit_address(address)
        return
    # Side by side: a request waits for the slower one alone.
    counting = _second_counter().submit(limits.admit_address, address)
    limits.admit_user(subject)
    counting.result()


@contextmanager
def document_of(subject: str) -> Iterator[None]:
    """Around adding or replacing a document: counts it, unless that fails. Raises QuotaExceeded."""
    limits = allowances()
    if limits is None:
        yield
        return
    limits.take_document(subject)
    try:
        yield
    except Exception:
        limits.give_document_back(subject)
        raise


@cache
def _second_counter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "usage")


def _count_failure() -> None:
    logger.warning("Usage could not be counted")
    metrics.add_metric(name="UsageUncounted", unit=MetricUnit.Count, value=1)
