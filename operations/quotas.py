"""AWS's default quotas that sessions use up: what they are, where that was read, and what to do when one is reached.

Defaults of an account in us-east-1 where regions differ. An account may have others: Service Quotas says which, and
`scripts/doctor` compares some of them with an environment's sizes.
"""

from dataclasses import dataclass

READ = "2026-11-21"
"""When these were looked up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A default of AWS's."""

    service: str
    what: str
    value: float
    source: str
    remedy: str
    """What to raise or shard."""
    second_hand: bool = False
    """Not read in AWS's own documentation, but in what others say of it: look into Service Quotas first."""


_DOCS = "https://docs.aws.amazon.com"
_DYNAMODB = f"{_DOCS}/amazondynamodb/latest/developerguide"
_APIGATEWAY = f"{_DOCS}/apigateway/latest/developerguide"

API_RATE_CODE = "L-8A5B8E43"
"""Of `API_RATE` in Service Quotas: docs.aws.amazon.com/general/latest/gr/apigateway.html."""

LAMBDA_CONCURRENCY = Quota(
    service="Lambda",
    what="executions at once (10 in a new account)",
    value=1_000,
    source=f"{_DOCS}/lambda/latest/dg/gettingstarted-limits.html",
    remedy="Ask for more under Service Quotas; put environments, and then groups of users, into accounts of their own.",
)
API_RATE = Quota(
    service="API Gateway",
    what="requests and messages a second, posts to connections included",
    value=10_000,
    source=f"{_APIGATEWAY}/limits.html",
    remedy="Ask for more under Service Quotas; each region of an account has its own.",
)
API_CONNECTIONS = Quota(
    service="API Gateway",
    what="new WebSocket connections a second",
    value=500,
    source=f"{_APIGATEWAY}/apigateway-execution-service-websocket-limits-table.html",
    remedy="Ask for more under Service Quotas. Clients that lost their connections come back with jitter already.",
)
TABLE_START_WRITES = Quota(
    service="DynamoDB",
    what="write units a second of a new on-demand table",
    value=4_000,
    source=f"{_DYNAMODB}/on-demand-capacity-mode.html",
    remedy="It grows to twice the highest traffic so far within half an hour: set warm throughput on the table before "
    "a launch, or let traffic grow slower than that.",
)
TABLE_START_READS = Quota(
    service="DynamoDB",
    what="read units a second of a new on-demand table",
    value=12_000,
    source=f"{_DYNAMODB}/on-demand-capacity-mode.html",
    remedy="As with write units.",
)
TABLE_WRITES = Quota(
    service="DynamoDB",
    what="write units a second of a table",
    value=40_000,
    source=f"{_DYNAMODB}/ServiceQuotas.html",
    remedy="Ask for more under Service Quotas; keys spread already, so the table holds whatever is granted.",
)
TABLE_READS = Quota(
    service="DynamoDB",
    what="read units a second of a table",
    value=40_000,
    source=f"{_DYNAMODB}/ServiceQuotas.html",
    remedy="As with write units.",
)
PARTITION_WRITES = Quota(
    service="DynamoDB",
    what="write units a second of a partition",
    value=1_000,
    source=f"{_DYNAMODB}/bp-partition-key-design.html",
    remedy="Cannot be raised. A key that many sessions share would have to be split; today none is.",
)
PARTITION_READS = Quota(
    service="DynamoDB",
    what="read units a second of a partition",
    value=3_000,
    source=f"{_DYNAMODB}/bp-partition-key-design.html",
    remedy="Cannot be raised.",
)
MODEL_TOKENS = Quota(
    service="Bedrock",
    what="tokens a minute of the quick model, through an inference profile",
    value=4_000_000,
    source=f"{_DOCS}/bedrock/latest/userguide/quotas-runtime.html",
    remedy="Ask for more under Service Quotas: the quota has the model's name. Name a second model in `models.quick`: "
    "it has a quota of its own, and takes over when the first one throttles. Requests a minute have no quota any more.",
    second_hand=True,
)
EMBEDDED_TOKENS = Quota(
    service="Bedrock",
    what="tokens a minute of Titan Text Embeddings v2",
    value=300_000,
    source=f"{_DOCS}/general/latest/gr/bedrock.html",
    remedy="Ask for more under Service Quotas; a large ingestion uses the same quota.",
    second_hand=True,
)
SPEECH_STREAMS = Quota(
    service="Bedrock",
    what="streams of Nova Sonic at once",
    value=20,
    source=f"{_DOCS}/nova/latest/userguide/speech.html",
    remedy="Ask for more under Service Quotas; streams do not cross regions, so a second region has its own.",
    second_hand=True,
)
TRANSCRIBED_STREAMS = Quota(
    service="Transcribe",
    what="streams at once",
    value=25,
    source=f"{_DOCS}/transcribe/latest/dg/limits-guidelines.html",
    remedy="Ask for more under Service Quotas, and for as many starts a second.",
)
SPOKEN_STREAMS = Quota(
    service="Polly",
    what="streams of generative voices at once",
    value=8,
    source=f"{_DOCS}/polly/latest/dg/limits.html",
    remedy="Ask for more through AWS Support.",
    second_hand=True,
)
KEY_REQUESTS = Quota(
    service="KMS",
    what="symmetric requests a second (10,000 in most regions; 100,000 in us-east-1, us-west-2, eu-west-1)",
    value=10_000,
    source=f"{_DOCS}/kms/latest/developerguide/requests-per-second.html",
    remedy="Ask for more under Service Quotas. S3, DynamoDB and SQS keep keys for minutes, and bucket keys are on.",
)
SIGN_INS = Quota(
    service="Cognito",
    what="authentications a second",
    value=120,
    source=f"{_DOCS}/cognito/latest/developerguide/quotas.html",
    remedy="Capacity is bought under Service Quotas; tokens that last longer need fewer.",
)
