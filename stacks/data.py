"""Everything that must outlive a deployment: keys, tables and buckets."""

from aws_cdk import App, CfnOutput
from aws_cdk import aws_ec2 as ec2
from parley_constructs.dax import DaxCluster, DaxProps
from parley_constructs.origin_secret import OriginSecret
from parley_constructs.storage import Storage, StorageProps, TableBilling
from parley_constructs.web import admit_distributions

from stacks.config import LOCAL, Configuration, Sizes
from stacks.environment_stack import EnvironmentStack
from stacks.network import NetworkStack
from stacks.settings import removal_policy


class DataStack(EnvironmentStack):
    """The environment's storage; with `enableDax` the cache in front of it, with `enableWaf` the origin's secret."""

    def __init__(self, app: App, *, configuration: Configuration, network: NetworkStack | None) -> None:
        """Create the storage. `network` is where the cache runs."""
        super().__init__(app, "Data", configuration=configuration, description="Parley: keys, tables and buckets")
        sizes = configuration.sizes
        self.storage = Storage(
            self,
            "Storage",
            props=StorageProps(
                removal_policy=removal_policy(configuration),
                retention_days=configuration.retention_days,
                point_in_time_recovery=sizes.point_in_time_recovery,
                billing=_billing(sizes),
                empty_buckets=configuration.empty_buckets,
                web_bucket=configuration.enable_web,
                upload_origins=_upload_origins(configuration),
                audio_archive_days=configuration.sizes.audio_archive_days
                if configuration.enable_audio_archive
                else None,
            ),
        )
        if self.storage.web_bucket is not None:
            admit_distributions(self.storage.web_bucket)
        self.origin_secret: OriginSecret | None = None
        if configuration.enable_waf:
            self.origin_secret = OriginSecret(
                self,
                "OriginSecret",
                encryption_key=self.storage.encryption_key,
                removal_policy=removal_policy(configuration),
            )
        self.cache = None if network is None else self._add_cache(sizes, network)
        self._export_names()

    def _add_cache(self, sizes: Sizes, network: NetworkStack) -> DaxCluster:
        cache = self.storage.add_dax(
            DaxProps(
                vpc=network.network.vpc,
                vpc_subnets=network.network.subnets,
                node_type=sizes.dax_node_type,
                replicas=sizes.dax_nodes,
            )
        )
        cache.allow_from(ec2.Connections(security_groups=[network.function_security_group]))
        return cache

    def _export_names(self) -> None:
        for name, table in {
            "Sessions": self.storage.sessions_table,
            "Connections": self.storage.connections_table,
            "Credentials": self.storage.credentials_table,
            "Conversations": self.storage.conversations_table,
            "Knowledge": self.storage.knowledge_table,
            "AudioFrames": self.storage.audio_frames_table,
            "Idempotency": self.storage.idempotency_table,
            "Usage": self.storage.usage_table,
        }.items():
            CfnOutput(self, f"{name}TableName", value=table.table_name)
        CfnOutput(self, "DocumentsBucketName", value=self.storage.documents_bucket.bucket_name)


def _upload_origins(configuration: Configuration) -> list[str]:
    """Where the pages come from that post files to the documents bucket.

    Without a domain of one's own CloudFront chooses the page's, in a stack that comes after this one. Any of its
    domains then will do: the form that a page posts is signed for one key, a largest size and a quarter of an hour, and
    whoever holds one needs no browser to send it.
    """
    if configuration.environment == LOCAL:
        # The sandbox serves the page, from a port of its own choice.
        return ["http://127.0.0.1:*", "http://localhost:*"]
    if not configuration.enable_web:
        return []
    return [f"https://{configuration.domain or '*.cloudfront.net'}"]


def _billing(sizes: Sizes) -> TableBilling:
    if sizes.table_billing == "on-demand":
        return TableBilling.on_demand()
    return TableBilling.provisioned(
        read=sizes.table_read_capacity,
        write=sizes.table_write_capacity,
        max_read=sizes.table_max_capacity,
        max_write=sizes.table_max_capacity,
    )
