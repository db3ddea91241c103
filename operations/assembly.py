"""The templates that a deployment would use, for tools that read them: no AWS call, and nothing is deployed.

`synthesize` runs the app for an environment, `load` reads a cloud assembly that is there already.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.environment import OperationError

ROOT = Path(__file__).parents[1]
"""The checkout that this file is in."""

Template = dict[str, Any]

_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a template."""

    stack: str
    logical_id: str
    type: str
    properties: Mapping[str, Any]
    body: Mapping[str, Any]
    """All of it: `Metadata`, `DeletionPolicy`, ..."""

    @property
    def name(self) -> str:
        """`stack/logical id`, which nothing else in its assembly has."""
        return f"{self.stack}/{self.logical_id}"

    @property
    def path(self) -> str:
        """The path of the construct that made it, for people to read; its `name` where the template has none."""
        path = str(self.body.get("Metadata", {}).get("aws:cdk:path", self.name))
        return path.removesuffix("/Resource")


@dataclass(frozen=True, slots=True)
class Assembly:
    """What one synthesis wrote."""

    directory: Path
    stacks: Mapping[str, Template]
    """Every stack's template by the stack's name."""
    regions: Mapping[str, str | None]
    """Every stack's region by its name; None where it is wherever the credentials point."""

    def resources(self, *types: str) -> Iterator[Resource]:
        """Every resource of all stacks, or those of some types."""
        for stack, template in self.stacks.items():
            for logical_id, body in template.get("Resources", {}).items():
                if not types or body["Type"] in types:
                    yield Resource(stack, logical_id, body["Type"], body.get("Properties", {}), body)


def load(directory: Path) -> Assembly:
    """The cloud assembly in a folder such as `cdk.out`. Raises OperationError when there is none."""
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise OperationError(f"{directory} holds no cloud assembly: cdk synth writes one.") from error
    stacks: dict[str, Template] = {}
    regions: dict[str, str | None] = {}
    for artifact_id, artifact in manifest["artifacts"].items():
        if artifact["type"] != "aws:cloudformation:stack":
            continue
        properties = artifact["properties"]
        name = properties.get("stackName", artifact_id)
        region = artifact["environment"].rpartition("/")[2]
        stacks[name] = json.loads((directory / properties["templateFile"]).read_text())
        regions[name] = None if region == "unknown-region" else region
    return Assembly(directory, stacks, regions)


def synthesize(
    env: str,
    flags: Mapping[str, Any],
    out_dir: Path,
    *,
    root: Path = ROOT,
    bundle: bool = False,
    validate: bool = False,
) -> Assembly:
    """Run the app of the checkout `root` for one environment, with flags as `-c` would give them.

    Packages of code are made only with `bundle`, and CloudFormation's rules are checked only with `validate`: both take
    most of the time, and neither changes a template but for the hashes in it. Raises OperationError with what the app
    said.
    """
    context = {**json.loads((root / "cdk.json").read_text())["context"], **flags, "env": env}
    if not bundle:
        context["aws:cdk:bundling-stacks"] = []
    # The packages are installed from the checkout that this file is in; another one's come first.
    sources = [str(root / part) for part in ("", "constructs", "runtime", "client")]
    variables = {
        **os.environ,
        "CDK_CONTEXT_JSON": json.dumps(context),
        "CDK_OUTDIR": str(out_dir),
        "CDK_VALIDATION": "true" if validate else "false",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
        "PYTHONPATH": os.pathsep.join(sources),
    }
    try:
        done = subprocess.run(
            [sys.executable, "app.py"], cwd=root, env=variables, capture_output=True, text=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise OperationError(f"The environment {env} was not synthesized within {_SECONDS} s.") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise OperationError(said if "\n" not in said else f"The environment {env} cannot be synthesized:\n{said}")
    return load(out_dir)


def checkout(ref: str, folder: Path) -> Path:
    """Write the files of a commit, branch or tag of this repository into a folder, which `synthesize` takes as `root`.

    Raises OperationError when git does not know it.
    """
    made = subprocess.run(
        ["git", "archive", "--format=tar", ref, "--"],  # noqa: S607 - whichever git the user has
        cwd=ROOT,
        capture_output=True,
    )
    if made.returncode != 0:
        raise OperationError(f"git knows no {ref}: {made.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder
