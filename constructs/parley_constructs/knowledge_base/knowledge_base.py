"""Documents in, passages out: ingestion behind a queue, retrieval behind a function, over one vector store."""

from collections.abc import Sequence
from dataclasses import replace

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from parley_constructs.models import BedrockModels
from parley_constructs.object_access import grant_objects
from parley_constructs.python_function import PythonFunction
from parley_constructs.table_access import grant_items
from parley_constructs.work_queue import WorkQueue

from .change_stream import follow_changes
from .props import FunctionSettings, KnowledgeBaseProps
from .vector_store import BoundStore, StoreContext, VectorStore

DOCUMENTS_PREFIX = "documents/"
"""Objects under this prefix of the documents bucket are documents. Ingestion hears of them, and of a store's own."""


class KnowledgeBase(Construct):
    """Ingests the documents of a bucket into a vector store, and finds passages there.

    A document that is put or deleted is announced by the bucket's event (EventBridge), waits in `ingestion_queue`, and
    is worked on by `ingestion_function`; when that gives it up, or after `max_receive_count` deliveries, its message
    lies in `dead_letter_queue`.
    Search goes through `retrieval_function`; callers need `grant_query`. With a `reembedding_handler`,
    `reembedding_function` follows the table's stream and mends the index after chunks were changed in the table. With a
    `forgetting_handler`, `forgetting_function` takes all of an owner's documents out of the store, down to what a store
    keeps of deleted ones; callers need `grant_forget`.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: KnowledgeBaseProps) -> None:
        super().__init__(scope, construct_id)
        self._props = props
        self.encryption_key = kms.Key(
            self,
            "Key",
            description="Encrypts queued document events and the vector store",
            enable_key_rotation=True,
            removal_policy=props.removal_policy,
        )
        self._work = WorkQueue(
            self,
            "IngestionQueue",
            function_timeout=props.ingestion.timeout,
            max_receive_count=props.max_receive_count,
            removal_policy=props.removal_policy,
            encryption_key=self.encryption_key,
        )
        self.ingestion_queue, self.dead_letter_queue = self._work.queue, self._work.dead_letter_queue
        stores = self._bind_stores()
        of_stores = [prefix for store in stores for prefix in store.announced_prefixes]
        self._announce_documents([DOCUMENTS_PREFIX, *of_stores])
        environment = {
            "KNOWLEDGE_TABLE": props.knowledge_table.table_name,
            "DOCUMENTS_BUCKET": props.documents_bucket.bucket_name,
            "EMBEDDING_MODEL": props.embedding_model,
            "VECTOR_STORE": props.vector_store.name,
            **({"PREVIOUS_VECTOR_STORE": props.previous_vector_store.name} if props.previous_vector_store else {}),
            **{name: value for store in stores for name, value in store.environment.items()},
            **props.environment,
        }
        queues = {
            "DOCUMENTS_QUEUE_URL": self.ingestion_queue.queue_url,
            "DEAD_LETTER_QUEUE_URL": self.dead_letter_queue.queue_url,
            "MAX_DELIVERIES": str(props.max_receive_count),
        }
        self.ingestion_function = self._function(
            "Ingestion", props.ingestion_handler, props.ingestion, {**environment, **queues}
        )
        self.retrieval_function = self._function(
            "Retrieval",
            props.retrieval_handler,
            props.retrieval,
            {**environment, **props.retrieval_environment},
            in_vpc=True,
        )
        self._allow_ingestion()
        self._allow_retrieval()
        for store in stores:
            store.grant_write(self.ingestion_function)
            store.grant_read(self.retrieval_function)
        self.reembedding_function = self._follow_changes(environment, stores)
        self.forgetting_function = self._forgetting(environment, stores)

    @staticmethod
    def interface_endpoints(*vector_stores: VectorStore) -> list[ec2.InterfaceVpcEndpointAwsService]:
        """Interface endpoints that a VPC without a way out needs for the retrieval function.

        Gateway endpoints for S3 and DynamoDB come on top; logs and traces leave through Lambda itself. OpenSearch
        Serverless has an endpoint of its own kind, which the knowledge base makes.
        """
        of_stores = [endpoint for store in vector_stores for endpoint in store.interface_endpoints]
        return [ec2.InterfaceVpcEndpointAwsService.BEDROCK_RUNTIME, *of_stores]

    def grant_query(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `grantee` ask for passages by invoking the retrieval function."""
        # The function itself: grant_invoke would also admit every version and alias, by a wildcard.
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["lambda:InvokeFunction"],
            resource_arns=[self.retrieval_function.function_arn],
        )

    def grant_forget(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `grantee` have an owner forgotten by invoking the forgetting function.

        Raises:
            ValueError: there is no `forgetting_handler`.
        """
        if self.forgetting_function is None:
            raise ValueError("The knowledge base has no `forgetting_handler`; give it one.")
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["lambda:InvokeFunction"],
            resource_arns=[self.forgetting_function.function_arn],
        )

    def metric_dead_letters(self) -> cloudwatch.Metric:
        """Documents that could not be ingested, and changes of chunks that could not be followed."""
        return self.dead_letter_queue.metric_approximate_number_of_messages_visible(statistic="Maximum")

    def metric_ingestion_lag(self) -> cloudwatch.Metric:
        """Age in seconds of the oldest document event that is not yet worked off."""
        return self.ingestion_queue.metric_approximate_age_of_oldest_message(statistic="Maximum")

    def metric_retrieval_duration(self) -> cloudwatch.Metric:
        """Milliseconds that 19 of 20 searches stay below."""
        return self.retrieval_function.metric_duration(statistic="p95")

    def metric_retrieval_errors(self) -> cloudwatch.Metric:
        """Searches that failed, summed over five minutes."""
        return self.retrieval_function.metric_errors(statistic="Sum")

    def _bind_stores(self) -> list[BoundStore]:
        """The store, and the previous one if there is one.

        Raises:
            ValueError: they are the same.
        """
        props = self._props
        context = StoreContext(
            documents_bucket=props.documents_bucket,
            encryption_key=self.encryption_key,
            removal_policy=props.removal_policy,
            vpc=props.vpc,
            vpc_subnets=props.vpc_subnets,
            security_groups=props.security_groups,
        )
        previous = props.previous_vector_store
        if previous is not None and previous.name == props.vector_store.name:
            raise ValueError(
                f"Both the vector store and the previous one are {previous.name!r}; give another, or none."
            )
        return [store.bind(self, context) for store in (props.vector_store, previous) if store is not None]

    def _announce_documents(self, prefixes: Sequence[str]) -> None:
        # A rule and not a bucket notification: that would make the bucket's stack depend on this queue's.
        rule = events.Rule(
            self,
            "DocumentEvents",
            description="Documents put or deleted",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created", "Object Deleted"],
                detail={
                    "bucket": {"name": [self._props.documents_bucket.bucket_name]},
                    "object": {"key": [{"prefix": prefix} for prefix in prefixes]},
                },
            ),
        )
        rule.add_target(targets.SqsQueue(self.ingestion_queue, dead_letter_queue=self.dead_letter_queue))

    def _function(
        self,
        construct_id: str,
        handler: str,
        settings: FunctionSettings,
        environment: dict[str, str],
        *,
        in_vpc: bool = False,
    ) -> PythonFunction:
        props = self._props
        return PythonFunction(
            self,
            construct_id,
            code=props.code,
            handler=handler,
            service=construct_id.lower(),
            environment=environment,
            timeout=settings.timeout,
            memory_size=settings.memory_size,
            reserved_concurrency=settings.reserved_concurrency,
            architecture=props.architecture,
            log_retention=props.log_retention,
            log_removal_policy=props.removal_policy,
            encryption_key=props.log_encryption_key,
            vpc=props.vpc if in_vpc else None,
            vpc_subnets=props.vpc_subnets if in_vpc else None,
            security_groups=list(props.security_groups) or None if in_vpc else None,
        )

    def _allow_ingestion(self) -> None:
        props = self._props
        function = self.ingestion_function
        # To put back what it has no time for, and to give up what no delivery can mend.
        self._work.invoke(function, "DocumentEventsMapping", batch_size=10, max_concurrency=props.max_concurrency)
        # Deleting: a file that a replacement left behind, or that arrived after its document was deleted.
        grant_objects(props.documents_bucket, function, prefix=DOCUMENTS_PREFIX, read=True, delete=True)
        # Scanning: chunks are copied into another index, or embedded again for a damaged one.
        grant_items(
            props.knowledge_table,
            function,
            *("BatchGetItem", "BatchWriteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"),
        )
        BedrockModels(self).grant_invoke(function, [props.embedding_model], streamed=False)

    def _allow_retrieval(self) -> None:
        props = self._props
        grant_items(props.knowledge_table, self.retrieval_function, "BatchGetItem", "GetItem")
        # For the links to documents that it signs: whoever opens one has the rights of its signer, no others.
        grant_objects(props.documents_bucket, self.retrieval_function, prefix=DOCUMENTS_PREFIX, read=True)
        BedrockModels(self).grant_invoke(self.retrieval_function, [props.embedding_model], streamed=False)

    def _follow_changes(self, environment: dict[str, str], stores: Sequence[BoundStore]) -> PythonFunction | None:
        props = self._props
        if props.reembedding_handler is None:
            return None
        # A reserved share would be one more for ingestion; a stream has as many invocations as it has shards.
        size = replace(props.ingestion, reserved_concurrency=None)
        function = self._function("Reembedding", props.reembedding_handler, size, environment)
        follow_changes(
            self,
            "ChunkChangesMapping",
            table=props.knowledge_table,
            function=function,
            dead_letter_queue=self.dead_letter_queue,
            queue_key=self.encryption_key,
        )
        for store in stores:
            store.grant_write(function)
        BedrockModels(self).grant_invoke(function, [props.embedding_model], streamed=False)
        return function

    def _forgetting(self, environment: dict[str, str], stores: Sequence[BoundStore]) -> PythonFunction | None:
        props = self._props
        if props.forgetting_handler is None:
            return None
        size = replace(props.ingestion, reserved_concurrency=None)
        function = self._function("Forgetting", props.forgetting_handler, size, environment)
        iam.Grant.add_to_principal(
            grantee=function,
            actions=["dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"],
            resource_arns=[props.knowledge_table.table_arn],
        )
        if props.knowledge_table.encryption_key is not None:
            props.knowledge_table.encryption_key.grant(
                function, "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"
            )
        for store in stores:
            store.grant_forget(function)
        return function
