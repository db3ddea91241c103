"""Running interleaved samples: every case sees the same machine, busy or not."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parent.parent


def interleaved(cases: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, float]:
    """The median of each case over `rounds`, in the cases' own unit; one unmeasured round first fills caches."""
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(rounds):
        for name, case in cases.items():
            samples[name].append(case())
    return {name: median(taken) for name, taken in samples.items()}


def run(command: Sequence[str], *, environment: Mapping[str, str], folder: Path = PROJECT, given: str = "") -> str:
    """What a process prints, with `given` as its input; a failing one ends the benchmark with its own last words."""
    result = subprocess.run(
        command, env=environment, cwd=folder, input=given, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return result.stdout


def seconds_of(command: Sequence[str], *, environment: Mapping[str, str], folder: Path = PROJECT) -> float:
    """Seconds from the start of a process to its exit."""
    started = time.monotonic()
    run(command, environment=environment, folder=folder)
    return time.monotonic() - started


def seconds_to_answer(command: Sequence[str], *, environment: Mapping[str, str], given: str = "") -> float:
    """Seconds from the start of a process to the moment it prints, as `time.monotonic()`, that it has its answer.

    The monotonic clock is the machine's: two processes read the same one.
    """
    started = time.monotonic()
    return float(run(command, environment=environment, given=given).splitlines()[-1]) - started


def deployed_environment(aws_url: str, package: Path) -> dict[str, str]:
    """This environment with a function's package first on the path, AWS at `aws_url`, and bytecode allowed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return environment | {
        "PYTHONPATH": f"{package}{os.pathsep}{PROJECT}",
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def cdk_synth(output: Path, *options: str, folder: Path = PROJECT) -> float:
    """Seconds that the CDK CLI takes to synthesize the `app.py` of a folder into `output`."""
    cdk = PROJECT / "node_modules" / ".bin" / "cdk"
    command = [str(cdk), "synth", "--quiet", "--app", f"{sys.executable} app.py", "--output", str(output), *options]
    environment = os.environ | {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1"}
    return seconds_of(command, environment=environment, folder=folder)


def process(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of `benchmarks.processes` outside the virtual environment."""
    python = str(getattr(sys, "_base_executable", sys.executable))
    return [python, "-m", f"benchmarks.processes.{module}", *arguments]
