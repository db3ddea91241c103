"""The FAISS store with 100,000 chunks of 1,024 dimensions, on local files and on the sandbox's S3, beside its limits.

Each index is built in one process and asked in others, so that every memory is that of what it is the memory of.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import boto3
import httpx
import numpy as np

from benchmarks.processes.faiss_data import CHUNKS
from benchmarks.report import Measurement, measurement
from sandbox.deploy import clean_environment
from sandbox.processes import choose_port, start_server, stop_servers, wait_until
from sandbox.state import State

BUCKET = "local"
REGION = "us-east-1"
CREDENTIALS: Any = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
LIMIT = "baseline: the limit"


@dataclass(frozen=True, slots=True)
class Case:
    """One way in which 100,000 chunks may come."""

    name: str
    per_document: int
    words: int


CASES = (
    Case("1 chunk a document", 1, 0),
    Case("20 chunks a document", 20, 0),
    Case("20 chunks a document, 80 words each", 20, 80),
)


def measure(*, rounds: int) -> dict[str, Measurement]:
    """Sizes, times, memory and recall; each baseline is the limit that it must keep, but for recall's: exact search.

    Times are on the clock, with the processor's in the note. Each index is loaded `rounds` times from either place,
    each time by a process of its own.
    """
    measured: dict[str, Measurement] = {}
    with tempfile.TemporaryDirectory() as folder, _sandbox_s3(Path(folder)) as address:
        data = Path(folder) / "data"
        data.mkdir()
        _process("faiss_data", data)
        for case in CASES:
            index = Path(folder) / f"{case.per_document}-{case.words}"
            built = _process("faiss_build", data, index, case.per_document, case.words)
            _upload(index, address)
            ask = partial(_process, "faiss_serve", data)
            local = [ask(index, case.per_document, case.words) for _ in range(rounds)]
            remote = [ask(address, case.per_document, case.words, s3=address) for _ in range(rounds)]
            measured |= {
                f"faiss {what}, {case.name}": entry for what, entry in _compared(case, built, local, remote).items()
            }
    return measured


def _compared(
    case: Case, built: Mapping[str, Any], local: list[dict[str, Any]], remote: list[dict[str, Any]]
) -> dict[str, Measurement]:
    served = local + remote
    compared = {
        "size": measurement(built["bytes"] / 1e6, "MB", baseline=150, note=LIMIT),
        "load from files": _load(local, limit=0.5),
        "load from S3": _load(remote, limit=1.5),
    }
    for mode in local[0]["queries"]:
        wall, cpu = ([ms for process in served for ms in process[kind][mode]] for kind in ("queries", "cpu"))
        note = f"{LIMIT}; processor: p50 {np.percentile(cpu, 50):.2f}, p99 {np.percentile(cpu, 99):.2f}"
        compared[f"{mode} query p50"] = measurement(float(np.percentile(wall, 50)), "ms", baseline=5, note=note)
        compared[f"{mode} query p99"] = measurement(float(np.percentile(wall, 99)), "ms", baseline=5, note=note)
    recall = mean(process["recall"] for process in served)
    serving, building = max(process["peak_mb"] for process in served), built["peak_mb"]
    every = built["uploaded"] / 1e6 / (CHUNKS / 1_000)
    return compared | {
        "recall@10": measurement(recall, "", baseline=1, note="baseline: exact; at least 0.97"),
        "add 1,000": measurement(built["more"] / 1e6, "MB", baseline=5, note=f"{LIMIT}; uploaded, at 100,000 chunks"),
        "add 1,000 on average": measurement(every, "MB", baseline=5, note=f"{LIMIT}; every merge on the way included"),
        "serving memory": measurement(serving, "MB", baseline=700, note=f"{LIMIT}; peak of the process"),
        "ingestion memory": measurement(building, "MB", baseline=700, note=f"{LIMIT}; peak, merges included"),
    }


def _load(processes: list[dict[str, Any]], *, limit: float) -> Measurement:
    cpu = median(process["load_cpu_s"] for process in processes)
    seconds = median(process["load_s"] for process in processes)
    return measurement(seconds, "s", baseline=limit, note=f"{LIMIT}; processor: {cpu:.2f}")


def _process(module: str, *arguments: object, s3: str = "") -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.processes.{module}", *map(str, arguments)]
    finished = subprocess.run(command, env=_environment(s3), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(finished.stdout or "{}")
    return found


def _environment(address: str) -> dict[str, str]:
    settings = {name.upper(): value for name, value in CREDENTIALS.items()} | {"AWS_DEFAULT_REGION": REGION}
    return clean_environment() | settings | ({"AWS_ENDPOINT_URL": address} if address else {})


def _upload(index: Path, address: str) -> None:
    client = boto3.client("s3", endpoint_url=address, region_name=REGION, **CREDENTIALS)
    client.create_bucket(Bucket=BUCKET)
    for listed in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=listed["Key"])
    for path in (index / BUCKET).rglob("*"):
        if path.is_file():
            client.put_object(Bucket=BUCKET, Key=str(path.relative_to(index / BUCKET)), Body=path.read_bytes())


@contextmanager
def _sandbox_s3(folder: Path) -> Iterator[str]:
    """The address of MiniStack, alone, as the sandbox starts it."""
    state = State(folder / "ministack")
    state.folder.mkdir()
    port = choose_port(0, variable="", what="MiniStack")
    settings = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "TMPDIR": str(state.folder),
        "STATE_DIR": str(state.folder / "state"),
        "S3_DATA_DIR": str(state.folder / "s3"),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",
    }
    server = start_server(
        state,
        "ministack",
        [sys.executable, "-m", "ministack"],
        port=port,
        environment=clean_environment() | settings,
        folder=state.folder,
    )
    try:
        wait_until(partial(_answers, f"{server.url}/_ministack/health"), server, state)
        yield server.url
    finally:
        stop_servers([server])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False
