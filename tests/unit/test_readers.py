"""What readers make of sound documents."""

import io
import json
import zipfile
from pathlib import Path

import docx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.parser import parse_xml
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.knowledge.chunking import chunk_sections
from parley.knowledge.readers import docx as docx_reader
from parley.knowledge.readers import html, pdf, records, tables
from parley.knowledge.reading import read_sections
from parley.knowledge.sections import Section
from playwright.sync_api import sync_playwright

from tests.unit.document_files import pdf as make_pdf
from tests.unit.document_files import repacked, saved, word

CHROMIUM = Path("/usr/bin/chromium")
WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def paths(sections: list[Section]) -> list[tuple[str, str]]:
    return [(section.heading, section.text) for section in sections]


# Each format once through the process of its own, as ingestion reads it.


def test_a_pdf_keeps_pages_and_bookmarks() -> None:
    sections = read_sections(
        "bees.pdf",
        make_pdf(
            ["A preface.", (0, "Bees"), "Bees dance.", (1, "Winter"), "They cluster."],
            ["They shiver, too."],
            [(0, "Hives"), "Hives are boxes."],
        ),
    )
    assert [(section.page, section.heading, section.text) for section in sections] == [
        (1, "", "A preface."),
        (1, "Bees", "Bees dance."),
        (1, "Bees > Winter", "They cluster."),
        (2, "Bees > Winter", "They shiver, too."),
        (3, "Hives", "Hives are boxes."),
    ]
    assert [chunk.page for chunk in chunk_sections(sections)] == [1, 1, 1, 2, 3]


def test_a_word_document_keeps_headings_lists_and_tables() -> None:
    document = docx.Document()
    document.add_heading("Handbook", 0)
    document.add_paragraph("Welcome.")
    document.add_heading("Leave", 1)
    document.add_paragraph("Ask early.")
    document.add_paragraph("in writing", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(
        [*table.rows[0].cells, *table.rows[1].cells], ["Kind", "Days", "Parental", "60"], strict=True
    ):
        cell.text = text
    document.add_heading("Sickness", 2)
    document.add_paragraph("Stay in bed.")
    assert paths(read_sections("handbook.docx", saved(document))) == [
        ("Handbook", "Welcome."),
        ("Handbook > Leave", "Ask early.\n\nin writing\n\nKind | Days\nParental | 60"),
        ("Handbook > Leave > Sickness", "Stay in bed."),
    ]


def test_html_keeps_headings_and_leaves_out_what_is_not_for_reading() -> None:
    page = """<!doctype html><html><head><title>Tea</title><meta charset=utf-8><style>p {}</style></head><body>
      <nav><a href=/>Home</a></nav><script>track("me")</script><p hidden>draft</p>
      <h1>Green <em>tea</em></h1><p>Steep at 80&nbsp;°C,<br>not &gt; 3 min.</p>
      <ul><li>sencha<li>matcha</ul>
      <h2>Prices</h2><table><tr><th>Kind<th>€</tr><tr><td><p>Sencha</p><td>4</tr></table>
      <pre>  a\n    b</pre><img alt="A pot" src=x></body></html>"""
    assert paths(read_sections("tea.html", page.encode())) == [
        ("Green tea", "Steep at 80 °C,\nnot > 3 min.\n\n- sencha\n- matcha"),
        ("Green tea > Prices", "Kind | €\nSencha | 4\n\n  a\n    b\n\nA pot"),
    ]


def test_each_row_of_a_table_is_a_chunk_with_its_columns() -> None:
    sections = read_sections("prices.csv", b'name,price,note\nTea,4,"fresh,\ngreen"\n\nCoffee,5,\n')
    chunks = list(chunk_sections(sections))
    assert [chunk.text for chunk in chunks] == ["name: Tea\nprice: 4\nnote: fresh,\ngreen", "name: Coffee\nprice: 5"]
    assert chunks[0].heading == "Tea"
    assert chunks[1].metadata == {"name": "Coffee", "price": "5"}


def test_each_item_of_an_array_is_a_chunk_with_its_fields() -> None:
    items = [
        {"question": "Do bees sleep?", "answer": "Yes. " * 60, "votes": 3, "checked": True, "by": {"name": "Ada"}},
        {"word": "hive", "tags": ["noun", "wood"], "nothing": None},
        "a plain item",
    ]
    chunks = list(chunk_sections(read_sections("faq.json", json.dumps(items).encode())))
    assert len(chunks) == 3
    assert chunks[0].heading == "Do bees sleep?"
    assert chunks[0].text.endswith("votes: 3\nchecked: yes\nby.name: Ada")
    assert chunks[0].metadata == {"question": "Do bees sleep?", "votes": 3, "checked": True, "by.name": "Ada"}
    assert chunks[1].text == "word: hive\ntags: noun, wood"
    assert (chunks[2].text, chunks[2].metadata) == ("a plain item", {})


# The rest of each format, in this process.


def test_lines_of_a_page_become_paragraphs() -> None:
    sentence = "The quick brown fox jumps over the lazy dog and then it sleeps for a very long while. "
    [section] = pdf.read(make_pdf([sentence * 3, "1. First item.", "2. Second item."]))
    assert section.text.split("\n") == [(sentence * 3).strip(), "1. First item.", "2. Second item."]


def test_scripts_without_spaces_get_none_where_a_line_ended() -> None:
    assert pdf._gap("東京は", "日本の") == ""
    assert pdf._gap("กรุงเทพ", "มหานคร") == ""
    assert pdf._gap("Hà Nội", "là") == " "


def test_a_bookmark_whose_line_is_not_found_begins_its_page() -> None:
    content = make_pdf([(0, "Chapter"), "Text."]).replace(b"(Chapter)", b"(Kapitel)")
    assert {section.heading for section in pdf.read(content)} <= {"Chapter", "Kapitel"}


def test_a_pdf_that_chromium_prints_is_read() -> None:
    """With object streams, subsets of embedded fonts, and scripts beyond Latin."""
    page = "<h1>Ong</h1><p>Ong ngủ vào mùa đông.</p><p style='break-before:page'>Second page, across lines.</p>"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_content(page)
        content = tab.pdf(outline=True, tagged=True)
        browser.close()
    assert [(section.page, section.heading, section.text) for section in read_sections("ong.pdf", content)] == [
        (1, "Ong", "Ong ngủ vào mùa đông."),
        (2, "Ong", "Second page, across lines."),
    ]


def test_tracked_changes_boxes_and_notes_of_a_word_document() -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("Kept ")
    for xml in (
        f"<w:ins {WORD}><w:r><w:t>inserted</w:t></w:r></w:ins>",
        f"<w:del {WORD}><w:r><w:delText>deleted</w:delText></w:r></w:del>",
        f"<w:sdt {WORD}><w:sdtContent><w:r><w:tab/><w:t>controlled</w:t><w:br/><w:t>line</w:t></w:r></w:sdtContent>"
        "</w:sdt>",
        f"<w:r {WORD}><w:pict><w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent></w:pict></w:r>",
    ):
        paragraph._p.append(parse_xml(xml))
    [section] = docx_reader.read(saved(document))
    assert section.text == "Kept inserted\tcontrolled\nline\n\nboxed"


def test_pages_of_a_word_document_are_those_word_laid_out() -> None:
    document = docx.Document()
    document.add_paragraph("One.")
    second = document.add_paragraph().add_run()
    second._r.append(OxmlElement("w:lastRenderedPageBreak"))
    second.add_text("Two.")
    third = document.add_paragraph("Two goes on ").add_run()
    third._r.append(OxmlElement("w:lastRenderedPageBreak"))
    third.add_text("over the page.")
    document.add_paragraph("Three.")
    found = [(section.page, section.text) for section in docx_reader.read(saved(document))]
    assert found == [(1, "One."), (2, "Two.\n\nTwo goes on over the page."), (3, "Three.")]


def test_tables_in_tables_and_boxes_in_cells_are_text_of_their_row() -> None:
    document = docx.Document()
    table = document.add_table(rows=2, cols=2)
    table.cell(0, 0).text = "Outer"
    inner = table.cell(0, 1).add_table(rows=1, cols=2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "in", "side"
    boxed = f"<w:r {WORD}><w:pict><w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent></w:pict></w:r>"
    table.cell(1, 0).paragraphs[0]._p.append(parse_xml(boxed))
    [section] = docx_reader.read(saved(document))
    assert section.text == "Outer | in side\nboxed |"


def test_a_table_and_preformatted_lines_of_html() -> None:
    page = b"<table><caption>Prices<tr><td>Tea<td><p>4</p></table><ol><li>One<li>Two</ol><pre>a\n  b</pre><img alt=Pot>"
    [section] = html.read(page)
    assert section.text == "Prices\nTea | 4\n\n- One\n- Two\n\na\n  b\n\nPot"


def test_a_style_of_ones_own_is_a_heading_through_what_it_is_based_on() -> None:
    document = docx.Document()
    style = document.styles.add_style("House title", 1)
    style.base_style = document.styles["Heading 2"]
    document.add_paragraph("Rooms", style=style)
    document.add_paragraph("Four.")
    assert paths(list(docx_reader.read(saved(document)))) == [("Rooms", "Four.")]


def test_footnotes_stand_after_the_body() -> None:
    content = word("Body.")
    relation = (
        b'<Relationship Id="rId99" Target="footnotes.xml" '
        b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"/></Relationships>'
    )
    relations = zipfile.ZipFile(io.BytesIO(content)).read("word/_rels/document.xml.rels")
    types = zipfile.ZipFile(io.BytesIO(content)).read("[Content_Types].xml")
    override = (
        b'<Override PartName="/word/footnotes.xml" ContentType="application/vnd.openxmlformats-officedocument.'
        b'wordprocessingml.footnotes+xml"/></Types>'
    )
    note = f"<w:footnotes {WORD}><w:footnote><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote></w:footnotes>"
    content = repacked(content, "word/footnotes.xml", [note.encode()])
    content = repacked(content, "word/_rels/document.xml.rels", [relations.replace(b"</Relationships>", relation)])
    content = repacked(content, "[Content_Types].xml", [types.replace(b"</Types>", override)])
    assert paths(list(docx_reader.read(content))) == [("", "Body."), ("", "A note.")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<p>Grüße</p>".encode(), "Grüße"),
        ("<meta charset='windows-1252'><p>Grüße</p>".encode("cp1252"), "Grüße"),
        ("<p>Grüße</p>".encode("utf-16"), "Grüße"),
        (b"<p>a<script>if (1 < 2) {}</script>b", "ab"),
        (b"<div>one<div>two</div>three</div>", "one\n\ntwo\n\nthree"),
        (b"<h1>" + b"very long " * 50 + b"</h1>", ("very long " * 50).strip()),
        (b"<h1>Alone</h1>", "Alone"),
    ],
)
def test_html_however_it_is_written(content: bytes, text: str) -> None:
    assert [section.text for section in html.read(content)] == [text]


def test_html_without_headings_is_cited_by_its_title() -> None:
    [section] = html.read(b"<title>Opening\nhours</title><p>Nine to five.</p>")
    assert section.heading == "Opening hours"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_may_be_delimited_in_many_ways(delimiter: str) -> None:
    lines = ["city,people", "Huế,350000", "Đà Nẵng,1200000"]
    content = "\r\n".join(lines).replace(",", delimiter)
    assert [section.text for section in tables.read(b"\xef\xbb\xbf" + content.encode())] == [
        "city: Huế\npeople: 350000",
        "city: Đà Nẵng\npeople: 1200000",
    ]


def test_values_beyond_the_named_columns_are_kept() -> None:
    [section] = tables.read(b"a,b\n1,2,3\n")
    assert section.text == "a: 1\nb: 2\n3"


def test_metadata_is_what_one_filters_by() -> None:
    [section] = records.read(
        json.dumps([{"long": "x" * 500, "huge": 10**30, **{f"f{n}": n for n in range(50)}}]).encode()
    )
    assert "long" not in section.metadata
    assert isinstance(section.metadata["huge"], str)
    assert len(section.metadata) == records.MAX_METADATA_FIELDS
    assert "f49: 49" in section.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60)
@given(st.lists(json_values, max_size=5))
def test_any_array_becomes_a_section_an_item(items: list[object]) -> None:
    assert len(list(records.read(json.dumps(items).encode()))) == len(items)
