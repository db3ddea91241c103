"""AWS CDK constructs for voice and RAG assistants."""

from parley_constructs.edge import DistributionAccessLog, DomainCertificate, WebAcl
from parley_constructs.identity import ApiKeyIdentity, CognitoIdentity, Identity
from parley_constructs.knowledge_base import FunctionSettings, KnowledgeBase, KnowledgeBaseProps, VectorStore
from parley_constructs.voice_api import Throttle, VoiceApi, VoiceApiProps
from parley_constructs.web import WebDistribution, WebDistributionProps, admit_distributions

__all__ = [
    "ApiKeyIdentity",
    "CognitoIdentity",
    "DistributionAccessLog",
    "DomainCertificate",
    "FunctionSettings",
    "Identity",
    "KnowledgeBase",
    "KnowledgeBaseProps",
    "Throttle",
    "VectorStore",
    "VoiceApi",
    "VoiceApiProps",
    "WebAcl",
    "WebDistribution",
    "WebDistributionProps",
    "admit_distributions",
]
