"""Which stacks an environment has, and what each is given."""

from aws_cdk import App

from stacks.account import AccountStack
from stacks.assistant import AssistantStack
from stacks.config import Configuration
from stacks.data import DataStack
from stacks.monitoring import MonitoringStack


def add_stacks(app: App, configuration: Configuration) -> None:
    """Add the environment's stacks to `app`."""
    # Stacks behind a flag are imported only with it: each brings service modules that cost synth time to load.
    network = None
    if configuration.enable_dax:
        from stacks.knowledge import retrieval_endpoints
        from stacks.network import NetworkStack

        network = NetworkStack(app, configuration=configuration, interface_endpoints=retrieval_endpoints(configuration))
    account = AccountStack(app, configuration=configuration)
    data = DataStack(app, configuration=configuration, network=network)
    knowledge = None
    if configuration.enable_rag:
        from stacks.knowledge import KnowledgeStack

        knowledge = KnowledgeStack(app, configuration=configuration, data=data, network=network)
    assistant = AssistantStack(app, configuration=configuration, account=account, data=data, knowledge=knowledge)
    if configuration.github_repository is not None:
        from stacks.delivery import DeliveryStack

        DeliveryStack(app, configuration=configuration, repository=configuration.github_repository)
    MonitoringStack(app, configuration=configuration, data=data, assistant=assistant, knowledge=knowledge)
    if data.storage.web_bucket is not None:
        from stacks.web import WebStack

        edge = None
        if configuration.needs_edge:
            from stacks.edge import EdgeStack

            edge = EdgeStack(app, configuration=configuration)
        web = WebStack(
            app,
            configuration=configuration,
            bucket=data.storage.web_bucket,
            documents_bucket=data.storage.documents_bucket,
            encryption_key=data.storage.encryption_key,
            assistant=assistant,
            edge=edge,
            origin_secret=data.origin_secret,
        )
        if edge is not None and edge.region != web.region:
            from stacks.edge import EdgeLogStack

            EdgeLogStack(app, configuration=configuration, distribution_arn=web.web.distribution.distribution_arn)
