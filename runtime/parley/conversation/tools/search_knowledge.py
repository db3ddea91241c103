"""`search_knowledge`: lets the model look into the documents again, or, in a call, for the first time."""

from typing import Annotated, Any

import msgspec

from parley.conversation.tools.tool import ToolCall, ToolResult, tool
from parley.errors import KnowledgeUnavailable
from parley.knowledge.passages import visible

PASSAGES = 5
"""Passages of one search: as many as a question is given to begin with."""

PASSAGES_CHARACTERS = 16_000
"""Characters of them in all; what does not fit is left out, the farthest first."""


class SearchKnowledge(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for."""

    query: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=1000,
            description="What to look for, complete in itself: name the thing, not 'it' or 'that'.",
        ),
    ]


@tool(
    description=(
        "Searches the user's documents and gives the passages nearest to a query. Use it when you have no passages, or "
        "when those you have do not hold the answer: ask in other words, and name what a follow-up question refers to. "
        "Not for greetings or small talk."
    ),
    needs_knowledge=True,
)
def search_knowledge(arguments: SearchKnowledge, call: ToolCall) -> ToolResult:
    """The passages nearest to a query that the model does not have yet."""
    if call.retriever is None:
        raise KnowledgeUnavailable
    found = call.retriever.retrieve(
        call.subject, arguments.query, top_k=PASSAGES, timeout_seconds=call.deadline.remaining
    )
    known = {(passage.document_id, passage.text) for passage in call.passages}
    passages = [passage for passage in found if (passage.document_id, passage.text) not in known]
    while sum(len(passage.text) for passage in passages) > PASSAGES_CHARACTERS and len(passages) > 1:
        passages.pop()
    content: dict[str, Any] = {
        "passages": [
            {
                "id": number,
                "document": visible(passage.document),
                "heading": visible(passage.heading),
                "text": visible(passage.text),
            }
            for number, passage in enumerate(passages, start=len(call.passages) + 1)
        ]
    }
    if not passages:
        content["note"] = "Nothing but what you have already." if found else "No passage is near to this query."
    return ToolResult(content=content, passages=tuple(passages))
