"""The session worker: a function of which one invocation owns one live voice session and hands it on in time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from parley_constructs.findings import acknowledge
from parley_constructs.models import BedrockModels
from parley_constructs.python_function import PythonFunction

type SpeechEngine = Literal["nova-sonic", "cascade"]
SPEECH_ENGINES: tuple[SpeechEngine, ...] = ("nova-sonic", "cascade")

SESSION_WORKER_TIMEOUT = Duration.minutes(15)
"""Lambda's own limit."""

START_WITHIN = Duration.minutes(1)
"""A worker that starts later than this finds no client that still waits for it. Lambda takes no shorter time."""


@dataclass(frozen=True, kw_only=True)
class SessionWorkerProps:
    """Settings of a SessionWorker.

    code, handler, service, environment: as for a PythonFunction. The worker knows its own name, which it invokes to
        hand a session on, from Lambda's `AWS_LAMBDA_FUNCTION_NAME`.
    engines: what sessions are spoken with. With `nova-sonic` the worker may invoke `speech_models` in both directions
        at once; with `cascade` it may transcribe, invoke `language_models`, and synthesize speech.
    memory_size: MiB of one session.
    architecture: what `code` is built for.
    log_retention, log_removal_policy, log_encryption_key: of its logs.
    """

    code: lambda_.Code
    handler: str
    service: str = "session-worker"
    environment: Mapping[str, str] = field(default_factory=dict)
    engines: Sequence[SpeechEngine] = ("nova-sonic",)
    speech_models: Sequence[str] = ()
    language_models: Sequence[str] = ()
    memory_size: int = 512
    architecture: lambda_.Architecture = lambda_.Architecture.ARM_64
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    log_removal_policy: RemovalPolicy = RemovalPolicy.RETAIN
    log_encryption_key: kms.IKey | None = None


class SessionWorker(Construct):
    """A function that is invoked asynchronously once for each session, and invokes itself before its time runs out.

    An invocation that fails is not repeated: the session has ended by then, or another worker was started for it.

    Attributes:
        function: the function, for further grants.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: SessionWorkerProps) -> None:
        super().__init__(scope, construct_id)
        self.function = PythonFunction(
            self,
            "Function",
            code=props.code,
            handler=props.handler,
            service=props.service,
            environment=props.environment,
            timeout=SESSION_WORKER_TIMEOUT,
            memory_size=props.memory_size,
            architecture=props.architecture,
            log_retention=props.log_retention,
            log_removal_policy=props.log_removal_policy,
            encryption_key=props.log_encryption_key,
            retry_attempts=0,
            max_event_age=START_WITHIN,
            description="Owns live voice sessions, one in each invocation",
        )
        acknowledge(
            self.function.node.find_child("EventInvokeConfig"),
            {
                "Serverless-LambdaAsyncFailureDestination": "A session whose worker fails is taken up by "
                "another, which its client's pings start; the failure shows in the function's error alarm."
            },
        )
        # A long call is a chain of invocations, which Lambda takes for a loop after about sixteen: four hours.
        resource = cast(lambda_.CfnFunction, self.function.node.default_child)
        resource.recursive_loop = "Allow"
        self._let_it_invoke_itself()
        models = BedrockModels(self)
        if "nova-sonic" in props.engines:
            models.grant_converse_by_voice(self.function, props.speech_models)
        if "cascade" in props.engines:
            models.grant_invoke(self.function, props.language_models, whole=False)
            self._let_it_hear_and_speak()

    def grant_start(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `grantee` start workers. Not `function.grant_invoke`: that admits every version and alias as well."""
        return iam.Grant.add_to_principal(
            grantee=grantee, actions=["lambda:InvokeFunction"], resource_arns=[self.function.function_arn]
        )

    def _let_it_invoke_itself(self) -> None:
        # A policy of its own: the function waits for its role's default policy, which cannot name the function then.
        iam.Policy(
            self,
            "Handoff",
            roles=[cast(iam.IRole, self.function.role)],
            statements=[iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[self.function.function_arn])],
        )

    def _let_it_hear_and_speak(self) -> None:
        policy = iam.Policy(
            self,
            "HearAndSpeak",
            roles=[cast(iam.IRole, self.function.role)],
            statements=[iam.PolicyStatement(actions=_HEAR_AND_SPEAK, resources=["*"])],
        )
        acknowledge(
            policy, {"AwsSolutions-IAM5[Resource::*]": _WHY_ANY_RESOURCE, "Serverless-IAMStar": _WHY_ANY_RESOURCE}
        )


# Streaming over HTTP/2; Polly's two ways of speaking are two actions.
_HEAR_AND_SPEAK = ["polly:StartSpeechSynthesisStream", "polly:SynthesizeSpeech", "transcribe:StartStreamTranscription"]
_WHY_ANY_RESOURCE = (
    "A live transcription has no resource, nor has speech without a lexicon; the statement names its three actions and "
    "the policy holds nothing else."
)
