"""cdk-nag: the rule packs that every synthesized template passes."""

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks, ServerlessChecks

_COMPLIANCE_PACKS = {"hipaa": HIPAASecurityChecks, "nist": NIST80053R5Checks, "pci": PCIDSS321Checks}


def add_checks(app: App, *, compliance: str | None) -> None:
    """Check `app` at synthesis; a finding that nobody acknowledged on its resource fails it.

    `compliance` adds the pack of one regime to the two that always run.
    """
    packs = [AwsSolutionsChecks, ServerlessChecks]
    if compliance is not None:
        packs.append(_COMPLIANCE_PACKS[compliance])
    Validations.of(app).add_plugins(*(pack(app) for pack in packs))
