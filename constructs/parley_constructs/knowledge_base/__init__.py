"""Ingestion and retrieval over one of several vector stores."""

from .knowledge_base import KnowledgeBase
from .props import FunctionSettings, KnowledgeBaseProps
from .vector_store import VectorStore

__all__ = ["FunctionSettings", "KnowledgeBase", "KnowledgeBaseProps", "VectorStore"]
