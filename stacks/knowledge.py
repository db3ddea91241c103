"""Documents to passages: ingestion, the vector store, and retrieval."""

from aws_cdk import App, CfnOutput, Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from parley_constructs.knowledge_base import FunctionSettings, KnowledgeBase, KnowledgeBaseProps, VectorStore

from stacks.config import Configuration
from stacks.data import DataStack
from stacks.environment_stack import EnvironmentStack
from stacks.network import NetworkStack
from stacks.settings import (
    architecture,
    knowledge_package,
    log_retention,
    metrics_environment,
    removal_policy,
    usage_limits,
)


class KnowledgeStack(EnvironmentStack):
    """The knowledge base over the environment's documents. It exists only with `enableRag`."""

    def __init__(
        self, app: App, *, configuration: Configuration, data: DataStack, network: NetworkStack | None
    ) -> None:
        """Create the knowledge base; with a cache in `data`, retrieval runs in `network` to reach it."""
        super().__init__(
            app, "Knowledge", configuration=configuration, description="Parley: ingestion, vector store and retrieval"
        )
        storage, sizes = data.storage, configuration.sizes
        self.knowledge_base = KnowledgeBase(
            self,
            "KnowledgeBase",
            props=KnowledgeBaseProps(
                documents_bucket=storage.documents_bucket,
                knowledge_table=storage.knowledge_table,
                vector_store=vector_store(configuration, configuration.vector_store),
                previous_vector_store=previous_vector_store(configuration),
                code=knowledge_package(configuration),
                ingestion_handler="parley.functions.ingestion.handler",
                retrieval_handler="parley.functions.retrieval.handler",
                reembedding_handler="parley.functions.reembedding.handler",
                forgetting_handler="parley.functions.forgetting.handler",
                embedding_model=configuration.models.embedding,
                architecture=architecture(configuration),
                ingestion=FunctionSettings(memory_size=sizes.knowledge_memory_mb, timeout=Duration.minutes(5)),
                max_concurrency=sizes.ingestion_concurrency,
                retrieval=FunctionSettings(memory_size=sizes.knowledge_memory_mb, timeout=Duration.seconds(20)),
                vpc=network.network.vpc if network else None,
                vpc_subnets=network.network.subnets if network else None,
                security_groups=[network.function_security_group] if network else (),
                environment=metrics_environment(configuration),
                retrieval_environment=_retrieval_environment(configuration, data),
                log_encryption_key=storage.encryption_key,
                log_retention=log_retention(configuration),
                removal_policy=removal_policy(configuration),
            ),
        )
        if data.cache is not None:
            data.cache.grant_read(self.knowledge_base.retrieval_function)
        self._admit_requests(data)
        for name, function in {
            "Ingestion": self.knowledge_base.ingestion_function,
            "Retrieval": self.knowledge_base.retrieval_function,
        }.items():
            CfnOutput(self, f"{name}FunctionName", value=function.function_name)

    def _admit_requests(self, data: DataStack) -> None:
        """The API's route to retrieval lets in what the other routes do, and counts it as they do."""
        retrieval, table = self.knowledge_base.retrieval_function, data.storage.usage_table
        # The table's own grants also admit reading, and its key to more than DynamoDB.
        retrieval.add_to_role_policy(iam.PolicyStatement(actions=["dynamodb:UpdateItem"], resources=[table.table_arn]))
        retrieval.add_to_role_policy(
            iam.PolicyStatement(
                actions=["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"],
                resources=[data.storage.encryption_key.key_arn],
                conditions={"StringEquals": {"kms:ViaService": f"dynamodb.{self.region}.{self.url_suffix}"}},
            )
        )
        if data.origin_secret is not None:
            data.origin_secret.grant_read(retrieval)


def _retrieval_environment(configuration: Configuration, data: DataStack) -> dict[str, str]:
    environment = {"USAGE_TABLE": data.storage.usage_table.table_name, "LIMITS": usage_limits(configuration)}
    if data.cache is not None:
        environment["DAX_ENDPOINT"] = data.cache.endpoint
    if data.origin_secret is not None:
        environment["ORIGIN_SECRET_ARN"] = data.origin_secret.secret.secret_arn
    return environment


def vector_store(configuration: Configuration, name: str) -> VectorStore:
    """The vector store of this name, in the size that the configuration chooses."""
    sizes = configuration.sizes
    match name:
        case "faiss":
            return VectorStore.faiss()
        case "s3vectors":
            return VectorStore.s3_vectors()
        case _:
            return VectorStore.opensearch(
                generation="classic" if sizes.open_search_generation == "classic" else "nextgen",
                standby_replicas=sizes.open_search_standby,
            )


def previous_vector_store(configuration: Configuration) -> VectorStore | None:
    """The vector store that a reindex moves from, if there is one."""
    name = configuration.previous_vector_store
    return None if name is None else vector_store(configuration, name)


def retrieval_endpoints(configuration: Configuration) -> list[ec2.InterfaceVpcEndpointAwsService]:
    """The services that retrieval calls from a network without a way out."""
    stores = [vector_store(configuration, configuration.vector_store), previous_vector_store(configuration)]
    endpoints = KnowledgeBase.interface_endpoints(*(store for store in stores if store is not None))
    # The secret by which CloudFront proves itself is read there too.
    return [*endpoints, *([ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER] if configuration.enable_waf else [])]
