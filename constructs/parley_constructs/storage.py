"""Where an assistant's data lives: tables, buckets, and the keys that encrypt them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from aws_cdk import ArnFormat, Duration, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

if TYPE_CHECKING:
    from parley_constructs.dax import DaxCluster, DaxProps


@dataclass(frozen=True)
class TableBilling:
    """How a table's throughput is paid for: `TableBilling.on_demand()` or `TableBilling.provisioned(...)`."""

    read: int | None = None
    write: int | None = None
    max_read: int | None = None
    max_write: int | None = None

    @classmethod
    def on_demand(cls, *, max_read: int | None = None, max_write: int | None = None) -> TableBilling:
        """Pay for each request, at most this many request units a second."""
        return cls(max_read=max_read, max_write=max_write)

    @classmethod
    def provisioned(
        cls, *, read: int, write: int, max_read: int | None = None, max_write: int | None = None
    ) -> TableBilling:
        """Pay for capacity units each hour; with a maximum, they follow the load at 70 % utilization."""
        return cls(read=read, write=write, max_read=max_read, max_write=max_write)

    @property
    def is_provisioned(self) -> bool:
        """Whether capacity is paid for by the hour."""
        return self.read is not None


EXPORTS_PREFIX = "exports/"
"""Objects under this prefix of the documents bucket are copies of what is a user's, made for them to fetch."""

_EXPORT_DAYS = 7


@dataclass(frozen=True)
class StorageProps:
    """What `Storage` can be told.

    Attributes:
        removal_policy: what becomes of the data when the construct goes. RETAIN also turns on deletion protection.
        empty_buckets: with DESTROY, delete the buckets' contents too; without it a bucket that holds anything stays
            and fails the removal. It adds a function of the CDK's own, which needs AWS's Node.js runtime.
        retention_days: how long recorded audio is kept. Items in tables carry their own `expires_at`.
        point_in_time_recovery: keep 35 days of history of every table that is not transient.
        billing: how the tables are paid for.
        web_bucket: also make a bucket for a web client.
        audio_archive_days: days after which recorded audio moves to archive storage; None keeps it where it is.
        access_log_days: how long the buckets' access logs are kept.
        noncurrent_days: how long a replaced or deleted object can be brought back.
        upload_origins: origins of pages that post files to the documents and audio buckets, such as "https://talk.example.com";
            one `*` may stand in each. It lets browsers send, and permits nothing by itself: what a page may post, and
            where to, is in the signed form that it was given.
    """

    removal_policy: RemovalPolicy = RemovalPolicy.RETAIN
    empty_buckets: bool = False
    retention_days: int = 90
    point_in_time_recovery: bool = True
    billing: TableBilling = TableBilling()
    web_bucket: bool = False
    audio_archive_days: int | None = 30
    access_log_days: int = 90
    noncurrent_days: int = 30
    upload_origins: Sequence[str] = ()


class Storage(Construct):
    """The tables, buckets and keys of an assistant, encrypted, versioned, logged, and reachable through TLS only.

    Attributes:
        encryption_key: encrypts everything here at rest. Its policy also admits CloudWatch Logs, for log groups of
            this account and region.
        content_key: a key of its own for content that code encrypts before it stores it.
        sessions_table, connections_table, credentials_table, conversations_table, knowledge_table,
        audio_frames_table, idempotency_table: the tables.
        usage_table: counters of what users and addresses use; always paid for by the request, because every request
            to the assistant writes there.
        documents_bucket: documents and indexes; announces its objects through EventBridge, because a notification to
            another stack's queue would be a dependency cycle.
        audio_bucket: recorded audio; announces its objects in the same way.
        web_bucket: the web client, if asked for.
        access_logs_bucket: the other buckets' access logs.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: StorageProps | None = None) -> None:
        super().__init__(scope, construct_id)
        self._props = props or StorageProps()
        # An app without this feature flag would have access logs delivered by ACLs, which these buckets refuse.
        self.node.set_context("@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy", True)
        self._empties_buckets = self._props.empty_buckets and self._props.removal_policy == RemovalPolicy.DESTROY
        self.encryption_key = self._key("EncryptionKey", "Encrypts an assistant's data at rest")
        _admit_logs(self.encryption_key)
        self.content_key = self._key("ContentKey", "Wraps the data keys that encrypt what people said")

        self.sessions_table = self._table("Sessions", "session_id")
        self.connections_table = self._table("Connections", "connection_id")
        self.credentials_table = self._table("Credentials", "credential_id")
        self.conversations_table = self._table("Conversations", "pk", "sk")
        self.knowledge_table = self._table("Knowledge", "pk", "sk", stream=True)
        billing = self._props.billing
        by_request = TableBilling.on_demand() if billing.is_provisioned else billing
        # A call that begins writes 33 units a second at once: capacity that is provisioned follows within minutes.
        self.audio_frames_table = self._table(
            "AudioFrames", "session_id", "seq", sort_key_type=dynamodb.AttributeType.NUMBER, billing=by_request
        )
        # Powertools' own attribute names.
        self.idempotency_table = self._table("Idempotency", "id", time_to_live="expiration")
        self.usage_table = self._table("Usage", "pk", "sk", billing=by_request)

        self.access_logs_bucket = self._access_logs()
        self.documents_bucket = self._bucket("Documents", event_bridge=True, lifecycle_rules=[_exports_lifecycle()])
        self.audio_bucket = self._bucket("Audio", event_bridge=True, lifecycle_rules=self._audio_lifecycle())
        if self._props.upload_origins:
            for bucket in (self.documents_bucket, self.audio_bucket):
                bucket.add_cors_rule(
                    allowed_methods=[s3.HttpMethods.POST],
                    allowed_origins=list(self._props.upload_origins),
                    max_age=3600,
                )
        # What a browser loads is public: CloudFront reads it without a grant on the data's key.
        self.web_bucket = self._bucket("Web", encrypted_with_key=False) if self._props.web_bucket else None

    def add_dax(self, props: DaxProps) -> DaxCluster:
        """Put a read cache in front of the knowledge table.

        A chunk never changes under its key, so a cached one is never stale. Nothing else belongs behind a cache:
        credentials and idempotency records are used once, and a conversation is read by its key a few times an hour.
        """
        # Most stacks have no cache and need not load EC2's part of the CDK, which is its largest.
        from parley_constructs.dax import DaxCluster

        return DaxCluster(self, "Dax", tables=[self.knowledge_table], props=props)

    def _key(self, construct_id: str, description: str) -> kms.Key:
        return kms.Key(
            self,
            construct_id,
            description=description,
            enable_key_rotation=True,
            removal_policy=self._props.removal_policy,
        )

    def _table(
        self,
        construct_id: str,
        partition_key: str,
        sort_key: str | None = None,
        *,
        sort_key_type: dynamodb.AttributeType = dynamodb.AttributeType.STRING,
        time_to_live: str = "expires_at",
        stream: bool = False,
        billing: TableBilling | None = None,
    ) -> dynamodb.Table:
        # Not TableV2: with a customer-managed key it cannot be synthesized in a stack that names no region, because it
        # writes the key under its region's name into the list of replicas.
        billing = billing or self._props.billing
        provisioned = billing.is_provisioned
        table = dynamodb.Table(
            self,
            construct_id,
            partition_key=dynamodb.Attribute(name=partition_key, type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name=sort_key, type=sort_key_type) if sort_key else None,
            billing_mode=dynamodb.BillingMode.PROVISIONED if provisioned else dynamodb.BillingMode.PAY_PER_REQUEST,
            read_capacity=billing.read,
            write_capacity=billing.write,
            max_read_request_units=None if provisioned else billing.max_read,
            max_write_request_units=None if provisioned else billing.max_write,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
            encryption_key=self.encryption_key,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=self._props.point_in_time_recovery
            ),
            time_to_live_attribute=time_to_live,
            stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES if stream else None,
            deletion_protection=self._props.removal_policy == RemovalPolicy.RETAIN,
            removal_policy=self._props.removal_policy,
        )
        if provisioned:
            _follow_load(table, billing)
        return table

    def _access_logs(self) -> s3.Bucket:
        # S3 delivers access logs only to buckets encrypted with S3's own keys.
        return s3.Bucket(
            self,
            "AccessLogs",
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=Duration.days(self._props.access_log_days),
                    noncurrent_version_expiration=Duration.days(1),
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                )
            ],
            removal_policy=self._props.removal_policy,
            auto_delete_objects=self._empties_buckets,
        )

    def _bucket(
        self,
        construct_id: str,
        *,
        encrypted_with_key: bool = True,
        event_bridge: bool = False,
        lifecycle_rules: list[s3.LifecycleRule] | None = None,
    ) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            construct_id,
            encryption=s3.BucketEncryption.KMS if encrypted_with_key else s3.BucketEncryption.S3_MANAGED,
            encryption_key=self.encryption_key if encrypted_with_key else None,
            bucket_key_enabled=True if encrypted_with_key else None,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=True,
            server_access_logs_bucket=self.access_logs_bucket,
            server_access_logs_prefix=f"{construct_id.lower()}/",
            lifecycle_rules=[
                s3.LifecycleRule(
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                    noncurrent_version_expiration=Duration.days(self._props.noncurrent_days),
                ),
                *(lifecycle_rules or []),
            ],
            removal_policy=self._props.removal_policy,
            auto_delete_objects=self._empties_buckets,
        )

        if event_bridge:
            # Not the bucket's own prop: it brings a function with broad permissions to set what this property sets.
            resource = cast(s3.CfnBucket, bucket.node.default_child)
            resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
                event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
            )
        return bucket

    def _audio_lifecycle(self) -> list[s3.LifecycleRule]:
        props = self._props
        archives = props.audio_archive_days is not None and props.audio_archive_days < props.retention_days
        return [
            s3.LifecycleRule(
                expiration=Duration.days(props.retention_days),
                transitions=[
                    s3.Transition(
                        storage_class=s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
                        transition_after=Duration.days(props.audio_archive_days or 0),
                    )
                ]
                if archives
                else None,
            )
        ]


def _exports_lifecycle() -> s3.LifecycleRule:
    return s3.LifecycleRule(
        prefix=EXPORTS_PREFIX,
        expiration=Duration.days(_EXPORT_DAYS),
        noncurrent_version_expiration=Duration.days(1),
    )


def _admit_logs(key: kms.Key) -> None:
    stack = Stack.of(key)
    log_groups = stack.format_arn(
        service="logs", resource="log-group", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
    )
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
            actions=["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
            # In the policy of a key, this is the key itself.
            resources=["*"],
            conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": log_groups}},
        )
    )


def _follow_load(table: dynamodb.Table, billing: TableBilling) -> None:
    if billing.read is not None and billing.max_read is not None:
        table.auto_scale_read_capacity(min_capacity=billing.read, max_capacity=billing.max_read).scale_on_utilization(
            target_utilization_percent=70
        )
    if billing.write is not None and billing.max_write is not None:
        table.auto_scale_write_capacity(
            min_capacity=billing.write, max_capacity=billing.max_write
        ).scale_on_utilization(target_utilization_percent=70)
