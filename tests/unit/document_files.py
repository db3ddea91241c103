"""Small documents of every format, made as they are needed."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Sequence

import docx
from docx.document import Document as WordDocument
from fpdf import FPDF


def pdf(*pages: Sequence[str | tuple[int, str]], password: str | None = None) -> bytes:
    """A PDF of these pages; `(level, title)` is a line with a bookmark."""
    writer = FPDF()
    if password is not None:
        writer.set_encryption(owner_password=f"owner-{password}", user_password=password)
    writer.set_font("Helvetica", size=12)
    for page in pages:
        writer.add_page()
        for line in page:
            if isinstance(line, tuple):
                writer.start_section(line[1], level=line[0])
            writer.multi_cell(0, text=line if isinstance(line, str) else line[1], new_x="LMARGIN", new_y="NEXT")
    return bytes(writer.output())


def scanned_pdf() -> bytes:
    """A PDF whose only page shows a shape, as a picture of a page would."""
    writer = FPDF()
    writer.add_page()
    writer.rect(10, 10, 100, 100)
    return bytes(writer.output())


def pdf_with_stream(stream: Iterable[bytes]) -> bytes:
    """A PDF whose only page draws this content stream, which is stored compressed."""
    packer = zlib.compressobj(9)
    packed = b"".join(map(packer.compress, stream)) + packer.flush()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(packed) + packed + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    content = b"%PDF-1.4\n"
    offsets = []
    for number, written in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n" % number + written + b"\nendobj\n"
    table = b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return content + table + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(content)


def saved(document: WordDocument) -> bytes:
    """A Word document as a file."""
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def word(*paragraphs: str) -> bytes:
    """A Word document of plain paragraphs."""
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    return saved(document)


def repacked(package: bytes, name: str, parts: Iterable[bytes]) -> bytes:
    """A package with other content in one of its files."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
        with new.open(name, "w", force_zip64=True) as writer:
            for part in parts:
                writer.write(part)
    return file.getvalue()
