"""Releasing functions gradually: a new version gets a share of the calls first, and is taken back when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aws_cdk import ArnFormat, Duration, Names, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_iam as iam
from constructs import Construct

from parley_constructs.wildcards import acknowledge_wildcard

if TYPE_CHECKING:
    from aws_cdk import aws_lambda as lambda_

ALIAS = "live"
"""The alias that callers use."""


class CanaryReleases(Construct):
    """Has CodeDeploy release the functions it is given: a canary first, everything when nothing has failed by then.

    A deployment whose new version raises errors, or during which one of `alarms` goes off, is rolled back by
    CodeDeploy, and CloudFormation rolls back the rest of the stack. Whoever calls a function calls the alias that
    `release` returns.

    Args:
        percent: share of the calls that the new version gets at first.
        interval: how long the canary lasts, at least a minute.
        alarms: further alarms that take every release back, such as one on an API's 5xx answers: a function that
            answers an error has not failed in Lambda's eyes.
        runbook: where it is written what to do about a release that was taken back; the alarms name it.

    Attributes:
        application: the CodeDeploy application that all of them belong to.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        percent: int = 10,
        interval: Duration | None = None,
        alarms: Sequence[cloudwatch.IAlarm] = (),
        runbook: str | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        interval = interval or Duration.minutes(5)
        if not 1 <= percent <= 99:
            raise ValueError(f"percent was {percent}; a canary gets 1 to 99 percent of the calls.")
        seconds = interval.to_seconds()
        if seconds < 60 or seconds % 60:
            raise ValueError(
                f"interval was {interval.to_human_string()}; CodeDeploy counts whole minutes, one at least."
            )
        minutes = int(seconds) // 60
        self._alarms = list(alarms)
        self._runbook = f" Runbook: {runbook}" if runbook else ""
        self.application = codedeploy.LambdaApplication(self, "Application")
        self._config = codedeploy.LambdaDeploymentConfig(
            self,
            "Config",
            # A configuration cannot be changed, so another one needs another name; CodeDeploy's longest has 100
            # characters.
            deployment_config_name=f"{Names.unique_resource_name(self, max_length=70)}-{percent}-in-{minutes}-min",
            traffic_routing=codedeploy.TimeBasedCanaryTrafficRouting(interval=interval, percentage=percent),
        )
        self._role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("codedeploy.amazonaws.com"))
        self._grant_alarms()

    def _grant_alarms(self) -> None:
        alarms = Stack.of(self).format_arn(
            service="cloudwatch", resource="alarm", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
        )
        self._role.add_to_policy(iam.PolicyStatement(actions=["cloudwatch:DescribeAlarms"], resources=[alarms]))
        acknowledge_wildcard(self._role, alarms, _WHY_ALL_ALARMS)

    def release(
        self,
        function: lambda_.Function,
        *,
        retry_attempts: int | None = None,
        max_event_age: Duration | None = None,
    ) -> lambda_.Alias:
        """The alias to call `function` by from now on, which moves to a new version as this says.

        How asynchronous invocations are retried is the alias's own: what the function was made with counts for calls
        of the function itself.
        """
        name = function.node.id
        alias = function.add_alias(ALIAS, retry_attempts=retry_attempts, max_event_age=max_event_age)
        version = function.current_version
        errors = cloudwatch.Alarm(
            self,
            f"{name}Errors",
            alarm_description=f"The new version of {name} fails: its release is taken back.{self._runbook}",
            metric=version.metric_errors(
                period=Duration.minutes(1),
                dimensions_map={
                    "FunctionName": function.function_name,
                    "Resource": f"{function.function_name}:{ALIAS}",
                    # Only a version that shares the alias with another has metrics of its own.
                    "ExecutedVersion": version.version,
                },
            ),
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        codedeploy.LambdaDeploymentGroup(
            self,
            f"{name}Group",
            application=self.application,
            alias=alias,
            deployment_config=self._config,
            alarms=[errors, *self._alarms],
            # The managed policy that CDK would attach may move every alias of the account.
            role=self._role.without_policy_updates(),
        )
        self._role.add_to_policy(
            iam.PolicyStatement(
                actions=["lambda:GetAlias", "lambda:GetProvisionedConcurrencyConfig", "lambda:UpdateAlias"],
                resources=[function.function_arn, f"{function.function_arn}:{ALIAS}"],
            )
        )
        return alias


_WHY_ALL_ALARMS = (
    "CodeDeploy reads the states of the alarms that a release names, in one call that lists alarms. It changes none."
)
