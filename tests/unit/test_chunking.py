import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.knowledge.chunking import CHUNK_TOKENS, chunk_sections, count_tokens
from parley.knowledge.chunks import Chunk
from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.passages import EXCERPT_LENGTH, Citation, Passage, excerpt
from parley.knowledge.reading import read_sections
from parley.knowledge.sections import HEADING_SEPARATOR, MAX_TITLE_LENGTH, Section, markdown_sections


def chunks(name: str, text: str) -> list[Chunk]:
    return list(chunk_sections(read_sections(name, text.encode())))


def headings(text: str) -> list[tuple[str, str]]:
    return [(section.heading, section.text.strip()) for section in markdown_sections(text)]


SENTENCES = {
    "English": "The gateway closes idle connections. ",
    "Vietnamese": "Cổng đóng các kết nối không hoạt động. ",
    "Japanese": "ゲートウェイはアイドル状態の接続を閉じます。",
    "Thai": "เกตเวย์จะปิดการเชื่อมต่อที่ไม่ได้ใช้งาน ",
    "Arabic": "تغلق البوابة الاتصالات الخاملة. ",
    "Hindi": "गेटवे निष्क्रिय कनेक्शन बंद कर देता है। ",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_long_text_of_any_script_is_cut_between_sentences_with_overlap(language: str) -> None:
    sentence = SENTENCES[language].strip()
    found = chunks("a.txt", SENTENCES[language] * 200)
    assert len(found) > 2
    assert [chunk.number for chunk in found] == list(range(len(found)))
    assert all(count_tokens(chunk.text) <= CHUNK_TOKENS for chunk in found)
    # Chunks are well filled, not cut at every sentence.
    assert all(count_tokens(chunk.text) > CHUNK_TOKENS / 2 for chunk in found[:-1])
    assert all(chunk.text.startswith(sentence) and chunk.text.endswith(sentence) for chunk in found)
    # Together they are longer than the document: each repeats the end of the one before.
    assert sum(len(chunk.text) for chunk in found) > len(SENTENCES[language] * 200)


def test_headings_become_paths() -> None:
    gateway = "## Gateway ##\n\nIt listens.\n\n### Limits\n\n32 KB."
    assert headings(f"Preface.\n\n# Sandbox\n\nIt runs.\n\n{gateway}\n\n## Models\n\nThey answer.") == [
        ("", "Preface."),
        ("Sandbox", "It runs."),
        ("Sandbox > Gateway", "It listens."),
        ("Sandbox > Gateway > Limits", "32 KB."),
        ("Sandbox > Models", "They answer."),
    ]


def test_a_chunk_never_crosses_a_heading() -> None:
    found = chunks("a.md", "# A\n\nOne.\n\n# B\n\nTwo.")
    assert [(chunk.heading, chunk.text) for chunk in found] == [("A", "One."), ("B", "Two.")]


def test_underlined_headings_count() -> None:
    assert headings("Title\n=====\n\nIntro.\n\nPart\n----\n\nText.") == [("Title", "Intro."), ("Title > Part", "Text.")]


@pytest.mark.parametrize(
    "text",
    [
        "```\n# a comment\n```",
        "~~~sh\n# a comment\n```\n~~~",
        "- item\n  ```\n  # a comment\n  ```",
        "    # indented code",
        "#hashtag",
        "####### seven",
        "---\ntitle: x\n---",
        "| a |\n|---|\n| b |",
        "- item\n---",
        "text\n\n---\n\nmore",
        "# " + "long " * MAX_TITLE_LENGTH,
        "A " + "long line " * MAX_TITLE_LENGTH + "\n---",
        "first line\n- second\n===",
    ],
)
def test_what_only_looks_like_a_heading_is_text(text: str) -> None:
    assert headings(text) == [("", text.strip())]


def test_front_matter_that_never_ends_is_text() -> None:
    assert headings("---\ntitle: x\n\n# Real\n\nText.")[-1] == ("Real", "Text.")
    assert headings("---\n# Real\nText.")[-1] == ("Real", "Text.")


def test_a_heading_with_nothing_under_it_is_not_lost() -> None:
    assert headings("# A\n\n## B\n\n# C") == [("A", "B"), ("", "C")]
    assert headings("#\n\nText.") == [("", "Text.")]


def test_marks_that_style_a_heading_are_left_out() -> None:
    assert headings("# The `faiss` [store](https://x.example) **now**\n\nText.") == [("The faiss store now", "Text.")]


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm() -> None:
    [section] = read_sections("a.md", "\ufeff# A\r\n\r\nOne.\rTwo.".encode())
    assert (section.heading, section.text.strip()) == ("A", "One.\nTwo.")
    [section] = read_sections("a.txt", "Zwölf".encode("utf-16"))
    assert section.text == "Zwölf"


def test_a_document_above_the_limit_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.knowledge.reading.MAX_DOCUMENT_BYTES", 3)
    with pytest.raises(UnreadableDocument, match="larger"):
        read_sections("a.txt", b"four")


TITLE = st.from_regex(r"[A-Za-zÀ-ỹぁ-ん一-鿿ก-ฮ0-9]{1,12}", fullmatch=True)
PARAGRAPH = st.lists(
    st.one_of(st.sampled_from(list(SENTENCES.values())), st.text(max_size=80)), min_size=1, max_size=12
).map("".join)
BLOCK = st.one_of(
    st.tuples(st.integers(1, 6), TITLE).map(lambda pair: f"{'#' * pair[0]} {pair[1]}"),
    PARAGRAPH,
    PARAGRAPH.map(lambda text: f"```\n{text}\n```"),
    PARAGRAPH.map(lambda text: f"- {text}\n- {text}"),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(BLOCK, max_size=12).map("\n\n".join), st.booleans())
def test_no_text_is_lost_and_no_chunk_is_too_large(text: str, markdown: bool) -> None:
    try:
        found = chunks("a.md" if markdown else "a.txt", text)
    except UnreadableDocument:
        assert "\0" in text or not re.sub(r"[#\s=-]", "", text)
        return
    assert all(chunk.text.strip() and count_tokens(chunk.text) <= CHUNK_TOKENS for chunk in found)
    assert [chunk.number for chunk in found] == list(range(len(found)))
    kept = {character for chunk in found for character in f"{chunk.heading}{chunk.text}"}
    assert {character for character in text if not character.isspace()} - set("#=-`*[]()!") <= kept
    in_order = iter("".join(chunk.text for chunk in found))
    words = "".join(section.text for section in read_sections("a.md" if markdown else "a.txt", text.encode()))
    # Every character stands in the chunks in the document's order (overlap only repeats some).
    assert all(character in in_order for character in words if not character.isspace())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), TITLE), min_size=1, max_size=8))
def test_each_path_leads_from_outer_to_inner_headings(outline: list[tuple[int, str]]) -> None:
    text = "\n\n".join(f"{'#' * level} {title}\n\nUnder {number}." for number, (level, title) in enumerate(outline))
    found = markdown_sections(text)
    assert len(found) == len(outline)
    for number, section in enumerate(found):
        path: list[tuple[int, str]] = []
        for level, title in outline[: number + 1]:
            path = [*[(above, name) for above, name in path if above < level], (level, title)]
        assert section.heading == HEADING_SEPARATOR.join(title for _, title in path)
        assert section.text.strip() == f"Under {number}."


def test_pages_are_kept() -> None:
    assert [chunk.page for chunk in chunk_sections([Section(text="On four.", page=4)])] == [4]


def test_a_citation_carries_a_short_excerpt_on_one_line() -> None:
    passage = Passage(
        document_id="d", document="a.md", text="word\n" * 200, score=0.5, owner="shared", heading="A > B", page=3
    )
    citation = Citation.of(passage, 2)
    assert (citation.id, citation.document, citation.heading, citation.page) == (2, "a.md", "A > B", 3)
    assert citation.text.endswith("word…")
    assert len(citation.text) <= EXCERPT_LENGTH
    assert len(excerpt("字" * 500)) == EXCERPT_LENGTH
    assert excerpt(" short \n text ") == "short text"
