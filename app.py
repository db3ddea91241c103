"""The CDK app: configuration -> stacks -> cdk-nag. It makes no AWS call."""

import sys

import aws_cdk as cdk
from parley_constructs.python_function import PackagingError

from stacks.application import add_stacks
from stacks.checks import add_checks
from stacks.config import Configuration, ConfigurationError, load


def build(app: cdk.App) -> Configuration:
    """Add the stacks and the checks of the environment that the app's context asks for."""
    configuration = load(app.node.get_all_context())
    add_stacks(app, configuration)
    add_checks(app, compliance=configuration.compliance)
    return configuration


def main() -> None:
    """Synthesize the environment, or say in one sentence why not."""
    app = cdk.App()
    try:
        build(app)
    except (ConfigurationError, PackagingError) as problem:
        sys.exit(str(problem))
    app.synth()


if __name__ == "__main__":
    main()
