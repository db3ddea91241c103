"""How a function of the assistant is made: its package, its limits, and the rights that several of them have."""

from collections.abc import Mapping

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from parley_constructs.knowledge_base import KnowledgeBase
from parley_constructs.models import BedrockModels
from parley_constructs.origin_secret import OriginSecret
from parley_constructs.python_function import PythonFunction
from parley_constructs.storage import Storage

from stacks.config import Configuration
from stacks.guardrail import guardrail
from stacks.settings import architecture, core_package, log_retention, usage_limits

READ = ("dynamodb:GetItem", "dynamodb:Query")
_ONLY_READ = {*READ, "dynamodb:BatchGetItem", "dynamodb:ConditionCheckItem", "dynamodb:Scan"}
# A transaction needs the permission of each operation in it.
READ_WRITE = (*READ, "dynamodb:PutItem", "dynamodb:UpdateItem")

COUNT, READ_QUOTAS = ("dynamodb:UpdateItem",), ("dynamodb:BatchGetItem",)

# HTTP APIs end a request after 30 s. The runtime's deadline for a turn is 25 s.
_REQUEST_TIMEOUT = Duration.seconds(29)


class FunctionMaker:
    """Makes functions of one stack, each under the name of its module in `parley.functions`."""

    def __init__(
        self,
        stack: Stack,
        *,
        configuration: Configuration,
        storage: Storage,
        knowledge_base: KnowledgeBase | None,
        origin_secret: OriginSecret | None = None,
    ) -> None:
        """`knowledge_base` is what a turn asks for passages; without it a turn has none.

        With an `origin_secret`, only requests that carry it are answered.
        """
        self._stack = stack
        self._configuration = configuration
        self._storage = storage
        self._knowledge_base = knowledge_base
        self._origin_secret = origin_secret
        self._guardrail = guardrail(stack, configuration)
        self._code = core_package(configuration)
        self._models = BedrockModels(stack)
        self.made: dict[str, PythonFunction] = {}

    def _make(
        self,
        name: str,
        environment: Mapping[str, str],
        *,
        memory: int | None = None,
        timeout: Duration = _REQUEST_TIMEOUT,
        retry_attempts: int | None = None,
        max_event_age: Duration | None = None,
    ) -> PythonFunction:
        module = MODULES[name]
        function = PythonFunction(
            self._stack,
            name,
            code=self._code,
            handler=handler_of(name),
            service=module,
            environment=environment,
            timeout=timeout,
            memory_size=memory or self._configuration.sizes.function_memory_mb,
            architecture=architecture(self._configuration),
            log_retention=log_retention(self._configuration),
            # Logs can be made again by running; they are no data.
            log_removal_policy=RemovalPolicy.DESTROY,
            encryption_key=self._storage.encryption_key,
            retry_attempts=retry_attempts,
            max_event_age=max_event_age,
        )
        self.made[name] = function
        return function

    def _admit_requests(self, function: PythonFunction, *, quotas: bool = False) -> None:
        """Let in what came through CloudFront, where the environment asks for that, and count it."""
        self._demand_origin(function)
        self._count_usage(function, quotas=quotas)

    def _demand_origin(self, function: PythonFunction) -> None:
        if self._origin_secret is not None:
            function.add_environment("ORIGIN_SECRET_ARN", self._origin_secret.secret.secret_arn)
            self._origin_secret.grant_read(function)

    def _count_usage(self, function: PythonFunction, *, quotas: bool) -> None:
        for name, value in self._usage_environment().items():
            function.add_environment(name, value)
        self._grant_table(function, self._storage.usage_table, *COUNT, *(READ_QUOTAS if quotas else ()))

    def _usage_environment(self) -> dict[str, str]:
        return {
            "USAGE_TABLE": self._storage.usage_table.table_name,
            "LIMITS": usage_limits(self._configuration),
        }

    def _guardrail_name(self) -> dict[str, str]:
        if self._guardrail is None:
            return {}
        named = {"id": self._guardrail.guardrail_id, "version": self._guardrail.version}
        return {"GUARDRAIL": self._stack.to_json_string(named)}

    def _retrieval_name(self) -> dict[str, str]:
        if self._knowledge_base is None:
            return {}
        return {"RETRIEVAL_FUNCTION": self._knowledge_base.retrieval_function.function_name}

    def _grant_table(self, function: PythonFunction, table: dynamodb.ITable, *actions: str) -> None:
        function.add_to_role_policy(iam.PolicyStatement(actions=list(actions), resources=[table.table_arn]))
        # What DynamoDB does with the key on the function's behalf; the function itself cannot use the key.
        writing = [] if _ONLY_READ.issuperset(actions) else ["kms:Encrypt", "kms:GenerateDataKey"]
        function.add_to_role_policy(
            iam.PolicyStatement(
                actions=["kms:Decrypt", "kms:DescribeKey", *writing],
                resources=[self._storage.encryption_key.key_arn],
                conditions={
                    "StringEquals": {"kms:ViaService": f"dynamodb.{self._stack.region}.{self._stack.url_suffix}"}
                },
            )
        )


def handler_of(name: str) -> str:
    """Where the runtime enters the function of this name."""
    return f"parley.functions.{MODULES[name]}.handler"


MODULES = {
    "Health": "health",
    "Chat": "chat",
    "Turn": "turn",
    "VoiceWorker": "voice_worker",
    "WebSocket": "websocket",
    "Conversations": "conversations",
    "Tickets": "tickets",
    "Documents": "documents",
    "Recordings": "recordings",
    "RecordingJobs": "recording_jobs",
    "PersonalData": "personal_data",
    "PersonalDataJobs": "personal_data_jobs",
    "TicketAuthorizer": "ticket_authorizer",
    "ApiKeyAuthorizer": "api_key_authorizer",
}
