"""Journals: append-only files of events, one JSON object a line. Written by one, read by anybody.

`writer` appends and survives kills, forks and full disks; `reader` reads whole lines from any
offset; `follow` does so for ever, with a `cursor` that remembers how far it came; `recover`
mends what a crash left.
"""

from fedsight.journal.cursor import Cursor
from fedsight.journal.follow import follow
from fedsight.journal.names import journal_path, quote_id
from fedsight.journal.reader import JournalReader, list_journals, read_header, writer_alive
from fedsight.journal.recover import Recovery, closing_lines, recover
from fedsight.journal.writer import JournalWriter

__all__ = [
    "Cursor",
    "JournalReader",
    "JournalWriter",
    "Recovery",
    "closing_lines",
    "follow",
    "journal_path",
    "list_journals",
    "quote_id",
    "read_header",
    "recover",
    "writer_alive",
]
