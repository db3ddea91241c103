"""Sound that is kept: recordings that people upload and have transcribed, and the archive of live sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aws_cdk import ArnFormat, Duration, RemovalPolicy, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from parley_constructs.object_access import grant_objects
from parley_constructs.python_function import PythonFunction
from parley_constructs.wildcards import acknowledge_wildcard
from parley_constructs.work_queue import WorkQueue

if TYPE_CHECKING:
    from aws_cdk import aws_cloudwatch as cloudwatch
    from aws_cdk import aws_kms as kms
    from aws_cdk import aws_s3 as s3

SOURCES_PREFIX = "recordings/"
"""Objects under this prefix of the bucket are uploaded recordings; nothing else there is transcribed."""

TRANSCRIPTS_PREFIX = "transcripts/"
"""Under this prefix the function keeps transcripts, and Transcribe its results."""

ARCHIVE_KEYS = ("*_input.wav", "*_output.wav")
"""Keys of the archive of live sessions: `<session>/<time>_input.wav` and `<session>/<time>_output.wav`."""

_TIMEOUT = Duration.minutes(1)


@dataclass(frozen=True, kw_only=True)
class RecordingsProps:
    """What `Recordings` is made of.

    Attributes:
        bucket: where files are uploaded to; it must announce its objects through EventBridge, and be encrypted with a
            key of yours. It may belong to another stack.
        encryption_key: the bucket's key, with which Transcribe encrypts its results.
        code, handler: what the function runs: it takes SQS batches of EventBridge events (objects created under
            `recordings/`, transcription jobs that ended) and of messages that it sends to itself, and answers with the
            failed items. It finds the bucket in `AUDIO_BUCKET`, the key in `ENCRYPTION_KEY_ARN`, the queues in
            `RECORDINGS_QUEUE_URL` and `DEAD_LETTER_QUEUE_URL`, and the number of deliveries after which a message is
            given up in `MAX_DELIVERIES`.
        job_prefix: with what the names of its transcription jobs begin (letters, digits, `-`, `.`, `_`): they must be
            unique in an account and region. The function finds it in `JOB_PREFIX`.
        architecture: processor that `code` is built for.
        memory_size: MiB. The result of an hour of speech has about 2 MB.
        max_receive_count: deliveries after which a message goes to the dead-letter queue.
        environment: further variables.
        log_encryption_key: encrypts the function's logs.
        log_retention: of the function's logs.
        removal_policy: of logs and queues.
    """

    bucket: s3.IBucket
    encryption_key: kms.IKey
    code: lambda_.Code
    handler: str
    job_prefix: str
    architecture: lambda_.Architecture = lambda_.Architecture.ARM_64
    memory_size: int = 512
    max_receive_count: int = 10
    environment: Mapping[str, str] = field(default_factory=dict)
    log_encryption_key: kms.IKey | None = None
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    removal_policy: RemovalPolicy = RemovalPolicy.DESTROY


class Recordings(Construct):
    """Has uploaded recordings transcribed by Amazon Transcribe.

    A file under `recordings/` is announced by the bucket's event (EventBridge), waits in `queue`, and is worked on by
    `function`, which starts a transcription job. The service announces the job's end, on a best-effort basis: the
    function should therefore look after jobs by messages of its own, for which it may send to the queue. What it gives
    up lies in `dead_letter_queue`.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: RecordingsProps) -> None:
        super().__init__(scope, construct_id)
        self._props = props
        # SQS's own key: messages hold ids alone, and a key of the bucket's stack could not admit EventBridge's rules
        # here without depending on this stack.
        work = WorkQueue(
            self,
            "Queue",
            function_timeout=_TIMEOUT,
            max_receive_count=props.max_receive_count,
            removal_policy=props.removal_policy,
        )
        self.queue, self.dead_letter_queue = work.queue, work.dead_letter_queue
        self.function = PythonFunction(
            self,
            "Jobs",
            code=props.code,
            handler=props.handler,
            service="recordings",
            environment={
                "AUDIO_BUCKET": props.bucket.bucket_name,
                "ENCRYPTION_KEY_ARN": props.encryption_key.key_arn,
                "JOB_PREFIX": props.job_prefix,
                "RECORDINGS_QUEUE_URL": self.queue.queue_url,
                "DEAD_LETTER_QUEUE_URL": self.dead_letter_queue.queue_url,
                "MAX_DELIVERIES": str(props.max_receive_count),
                **props.environment,
            },
            timeout=_TIMEOUT,
            memory_size=props.memory_size,
            architecture=props.architecture,
            log_retention=props.log_retention,
            log_removal_policy=props.removal_policy,
            encryption_key=props.log_encryption_key,
        )
        self._announce(
            "Uploads",
            "Recordings uploaded",
            source="aws.s3",
            detail_type="Object Created",
            detail={"bucket": {"name": [props.bucket.bucket_name]}, "object": {"key": [{"prefix": SOURCES_PREFIX}]}},
        )
        self._announce(
            "JobEnds",
            "Transcription jobs completed or failed",
            source="aws.transcribe",
            detail_type="Transcribe Job State Change",
            detail={
                "TranscriptionJobName": [{"prefix": props.job_prefix}],
                "TranscriptionJobStatus": ["COMPLETED", "FAILED"],
            },
        )
        # It also looks at a job again later, and gives up.
        work.invoke(self.function, "Mapping", batch_size=5, max_concurrency=2)
        self._allow_transcription()

    def metric_dead_letters(self) -> cloudwatch.Metric:
        """Messages about recordings that were given up."""
        return self.dead_letter_queue.metric_approximate_number_of_messages_visible(statistic="Maximum")

    def _announce(
        self, construct_id: str, description: str, *, source: str, detail_type: str, detail: Mapping[str, object]
    ) -> None:
        rule = events.Rule(
            self,
            construct_id,
            description=description,
            event_pattern=events.EventPattern(source=[source], detail_type=[detail_type], detail=detail),
        )
        rule.add_target(targets.SqsQueue(self.queue, dead_letter_queue=self.dead_letter_queue))

    def _allow_transcription(self) -> None:
        props, function = self._props, self.function
        # Transcribe reads and writes with the permissions of whoever starts the job.
        grant_objects(props.bucket, function, prefix=SOURCES_PREFIX, read=True, delete=True)
        grant_objects(props.bucket, function, prefix=TRANSCRIPTS_PREFIX, read=True, write=True, delete=True)
        props.encryption_key.grant(function, "kms:Encrypt", "kms:DescribeKey")
        function.add_to_role_policy(
            iam.PolicyStatement(
                actions=["transcribe:StartTranscriptionJob"],
                resources=["*"],
                conditions={"StringEquals": {"transcribe:OutputBucketName": props.bucket.bucket_name}},
            )
        )
        acknowledge_wildcard(
            function, "*", "Jobs have no ARN before they are started; the condition names the one bucket they write to."
        )
        jobs = Stack.of(self).format_arn(
            service="transcribe",
            resource="transcription-job",
            resource_name=f"{props.job_prefix}*",
            arn_format=ArnFormat.SLASH_RESOURCE_NAME,
        )
        function.add_to_role_policy(
            iam.PolicyStatement(
                actions=["transcribe:GetTranscriptionJob", "transcribe:DeleteTranscriptionJob"], resources=[jobs]
            )
        )
        acknowledge_wildcard(function, jobs, "This environment's jobs and no others; a job for each recording.")


def grant_audio_archive_removal(bucket: s3.IBucket, grantee: iam.IGrantable) -> None:
    """Let `grantee` read the archive of live sessions in `bucket`, and delete every version of what is in it."""
    for pattern in ARCHIVE_KEYS:
        objects = bucket.arn_for_objects(pattern)
        iam.Grant.add_to_principal(
            grantee=grantee, actions=["s3:GetObject", "s3:DeleteObjectVersion"], resource_arns=[objects]
        )
        acknowledge_wildcard(grantee, objects, "The archive's objects and no others; their keys hold session and time.")
    iam.Grant.add_to_principal(
        grantee=grantee, actions=["s3:ListBucket", "s3:ListBucketVersions"], resource_arns=[bucket.bucket_arn]
    )
    if bucket.encryption_key is not None:
        bucket.encryption_key.grant(grantee, "kms:Decrypt")


def grant_audio_archive(bucket: s3.IBucket, grantee: iam.IGrantable) -> None:
    """Let `grantee` add to the archive of live sessions in `bucket`, and look up how far it has come."""
    for pattern in ARCHIVE_KEYS:
        objects = bucket.arn_for_objects(pattern)
        iam.Grant.add_to_principal(grantee=grantee, actions=["s3:GetObject", "s3:PutObject"], resource_arns=[objects])
        acknowledge_wildcard(grantee, objects, "The archive's objects and no others; their keys hold session and time.")
    iam.Grant.add_to_principal(grantee=grantee, actions=["s3:ListBucket"], resource_arns=[bucket.bucket_arn])
    if bucket.encryption_key is not None:
        bucket.encryption_key.grant(grantee, "kms:Decrypt", "kms:GenerateDataKey")
