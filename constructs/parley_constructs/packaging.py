"""A Lambda package built on the machine that synthesizes: no Docker, for whichever processor the function runs on."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jsii
import uv
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling
from aws_cdk import aws_lambda as lambda_

from parley_constructs.botocore_models import UnknownOperation, keep_operations

# Part of every asset's hash: raise it when the same sources shall give a different package.
_RECIPE = 3

# The image that Lambda's Python 3.12 and newer run on has glibc 2.34. With the older tag `manylinux2014` uv quietly
# settles for years-old releases of packages that no longer publish wheels for it (faiss-cpu 1.9 in place of 1.15).
_PLATFORMS = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}

# What is never read in Lambda. The rest of `*.dist-info` stays: packages read their own version from METADATA and find
# each other through entry_points.txt, and a licence travels with its code.
_INSTALLER_RECORDS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")


_FAILED = "The Lambda package cannot be built"


class PackagingError(Exception):
    """A package could not be built. The message is one sentence that says which one and why."""


@dataclass(frozen=True)
class _Recipe:
    """Everything that decides what is in a package, except the contents of its files."""

    packages: tuple[str, ...]
    architecture: str
    python_version: str
    host: bool
    botocore_operations: tuple[tuple[str, tuple[str, ...]], ...] | None
    no_binary: tuple[str, ...]
    recipe: int = _RECIPE


def python_package(
    source: str | Path,
    *,
    requirements: str | Path,
    packages: Sequence[str],
    architecture: lambda_.Architecture = lambda_.Architecture.ARM_64,
    python_version: str = "3.13",
    host: bool = False,
    botocore_operations: Mapping[str, Sequence[str]] | None = None,
    no_binary: Sequence[str] = (),
) -> lambda_.Code:
    """Return Lambda code holding import packages from `source` and the distributions that `requirements` pins.

    The package is built by uv when its stack is synthesized, and only when the sources, the requirements or the target
    changed since the last synth into the same output directory. `-c aws:cdk:bundling-stacks=[]` skips building.
    Code belongs to one stack: call this once per stack; the package is still built once. Tests and type stubs of the
    distributions are left out.

    Args:
        source: the folder that holds the import packages.
        requirements: a requirements file, fully pinned if deployments are to be repeatable.
        packages: import packages (folders) of `source` to put in.
        architecture: the processor to build for. Binary wheels only, so that nothing is compiled on this machine.
        python_version: the Python to build for, `major.minor`.
        host: build for this machine and its Python in place of `architecture` and `python_version`: for a sandbox that
            runs functions as local processes. See `host_architecture()`.
        botocore_operations: the operations (`{"dynamodb": ["GetItem", "PutItem"]}`) whose descriptions botocore keeps;
            a service with no operation named keeps all of its own. A client for any other service fails with
            `UnknownServiceError`, another operation is a missing attribute of its client, and `boto3.resource` is not
            to be had. See `botocore_models`. None keeps everything.
        no_binary: distributions that publish no wheels and are pure Python.

    Raises:
        PackagingError: a path is missing, here; or uv failed, when a `PythonFunction` of it is made. One sentence.
    """
    source, requirements = Path(source).resolve(), Path(requirements).resolve()
    for package in packages:
        if not (source / package).is_dir():
            raise PackagingError(f"{_FAILED}: there is no import package {package} in {source}.")
    if not requirements.is_file():
        raise PackagingError(f"{_FAILED}: there is no requirements file {requirements}.")
    if host:
        architecture, python_version = host_architecture(), f"{sys.version_info.major}.{sys.version_info.minor}"
    recipe = _Recipe(
        packages=tuple(packages),
        architecture=architecture.name,
        python_version=python_version,
        host=host,
        botocore_operations=None
        if botocore_operations is None
        else tuple((service, tuple(sorted(names))) for service, names in sorted(botocore_operations.items())),
        no_binary=tuple(no_binary),
    )
    return lambda_.Code.from_asset(
        str(source),
        asset_hash=_asset_hash(source, requirements, recipe),
        asset_hash_type=AssetHashType.CUSTOM,
        bundling=BundlingOptions(image=_NO_IMAGE, local=_UvBundler(source, requirements, recipe)),
    )


def packaging_error_in(error: Exception) -> PackagingError | None:
    """The packaging error that jsii wrapped into `error`, if that is what it is."""
    _, found, reason = str(error).partition(_FAILED)
    return PackagingError(f"{_FAILED}{reason.rstrip()}") if found else None


def host_architecture() -> lambda_.Architecture:
    """The architecture of the machine that synthesizes."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return lambda_.Architecture.ARM_64
    return lambda_.Architecture.X86_64


# CDK wants an image for the case that local bundling declines, which it never does.
_NO_IMAGE = DockerImage.from_registry("unused")


@jsii.implements(ILocalBundling)
class _UvBundler:
    """Builds one package into the folder that CDK names."""

    def __init__(self, source: Path, requirements: Path, recipe: _Recipe) -> None:
        self._source, self._requirements, self._recipe = source, requirements, recipe

    def try_bundle(self, output_dir: str, options: object = None, *_: object, **__: object) -> bool:
        output = Path(output_dir)
        self._install_requirements(output)
        _strip(output)
        self._cut_botocore(output)
        for package in self._recipe.packages:
            shutil.copytree(self._source / package, output / package, ignore=_IGNORED, dirs_exist_ok=True)
        _compile(output, self._recipe.python_version)
        return True

    def _cut_botocore(self, output: Path) -> None:
        if self._recipe.botocore_operations is None:
            return
        try:
            keep_operations(output / "botocore" / "data", dict(self._recipe.botocore_operations))
        except UnknownOperation as error:
            raise PackagingError(f"{_FAILED}: {error}") from error
        shutil.rmtree(output / "boto3" / "data", ignore_errors=True)

    def _install_requirements(self, output: Path) -> None:
        command = ["pip", "install", "--quiet", "--no-config", "--target", str(output)]
        command += ["--requirement", str(self._requirements), "--python", sys.executable, "--link-mode", "copy"]
        if not self._recipe.host:
            command += ["--python-version", self._recipe.python_version]
            command += ["--python-platform", _PLATFORMS[self._recipe.architecture]]
        command += ["--only-binary", ":all:"]
        for distribution in self._recipe.no_binary:
            command += ["--no-binary", distribution]
        from_what = f"from {', '.join(self._recipe.packages)} and {self._requirements.name}"
        try:
            result = subprocess.run(  # noqa: S603 - our own arguments
                [uv.find_uv_bin(), *command], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise PackagingError(f"{_FAILED} {from_what}: uv cannot be run: {_one_line(str(error))}") from error
        if result.returncode != 0:
            raise PackagingError(f"{_FAILED} {from_what}: uv says: {_one_line(result.stderr)}")


_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def _asset_hash(source: Path, requirements: Path, recipe: _Recipe) -> str:
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    digest.update(requirements.read_bytes())
    for file in _source_files(source, recipe.packages):
        content = file.read_bytes()
        digest.update(f"\0{file.relative_to(source).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _source_files(source: Path, packages: Iterable[str]) -> list[Path]:
    files = []
    for package in packages:
        for file in (source / package).rglob("*"):
            parts = file.relative_to(source).parts
            if file.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
                files.append(file)
    return sorted(files)


def _strip(output: Path) -> None:
    """Remove from the installed distributions what a function never reads: all of it is downloaded at a cold start."""
    shutil.rmtree(output / "bin", ignore_errors=True)
    for tests in list(output.glob("**/tests")):
        shutil.rmtree(tests, ignore_errors=True)  # gone already when it was inside another
    for pattern in ("**/*.pyi", *(f"*.dist-info/{record}" for record in _INSTALLER_RECORDS)):
        for file in list(output.glob(pattern)):
            file.unlink()


def _compile(output: Path, python_version: str) -> None:
    """Ship bytecode: without it, a cold start compiles every module again (0.66 s against 0.18 s for boto3 alone).

    CDK zips with timestamps of 1980, so files checked by timestamp would be thrown away: unchecked hashes are used.
    Without the target's Python on this machine the package goes without; it is slower to start, and right.
    """
    interpreter = _interpreter(python_version)
    if interpreter is None:
        return
    subprocess.run(  # noqa: S603 - our own arguments
        [
            *(interpreter, "-m", "compileall", "-qq", "-j", "0", "--invalidation-mode", "unchecked-hash"),
            *("-s", str(output), "-p", "/var/task", str(output)),
        ],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        check=False,
    )


def _interpreter(python_version: str) -> str | None:
    if python_version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = subprocess.run(  # noqa: S603 - our own arguments
        [uv.find_uv_bin(), "python", "find", "--no-config", "--no-python-downloads", python_version],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None if found.returncode == 0 else None


def _one_line(text: str) -> str:
    # uv draws its reasons as a tree.
    words = re.sub("[\u00d7\u2570\u2500\u25b6\u2502\u251c\u00b7]+", " ", text).split()
    return " ".join(words).removeprefix("error: ") or "nothing"
