"""Access logs of both APIs: one JSON object a request, without query strings, bodies or addresses."""

import json

import jsii
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigwv2
from aws_cdk import aws_logs as logs
from constructs import Construct

from .props import VoiceApiProps

# Chosen by name, so that the ticket in the query string of $connect and what people say can never be logged.
_COMMON = {
    "requestId": "$context.requestId",
    "routeKey": "$context.routeKey",
    "status": "$context.status",
    "integrationLatency": "$context.integration.latency",
    "error": "$context.error.message",
    "integrationError": "$context.integration.error",
    "authorizerError": "$context.authorizer.error",
}
HTTP_FIELDS = _COMMON | {
    "requestTime": "$context.requestTime",
    "integrationStatus": "$context.integration.status",
    "httpMethod": "$context.httpMethod",
    "protocol": "$context.protocol",
    "responseLength": "$context.responseLength",
    "responseLatency": "$context.responseLatency",
}
# There is a line for each audio frame, eleven a second in a call: nothing says again what another field (the route
# tells a connection's beginning and end) or the log event's own time says.
WEBSOCKET_FIELDS = _COMMON | {"connectionId": "$context.connectionId"}


class AccessLog(Construct):
    """A log group, and the settings that send a stage's requests there."""

    def __init__(self, scope: Construct, construct_id: str, *, fields: dict[str, str], props: VoiceApiProps) -> None:
        super().__init__(scope, construct_id)
        self.log_group = logs.LogGroup(
            self,
            "LogGroup",
            retention=props.log_retention,
            encryption_key=props.log_encryption_key,
            removal_policy=props.removal_policy,
        )
        self.settings = _Settings(self.log_group, fields)


@jsii.implements(apigwv2.IAccessLogSettings)
class _Settings:
    def __init__(self, log_group: logs.ILogGroup, fields: dict[str, str]) -> None:
        self._destination = apigwv2.LogGroupLogDestination(log_group)
        self._format = apigateway.AccessLogFormat.custom(json.dumps(fields, separators=(",", ":")))

    @property
    def destination(self) -> apigwv2.IAccessLogDestination:
        """The log group."""
        return self._destination

    @property
    def format(self) -> apigateway.AccessLogFormat:
        """One JSON object."""
        return self._format
