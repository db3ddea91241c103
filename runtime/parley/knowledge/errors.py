"""What can go wrong with a document on its way into the knowledge base."""

from parley.errors import Conflict


class DocumentExists(Conflict):
    """There is a document of the id that the caller chose for a new one. PUT would replace it."""

    default_message = "There is a document with this `document_id` already; replace it with PUT."
    retryable = False


class KnowledgeError(Exception):
    """Base of what ingestion raises itself; `reason` is a sentence for the document's owner, free of its content."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class UnreadableDocument(KnowledgeError):
    """The document cannot become chunks, and trying again will not change that."""


class Superseded(KnowledgeError):
    """Another worker indexes a newer version of the document: this one's work is void, and nothing is lost."""

    def __init__(self) -> None:
        super().__init__("A newer version of the document is being indexed.")
