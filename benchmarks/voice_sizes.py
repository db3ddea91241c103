"""What is shipped for voice: the session worker's package, and the web client's bundle."""

import gzip
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.functions import voice_package
from benchmarks.report import Measurement, measurement
from benchmarks.samples import PROJECT

PACKAGE_LIMIT_MB, BUNDLE_LIMIT_KB = 60.0, 200.0

_TEXT = frozenset({".js", ".css", ".html", ".svg", ".json", ".webmanifest"})


def bundle_bytes(folder: Path) -> int:
    """What a browser downloads of a built page at most: each file as CloudFront compresses it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".map"]
    return sum(
        len(gzip.compress(path.read_bytes(), 6)) if path.suffix in _TEXT else path.stat().st_size for path in files
    )


def measure() -> Mapping[str, Measurement]:
    """Build both anew, and weigh them against their limits."""
    with tempfile.TemporaryDirectory() as folder:
        package = voice_package(Path(folder))
        web = Path(folder) / "web"
        command = [
            "npm",
            "run",
            "--silent",
            "build",
            "--workspace",
            "web",
            "--",
            "--outDir",
            str(web),
            "--logLevel",
            "error",
        ]
        built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        if built.returncode:
            raise SystemExit(f"The web client cannot be built:\n{(built.stdout + built.stderr)[-2000:]}")
        bundle = bundle_bytes(web) / 1000
    return {
        "voice package, zipped": measurement(
            package.zipped_megabytes, "MB", baseline=PACKAGE_LIMIT_MB, note="built for this machine"
        ),
        "web bundle, gzipped": measurement(bundle, "KB", baseline=BUNDLE_LIMIT_KB, note="every file, compressed alone"),
    }
