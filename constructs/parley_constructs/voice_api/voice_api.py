"""The HTTP API and the WebSocket API of an assistant."""

from collections.abc import Sequence
from typing import cast

from aws_cdk import Duration, Stack
from aws_cdk import aws_apigatewayv2 as apigwv2
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from parley_constructs.findings import acknowledge
from parley_constructs.wildcards import acknowledge_wildcard

from .access_logs import HTTP_FIELDS, WEBSOCKET_FIELDS, AccessLog
from .audio_route import AUTHORIZED_ON_CONNECT, AudioRoute
from .props import Throttle, VoiceApiProps

STAGE_NAME = "ws"
"""Name of the WebSocket stage. A CDN in front keeps the path `/ws`, so both must agree."""


HTTP_INTEGRATION_TIMEOUT = Duration.seconds(29)
"""How long an HTTP route waits for its function: one second less than API Gateway's own limit for HTTP APIs."""


class VoiceApi(Construct):
    """An HTTP API and a WebSocket API with authorizers, throttling and access logs; routes are added by their owners.

    Access logs need the account's API Gateway logging role once per account and region: see `ApiGatewayLogging`.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: VoiceApiProps) -> None:
        super().__init__(scope, construct_id)
        self.http_api = apigwv2.HttpApi(
            self,
            "HttpApi",
            create_default_stage=False,
            default_authorizer=props.http_authorizer,
            cors_preflight=_cors(props.allowed_origins) if props.allowed_origins else None,
        )
        http_log = AccessLog(self, "HttpAccessLog", fields=HTTP_FIELDS, props=props)
        self.http_stage = apigwv2.HttpStage(
            self,
            "HttpStage",
            http_api=self.http_api,
            stage_name="$default",
            auto_deploy=True,
            throttle=_throttle(props.http_throttle),
            detailed_metrics_enabled=True,
            access_log_settings=http_log.settings,
        )

        self.websocket_api = apigwv2.WebSocketApi(
            self, "WebSocketApi", route_selection_expression="$request.body.action"
        )
        websocket_log = AccessLog(self, "WebSocketAccessLog", fields=WEBSOCKET_FIELDS, props=props)
        self.websocket_stage = apigwv2.WebSocketStage(
            self,
            "WebSocketStage",
            web_socket_api=self.websocket_api,
            stage_name=STAGE_NAME,
            auto_deploy=True,
            throttle=_throttle(props.websocket_throttle),
            detailed_metrics_enabled=True,
            access_log_settings=websocket_log.settings,
        )
        self._ticket_authorizer = authorizers.WebSocketLambdaAuthorizer(
            "Tickets", props.ticket_authorizer, identity_source=["route.request.querystring.ticket"]
        )
        self.access_log_groups = (http_log.log_group, websocket_log.log_group)

        if props.audio_frames_table is not None:
            AudioRoute(
                self,
                "AudioRoute",
                websocket_api=self.websocket_api,
                table=props.audio_frames_table,
                keep_for=props.keep_frames_for,
            )
            if props.audio_throttle is not None:
                self._throttle_route("audio", props.audio_throttle)

    def _throttle_route(self, route_key: str, throttle: Throttle) -> None:
        stage = cast(apigwv2.CfnStage, self.websocket_stage.node.default_child)
        # A route's settings replace the stage's, metrics among them. Plain JSON: CDK writes no other into this map.
        stage.route_settings = {
            route_key: {
                "ThrottlingRateLimit": throttle.rate,
                "ThrottlingBurstLimit": throttle.burst,
                "DetailedMetricsEnabled": True,
            }
        }
        # API Gateway refuses settings of a route that it does not know yet.
        stage.node.add_dependency(self.websocket_api.node.find_child(f"{route_key}-Route"))

    @property
    def http_domain(self) -> str:
        """Host name of the HTTP API."""
        return self._domain(self.http_api.api_id)

    @property
    def websocket_domain(self) -> str:
        """Host name of the WebSocket API."""
        return self._domain(self.websocket_api.api_id)

    @property
    def http_url(self) -> str:
        """Base address of the HTTP API, without a slash at the end."""
        return f"https://{self.http_domain}"

    @property
    def websocket_url(self) -> str:
        """Address that clients connect to."""
        return f"wss://{self.websocket_domain}/{STAGE_NAME}"

    @property
    def callback_url(self) -> str:
        """Address of the management API, which posts to connections."""
        return f"https://{self.websocket_domain}/{STAGE_NAME}"

    def _domain(self, api_id: str) -> str:
        stack = Stack.of(self)
        return f"{api_id}.execute-api.{stack.region}.{stack.url_suffix}"

    def add_http_route(
        self,
        path: str,
        methods: Sequence[apigwv2.HttpMethod],
        function: lambda_.IFunction,
        *,
        authorized: bool = True,
    ) -> None:
        """Send `methods` on `path` to `function`; with `authorized=False` anybody may call it."""
        routes = self.http_api.add_routes(
            path=path,
            methods=list(methods),
            integration=integrations.HttpLambdaIntegration(
                f"{function.node.id}Integration", function, timeout=HTTP_INTEGRATION_TIMEOUT
            ),
            authorizer=None if authorized else apigwv2.HttpNoneAuthorizer(),
        )
        if not authorized:
            for route in routes:
                acknowledge(route, {"AwsSolutions-APIG4": f"{path} is public by decision of whoever added it."})

    def add_websocket_route(
        self, route_key: str, function: lambda_.IFunction, *, returns_response: bool = False
    ) -> None:
        """Send messages whose `action` is `route_key` to `function`.

        A route is one-way unless `returns_response`: what its function returns never reaches the client.
        """
        on_connect = route_key == "$connect"
        route = self.websocket_api.add_route(
            route_key,
            integration=integrations.WebSocketLambdaIntegration(f"{function.node.id}Integration", function),
            authorizer=self._ticket_authorizer if on_connect else None,
            return_response=returns_response,
        )
        if not on_connect:
            acknowledge(route, {"AwsSolutions-APIG4": AUTHORIZED_ON_CONNECT})

    def grant_post_to_connections(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `grantee` post to, look up and close connections of this stage, and of no other API."""
        connections = Stack.of(self).format_arn(
            service="execute-api",
            resource=self.websocket_api.api_id,
            resource_name=f"{STAGE_NAME}/*/@connections/*",
        )
        grant = iam.Grant.add_to_principal(
            grantee=grantee, actions=["execute-api:ManageConnections"], resource_arns=[connections]
        )
        acknowledge_wildcard(grantee, connections, "Any method on any connection of this one stage: ids come and go.")
        return grant

    def metric_http_server_errors(self) -> cloudwatch.Metric:
        """HTTP answers of 500 and above, summed over five minutes."""
        return self.http_api.metric_server_error(statistic="Sum")


def _throttle(throttle: Throttle) -> apigwv2.ThrottleSettings:
    return apigwv2.ThrottleSettings(rate_limit=throttle.rate, burst_limit=throttle.burst)


def _cors(origins: Sequence[str]) -> apigwv2.CorsPreflightOptions:
    return apigwv2.CorsPreflightOptions(
        allow_origins=list(origins),
        allow_methods=[
            apigwv2.CorsHttpMethod.GET,
            apigwv2.CorsHttpMethod.POST,
            apigwv2.CorsHttpMethod.PUT,
            apigwv2.CorsHttpMethod.DELETE,
        ],
        allow_headers=["authorization", "content-type", "idempotency-key", "x-request-id"],
        expose_headers=["retry-after", "x-request-id"],
        max_age=Duration.hours(1),
    )
