"""One synthesized cloud assembly per environment and flags, shared by all tests and all workers."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "1")

ROOT = Path(__file__).parents[2]
Template = dict[str, Any]
Resource = dict[str, Any]


@dataclass(frozen=True)
class Assembly:
    """What one synth wrote."""

    directory: Path

    @cached_property
    def templates(self) -> dict[str, Template]:
        """Every stack's template by the stack's name."""
        manifest = json.loads((self.directory / "manifest.json").read_text())
        return {
            artifact["properties"].get("stackName", name): json.loads(
                (self.directory / artifact["properties"]["templateFile"]).read_text()
            )
            for name, artifact in manifest["artifacts"].items()
            if artifact["type"] == "aws:cloudformation:stack"
        }

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The assembly's manifest: what is deployed, in which order, with which tags."""
        manifest: dict[str, Any] = json.loads((self.directory / "manifest.json").read_text())
        return manifest

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What the rule packs found and nobody acknowledged."""
        reports = json.loads((self.directory / "validation-report.json").read_text())["pluginReports"]
        return [violation for report in reports for violation in report.get("violations", [])]

    def stack(self, part: str) -> Template:
        """The template of the one stack whose name ends with `part`."""
        [template] = [template for name, template in self.templates.items() if name.endswith(f"-{part}")]
        return template

    def resources(self, *types: str, part: str = "") -> Iterator[tuple[str, Resource]]:
        """Every (stack/logical id, resource), of some types and in one stack if told."""
        for name, template in self.templates.items():
            for logical_id, resource in template.get("Resources", {}).items():
                if (not types or resource["Type"] in types) and (not part or name.endswith(f"-{part}")):
                    yield f"{name}/{logical_id}", resource


Synth = Callable[..., Assembly]


def synthesize_once(directory: Path, flags: dict[str, Any]) -> Path:
    """The first worker to ask makes the assembly, the others wait for it."""
    done = directory.with_suffix(".done")
    try:
        directory.mkdir()
    except FileExistsError:
        for _ in range(1200):
            if done.exists():
                break
            time.sleep(0.1)
        error = done.read_text()
        if error:
            pytest.fail(error)
        return directory
    try:
        _synthesize(directory, flags)
    except Exception as error:
        done.write_text(str(error))
        raise
    done.write_text("")
    return directory


def _synthesize(directory: Path, flags: dict[str, Any]) -> None:
    # Not at the top: most collected files need neither.
    import aws_cdk

    from app import build

    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = aws_cdk.App(outdir=str(directory), context={**context, "aws:cdk:bundling-stacks": [], **flags})
    build(app)
    app.synth()
