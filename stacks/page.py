"""The browser client as deployment sources, built by Vite on the machine that synthesizes."""

import subprocess
from pathlib import Path
from shutil import which

import jsii
from aws_cdk import BundlingOptions, DockerImage, ILocalBundling
from aws_cdk import aws_s3_deployment as s3_deployment
from parley_constructs.python_function import PackagingError

from stacks.settings import ROOT


def page() -> s3_deployment.ISource:
    """The built page. Building is skipped with all other bundling (`-c aws:cdk:bundling-stacks=[]`)."""
    return s3_deployment.Source.asset(
        str(ROOT / "web"),
        exclude=["dist", "node_modules"],
        bundling=BundlingOptions(
            # For the case that local bundling declines, which it never does.
            image=DockerImage.from_registry("unused"),
            local=_ViteBuild(),
        ),
    )


@jsii.implements(ILocalBundling)
class _ViteBuild:
    """`npm run build` of the workspace `web` into the folder that CDK names."""

    def try_bundle(self, output_dir: str, options: object = None, *_: object, **__: object) -> bool:
        """Build, or say in one sentence why not."""
        npm = which("npm")
        if npm is None:
            raise PackagingError("The page cannot be built: npm is not on the PATH; install Node 22 or newer.")
        result = subprocess.run(  # noqa: S603 - our own arguments
            [npm, "run", "build", "--workspace", "web", "--", "--outDir", str(Path(output_dir)), "--emptyOutDir"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            says = " ".join((result.stderr or result.stdout).split())
            raise PackagingError(f"The page cannot be built; run `npm ci` and try again. npm says: {says}")
        return True
