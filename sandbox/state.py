"""What the sandbox remembers between its commands: the state folder and `outputs.json` in it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
STACK_PREFIX = "Parley-local"


class SandboxError(Exception):
    """Ends a command with one plain sentence."""


@dataclass(frozen=True)
class State:
    """The state folder: `.sandbox`, or `PARLEY_SANDBOX_DIR`."""

    folder: Path

    @classmethod
    def locate(cls) -> "State":
        """The folder that the environment names."""
        return cls(Path(os.environ.get("PARLEY_SANDBOX_DIR") or PROJECT / ".sandbox").resolve())

    @property
    def outputs_file(self) -> Path:
        """`outputs.json`: addresses, the demo user, process ids."""
        return self.folder / "outputs.json"

    @property
    def processes_file(self) -> Path:
        """Which processes were started, with what tells them from others that took over their ids."""
        return self.folder / "processes.json"

    @property
    def certificates(self) -> Path:
        """The folder of the AI endpoints' certificate and of the authority that vouches for it."""
        return self.folder / "certificates"

    @property
    def assembly(self) -> Path:
        """The synthesized cloud assembly. It outlives the sandbox: CDK reuses the packages that it finds there."""
        return PROJECT / "cdk.out" / "sandbox"

    def log(self, name: str) -> Path:
        """The log file of one part."""
        return self.folder / "logs" / f"{name}.log"

    def outputs(self) -> dict[str, Any]:
        """The running sandbox's outputs; raises `SandboxError` when none is up."""
        outputs = read_json(self.outputs_file)
        if not outputs.get("http_url"):
            raise SandboxError("No sandbox is up: run ./scripts/up first.")
        return outputs


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, empty when there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Any) -> None:
    """Replace a file in one step, so that no reader sees half of it. It holds a password: only the owner reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)
