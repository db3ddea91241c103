"""A language model that needs no weights: it answers with the best sentences of the passages it was given."""

import html
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.models.text import STOP_WORDS, words
from sandbox.models.tools import Tool, ToolUse, arguments, choose

NAME = "extractive (local)"

NO_PASSAGES = (
    "I am the sandbox's extractive model: I can only answer from documents, and I was given none for this question. "
    "Add documents, or start Ollama to talk to a language model."
)
NO_ANSWER = "The documents do not hold the answer to this question."

_PASSAGE = re.compile(r"<passage\b(?P<attributes>[^>]*)>(?P<text>.*?)</passage>", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_QUESTION = re.compile(r"<question>(?P<text>.*?)</question>", re.DOTALL)
# A sentence ends at its mark and a space, or at once where the script writes no spaces; a line of a list is one too.
_SENTENCE_END = re.compile(
    r"(?<=[.!?])[\"')\]`*]*\s+(?=[^a-z\s])|(?<=[\u3002\uff01\uff1f])|\n\s*\n|\n(?=\s*(?:\||#+ |[-*+] |\d{1,2}[.)] ))"
)
_FOLLOW_UP_WORDS = 4
# The share of the question's weighted words that a sentence (with its heading) must hold to count as an answer.
_COVERAGE = 0.34
_MAX_SENTENCES = 3
_LONGEST_SENTENCE = 600
_LONGEST_QUERY = 1000


@dataclass(frozen=True)
class Passage:
    """One passage of the prompt; `id` is the number to cite."""

    id: str
    document: str
    heading: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """What a conversation's last user message asks, with the user message before it."""

    question: str
    passages: tuple[Passage, ...]
    previous_question: str = ""
    results: tuple[Mapping[str, Any], ...] = ()
    """What tools gave since, as JSON."""


@dataclass(frozen=True)
class _Candidate:
    score: float
    passage: Passage
    order: int
    text: str
    terms: frozenset[str]


def reply(prompt: Prompt, tools: Sequence[Tool]) -> str | ToolUse:
    """The answer; or, once, a tool's use, when one is offered that fits and the passages do not hold the answer.

    A search is for other words than the question's: for those that say what it is about. What another tool gave is told
    as it is.
    """
    text = answer(prompt)
    if text not in {NO_PASSAGES, NO_ANSWER}:
        return text
    if prompt.results:
        facts = [result for result in prompt.results if not {"passages", "error"} & set(result)]
        return " ".join(json.dumps(fact, ensure_ascii=False) for fact in facts) or text
    query = _query(prompt)
    tool = choose(tools, query)
    return ToolUse(tool.name, arguments(tool, query)) if tool else text


def read_prompt(user_messages: Sequence[str], results: Sequence[Mapping[str, Any]] = ()) -> Prompt:
    """Take the passages and the question out of the user's messages, oldest first, and of the results of tools."""
    last = user_messages[-1] if user_messages else ""
    question = _QUESTION.search(last)
    passages: list[Passage] = []
    for match in _PASSAGE.finditer(last[: question.start()] if question else ""):
        attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(match["attributes"])}
        passages.append(
            Passage(
                id=attributes.get("id", str(len(passages) + 1)),
                document=attributes.get("document", ""),
                heading=attributes.get("heading", ""),
                text=html.unescape(match["text"]).strip(),
            )
        )
    passages += [passage for result in results for passage in _passages_of(result)]
    previous = user_messages[-2] if len(user_messages) > 1 else ""
    nested = _QUESTION.search(previous)
    return Prompt(
        question=_plain(question["text"]) if question else last.strip(),
        passages=tuple(passages),
        previous_question=_plain(nested["text"]) if nested else previous.strip(),
        results=tuple(results),
    )


def answer(prompt: Prompt) -> str:
    """One to three sentences of the passages with their [n], or a plain statement that there is no answer."""
    if not prompt.passages:
        return NO_PASSAGES
    asked = _terms(prompt.question)
    if _follows_up(prompt):
        asked |= _terms(prompt.previous_question)
    if not asked:
        return NO_ANSWER
    candidates = list(_candidates(prompt.passages, asked))
    if not candidates:
        return NO_ANSWER
    best = candidates[0]
    chosen = [best]
    covered = set(best.terms)
    for candidate in candidates[1:]:
        adds = candidate.terms - covered
        if len(chosen) < _MAX_SENTENCES and (adds or candidate.score >= 0.8 * best.score):
            chosen.append(candidate)
            covered |= candidate.terms
    # The best sentence comes first; what supports it follows in the order of the documents.
    ordered = [best, *sorted(chosen[1:], key=lambda item: (prompt.passages.index(item.passage), item.order))]
    return " ".join(f"{item.text} [{item.passage.id}]" for item in ordered)


def _candidates(passages: Sequence[Passage], asked: set[str]) -> Iterator[_Candidate]:
    """Sentences that could answer, best first."""
    sentences = [(passage, order, text) for passage in passages for order, text in enumerate(_sentences(passage.text))]
    bags = [Counter(words(text)) for _, _, text in sentences]
    spread = Counter(term for bag in bags for term in bag)
    weight = {term: math.log(1 + (len(bags) + 1) / (spread[term] + 0.5)) for term in asked}
    total = sum(weight.values())
    found = []
    seen: set[str] = set()
    for (passage, order, text), bag in zip(sentences, bags, strict=True):
        heading = set(words(passage.heading)) | set(words(passage.document))
        terms = {term for term in asked if term in bag}
        coverage = sum(weight[term] for term in terms) / total
        # A heading says what its sentences are about, so that they need not repeat it.
        context = sum(weight[term] for term in asked & heading - terms) / total
        if not terms or coverage + 0.6 * context < _COVERAGE or text in seen:
            continue
        seen.add(text)
        length = sum(bag.values())
        brevity = 1 / (1 + math.exp((length - 60) / 25)) * min(1.0, length / 6)
        found.append(
            _Candidate((coverage + 0.5 * context) * (0.5 + 0.5 * brevity), passage, order, text, frozenset(terms))
        )
    yield from sorted(found, key=lambda item: -item.score)


def _sentences(text: str) -> Iterator[str]:
    for part in _SENTENCE_END.split(text):
        # A [3] of the document's own would read as one of our citations.
        sentence = re.sub(r"\[(\d+)\]", r"(\1)", _plain(part))
        if len(sentence) > _LONGEST_SENTENCE:
            sentence = sentence[:_LONGEST_SENTENCE].rsplit(" ", 1)[0] + " …"
        # Without letters it is a rule or the frame of a table.
        if any(character.isalpha() for character in sentence) and not part.lstrip().startswith("#"):
            yield sentence


def _plain(text: str) -> str:
    """Markdown's list marks and line breaks removed."""
    text = re.sub(r"\s+", " ", html.unescape(text)).strip()
    return re.sub(r"^(?:[-*+>]|\d+[.)])\s+", "", text).strip()


def _follows_up(prompt: Prompt) -> bool:
    """ "And how long does it last?" names nothing: the question before it does."""
    return bool(prompt.previous_question) and len(_terms(prompt.question)) < _FOLLOW_UP_WORDS


def _query(prompt: Prompt) -> str:
    """The words that say what the question is about, with those of the question that it follows up."""
    asked = f"{prompt.previous_question} {prompt.question}" if _follows_up(prompt) else prompt.question
    named = [word for word in re.findall(r"[^\s?!.,;:()\"]+", asked) if _terms(word)]
    return " ".join(dict.fromkeys(named))[:_LONGEST_QUERY]


def _passages_of(result: Mapping[str, Any]) -> Iterator[Passage]:
    listed = result.get("passages")
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, dict) and isinstance(item.get("text"), str):
            yield Passage(
                id=str(item.get("id", "")),
                document=str(item.get("document", "")),
                heading=str(item.get("heading", "")),
                text=item["text"].strip(),
            )


def _terms(question: str) -> set[str]:
    return {word for word in words(question) if word not in STOP_WORDS}
