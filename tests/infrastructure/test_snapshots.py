"""Every stack of every environment is what it was: one JSON file each, the hashes of assets written as `<asset>`."""

import json
import re
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from tests.infrastructure.assemblies import ROOT, Synth

ENVIRONMENTS = tuple(json.loads((ROOT / "cdk.json").read_text())["context"]["environments"])


class OneFileForEachStack(JSONSnapshotExtension):
    """`__snapshots__/test_snapshots/Parley-dev-Data.json`."""

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        return str(index)


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_templates_are_unchanged(synth: Synth, snapshot: SnapshotAssertion, env: str) -> None:
    for name, template in synth(env).templates.items():
        if name != "Parley-Account" or env == "dev":
            assert _normalised(template, local=env == "local") == snapshot(
                name=name, extension_class=OneFileForEachStack
            )


def _normalised(template: dict[str, Any], *, local: bool) -> Any:
    # The bootstrap version check is the same in every stack and every app.
    kept = {key: value for key, value in template.items() if key not in {"Parameters", "Rules"}}
    text = re.sub(r"[0-9a-f]{64}", "<asset>", json.dumps(kept))
    # A version is named after what its function runs.
    text = re.sub(r"(CurrentVersion[0-9A-F]{8})[0-9a-f]{32}", r"\1", text)
    # `local` builds for whichever machine synthesizes.
    text = re.sub(r'"Architectures": \["(arm64|x86_64)"\]', '"Architectures": ["<host>"]', text) if local else text
    parsed = json.loads(text)
    for resource in parsed["Resources"].values():
        resource.pop("Metadata", None)
        if resource["Type"] == "AWS::CloudWatch::Dashboard":
            # One string of JSON in a hundred pieces: what it shows is the monitoring construct's own tests' business.
            resource["Properties"]["DashboardBody"] = "<dashboard>"
    parsed["Resources"] = {
        key: value for key, value in parsed["Resources"].items() if value["Type"] != "AWS::CDK::Metadata"
    }
    return parsed
