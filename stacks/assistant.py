"""The assistant itself: who may talk to it, through which routes, and the functions that answer."""

from aws_cdk import App, CfnOutput, Duration
from aws_cdk import aws_apigatewayv2 as apigwv2
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from parley_constructs.findings import acknowledge
from parley_constructs.identity import ApiKeyIdentity, CognitoIdentity
from parley_constructs.python_function import PythonFunction
from parley_constructs.releases import CanaryReleases
from parley_constructs.voice_api import Throttle, VoiceApi, VoiceApiProps

from stacks.account import AccountStack
from stacks.config import Configuration
from stacks.data import DataStack
from stacks.environment_stack import EnvironmentStack
from stacks.functions import NO_DESTINATION, TURN_AGE, TURN_RETRIES, Functions
from stacks.knowledge import KnowledgeStack
from stacks.settings import log_retention, metrics_environment, removal_policy
from stacks.sizes import FRAMES_PER_CALL, MESSAGES_PER_REQUEST

_GET, _POST, _PUT, _DELETE = (
    apigwv2.HttpMethod.GET,
    apigwv2.HttpMethod.POST,
    apigwv2.HttpMethod.PUT,
    apigwv2.HttpMethod.DELETE,
)
_WEBSOCKET_ROUTES = ("$connect", "$disconnect", "session.start", "text", "session.end", "ping", "$default")

# The share of failing answers that also wakes somebody.
_RELEASE_ERROR_SHARE = 0.05


class AssistantStack(EnvironmentStack):
    """Identity, the HTTP and WebSocket APIs, and their functions."""

    def __init__(
        self,
        app: App,
        *,
        configuration: Configuration,
        account: AccountStack,
        data: DataStack,
        knowledge: KnowledgeStack | None,
    ) -> None:
        """Create the assistant over `data`; without `knowledge` it answers from the model alone."""
        super().__init__(
            app, "Assistant", configuration=configuration, description="Parley: identity, APIs and functions"
        )
        sizes = configuration.sizes
        # The stages write access logs, which API Gateway refuses until the account has its logging role.
        self.add_stack_dependency(account)
        self.functions = Functions(
            self,
            configuration=configuration,
            storage=data.storage,
            knowledge_base=knowledge.knowledge_base if knowledge else None,
            origin_secret=data.origin_secret,
        )
        self.identity = self._identity(configuration)
        self.api = VoiceApi(
            self,
            "VoiceApi",
            props=VoiceApiProps(
                http_authorizer=self.identity.http_authorizer(),
                ticket_authorizer=self.functions.ticket_authorizer(),
                audio_frames_table=data.storage.audio_frames_table if configuration.enable_voice else None,
                http_throttle=Throttle(rate=sizes.throttle_rate, burst=sizes.throttle_burst),
                websocket_throttle=Throttle(
                    rate=sizes.throttle_rate * MESSAGES_PER_REQUEST,
                    burst=sizes.throttle_burst * MESSAGES_PER_REQUEST,
                ),
                audio_throttle=Throttle(
                    rate=sizes.voice_calls * FRAMES_PER_CALL, burst=sizes.voice_calls * FRAMES_PER_CALL
                ),
                log_retention=log_retention(configuration),
                log_encryption_key=data.storage.encryption_key,
            ),
        )
        self._releases = self._canary_releases(configuration) if configuration.enable_canary else None
        self.recordings = self.functions.recording_jobs() if configuration.enable_voice else None
        self._add_http_routes(knowledge)
        self._add_websocket_routes(with_voice=configuration.enable_voice)
        for function in self.functions.made.values():
            for name, value in metrics_environment(configuration).items():
                function.add_environment(name, value)
        self._export(configuration)

    def _identity(self, configuration: Configuration) -> CognitoIdentity | ApiKeyIdentity:
        if configuration.auth == "api-key":
            return ApiKeyIdentity(self, "Identity", authorizer_function=self.functions.api_key_authorizer())
        return CognitoIdentity(
            self,
            "Identity",
            allow_password_auth=configuration.enable_password_sign_in,
            removal_policy=removal_policy(configuration),
        )

    def _canary_releases(self, configuration: Configuration) -> CanaryReleases:
        sizes, runbook = configuration.sizes, f"{configuration.runbooks}/release-fails.md"
        # The average of a metric that is 1 for an answer of 500 and above, and 0 for the others.
        failing = self.api.http_api.metric_server_error(statistic="Average", period=Duration.minutes(1))
        alarm = cloudwatch.Alarm(
            self,
            "ReleaseFails",
            alarm_description="The HTTP API answers with errors: releases that are under way are taken back. "
            f"Runbook: {runbook}",
            metric=failing,
            threshold=_RELEASE_ERROR_SHARE,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        return CanaryReleases(
            self,
            "Releases",
            percent=sizes.canary_percent,
            interval=Duration.minutes(sizes.canary_minutes),
            alarms=[alarm],
            runbook=runbook,
        )

    def _live(self, function: PythonFunction) -> lambda_.IFunction:
        """What callers invoke: the version that CodeDeploy has released to them, where it releases gradually."""
        return self._releases.release(function) if self._releases else function

    def _add_http_routes(self, knowledge: KnowledgeStack | None) -> None:
        api, functions = self.api, self.functions
        conversations = self._live(functions.conversations())
        api.add_http_route("/health", [_GET], self._live(functions.health()), authorized=False)
        api.add_http_route("/chat", [_POST], self._live(functions.chat()))
        api.add_http_route("/conversations", [_GET], conversations)
        api.add_http_route("/conversations/{id}", [_GET, _DELETE], conversations)
        api.add_http_route("/conversations/{id}/export", [_GET], conversations)
        tickets = self._live(functions.tickets(websocket_url=api.websocket_url))
        api.add_http_route("/tickets", [_POST], tickets)
        jobs = self.personal_data_jobs = functions.personal_data_jobs(
            callback_url=api.callback_url,
            user_pool=self.identity.user_pool if isinstance(self.identity, CognitoIdentity) else None,
        )
        api.grant_post_to_connections(jobs.function)
        personal_data = self._live(functions.personal_data(jobs))
        api.add_http_route("/me", [_DELETE], personal_data)
        api.add_http_route("/me/deletion", [_GET], personal_data)
        api.add_http_route("/me/export", [_GET, _POST], personal_data)
        if self.recordings is not None:
            recordings = self._live(functions.recordings())
            api.add_http_route("/recordings", [_GET, _POST], recordings)
            api.add_http_route("/recordings/{id}", [_GET, _DELETE], recordings)
        if knowledge is not None:
            documents = self._live(functions.documents())
            api.add_http_route("/rag/query", [_POST], knowledge.knowledge_base.retrieval_function)
            api.add_http_route("/knowledge/documents", [_GET, _POST], documents)
            api.add_http_route("/knowledge/documents/{id}", [_GET, _PUT, _DELETE], documents)

    def _add_websocket_routes(self, *, with_voice: bool) -> None:
        callback_url = self.api.callback_url
        turn = self.functions.turn(callback_url=callback_url)
        worker = self.functions.voice_worker(callback_url=callback_url) if with_voice else None
        live_turn: lambda_.IFunction = turn
        if self._releases is not None:
            alias = self._releases.release(turn, retry_attempts=TURN_RETRIES, max_event_age=TURN_AGE)
            acknowledge(alias.node.find_child("EventInvokeConfig"), NO_DESTINATION)
            live_turn = alias
        websocket = self.functions.websocket(turn=live_turn, voice_worker=worker, callback_url=callback_url)
        for function in (turn, websocket, *([worker.function] if worker else [])):
            self.api.grant_post_to_connections(function)
        live = self._live(websocket)
        for route in (*_WEBSOCKET_ROUTES, *(["played"] if with_voice else [])):
            self.api.add_websocket_route(route, live)

    def _export(self, configuration: Configuration) -> None:
        values = {
            "HttpApiUrl": self.api.http_url,
            "HttpApiId": self.api.http_api.api_id,
            "WebSocketUrl": self.api.websocket_url,
            "WebSocketApiId": self.api.websocket_api.api_id,
            "Region": self.region,
        }
        if "VoiceWorker" in self.functions.made:
            values["VoiceWorkerFunctionName"] = self.functions.made["VoiceWorker"].function_name
            values["VoiceLanguages"] = ",".join(configuration.languages)
        if isinstance(self.identity, CognitoIdentity):
            values["UserPoolId"] = self.identity.user_pool.user_pool_id
            values["UserPoolClientId"] = self.identity.client.user_pool_client_id
        for name, value in values.items():
            CfnOutput(self, name, value=value)
