"""What Parley adds to a warm chat turn: the handler's time less the time spent waiting for AWS."""

import json
import tempfile
from pathlib import Path

from benchmarks.functions import FIRST_REQUESTS, SETTINGS, core_package
from benchmarks.instant_aws import InstantAws
from benchmarks.report import Measurement, measurement
from benchmarks.samples import deployed_environment, process, run


def measure(*, rounds: int) -> dict[str, Measurement]:
    """Milliseconds that one warm turn costs outside its AWS calls; the baseline is one bare `Converse` call's own."""
    with InstantAws() as aws, tempfile.TemporaryDirectory() as folder:
        package = core_package(Path(folder))
        printed = run(
            process("warm_turns", str(rounds)),
            environment=deployed_environment(aws.url, package.folder) | SETTINGS,
            given=json.dumps(FIRST_REQUESTS["chat"]),
        )
    taken = json.loads(printed.splitlines()[-1])
    note = f"{taken['calls']:.0f} AWS calls a turn"
    return {
        f"turn {quantile}": measurement(taken["turn"][quantile], "ms", baseline=taken["bare"][quantile], note=note)
        for quantile in ("p50", "p99")
    }
