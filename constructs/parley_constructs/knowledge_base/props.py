"""What a KnowledgeBase is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3

from .vector_store import VectorStore


@dataclass(frozen=True, kw_only=True)
class FunctionSettings:
    """Size of one function.

    memory_size: MiB. timeout: of one invocation. reserved_concurrency: a share of the account's concurrency that
    nothing else may use and this function may not exceed; accounts with the starting quota of 10 refuse any.
    """

    memory_size: int
    timeout: Duration
    reserved_concurrency: int | None = None


@dataclass(frozen=True, kw_only=True)
class KnowledgeBaseProps:
    """Settings of a KnowledgeBase.

    documents_bucket: documents lie under `documents/`; the bucket must send its events to EventBridge. It may
        belong to another stack.
    knowledge_table: records of documents and their chunks.
    vector_store: `VectorStore.faiss()`, `.s3_vectors()` or `.opensearch()`.
    previous_vector_store: another of these, which the functions keep using beside it until what they run has moved its
        index to `vector_store`.
    code, ingestion_handler, retrieval_handler: what the two functions run. The ingestion handler takes SQS batches of
        EventBridge events and answers with the failed items.
    embedding_model: Bedrock model id that the functions may invoke.
    reembedding_handler: what follows the table's stream, with the size of ingestion: it takes batches of stream records
        and answers with the failed ones. None: changes made to chunks in the table are not followed.
    forgetting_handler: what takes all documents of one owner out of the vector stores, with the size of ingestion: it
        takes `{"owner"}`. None: there is no function for that.
    architecture: processor that `code` is built for.
    ingestion, retrieval: sizes. Messages stay invisible for six times the ingestion timeout, as Lambda advises.
    max_concurrency: ingestion functions that run at once (2 to 1000): a limit on the load on model and store.
    max_receive_count: deliveries after which a message goes to the dead-letter queue. The ingestion handler finds it in
        `MAX_DELIVERIES`, and the queues in `DOCUMENTS_QUEUE_URL` and `DEAD_LETTER_QUEUE_URL`: it may extend and shorten
        the time that messages are hidden, send to both, and should give up by itself what cannot be mended.
    vpc, vpc_subnets, security_groups: where the retrieval function runs, if it must reach a DAX cluster; ingestion
        stays outside. See `KnowledgeBase.interface_endpoints`.
    environment: further variables for all functions. retrieval_environment: for the retrieval function alone.
    log_encryption_key: encrypts the functions' logs.
    log_retention: of the functions' logs.
    removal_policy: of logs, keys, queues and what the vector store keeps. All of it can be made again from the
        documents.
    """

    documents_bucket: s3.IBucket
    knowledge_table: dynamodb.ITable
    vector_store: VectorStore
    code: lambda_.Code
    ingestion_handler: str
    retrieval_handler: str
    embedding_model: str
    previous_vector_store: VectorStore | None = None
    reembedding_handler: str | None = None
    forgetting_handler: str | None = None
    architecture: lambda_.Architecture = lambda_.Architecture.ARM_64
    ingestion: FunctionSettings = field(
        default_factory=lambda: FunctionSettings(memory_size=1769, timeout=Duration.minutes(5))
    )
    retrieval: FunctionSettings = field(
        default_factory=lambda: FunctionSettings(memory_size=1769, timeout=Duration.seconds(20))
    )
    max_concurrency: int = 5
    max_receive_count: int = 10
    vpc: ec2.IVpc | None = None
    vpc_subnets: ec2.SubnetSelection | None = None
    security_groups: Sequence[ec2.ISecurityGroup] = ()
    environment: dict[str, str] = field(default_factory=dict)
    retrieval_environment: dict[str, str] = field(default_factory=dict)
    log_encryption_key: kms.IKey | None = None
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    removal_policy: RemovalPolicy = RemovalPolicy.DESTROY
