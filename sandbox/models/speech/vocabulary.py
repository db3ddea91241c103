"""What people are likely to say to the assistant, from the documents that it knows: words, sentences and questions."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from sandbox.models.text import STOP_WORDS

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|https?://\S+|<[^>\s]*>")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+|\s*\|\s*|\n\s*\n|\n(?=\s*(?:[-*+#|]|\d+[.)])\s)")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[A-Za-z][A-Za-z0-9]*(?:'[a-z]+)?")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# What is asked about a thing; {} is the thing.
_PATTERNS = (
    "what is {}", "what is a {}", "what is the {}", "what are {}", "what are the {}", "what does the {} do",
    "what does {} do", "what does a {} do", "what does the {} hold", "what does the {} count", "what does a {} cost",
    "what does {} cost", "what does {} mean", "what is {} for", "what is stored in the {}", "what is stored in {}",
    "what is the {} of the {}", "what is the {} of a {}", "what is the {} of {}", "what is the limit of {}",
    "what is the difference between {} and {}", "what happens when a {}", "what happens when the {} fails",
    "what happens when {}", "what happens to the {}", "how large is {}", "how large is a {}", "how large is the {}",
    "how large may a {} be", "how large can a {} be", "how long is a {} kept", "how long is a {} valid",
    "how long are {} kept", "how long does a {} take", "how long does the {} last", "how long may a {} be",
    "how many {} are there", "how many {} may a {} have", "how many {} does {} have", "how many {} does a {} return",
    "how much does {} cost", "how often is the {} deleted", "how often does {} run", "how fast is the {}",
    "how does {} work", "how does the {} work", "how does a {} become {}", "how is the {} encrypted",
    "how is {} stored", "how are {} found", "how do i add a {}", "how do i add {}", "how do i remove a {}",
    "how do i delete a {}", "how do i change the {}", "how do i use {}", "how do i use the {}", "how do i start the {}",
    "how do i deploy {}", "how do i deploy to {}", "how do i turn {} off", "how do i set the {}",
    "how can i export a {}", "how can i see the {}", "where is the {}", "where is the {} stored",
    "where are the {} kept", "where do the {} go", "where does the {} live", "when is a {} deleted",
    "when is the {} used", "when are {} deleted", "when does a {} end", "why is {} a {}", "why is the {} in the {}",
    "why do {} need a {}", "which {} is used", "which {} are there", "which {} does the {} use", "which {} does {} run",
    "which {} is used in {}", "which {} answers in the {}", "who may use the {}", "who may delete a {}",
    "who can see the {}", "can i upload a {}", "can i use {}", "can a {} be deleted", "does the {} need {}",
    "does {} support {}", "do i need a {}", "is there a {}", "is the {} encrypted", "tell me about {}",
    "tell me about the {}", "tell me more about {}", "explain the {}", "show me the {}", "and what about {}",
    "what about the {}",
)  # fmt: skip
_SMALL_TALK = (
    "hello", "hi there", "good morning", "thank you", "thanks", "yes", "yes please", "no", "no thank you", "stop",
    "please stop", "wait", "wait a moment", "hold on", "sorry", "excuse me", "go on", "please go on", "okay",
    "that is all", "goodbye", "say that again", "repeat that please", "what did you say", "i have a question",
    "can you help me", "who are you", "what can you do", "how are you", "and how long does it last",
    "how does that work", "what does that mean", "why is that", "tell me more", "never mind",
)  # fmt: skip
_LONGEST_TERM = 3
_QUESTIONS_A_PATTERN = 60
_SMALL_TALK_WEIGHT = 5


@dataclass(frozen=True)
class Vocabulary:
    """Words in lower case, each with the spelling to show; the sentences of the texts; questions about their terms."""

    written: dict[str, str]
    sentences: tuple[tuple[str, ...], ...]
    questions: tuple[tuple[str, ...], ...]

    def spoken(self, word: str) -> str:
        """How to write a word so that a speaker reads it right: `enableRag` as two words, `KB` as letters."""
        return _CAMEL.sub(" ", self.written.get(word, word))


def build(texts: Iterable[str]) -> Vocabulary:
    """The vocabulary of documents in plain text or Markdown."""
    spellings: dict[str, Counter[str]] = {}
    sentences = []
    terms: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        for spelled in sentences_of(text):
            words = tuple(word.lower() for word in spelled)
            sentences.append(words)
            for position, (word, spelling) in enumerate(zip(words, spelled, strict=True)):
                # A sentence's first word is capitalised without being a name.
                weight = 1 if position or not spelling.istitle() else 0
                spellings.setdefault(word, Counter())[spelling if weight else word] += 1
            terms.update(_terms(words))
    written = {word: max(sorted(counts), key=counts.__getitem__) for word, counts in spellings.items()}
    return Vocabulary(written, tuple(sentences), tuple(_questions(terms)))


def sentences_of(text: str) -> list[list[str]]:
    """The words of each sentence as they are spelled; Markdown's marks and code blocks left out."""
    plain = _LINK.sub(lambda link: link[1] or " ", _FENCE.sub("\n", text))
    found = (_WORD.findall(part) for part in _SENTENCE_END.split(plain))
    return [words for words in found if words]


def _terms(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Runs of up to three content words, and their parts: what a question may be about."""
    runs: list[tuple[str, ...]] = []
    run: list[str] = []
    for word in [*words, "the"]:
        if word in STOP_WORDS:
            for length in range(1, min(_LONGEST_TERM, len(run)) + 1):
                runs.extend(tuple(run[i : i + length]) for i in range(len(run) - length + 1))
            run = []
        else:
            run.append(word)
    return runs


def _questions(terms: Counter[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Questions about the terms: each pattern meets the commonest ones, and every term some pattern."""
    found = [tuple(phrase.split()) for phrase in _SMALL_TALK for _ in range(_SMALL_TALK_WEIGHT)]
    ranked = [" ".join(term) for term, _ in terms.most_common()]
    for number, pattern in enumerate(_PATTERNS if ranked else ()):
        first = number * 37 % len(ranked)
        chosen = [*ranked[:_QUESTIONS_A_PATTERN], *islice(ranked, first, None, len(_PATTERNS))]
        for index, term in enumerate(chosen):
            other = chosen[(index * 7 + 3) % len(chosen)]
            found.append(tuple(pattern.replace("{}", term, 1).replace("{}", other).split()))
    return found
