"""AWS CDK constructs for voice and RAG assistants: each name here comes from the module of its subject."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parley_constructs.account import ApiGatewayLogging
    from parley_constructs.dax import DaxCluster, DaxProps
    from parley_constructs.edge import DistributionAccessLog, DomainCertificate, WebAcl
    from parley_constructs.identity import ApiKeyIdentity, CognitoIdentity, Identity
    from parley_constructs.knowledge_base import FunctionSettings, KnowledgeBase, KnowledgeBaseProps, VectorStore
    from parley_constructs.models import BedrockModels, retired_on
    from parley_constructs.monitoring import AlarmThresholds, MonitoredQueue, Monitoring, MonitoringProps
    from parley_constructs.network import Network
    from parley_constructs.python_function import (
        PackagingError,
        PythonFunction,
        host_architecture,
        python_package,
    )
    from parley_constructs.storage import Storage, StorageProps, TableBilling
    from parley_constructs.voice_api import Throttle, VoiceApi, VoiceApiProps
    from parley_constructs.web import WebDistribution, WebDistributionProps, admit_distributions

__all__ = [
    "AlarmThresholds",
    "ApiGatewayLogging",
    "ApiKeyIdentity",
    "BedrockModels",
    "CognitoIdentity",
    "DaxCluster",
    "DaxProps",
    "DistributionAccessLog",
    "DomainCertificate",
    "FunctionSettings",
    "Identity",
    "KnowledgeBase",
    "KnowledgeBaseProps",
    "MonitoredQueue",
    "Monitoring",
    "MonitoringProps",
    "Network",
    "PackagingError",
    "PythonFunction",
    "Storage",
    "StorageProps",
    "TableBilling",
    "Throttle",
    "VectorStore",
    "VoiceApi",
    "VoiceApiProps",
    "WebAcl",
    "WebDistribution",
    "WebDistributionProps",
    "admit_distributions",
    "host_architecture",
    "python_package",
    "retired_on",
]

# Each module loads its services' part of the CDK, and all of them together take longer than many a synth.
_MODULES = {
    "account": ("ApiGatewayLogging",),
    "dax": ("DaxCluster", "DaxProps"),
    "edge": ("DistributionAccessLog", "DomainCertificate", "WebAcl"),
    "identity": ("ApiKeyIdentity", "CognitoIdentity", "Identity"),
    "knowledge_base": ("FunctionSettings", "KnowledgeBase", "KnowledgeBaseProps", "VectorStore"),
    "models": ("BedrockModels", "retired_on"),
    "monitoring": ("AlarmThresholds", "MonitoredQueue", "Monitoring", "MonitoringProps"),
    "network": ("Network",),
    "python_function": ("PackagingError", "PythonFunction", "host_architecture", "python_package"),
    "storage": ("Storage", "StorageProps", "TableBilling"),
    "voice_api": ("Throttle", "VoiceApi", "VoiceApiProps"),
    "web": ("WebDistribution", "WebDistributionProps", "admit_distributions"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
