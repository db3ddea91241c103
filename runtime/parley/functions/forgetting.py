"""Takes a deleted user's documents out of the vector indexes. Invoked by whoever deletes the user, who waits for it."""

from functools import cache
from typing import Any

import msgspec

from parley.aws import clients
from parley.aws.personal_files import Files
from parley.aws.personal_items import Table
from parley.functions.knowledge_parts import KnowledgeSettings, knowledge_table, vector_index
from parley.functions.telemetry import instrument, logger
from parley.knowledge.forgetting import Forgetting


class ForgettingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to forget."""

    owner: str


@cache
def forgetting() -> Forgetting:
    """This process's forgetting."""
    settings = KnowledgeSettings.load()
    records = Table(settings.knowledge_table, clients.dynamodb())
    files = Files(settings.documents_bucket, clients.s3())

    def document_ids(owner: str) -> list[str]:
        found = records.query("pk", owner, prefix="document#", only="sk")
        return [item["sk"].removeprefix("document#") for item in found]

    def erase_versions() -> None:
        if "faiss" in settings.vector_stores():
            for _ in files.erase(settings.vector_index_prefix, current=False):
                pass

    return Forgetting(
        records=knowledge_table(settings),
        document_ids=document_ids,
        index=vector_index(settings),
        erase_versions=erase_versions,
    )


def forget(event: Any, context: Any) -> dict[str, bool]:
    """Forget one owner. Raises StoreUnavailable, among others: then it is to be asked again."""
    forgetting().forget(msgspec.convert(event, ForgettingOrder, strict=False).owner)
    logger.info("The indexes hold nothing of a deleted user")
    return {"forgotten": True}


handler = instrument(forget)
