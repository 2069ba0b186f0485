"""How journal files are named.

`<run>.jsonl` is the server's journal, `<run>.<client>.jsonl` one of a client's,
`….monitor.jsonl` a monitor's. A further writer of the same gets `…~<8 hex>.jsonl`. A journal that
was rolled goes on in `…@<base>.jsonl`, where base is the stream offset of that file's first byte.
Ids are percent-encoded, so that ".", "~" and "@" only ever mean the above.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import quote

_MAX_ID_BYTES = 120
_SUFFIX = ".jsonl"
_SEGMENT = re.compile(r"@\d{15}$")


def quote_id(any_id: str) -> str:
    """`any_id` as part of a file name; over 120 bytes it is cut and a hash of the whole is added."""
    quoted = quote(any_id, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
    if len(quoted) <= _MAX_ID_BYTES:
        return quoted
    digest = hashlib.sha256(any_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{quoted[:100]}+{digest}"


def journal_path(folder: Path, run_id: str, client_id: str | None = None, part: str | None = None) -> Path:
    """Where the journal of a run's server, or of one of its clients, lies; `part` as in "monitor"."""
    pieces = [quote_id(run_id)]
    if client_id is not None:
        pieces.append(quote_id(client_id))
    if part is not None:
        pieces.append(part)
    return folder / (".".join(pieces) + _SUFFIX)


def sibling_path(path: Path, suffix: str) -> Path:
    """The journal of a further writer beside `path`."""
    return path.with_name(f"{path.name[: -len(_SUFFIX)]}~{suffix}{_SUFFIX}")


def sibling_paths(path: Path) -> list[Path]:
    """The journals of further writers beside `path`."""
    return sorted(
        entry for entry in path.parent.glob(f"{path.name[: -len(_SUFFIX)]}~*{_SUFFIX}") if is_first_segment(entry)
    )


def segment_path(path: Path, base: int) -> Path:
    """The file in which the journal that starts at `path` goes on from stream offset `base`."""
    return path.with_name(f"{path.name[: -len(_SUFFIX)]}@{base:015d}{_SUFFIX}")


def is_first_segment(path: Path) -> bool:
    """Whether a `.jsonl` file's name is that of a journal's first file."""
    return path.name.endswith(_SUFFIX) and not _SEGMENT.search(path.name[: -len(_SUFFIX)])


def segments(path: Path) -> list[tuple[int, Path]]:
    """All files of the journal that starts at `path`, with their bases, in order.

    Each file begins where the one before it ended, so their names are known without listing the folder.
    """
    found: list[tuple[int, Path]] = []
    base, segment = 0, path
    while (size := _size(segment)) is not None:
        found.append((base, segment))
        base += size
        segment = segment_path(path, base)
        if size == 0:
            break
    return found or _listed_segments(path)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _listed_segments(path: Path) -> list[tuple[int, Path]]:
    """The same where the first files are gone, by looking through the folder."""
    stem = path.name[: -len(_SUFFIX)]
    if not path.parent.is_dir():
        return []
    return sorted(
        (int(entry.name[len(stem) + 1 : -len(_SUFFIX)]), entry)
        for entry in path.parent.iterdir()
        if entry.name.startswith(stem + "@") and _SEGMENT.search(entry.name[: -len(_SUFFIX)])
    )
