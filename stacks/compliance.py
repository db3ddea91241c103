"""Why some rules of the compliance packs are answered and not followed, resource by resource.

What is not listed here fails the synth of an environment with `compliance`.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase

from aws_cdk import Acknowledgment, App, CfnResource, Validations
from cdk_nag import HIPAASecurityChecks, NagPack, NIST80053R5Checks, PCIDSS321Checks

PACKS: dict[str, Callable[[App], NagPack]] = {
    "hipaa": HIPAASecurityChecks,
    "nist": NIST80053R5Checks,
    "pci": PCIDSS321Checks,
}
_PREFIXES = {"hipaa": "HIPAA.Security", "nist": "NIST.800.53.R5", "pci": "PCI.DSS.321"}

_POLICY = {
    "IAMNoInlinePolicy": "The policy belongs to one role, names exact resources, and lives and dies with its function; "
    "a managed policy could be attached to others.",
}
_BUCKET = {
    "S3BucketReplicationEnabled": "Versions are kept; a copy in a second region is the organisation's recovery plan, "
    "with a region and a price that it chooses.",
    "S3DefaultEncryptionKMS": "Only the access logs and the page use S3's own keys: log delivery accepts no other, and "
    "the page is public.",
}
_REASONS: dict[str, dict[str, str]] = {
    "AWS::IAM::Policy": _POLICY,
    "AWS::IAM::Role": _POLICY,
    "AWS::S3::Bucket": _BUCKET,
    "AWS::Lambda::Function": {
        "LambdaConcurrency": "The APIs are throttled; a new account has no concurrency to reserve from.",
        "LambdaDLQ": "Its caller waits and hears of the failure, or its queue has a dead-letter queue.",
        "LambdaInsideVPC": "It reaches AWS services only, through TLS and its own role; in a VPC with a private "
        "execute-api endpoint it could not post to connections.",
    },
    "AWS::SecretsManager::Secret": {
        "SecretsManagerRotationEnabled": "It rotates every 30 days by a schedule in the stack of the distribution that "
        "sends it, which comes after the stack of the secret.",
    },
    "AWS::DynamoDB::Table": {
        "DynamoDBInBackupPlan": "Point-in-time recovery keeps 35 days; a backup plan is the organisation's, for the "
        "whole account.",
    },
}
# These logs lie in stacks that come before the one with the data's key.
_LOG = {
    "CloudWatchLogGroupEncrypted": "CloudWatch Logs encrypts it with its own key; it holds addresses and decisions, "
    "nothing that people wrote.",
}
_RELEASE_ALARM = {
    "CloudWatchAlarmAction": "CodeDeploy watches it while it releases a version, and takes the version back; the "
    "deployment that fails tells whoever started it.",
}
_REASONS_BY_PATH = {
    "*/WebAcl/Log/Resource": _LOG,
    "*/Network/FlowLogs/Resource": _LOG,
    "*/Releases/*Errors/Resource": _RELEASE_ALARM,
    "*/ReleaseFails/Resource": _RELEASE_ALARM,
}


def answer_findings(app: App, *, compliance: str) -> None:
    """Acknowledge, on each resource of `app` that they concern, the findings that have an answer."""
    for construct in app.node.find_all():
        if not isinstance(construct, CfnResource):
            continue
        reasons = dict(_REASONS.get(construct.cfn_resource_type, {}))
        for pattern, more in _REASONS_BY_PATH.items():
            if fnmatchcase(construct.node.path, pattern):
                reasons |= more
        for rule, reason in reasons.items():
            Validations.of(construct).acknowledge(Acknowledgment(id=f"{_PREFIXES[compliance]}-{rule}", reason=reason))
