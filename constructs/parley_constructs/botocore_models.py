"""botocore's descriptions of AWS services, cut down to the operations that a package calls.

botocore parses the description of a whole service when a client is made: DynamoDB's is 200 KB of JSON for the handful
of operations that one function uses. Cutting them takes about a tenth off the cold start of a function with four
clients, and most of the size off a small package.
"""

import gzip
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class UnknownOperation(Exception):
    """An operation that its service does not have; the message is one sentence."""


def keep_operations(data: Path, operations: Mapping[str, Sequence[str]]) -> None:
    """Remove from botocore's folder `data` every service but those in `operations`, and their other operations.

    A service with no operations named keeps them all, in its newest API version. Raises UnknownOperation.
    """
    for folder in list(data.iterdir()):
        if folder.is_dir() and folder.name not in operations:
            shutil.rmtree(folder)
    for service, kept in operations.items():
        # A client takes the newest API version, and nobody asks for another.
        for older in sorted(folder for folder in (data / service).iterdir() if folder.is_dir())[:-1]:
            shutil.rmtree(older)
        for file in list((data / service).glob("*/service-2.json.gz")):
            model = json.loads(gzip.decompress(file.read_bytes()))
            if kept:
                _cut(model, service, kept)
            # Plain JSON: the package is compressed as a whole, and the function has one thing less to unpack.
            file.with_suffix("").write_text(json.dumps(_without_documentation(model), separators=(",", ":")))
            file.unlink()
        for examples in list((data / service).glob("*/examples-1.json*")):
            examples.unlink()


def _cut(model: dict[str, Any], service: str, kept: Sequence[str]) -> None:
    unknown = sorted(set(kept) - model["operations"].keys())
    if unknown:
        raise UnknownOperation(f"botocore knows no operation {', '.join(unknown)} of {service}.")
    model["operations"] = {name: model["operations"][name] for name in kept}
    model["shapes"] = _reachable(model["shapes"], model["operations"])


def _reachable(shapes: Mapping[str, Any], operations: Any) -> dict[str, Any]:
    """The shapes that the operations name, and those that these name in turn."""
    found: dict[str, Any] = {}
    names = list(_shape_names(operations))
    while names:
        name = names.pop()
        if name not in found:
            found[name] = shapes[name]
            names.extend(_shape_names(shapes[name]))
    return found


def _shape_names(description: Any) -> Iterable[str]:
    if isinstance(description, dict):
        for key, value in description.items():
            if key == "shape" and isinstance(value, str):
                yield value
            else:
                yield from _shape_names(value)
    elif isinstance(description, list):
        for item in description:
            yield from _shape_names(item)


def _without_documentation(description: Any) -> Any:
    if isinstance(description, dict):
        return {
            # Emptied and not removed: botocore reads some of them. A member may be called `documentation` too: that is
            # no text.
            key: "" if key == "documentation" and isinstance(value, str) else _without_documentation(value)
            for key, value in description.items()
        }
    if isinstance(description, list):
        return [_without_documentation(item) for item in description]
    return description
