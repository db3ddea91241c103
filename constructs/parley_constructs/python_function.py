"""A Python function the way this library makes them, and the package it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from parley_constructs.findings import acknowledge
from parley_constructs.packaging import PackagingError, host_architecture, packaging_error_in, python_package

__all__ = ["PackagingError", "PythonFunction", "host_architecture", "python_package"]

if TYPE_CHECKING:
    from aws_cdk import aws_ec2 as ec2
    from aws_cdk import aws_kms as kms
    from aws_cdk import aws_sqs as sqs

_NETWORK_INTERFACE_ACTIONS = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
]


class PythonFunction(lambda_.Function):
    """A Python 3.13 function on arm64 with its own role and log group, tracing, and the Powertools environment.

    The role starts with nothing but writing to its own log group and to X-Ray (and network interfaces, in a VPC);
    everything else comes from `grant_*`.

    Args:
        code: what it runs; see `python_package`.
        handler: `module.path.function`.
        service: the name that logs, traces and metrics carry.
        environment: variables beside Powertools'.
        timeout: how long an invocation may take.
        memory_size: MiB; processor time grows with it.
        architecture: must be what `code` was built for.
        runtime: must be what `code` was built for.
        log_retention: how long its logs are kept.
        log_removal_policy: what becomes of its logs when the function is removed.
        log_level: the lowest level that it logs.
        metrics_namespace: where its own metrics go in CloudWatch.
        encryption_key: a key for its logs, whose policy must admit CloudWatch Logs (`Storage.encryption_key` does).
            Without it CloudWatch's own key is used.
        vpc, vpc_subnets, security_groups: where it runs. In isolated subnets it reaches only services that have an
            endpoint there.
        reserved_concurrency: a share of the account's concurrency that is this function's alone, and its limit.
            New accounts have ten in all and refuse any reservation.
        dead_letter_queue: takes events of asynchronous invocations that failed for good.
        on_failure, retry_attempts, max_event_age: how asynchronous invocations are retried, and where they end.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: lambda_.Code,
        handler: str,
        service: str,
        environment: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        memory_size: int = 512,
        architecture: lambda_.Architecture = lambda_.Architecture.ARM_64,
        runtime: lambda_.Runtime = lambda_.Runtime.PYTHON_3_13,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        log_removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
        log_level: str = "INFO",
        metrics_namespace: str = "Parley",
        encryption_key: kms.IKey | None = None,
        vpc: ec2.IVpc | None = None,
        vpc_subnets: ec2.SubnetSelection | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        reserved_concurrency: int | None = None,
        dead_letter_queue: sqs.IQueue | None = None,
        on_failure: lambda_.IDestination | None = None,
        retry_attempts: int | None = None,
        max_event_age: Duration | None = None,
        description: str | None = None,
    ) -> None:
        # A folder of its own beside the function's resources: the parent's constructor has not run yet.
        parts = Construct(scope, f"{construct_id}Parts")
        log_group = logs.LogGroup(
            parts, "Logs", retention=log_retention, removal_policy=log_removal_policy, encryption_key=encryption_key
        )
        try:
            super().__init__(
                scope,
                construct_id,
                code=code,
                handler=handler,
                runtime=runtime,
                architecture=architecture,
                description=description,
                role=_role(parts, log_group, in_vpc=vpc is not None),
                environment={
                    "POWERTOOLS_SERVICE_NAME": service,
                    "POWERTOOLS_METRICS_NAMESPACE": metrics_namespace,
                    "POWERTOOLS_LOG_LEVEL": log_level,
                    # Responses and exceptions hold what people said: they are no business of a trace.
                    "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "false",
                    "POWERTOOLS_TRACER_CAPTURE_ERROR": "false",
                    **(environment or {}),
                },
                timeout=timeout or Duration.seconds(30),
                memory_size=memory_size,
                log_group=log_group,
                vpc=vpc,
                vpc_subnets=vpc_subnets,
                security_groups=security_groups,
                reserved_concurrent_executions=reserved_concurrency,
                dead_letter_queue=dead_letter_queue,
                on_failure=on_failure,
                retry_attempts=retry_attempts,
                max_event_age=max_event_age,
            )
        except RuntimeError as error:
            # A bundler's exception crosses into Node and back and loses its type and its plainness on the way.
            packaging_error = packaging_error_in(error)
            if packaging_error is None:
                raise
            raise packaging_error from None
        resource = cast(lambda_.CfnFunction, self.node.default_child)
        # Not through the `tracing` prop: that would put X-Ray's `*` into the policy that grants go to, where an
        # acknowledgment of it would cover theirs too.
        resource.tracing_config = lambda_.CfnFunction.TracingConfigProperty(mode="Active")
        acknowledge(
            resource,
            {
                "AwsSolutions-L1": _WHY_THIS_PYTHON,
                "Serverless-LambdaLatestVersion": _WHY_THIS_PYTHON,
            },
        )
        if dead_letter_queue is None:
            acknowledge(resource, {"Serverless-LambdaDLQ": _WHY_NO_DEAD_LETTER_QUEUE})


_WHY_THIS_PYTHON = (
    "Python 3.13: the package's binary wheels and bytecode are built for it, and AWS supports it until 2029."
)
_WHY_NO_DEAD_LETTER_QUEUE = (
    "Its callers wait for the answer, or it is fed by a queue that has a dead-letter queue, or a failure destination "
    "takes the events that a dead-letter queue would."
)
_WHY_ANY_RESOURCE = (
    "X-Ray's writing actions and EC2's network interface actions for Lambda have no resource-level permissions; the "
    "statements name their actions, and grants go to another policy."
)


def _role(scope: Construct, log_group: logs.ILogGroup, *, in_vpc: bool) -> iam.Role:
    statements = {
        "Logs": iam.PolicyStatement(
            actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log_group.log_group_arn]
        ),
        "Tracing": iam.PolicyStatement(actions=["xray:PutTraceSegments", "xray:PutTelemetryRecords"], resources=["*"]),
    }
    if in_vpc:
        statements["NetworkInterfaces"] = iam.PolicyStatement(actions=_NETWORK_INTERFACE_ACTIONS, resources=["*"])
    role = iam.Role(
        scope,
        "Role",
        assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        inline_policies={name: iam.PolicyDocument(statements=[statement]) for name, statement in statements.items()},
    )
    acknowledge(
        role,
        {
            "AwsSolutions-IAM5[Resource::*]": _WHY_ANY_RESOURCE,
            "Serverless-LambdaStarPermissions": _WHY_ANY_RESOURCE,
        },
    )
    return role
