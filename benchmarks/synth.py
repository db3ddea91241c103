"""What it costs to synthesize: each environment beside an app with one bucket, both through the CDK CLI."""

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.report import Measurement, measurement
from benchmarks.samples import cdk_synth, interleaved

TRIVIAL_APP = """
import aws_cdk as cdk
from aws_cdk import aws_s3 as s3

app = cdk.App()
s3.Bucket(cdk.Stack(app, "Trivial"), "Bucket")
app.synth()
"""


def measure(environments: list[str], *, rounds: int) -> dict[str, Measurement]:
    """Median seconds of `cdk synth` per environment, its packages built before; the baseline is the one-bucket app."""
    with tempfile.TemporaryDirectory() as scratch:
        trivial = Path(scratch) / "trivial"
        trivial.mkdir()
        (trivial / "app.py").write_text(TRIVIAL_APP)
        cases = {"trivial": partial(cdk_synth, trivial / "cdk.out", folder=trivial)}
        for name in environments:
            cases[name] = partial(cdk_synth, Path(scratch) / name, "-c", f"env={name}")
        seconds = interleaved(cases, rounds=rounds)
    baseline = seconds.pop("trivial")
    return {name: measurement(taken, "s", baseline=baseline) for name, taken in seconds.items()}
