"""What it costs to synthesize: each environment beside an app with one bucket, both through the CDK CLI."""

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.report import Measurement, measurement
from benchmarks.samples import PROJECT, interleaved, seconds_of

TRIVIAL_APP = """
import aws_cdk as cdk
from aws_cdk import aws_s3 as s3

app = cdk.App()
s3.Bucket(cdk.Stack(app, "Trivial"), "Bucket")
app.synth()
"""
CDK = PROJECT / "node_modules" / ".bin" / "cdk"


def measure(environments: list[str], *, rounds: int) -> dict[str, Measurement]:
    """Median seconds of `cdk synth` for each environment; the baseline is the one-bucket app. No bundling."""
    variables = os.environ | {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        trivial = Path(scratch) / "trivial"
        trivial.mkdir()
        (trivial / "app.py").write_text(TRIVIAL_APP)

        def synth(app: str, folder: Path, *options: str) -> float:
            command = [str(CDK), "synth", "--quiet", "--app", app, "--output", f"{scratch}/out", *options]
            return seconds_of(command, environment=variables, folder=folder)

        cases = {"trivial": partial(synth, f"{sys.executable} app.py", trivial)}
        for name in environments:
            options = ("-c", f"env={name}", "-c", "aws:cdk:bundling-stacks=[]")
            cases[name] = partial(synth, f"{sys.executable} app.py", PROJECT, *options)
        seconds = interleaved(cases, rounds=rounds)
    baseline = seconds.pop("trivial")
    return {name: measurement(taken, "s", baseline=baseline) for name, taken in seconds.items()}
