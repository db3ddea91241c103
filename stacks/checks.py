"""cdk-nag: the rule packs that every synthesized template passes."""

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks, ServerlessChecks


def add_checks(app: App, *, compliance: str | None) -> None:
    """Check `app` at synthesis; a finding that nobody acknowledged on its resource fails it.

    `compliance` adds the pack of one regime to the two that always run.
    """
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    if compliance is not None:
        from stacks.compliance import PACKS, answer_findings

        answer_findings(app, compliance=compliance)
        Validations.of(app).add_plugins(PACKS[compliance](app))
