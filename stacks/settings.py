"""The configuration's values in the types that constructs take."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from aws_cdk import RemovalPolicy
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from parley_constructs.python_function import host_architecture, python_package

from stacks.config import Configuration

ROOT = Path(__file__).parents[1]
_RUNTIME = ROOT / "runtime"

# Spelled-out names of CloudWatch's retention periods, by days.
_RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    400: logs.RetentionDays.THIRTEEN_MONTHS,
    545: logs.RetentionDays.EIGHTEEN_MONTHS,
    731: logs.RetentionDays.TWO_YEARS,
    1096: logs.RetentionDays.THREE_YEARS,
    1827: logs.RetentionDays.FIVE_YEARS,
    2192: logs.RetentionDays.SIX_YEARS,
    2557: logs.RetentionDays.SEVEN_YEARS,
    2922: logs.RetentionDays.EIGHT_YEARS,
    3288: logs.RetentionDays.NINE_YEARS,
}


# What the runtime calls: parley/aws, and the libraries that it hands its clients to. The sandbox's tests run these very
# packages, so that an operation missing here fails there.
_AWS_OPERATIONS: dict[str, tuple[str, ...]] = {
    "apigatewaymanagementapi": ("DeleteConnection", "PostToConnection"),
    "bedrock-runtime": ("Converse", "ConverseStream", "InvokeModel"),
    "dynamodb": (
        "BatchGetItem",
        "BatchWriteItem",
        "DeleteItem",
        "GetItem",
        "PutItem",
        "Query",
        "Scan",
        "TransactWriteItems",
        "UpdateItem",
    ),
    "kms": ("Decrypt", "Encrypt", "GenerateDataKey"),
    "lambda": ("Invoke",),
    "secretsmanager": ("GetSecretValue",),
    # The SDK's own are CreateBucket, whose rules sign a POST, and HeadBucket, which finds a bucket in another region.
    "s3": (
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CreateBucket",
        "CreateMultipartUpload",
        "DeleteObject",
        "DeleteObjects",
        "GetObject",
        "HeadBucket",
        "HeadObject",
        "ListObjectVersions",
        "ListObjectsV2",
        "PutObject",
        "UploadPart",
    ),
}
_RECORDING_OPERATIONS: dict[str, tuple[str, ...]] = {
    "sqs": ("ChangeMessageVisibilityBatch", "SendMessage"),
    "transcribe": ("DeleteTranscriptionJob", "GetTranscriptionJob", "StartTranscriptionJob"),
}
_PERSONAL_DATA_OPERATIONS: dict[str, tuple[str, ...]] = {"cognito-idp": ("AdminDeleteUser",)}
_KNOWLEDGE_OPERATIONS: dict[str, tuple[str, ...]] = {
    "s3vectors": ("DeleteVectors", "ListVectors", "PutVectors", "QueryVectors"),
    "sqs": ("ChangeMessageVisibilityBatch", "SendMessage"),
}


_EDGE_OPERATIONS: dict[str, tuple[str, ...]] = {
    "cloudfront": ("GetDistribution", "GetDistributionConfig", "UpdateDistribution"),
    "secretsmanager": ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"),
}


def usage_limits(configuration: Configuration) -> str:
    """What users and addresses may use, as the runtime reads it: `parley.conversation.quotas.Limits` in JSON."""
    names = (
        "requests_per_minute",
        "requests_per_minute_per_address",
        "tokens_per_day",
        "voice_minutes_per_day",
        "documents_per_day",
    )
    return json.dumps({name: getattr(configuration.sizes, name) for name in names})


def log_retention(configuration: Configuration) -> logs.RetentionDays:
    """How long the environment's logs are kept."""
    return _RETENTION[configuration.sizes.log_retention_days]


def metrics_namespace(configuration: Configuration) -> str:
    """Where the functions' own metrics are: environments of one account must not add up."""
    return f"Parley/{configuration.environment}"


def metrics_environment(configuration: Configuration) -> dict[str, str]:
    """What tells a function where its metrics go."""
    return {"POWERTOOLS_METRICS_NAMESPACE": metrics_namespace(configuration)}


def removal_policy(configuration: Configuration) -> RemovalPolicy:
    """What becomes of data whose stack is removed."""
    return RemovalPolicy.RETAIN if configuration.protect_data else RemovalPolicy.DESTROY


def architecture(configuration: Configuration) -> lambda_.Architecture:
    """The processor that functions run on."""
    return host_architecture() if configuration.build_for == "host" else lambda_.Architecture.ARM_64


def core_package(configuration: Configuration) -> lambda_.Code:
    """The code of every function that needs no libraries of its own. One stack can use it."""
    return _package(configuration, "core", _AWS_OPERATIONS | _RECORDING_OPERATIONS | _PERSONAL_DATA_OPERATIONS)


def knowledge_package(configuration: Configuration) -> lambda_.Code:
    """The code of retrieval and ingestion, with the libraries that only they need. One stack can use it."""
    return _package(configuration, "knowledge", _AWS_OPERATIONS | _KNOWLEDGE_OPERATIONS)


def edge_package(configuration: Configuration) -> lambda_.Code:
    """The code of the function that rotates the origin's secret. One stack can use it."""
    return _package(configuration, "core", _EDGE_OPERATIONS)


def voice_package(configuration: Configuration) -> lambda_.Code:
    """The code of the session worker, with the SDKs that stream both ways. One stack can use it."""
    return _package(configuration, "voice", _AWS_OPERATIONS)


def _package(configuration: Configuration, name: str, operations: Mapping[str, Sequence[str]]) -> lambda_.Code:
    return python_package(
        _RUNTIME,
        requirements=_RUNTIME / f"requirements-{name}.txt",
        packages=["parley"],
        architecture=architecture(configuration),
        host=configuration.build_for == "host",
        botocore_operations=operations,
        # It publishes no wheels; it is pure Python.
        no_binary=("amazon-dax-client",) if name == "knowledge" else (),
    )
