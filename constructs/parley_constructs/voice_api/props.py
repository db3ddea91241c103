"""What a VoiceApi is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_apigatewayv2 as apigwv2
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """Requests per second that a stage admits, all callers together, and the burst above it."""

    rate: int
    burst: int


@dataclass(frozen=True, kw_only=True)
class VoiceApiProps:
    """Settings of a VoiceApi.

    http_authorizer: admits callers to every HTTP route that is not public.
    ticket_authorizer: function asked on `$connect` about the query parameter `ticket`.
    audio_frames_table: where the route `audio` puts frames; without it there is no such route.
    keep_frames_for: time to live of a frame; a session worker reads it within seconds.
    allowed_origins: origins that may call the HTTP API from a browser on another origin; none by default.
    http_throttle, websocket_throttle: for the whole stage.
    audio_throttle: for the route `audio` alone, out of its own bucket: an audio client sends about 11 frames a second,
        and a flood of them must leave room for everything else. Without it the stage's holds.
    log_retention: of both access logs.
    log_encryption_key: encrypts both access logs; its policy must admit the CloudWatch Logs service.
    removal_policy: of both access logs.
    """

    http_authorizer: apigwv2.IHttpRouteAuthorizer
    ticket_authorizer: lambda_.IFunction
    audio_frames_table: dynamodb.ITable | None = None
    keep_frames_for: Duration = field(default_factory=lambda: Duration.hours(1))
    allowed_origins: Sequence[str] = ()
    http_throttle: Throttle = Throttle(rate=50, burst=100)
    websocket_throttle: Throttle = Throttle(rate=500, burst=1000)
    audio_throttle: Throttle | None = None
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    log_encryption_key: kms.IKey | None = None
    removal_policy: RemovalPolicy = RemovalPolicy.DESTROY
