"""From process start to the first answer: each HTTP function as it is deployed, beside one bare `Converse` call."""

import json
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.functions import FIRST_REQUESTS, SETTINGS, core_package
from benchmarks.instant_aws import InstantAws
from benchmarks.report import Measurement, measurement
from benchmarks.samples import deployed_environment, interleaved, process, seconds_to_answer


def measure(*, rounds: int) -> dict[str, Measurement]:
    """Median seconds to each function's first answer, and the size of the package they share.

    The baseline of a function is a script with boto3 from the same package that calls `Converse` once; the baseline
    of the package is the 25 MB that it may weigh.
    """
    with InstantAws() as aws, tempfile.TemporaryDirectory() as folder:
        package = core_package(Path(folder))
        bare = deployed_environment(aws.url, package.folder)
        cases = {"bare": partial(seconds_to_answer, process("bare_converse"), environment=bare)}
        for name, event in FIRST_REQUESTS.items():
            command = process("probe", f"parley.functions.{name}")
            cases[name] = partial(seconds_to_answer, command, environment=bare | SETTINGS, given=json.dumps(event))
        seconds = interleaved(cases, rounds=rounds)
    baseline = seconds.pop("bare")
    measured = {name: measurement(taken, "s", baseline=baseline) for name, taken in seconds.items()}
    measured["package"] = measurement(package.zipped_megabytes, "MB", baseline=25.0, note="zipped; baseline: its limit")
    return measured
