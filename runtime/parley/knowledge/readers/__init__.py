"""Readers: one module per family of formats, from a file's bytes to sections.

A reader is a generator function `read(content: bytes) -> Iterator[Section]`, which raises UnreadableDocument with a
reason for the document's owner. All but plain text is read in a process of its own, by `isolation`; only there are
the libraries imported that do it.
"""
