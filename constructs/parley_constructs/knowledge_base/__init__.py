"""Ingestion and retrieval over one of several vector stores."""

from .knowledge_base import DOCUMENTS_PREFIX, KnowledgeBase
from .props import FunctionSettings, KnowledgeBaseProps
from .vector_store import VectorStore

__all__ = ["DOCUMENTS_PREFIX", "FunctionSettings", "KnowledgeBase", "KnowledgeBaseProps", "VectorStore"]
