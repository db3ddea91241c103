"""The fixture that every test of the whole app uses."""

import hashlib
import json
import os
from typing import Any

import pytest

from tests.infrastructure.assemblies import Assembly, Synth, synthesize_once


@pytest.fixture(scope="session")
def synth(tmp_path_factory: pytest.TempPathFactory) -> Synth:
    """`synth("dev", enableRag=False)`: the assembly of an environment with flags, bundling off."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made: dict[str, Assembly] = {}

    def synthesize(env: str, **flags: Any) -> Assembly:
        key = hashlib.sha256(json.dumps([env, flags], sort_keys=True).encode()).hexdigest()[:16]
        if key not in made:
            made[key] = Assembly(synthesize_once(shared / f"assembly-{key}", {"env": env, **flags}))
        return made[key]

    return synthesize
