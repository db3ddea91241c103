"""The assistant's functions: what each is told and what each may do, and nothing more."""

import json

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from parley_constructs.findings import acknowledge
from parley_constructs.knowledge_base.knowledge_base import DOCUMENTS_PREFIX
from parley_constructs.object_access import grant_objects
from parley_constructs.python_function import PythonFunction
from parley_constructs.recordings import (
    SOURCES_PREFIX,
    TRANSCRIPTS_PREFIX,
    Recordings,
    RecordingsProps,
    grant_audio_archive,
    grant_audio_archive_removal,
)
from parley_constructs.storage import EXPORTS_PREFIX
from parley_constructs.voice_api import SPEECH_ENGINES, SessionWorker, SessionWorkerProps

from stacks.function_maker import COUNT, MODULES, READ, READ_QUOTAS, READ_WRITE, FunctionMaker, handler_of
from stacks.personal_data import PersonalDataJobs
from stacks.settings import architecture, log_retention, voice_package
from stacks.speech import worker_environment

# Nothing waits for a streamed turn but its client: it has the same deadline and time to say that it failed.
_TURN_TIMEOUT = Duration.seconds(60)
# By a second attempt, or after a minute in the queue, the client has asked again or gone.
TURN_RETRIES, TURN_AGE = 0, Duration.seconds(60)

NO_DESTINATION = {
    "Serverless-LambdaAsyncFailureDestination": "A failed turn is told to its client over the connection and shows in "
    "the function's error alarm; an answer that nobody waits for is worth no queue."
}


class Functions(FunctionMaker):
    """The functions that the assistant may have: each method makes one."""

    def health(self) -> PythonFunction:
        """Probes what a turn depends on."""
        conversations = self._storage.conversations_table
        function = self._make("Health", {"CONVERSATIONS_TABLE": conversations.table_name, **self._retrieval_name()})
        self._grant_table(function, conversations, "dynamodb:GetItem")
        self._admit_requests(function)
        if self._knowledge_base is not None:
            self._knowledge_base.grant_query(function)
        return function

    def chat(self) -> PythonFunction:
        """Answers one message over HTTP."""
        function = self._make("Chat", self._turn_environment(), memory=self._configuration.sizes.chat_memory_mb)
        self._grant_turn(function, streamed=False)
        self._admit_requests(function, quotas=True)
        return function

    def turn(self, *, callback_url: str) -> PythonFunction:
        """Answers one message over a connection, streaming; invoked asynchronously by `websocket`."""
        connections = self._storage.connections_table
        function = self._make(
            "Turn",
            {
                **self._turn_environment(),
                "CONNECTIONS_TABLE": connections.table_name,
                "WEBSOCKET_CALLBACK_URL": callback_url,
            },
            memory=self._configuration.sizes.chat_memory_mb,
            timeout=_TURN_TIMEOUT,
            retry_attempts=TURN_RETRIES,
            max_event_age=TURN_AGE,
        )
        acknowledge(function.node.find_child("EventInvokeConfig"), NO_DESTINATION)
        self._grant_turn(function, streamed=True)
        self._count_usage(function, quotas=True)
        # A connection that is gone is forgotten.
        self._grant_table(function, connections, "dynamodb:DeleteItem")
        return function

    def voice_worker(self, *, callback_url: str) -> SessionWorker:
        """Owns live voice sessions, one in each invocation; started by `websocket` and by itself."""
        storage, configuration = self._storage, self._configuration
        environment = {
            "SESSIONS_TABLE": storage.sessions_table.table_name,
            "AUDIO_FRAMES_TABLE": storage.audio_frames_table.table_name,
            "CONVERSATIONS_TABLE": storage.conversations_table.table_name,
            "CONTENT_KEY_ARN": storage.content_key.key_arn,
            "MODELS": json.dumps(configuration.models.conversation_roles),
            "RETENTION_DAYS": str(configuration.retention_days),
            "WEBSOCKET_CALLBACK_URL": callback_url,
            "VOICE_MODEL": configuration.models.voice,
            **self._speech(),
            **self._retrieval_name(),
            **self._usage_environment(),
            **self._guardrail_name(),
        }
        if configuration.enable_audio_archive:
            environment["AUDIO_BUCKET"] = storage.audio_bucket.bucket_name
        if "cascade" in configuration.voice_engine:
            environment |= worker_environment(configuration.languages, configuration.transcribe, configuration.polly)
        worker = SessionWorker(
            self._stack,
            "VoiceWorker",
            props=SessionWorkerProps(
                code=voice_package(configuration),
                handler=handler_of("VoiceWorker"),
                service=MODULES["VoiceWorker"],
                environment=environment,
                engines=[engine for engine in SPEECH_ENGINES if engine in configuration.voice_engine],
                speech_models=[configuration.models.voice],
                language_models=configuration.models.conversation_ids,
                memory_size=configuration.sizes.voice_memory_mb,
                architecture=architecture(configuration),
                log_retention=log_retention(configuration),
                log_removal_policy=RemovalPolicy.DESTROY,
                log_encryption_key=storage.encryption_key,
            ),
        )
        self.made["VoiceWorker"] = worker.function
        self._grant_voice(worker.function)
        return worker

    def _grant_voice(self, function: PythonFunction) -> None:
        storage = self._storage
        # The lease; and the condition on it in the transaction that stores a turn.
        self._grant_table(
            function, storage.sessions_table, "dynamodb:GetItem", "dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"
        )
        self._grant_table(function, storage.audio_frames_table, "dynamodb:GetItem", "dynamodb:BatchGetItem")
        self._grant_table(function, storage.usage_table, *COUNT, *READ_QUOTAS)
        # A speech model of its own has no guardrail.
        if self._guardrail is not None and "cascade" in self._configuration.voice_engine:
            self._guardrail.grant_apply(function)
        self._grant_table(function, storage.conversations_table, *READ_WRITE)
        storage.content_key.grant(function, "kms:GenerateDataKey", "kms:Decrypt")
        if self._knowledge_base is not None:
            self._knowledge_base.grant_query(function)
        if self._configuration.enable_audio_archive:
            grant_audio_archive(storage.audio_bucket, function)

    def _worker_of(self, voice_worker: SessionWorker) -> dict[str, str]:
        return {"VOICE_WORKER_FUNCTION": voice_worker.function.function_name, **self._speech()}

    def _speech(self) -> dict[str, str]:
        return {
            "VOICE_ENGINES": json.dumps(self._configuration.voice_engine),
            "LANGUAGES": json.dumps(self._configuration.languages),
        }

    def websocket(
        self, *, turn: lambda_.IFunction, voice_worker: SessionWorker | None, callback_url: str
    ) -> PythonFunction:
        """Keeps connections, hands each message to `turn`, and starts a `voice_worker` for each voice session."""
        sessions, connections = self._storage.sessions_table, self._storage.connections_table
        function = self._make(
            "WebSocket",
            {
                "SESSIONS_TABLE": sessions.table_name,
                "CONNECTIONS_TABLE": connections.table_name,
                "TURN_FUNCTION": turn.function_name,
                "WEBSOCKET_CALLBACK_URL": callback_url,
                "RETENTION_DAYS": str(self._configuration.retention_days),
                **self._retrieval_name(),
                **(self._worker_of(voice_worker) if voice_worker else {}),
            },
        )
        self._grant_table(function, connections, "dynamodb:PutItem", "dynamodb:DeleteItem")
        # Minutes of calls are asked about before one begins.
        self._count_usage(function, quotas=voice_worker is not None)
        if voice_worker is not None:
            self._grant_table(function, sessions, "dynamodb:GetItem", "dynamodb:UpdateItem")
            voice_worker.grant_start(function)
        # A session that starts warms retrieval up.
        if self._knowledge_base is not None:
            self._knowledge_base.grant_query(function)
        # Not grant_invoke: it also admits every version and alias, by a wildcard.
        function.add_to_role_policy(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[turn.function_arn])
        )
        return function

    def conversations(self) -> PythonFunction:
        """Lists, shows, exports and deletes the caller's conversations."""
        table = self._storage.conversations_table
        function = self._make(
            "Conversations",
            {"CONVERSATIONS_TABLE": table.table_name, "CONTENT_KEY_ARN": self._storage.content_key.key_arn},
        )
        self._grant_table(function, table, *READ, "dynamodb:DeleteItem", "dynamodb:BatchWriteItem")
        self._storage.content_key.grant(function, "kms:Decrypt")
        self._admit_requests(function)
        return function

    def tickets(self, *, websocket_url: str) -> PythonFunction:
        """Issues the single-use tickets that open a connection."""
        credentials, sessions = self._storage.credentials_table, self._storage.sessions_table
        function = self._make(
            "Tickets",
            {
                "CREDENTIALS_TABLE": credentials.table_name,
                "SESSIONS_TABLE": sessions.table_name,
                "WEBSOCKET_URL": websocket_url,
                "RETENTION_DAYS": str(self._configuration.retention_days),
            },
        )
        self._grant_table(function, credentials, "dynamodb:PutItem")
        self._grant_table(function, sessions, "dynamodb:GetItem", "dynamodb:PutItem")
        self._admit_requests(function)
        return function

    def documents(self) -> PythonFunction:
        """Lists, uploads, replaces and deletes documents."""
        table, bucket = self._storage.knowledge_table, self._storage.documents_bucket
        function = self._make(
            "Documents", {"KNOWLEDGE_TABLE": table.table_name, "DOCUMENTS_BUCKET": bucket.bucket_name}
        )
        self._grant_table(function, table, *READ_WRITE)
        self._admit_requests(function, quotas=True)
        grant_objects(bucket, function, prefix=DOCUMENTS_PREFIX, read=True, write=True, delete=True)
        return function

    def recordings(self) -> PythonFunction:
        """Lists, takes up and deletes uploaded recordings, and shows their transcripts."""
        table, bucket = self._storage.conversations_table, self._storage.audio_bucket
        function = self._make("Recordings", {**self._recording_table(), "AUDIO_BUCKET": bucket.bucket_name})
        self._grant_table(function, table, *READ, "dynamodb:PutItem", "dynamodb:DeleteItem")
        self._admit_requests(function, quotas=True)
        grant_objects(bucket, function, prefix=SOURCES_PREFIX, read=True, write=True, delete=True)
        grant_objects(bucket, function, prefix=TRANSCRIPTS_PREFIX, read=True, delete=True)
        return function

    def recording_jobs(self) -> Recordings:
        """Has uploaded recordings transcribed."""
        storage, configuration = self._storage, self._configuration
        recordings = Recordings(
            self._stack,
            "RecordingJobs",
            props=RecordingsProps(
                bucket=storage.audio_bucket,
                encryption_key=storage.encryption_key,
                code=self._code,
                handler=handler_of("RecordingJobs"),
                # No name of an environment holds an underscore, so that none begins with another.
                job_prefix=f"Parley-{configuration.environment}_",
                architecture=architecture(configuration),
                environment=self._recording_table(),
                log_encryption_key=storage.encryption_key,
                log_retention=log_retention(configuration),
            ),
        )
        self.made["RecordingJobs"] = recordings.function
        table = storage.conversations_table
        self._grant_table(recordings.function, table, "dynamodb:GetItem", "dynamodb:UpdateItem")
        return recordings

    def _recording_table(self) -> dict[str, str]:
        return {
            "CONVERSATIONS_TABLE": self._storage.conversations_table.table_name,
            "RETENTION_DAYS": str(self._configuration.retention_days),
        }

    def personal_data(self, jobs: PersonalDataJobs) -> PythonFunction:
        """Takes up exports and deletions of all that is the caller's, and shows how far they are."""
        table, bucket = self._storage.conversations_table, self._storage.documents_bucket
        function = self._make(
            "PersonalData",
            {
                "CONVERSATIONS_TABLE": table.table_name,
                "DOCUMENTS_BUCKET": bucket.bucket_name,
                "PERSONAL_DATA_QUEUE_URL": jobs.queue.queue_url,
            },
        )
        self._grant_table(function, table, "dynamodb:GetItem", "dynamodb:PutItem")
        self._admit_requests(function)
        # For the links that it signs: whoever opens one has the rights of its signer.
        grant_objects(bucket, function, prefix=EXPORTS_PREFIX, read=True)
        # Not grant_send_messages: it also admits looking up the queue's address and attributes.
        function.add_to_role_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[jobs.queue.queue_arn]))
        return function

    def personal_data_jobs(self, *, callback_url: str, user_pool: cognito.IUserPool | None) -> PersonalDataJobs:
        """Exports and deletes all that is a user's. `user_pool` holds the accounts, if there is one."""
        storage, configuration = self._storage, self._configuration
        tables = {
            "CONVERSATIONS_TABLE": storage.conversations_table,
            "IDEMPOTENCY_TABLE": storage.idempotency_table,
            "SESSIONS_TABLE": storage.sessions_table,
            "CONNECTIONS_TABLE": storage.connections_table,
            "CREDENTIALS_TABLE": storage.credentials_table,
            "AUDIO_FRAMES_TABLE": storage.audio_frames_table,
            "KNOWLEDGE_TABLE": storage.knowledge_table,
            "USAGE_TABLE": storage.usage_table,
        }
        environment = {name: table.table_name for name, table in tables.items()} | {
            "DOCUMENTS_BUCKET": storage.documents_bucket.bucket_name,
            "AUDIO_BUCKET": storage.audio_bucket.bucket_name,
            "CONTENT_KEY_ARN": storage.content_key.key_arn,
            "RETENTION_DAYS": str(configuration.retention_days),
            "WEBSOCKET_CALLBACK_URL": callback_url,
        }
        if user_pool is not None:
            environment["USER_POOL_ID"] = user_pool.user_pool_id
        forgetting = self._knowledge_base.forgetting_function if self._knowledge_base else None
        if forgetting is not None:
            environment["FORGETTING_FUNCTION"] = forgetting.function_name
        jobs = PersonalDataJobs(
            self._stack,
            "PersonalDataJobs",
            code=self._code,
            handler=handler_of("PersonalDataJobs"),
            service=MODULES["PersonalDataJobs"],
            environment=environment,
            configuration=configuration,
            storage=storage,
        )
        self.made["PersonalDataJobs"] = jobs.function
        self._grant_personal_data(jobs.function, user_pool)
        return jobs

    def _grant_personal_data(self, function: PythonFunction, user_pool: cognito.IUserPool | None) -> None:
        storage, delete = self._storage, "dynamodb:BatchWriteItem"
        self._grant_table(function, storage.conversations_table, *READ, "dynamodb:PutItem", delete)
        self._grant_table(function, storage.idempotency_table, delete)
        for table in (storage.audio_frames_table, storage.knowledge_table, storage.usage_table):
            self._grant_table(function, table, "dynamodb:Query", delete)
        # Found by their own ids all day long, and by whose they are only here.
        for table in (storage.sessions_table, storage.connections_table, storage.credentials_table):
            self._grant_table(function, table, "dynamodb:Scan", delete)
        storage.content_key.grant(function, "kms:Decrypt")
        documents, audio = storage.documents_bucket, storage.audio_bucket
        grant_objects(documents, function, prefix=DOCUMENTS_PREFIX, read=True, delete_versions=True)
        grant_objects(documents, function, prefix=EXPORTS_PREFIX, write=True, in_parts=True, delete_versions=True)
        for prefix in (SOURCES_PREFIX, TRANSCRIPTS_PREFIX):
            grant_objects(audio, function, prefix=prefix, read=True, delete_versions=True)
        grant_audio_archive_removal(audio, function)
        if user_pool is not None:
            function.add_to_role_policy(
                iam.PolicyStatement(actions=["cognito-idp:AdminDeleteUser"], resources=[user_pool.user_pool_arn])
            )
        if self._knowledge_base is not None:
            self._knowledge_base.grant_forget(function)

    def ticket_authorizer(self) -> PythonFunction:
        """Admits a connection by a ticket, once."""
        credentials = self._storage.credentials_table
        function = self._make("TicketAuthorizer", {"CREDENTIALS_TABLE": credentials.table_name})
        # Taking the ticket is deleting it and reading what it was.
        self._grant_table(function, credentials, "dynamodb:DeleteItem")
        self._demand_origin(function)
        return function

    def api_key_authorizer(self) -> PythonFunction:
        """Admits a request by its API key."""
        credentials = self._storage.credentials_table
        function = self._make("ApiKeyAuthorizer", {"CREDENTIALS_TABLE": credentials.table_name})
        self._grant_table(function, credentials, "dynamodb:GetItem")
        return function

    def _turn_environment(self) -> dict[str, str]:
        return {
            "CONVERSATIONS_TABLE": self._storage.conversations_table.table_name,
            "IDEMPOTENCY_TABLE": self._storage.idempotency_table.table_name,
            "CONTENT_KEY_ARN": self._storage.content_key.key_arn,
            "MODELS": json.dumps(self._configuration.models.conversation_roles),
            "RETENTION_DAYS": str(self._configuration.retention_days),
            **self._retrieval_name(),
            **self._guardrail_name(),
        }

    def _grant_turn(self, function: PythonFunction, *, streamed: bool) -> None:
        self._grant_table(function, self._storage.conversations_table, *READ_WRITE)
        self._grant_table(
            function,
            self._storage.idempotency_table,
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
        )
        self._storage.content_key.grant(function, "kms:GenerateDataKey", "kms:Decrypt")
        models = self._configuration.models.conversation_ids
        self._models.grant_invoke(function, models, whole=not streamed, streamed=streamed)
        if self._guardrail is not None:
            self._guardrail.grant_apply(function)
        if self._knowledge_base is not None:
            self._knowledge_base.grant_query(function)
