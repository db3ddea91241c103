"""CSV: each row is a section of its own, with the names of its columns."""

import csv
import io
from collections.abc import Iterator

from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.readers.records import record_section
from parley.knowledge.readers.text import decode
from parley.knowledge.sections import Section

DELIMITERS = ",;\t|"

MAX_COLUMNS = 1_000

_SAMPLE = 8_192


def read(content: bytes) -> Iterator[Section]:
    """A section per row: `column: value` lines, with the columns as metadata. The first row names the columns."""
    text = decode(content)
    # The first row that is not blank decides: it holds names, which rarely hold a delimiter themselves.
    header = next((line for line in text[:_SAMPLE].split("\n") if line.strip()), "")
    delimiter = max(DELIMITERS, key=header.count)
    rows = (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(map(str.strip, row)))
    try:
        names = [name.strip() for name in next(rows, [])]
        if len(names) > MAX_COLUMNS:
            raise UnreadableDocument(f"The table has more than {MAX_COLUMNS:,} columns.")
        for row in rows:
            # Values beyond the named columns count too: nothing of a row is lost.
            labels = names + [""] * (len(row) - len(names))
            yield record_section([(label, value.strip()) for label, value in zip(labels, row, strict=False)])
    except csv.Error as error:
        raise UnreadableDocument(f"The document is not a valid CSV table: {error}.") from error
