"""GET /health: what it asks, and what it says of what fails."""

import pytest

from tests.unit.text_function_doubles import Cloud, cloud

__all__ = ["cloud"]


def test_health_asks_what_it_depends_on(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_FUNCTION", "retrieval")
    status, body, _ = cloud.http("health", "GET", "/health", subject=None)
    assert (status, body) == (200, {"status": "ok", "checks": {"store": "ok", "retrieval": "ok"}})
    assert cloud.functions.invoked[0]["InvocationType"] == "DryRun"


def test_health_names_what_fails(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVERSATIONS_TABLE", "elsewhere")
    status, body, _ = cloud.http("health", "GET", "/health", subject=None)
    assert (status, body) == (503, {"status": "degraded", "checks": {"store": "failed"}})
