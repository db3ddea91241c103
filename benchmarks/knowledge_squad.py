"""Data sets in SQuAD's JSON format: paragraphs of articles, and questions that one paragraph answers."""

from dataclasses import dataclass
from pathlib import Path

import msgspec


class _Answer(msgspec.Struct, frozen=True):
    text: str
    answer_start: int


class _Question(msgspec.Struct, frozen=True):
    question: str
    answers: tuple[_Answer, ...] = ()


class _Paragraph(msgspec.Struct, frozen=True):
    context: str
    qas: tuple[_Question, ...] = ()


class _Article(msgspec.Struct, frozen=True):
    paragraphs: tuple[_Paragraph, ...]
    title: str = ""


class _File(msgspec.Struct, frozen=True):
    data: tuple[_Article, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A document of the collection."""

    article: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the number of the paragraph that answers it."""

    text: str
    paragraph: int
    answer: range | None = None
    """The characters of the paragraph that answer it, where the data set says which."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A collection and what is asked of it."""

    name: str
    paragraphs: tuple[Paragraph, ...]
    questions: tuple[Question, ...]


def load(path: Path) -> DataSet:
    """A data set from its file; `name` is the file's without `.json`. Raises ValueError with a sentence why not."""
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} is not in SQuAD's JSON format: {error}.") from error
    paragraphs: list[Paragraph] = []
    questions: list[Question] = []
    for number, article in enumerate(file.data):
        for paragraph in article.paragraphs:
            questions += (Question(asked.question, len(paragraphs), _place(asked)) for asked in paragraph.qas)
            paragraphs.append(Paragraph(number, paragraph.context))
    if not questions:
        raise ValueError(f"{path} holds no question.")
    return DataSet(path.stem, tuple(paragraphs), tuple(questions))


def _place(question: _Question) -> range | None:
    if not question.answers:
        return None
    answer = question.answers[0]
    return range(answer.answer_start, answer.answer_start + len(answer.text))


def load_all(path: Path) -> list[DataSet]:
    """The data set of a file, or those of a folder's `.json` files. Raises ValueError, also when there is none."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no .json file.")
    return [load(file) for file in files]
