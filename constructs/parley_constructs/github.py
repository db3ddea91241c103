"""Deploying from GitHub Actions without a stored key: a role that a job takes by its OpenID Connect token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

if TYPE_CHECKING:
    from aws_cdk.aws_iam import IOidcProvider

_ISSUER = "token.actions.githubusercontent.com"
_AUDIENCE = "sts.amazonaws.com"
# What `cdk bootstrap` calls its roles; the first makes and changes stacks, the others publish assets and look up.
# https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-customizing.html
_BOOTSTRAP_ROLES = ("deploy", "file-publishing", "lookup")


class GitHubDeployment(Construct):
    """A role for the GitHub Actions of one repository, which may deploy CDK apps and do nothing else.

    A job gets it only while it runs in one of the named GitHub environments, where the repository's rules about
    branches and approvals hold. It may take the roles of `cdk bootstrap`.

    An account has one provider of GitHub's tokens: pass the one that is there already, or let this make it.

    Args:
        repository: `owner/name`.
        environments: GitHub environments whose jobs may take the role.
        regions: where it may deploy; the stack's own region when there are none.
        provider: the account's provider of GitHub's tokens, where it has one.
        qualifier: of the bootstrap stack.

    Attributes:
        role: what the workflow names in `role-to-assume`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        repository: str,
        environments: Sequence[str],
        regions: Sequence[str] = (),
        provider: IOidcProvider | None = None,
        qualifier: str = "hnb659fds",
    ) -> None:
        super().__init__(scope, construct_id)
        # A `*` would admit what somebody else calls their repository or environment.
        if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", repository):
            raise ValueError(f'repository was "{repository}"; it is "owner/name".')
        if not environments or not all(re.fullmatch(r"[A-Za-z0-9_-]+", each) for each in environments):
            raise ValueError(f"environments were {list(environments)}; at least one name of letters, digits, - and _.")
        stack = Stack.of(self)
        provider = provider or iam.OidcProviderNative(
            self, "Provider", url=f"https://{_ISSUER}", client_ids=[_AUDIENCE]
        )
        self.role = iam.Role(
            self,
            "Role",
            description=f"Taken by GitHub Actions of {repository} to deploy",
            max_session_duration=Duration.hours(2),
            assumed_by=iam.WebIdentityPrincipal(
                provider.oidc_provider_arn,
                conditions={
                    "StringEquals": {
                        f"{_ISSUER}:aud": _AUDIENCE,
                        f"{_ISSUER}:sub": [f"repo:{repository}:environment:{each}" for each in environments],
                    }
                },
            ),
        )
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["sts:AssumeRole"],
                resources=[
                    f"arn:{stack.partition}:iam::{stack.account}:role/"
                    f"cdk-{qualifier}-{role}-role-{stack.account}-{region}"
                    for role in _BOOTSTRAP_ROLES
                    for region in (regions or [stack.region])
                ],
            )
        )
