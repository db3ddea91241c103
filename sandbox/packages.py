"""Functions' packages, unpacked once for all the processes that run them.

MiniStack unpacks the package anew for each process that it starts: thousands of files, and seconds of its one
interpreter in which it answers nobody else. Lambda has unpacked it before it starts one, and its code is read-only.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_UNPACK_SECONDS = 120
_one_at_a_time = threading.Lock()


class UnpackedOnce(zipfile.ZipFile):
    """An archive whose `extractall` into an empty folder makes it a link to what was unpacked before."""

    def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
        """See ZipFile; one of a part of the archive, or into the working folder, is as it ever was."""
        if path is None or members is not None or self.filename is None:
            super().extractall(path, members, pwd)
            return
        with Path(self.filename).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        unpacked = Path(tempfile.gettempdir()) / "packages" / digest
        with _one_at_a_time:
            if not unpacked.exists():
                # Under another name until it is whole.
                parts = unpacked.with_suffix(".part")
                shutil.rmtree(parts, ignore_errors=True)
                # By another process: this one has calls to answer.
                command = [sys.executable, "-m", "zipfile", "-e", self.filename, str(parts)]
                subprocess.run(command, check=True, timeout=_UNPACK_SECONDS)
                parts.rename(unpacked)
        Path(path).rmdir()
        os.symlink(unpacked, path, target_is_directory=True)


ZIPFILE = SimpleNamespace(**vars(zipfile) | {"ZipFile": UnpackedOnce})
"""The module `zipfile`, for MiniStack where it starts processes."""
