"""AWS clients: made once, when first used, with timeouts that fit inside a turn."""

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from parley.aws.failures import note_store_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_apigatewaymanagementapi.client import ApiGatewayManagementApiClient
    from mypy_boto3_bedrock_runtime.client import BedrockRuntimeClient
    from mypy_boto3_cloudfront.client import CloudFrontClient
    from mypy_boto3_cognito_idp.client import CognitoIdentityProviderClient
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_kms.client import KMSClient
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3vectors.client import S3VectorsClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_transcribe.client import TranscribeServiceClient

    from parley.aws.opensearch_http import Collection
    from parley.aws.quick_dynamodb import QuickDynamoDb
    from parley.aws.signed_http import SignedHttp

CONNECT_SECONDS = 1.0
"""Every endpoint is in the function's own region."""

STORE_READ_SECONDS = 2.0
"""DynamoDB and KMS answer in milliseconds; a silent connection is worth replacing soon."""

STORE_ATTEMPTS = 4
"""First attempt and retries, with the SDK's exponential backoff and jitter: about 2 s of throttling at most."""


_making = threading.Lock()
"""Clients are thread-safe; the session that makes them is not."""


def make_client(
    service: str,
    *,
    read_timeout: float,
    attempts: int,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A client of `service` whose calls end: connect and read timeouts in seconds, and bounded attempts.

    `settings` are further ones of botocore's Config.
    """
    # boto3 is imported here because it is the slowest import of all, and tests of callers can do without it.
    import boto3

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
        **(settings or {}),
    )
    factory: Any = boto3.client
    with _making:
        return factory(service, config=config, **options)


@cache
def dynamodb() -> "DynamoDBClient":
    """The DynamoDB client."""
    client: DynamoDBClient = make_client("dynamodb", read_timeout=STORE_READ_SECONDS, attempts=STORE_ATTEMPTS)
    client.meta.events.register("response-received.dynamodb", _note_store_answer)
    return client


def _note_store_answer(parsed_response: "Mapping[str, Any] | None" = None, **_: Any) -> None:
    # Called for each attempt, also for those that the SDK repeats.
    if parsed_response is not None and "Error" in parsed_response:
        note_store_answer(parsed_response["Error"].get("Code", ""))


@cache
def usage_dynamodb() -> "QuickDynamoDb":
    """The DynamoDB client of counters, which must not hold up what they count: 0.3 s, and one attempt."""
    from parley.aws.quick_dynamodb import QuickDynamoDb

    return QuickDynamoDb(_signed_dynamodb)


def _signed_dynamodb() -> "SignedHttp":
    import boto3

    from parley.aws.signed_http import SignedHttp

    meta = dynamodb().meta
    session: Any = boto3.DEFAULT_SESSION or boto3.Session()
    return SignedHttp(
        meta.endpoint_url, service="dynamodb", region=meta.region_name, credentials=session.get_credentials()
    )


@cache
def kms() -> "KMSClient":
    """The KMS client."""
    client: KMSClient = make_client("kms", read_timeout=STORE_READ_SECONDS, attempts=STORE_ATTEMPTS)
    return client


@cache
def s3() -> "S3Client":
    """The S3 client; its read timeout is for the next bytes to come, not for a whole file."""
    # What a KMS key encrypts is read and written with signatures of version 4 only, where the SDK presigns with version
    # 2; and its presigned addresses name the bucket's region only when the style is given.
    settings = {"signature_version": "s3v4", "s3": {"addressing_style": "virtual"}}
    client: S3Client = make_client("s3", read_timeout=STORE_READ_SECONDS, attempts=STORE_ATTEMPTS, settings=settings)
    return client


@cache
def bedrock_runtime(read_timeout: int) -> "BedrockRuntimeClient":
    """A Bedrock Runtime client that waits `read_timeout` seconds for an answer, and asks once.

    Who falls back to another model decides about retries, because it alone knows the time left.
    """
    client: BedrockRuntimeClient = make_client("bedrock-runtime", read_timeout=read_timeout, attempts=1)
    return client


@cache
def embedding_runtime(attempts: int) -> "BedrockRuntimeClient":
    """A Bedrock Runtime client for embeddings, which take a fraction of a second and have no model to fall back to.

    It tries again with the SDK's backoff: few attempts while a user waits, more in the background, where being
    throttled is part of the work.
    """
    client: BedrockRuntimeClient = make_client("bedrock-runtime", read_timeout=3.0, attempts=attempts)
    return client


@cache
def s3_vectors(read_timeout: float, attempts: int) -> "S3VectorsClient":
    """An S3 Vectors client: little time for a search, for which a user waits; more for writes of 500 vectors."""
    client: S3VectorsClient = make_client("s3vectors", read_timeout=read_timeout, attempts=attempts)
    return client


@cache
def sqs() -> "SQSClient":
    """The SQS client."""
    client: SQSClient = make_client("sqs", read_timeout=STORE_READ_SECONDS, attempts=STORE_ATTEMPTS)
    return client


@cache
def secrets_manager() -> "SecretsManagerClient":
    """The Secrets Manager client."""
    client: SecretsManagerClient = make_client("secretsmanager", read_timeout=STORE_READ_SECONDS, attempts=2)
    return client


@cache
def cloudfront() -> "CloudFrontClient":
    """The CloudFront client, for changes of a distribution: in the background, where patience is right."""
    client: CloudFrontClient = make_client("cloudfront", read_timeout=30.0, attempts=5)
    return client


@cache
def cognito() -> "CognitoIdentityProviderClient":
    """The client of user pools."""
    client: CognitoIdentityProviderClient = make_client("cognito-idp", read_timeout=5.0, attempts=STORE_ATTEMPTS)
    return client


@cache
def transcribe() -> "TranscribeServiceClient":
    """The Transcribe client for batch jobs."""
    client: TranscribeServiceClient = make_client("transcribe", read_timeout=5.0, attempts=STORE_ATTEMPTS)
    return client


@cache
def lambda_(read_timeout: int, attempts: int = 2) -> "LambdaClient":
    """A Lambda client that waits `read_timeout` seconds for a function's answer."""
    client: LambdaClient = make_client("lambda", read_timeout=read_timeout, attempts=attempts)
    return client


@cache
def connections_api(callback_url: str) -> "ApiGatewayManagementApiClient":
    """The client that posts to WebSocket connections of the API at `callback_url`.

    The SDK's own endpoint setting for this service wins where the environment has one.
    """
    import os

    own_setting = os.environ.get("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI")
    client: ApiGatewayManagementApiClient = make_client(
        "apigatewaymanagementapi", read_timeout=5.0, attempts=1, endpoint_url=own_setting or callback_url
    )
    return client


@cache
def collection(endpoint: str) -> "Collection":
    """The OpenSearch Serverless collection at `endpoint`, with this process's credentials and region."""
    from botocore.session import get_session

    from parley.aws.opensearch_http import Collection

    session = get_session()
    return Collection(endpoint, credentials=session.get_credentials(), region=session.get_config_variable("region"))
