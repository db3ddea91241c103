"""A trigram language model in the ARPA format that pocketsphinx reads, with Witten-Bell smoothing."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

_START, _END = "<s>", "</s>"
# The end of a sentence, which no count of words in the language holds, as a share of all words.
_END_SHARE = 0.05
type _Gram = tuple[str, ...]


def arpa(weighted: Iterable[tuple[Sequence[str], float]], unigrams: Mapping[str, float]) -> str:
    """The model of weighted sentences over the words of `unigrams`, which holds their frequency in the language.

    A word that is not among them breaks its sentence in two.
    """
    counts = [defaultdict[_Gram, float](float) for _ in range(3)]
    for sentence, weight in weighted:
        for piece in _pieces(sentence, unigrams):
            for order, grams in enumerate(counts, 1):
                for position in range(len(piece) - order + 1):
                    grams[tuple(piece[position : position + order])] += weight
    single, pairs, triples = counts
    return _render(single, pairs, triples, unigrams)


def _pieces(sentence: Sequence[str], known: Mapping[str, float]) -> list[list[str]]:
    pieces: list[list[str]] = [[_START]]
    for word in sentence:
        if word in known:
            pieces[-1].append(word)
        else:
            pieces.append([])
    pieces[-1].append(_END)
    return pieces


def _render(
    single: Mapping[_Gram, float],
    pairs: Mapping[_Gram, float],
    triples: Mapping[_Gram, float],
    at_large: Mapping[str, float],
) -> str:
    own = _unigrams(single, at_large)
    second, back_one = _smoothed(pairs, lambda history, word: own[word])

    def pair(history: _Gram, word: str) -> float:
        gram = (history[-1], word)
        return second[gram] if gram in second else back_one.get(history[-1:], 1.0) * own[word]

    third, back_two = _smoothed(triples, pair)
    lines = ["\\data\\", f"ngram 1={len(own) + 1}", f"ngram 2={len(second)}", f"ngram 3={len(third)}"]
    lines += ["", "\\1-grams:", f"-99.0 {_START} {_log(back_one.get((_START,), 1.0)):.4f}"]
    lines += [f"{_log(own[word]):.4f} {word} {_log(back_one.get((word,), 1.0)):.4f}" for word in sorted(own)]
    lines += ["", "\\2-grams:"]
    lines += [
        f"{_log(p):.4f} {' '.join(gram)} {_log(back_two.get(gram, 1.0)):.4f}" for gram, p in sorted(second.items())
    ]
    lines += ["", "\\3-grams:"]
    lines += [f"{_log(p):.4f} {' '.join(gram)}" for gram, p in sorted(third.items())]
    return "\n".join([*lines, "", "\\end\\", ""])


def _unigrams(counts: Mapping[_Gram, float], at_large: Mapping[str, float]) -> dict[str, float]:
    """How likely each word is: the sentences' own counts, smoothed by the language at large."""
    kinds = len(counts)
    total = sum(weight for (word,), weight in counts.items() if word != _START)
    mass = sum(at_large.values())
    share = {word: frequency / mass * (1 - _END_SHARE) for word, frequency in at_large.items()} | {_END: _END_SHARE}
    return {word: (counts.get((word,), 0) + kinds * share[word]) / (total + kinds) for word in share}


def _smoothed(
    counts: Mapping[_Gram, float], lower: Callable[[_Gram, str], float]
) -> tuple[dict[_Gram, float], dict[_Gram, float]]:
    """Probabilities of the n-grams that occur, and for each of their histories the weight of backing off from it."""
    seen: dict[_Gram, float] = {}
    kinds: dict[_Gram, float] = {}
    for gram, weight in counts.items():
        history = gram[:-1]
        seen[history] = seen.get(history, 0) + weight
        kinds[history] = kinds.get(history, 0) + min(1.0, weight)
    back = {history: kinds[history] / (seen[history] + kinds[history]) for history in seen}
    found = {}
    for gram, weight in counts.items():
        history, word = gram[:-1], gram[-1]
        found[gram] = (1 - back[history]) * weight / seen[history] + back[history] * lower(history, word)
    return found, back


def _log(probability: float) -> float:
    return math.log10(max(probability, 1e-9))
