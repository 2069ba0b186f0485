"""The dashboard's files: what Vite built into `fedsight/web/dist`, served without surprises."""

from __future__ import annotations

import email.utils
import mimetypes
from pathlib import Path
from urllib.parse import unquote

import anyio
import anyio.to_thread
from litestar.types import Receive, Scope, Send

from fedsight.collector.api.tables import accepted_encodings

DIST = Path(__file__).parent.parent / "web" / "dist"

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)

NOT_BUILT = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Fedsight</title></head><body>
<h1>The dashboard is not built</h1>
<p>The collector runs, but this installation holds no dashboard. In a checkout of the source, build it with
<code>make ui</code> and reload this page. Installed packages bring it along.</p>
<p>The data are there all the same: see the <a href="/api/docs">API</a>.</p>
</body></html>
"""

TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}


class Dashboard:
    """An ASGI app over one folder; any path that is no file of it is the page itself (deep links)."""

    def __init__(self, folder: Path = DIST) -> None:
        self.folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        if scope["method"] not in ("GET", "HEAD"):  # type: ignore[typeddict-item]
            await _answer(send, 405, {"allow": "GET, HEAD"}, b"", head=False)
            return
        path = unquote(scope["path"]).lstrip("/")
        accepted = accepted_encodings(headers.get(b"accept-encoding", b"").decode("latin-1"))
        status, answer_headers, body = await anyio.to_thread.run_sync(
            self._file, path, accepted, headers.get(b"if-none-match", b"").decode("latin-1")
        )
        await _answer(send, status, answer_headers, body, head=scope["method"] == "HEAD")  # type: ignore[typeddict-item]

    def _file(self, path: str, accepted: set[str], if_none_match: str) -> tuple[int, dict[str, str], bytes]:
        file = self._find(path)
        if file is None and path.startswith("assets/"):
            return 404, {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}, b"no such file\n"
        if file is None:
            file = self.folder / "index.html"
            if not file.is_file():
                return 503, {"content-type": TYPES[".html"], "cache-control": "no-store"}, NOT_BUILT
        is_asset = path.startswith("assets/")
        headers = {
            "content-type": TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream",
            # The names of assets change with their content, that of the page does not.
            "cache-control": "public, max-age=31536000, immutable" if is_asset else "no-cache",
            "vary": "accept-encoding",
        }
        packed, encoding = _packed(file, accepted)
        stat = packed.stat()
        headers["etag"] = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        headers["last-modified"] = email.utils.formatdate(stat.st_mtime, usegmt=True)
        if if_none_match == headers["etag"]:
            return 304, headers, b""
        if encoding:
            headers["content-encoding"] = encoding
        return 200, headers, packed.read_bytes()

    def _find(self, path: str) -> Path | None:
        """The file of that name inside the folder, if there is one."""
        if not path or "\0" in path:
            return None
        try:
            file = (self.folder / path).resolve()
            return file if file.is_relative_to(self.folder.resolve()) and file.is_file() else None
        except OSError:  # a name longer than any file's
            return None


def _packed(file: Path, accepted: set[str]) -> tuple[Path, str | None]:
    """The precompressed neighbour of a file that the caller accepts, else the file."""
    for encoding, suffix in (("br", ".br"), ("gzip", ".gz")):
        neighbour = file.with_name(file.name + suffix)
        if encoding in accepted and neighbour.is_file():
            return neighbour, encoding
    return file, None


async def _answer(send: Send, status: int, headers: dict[str, str], body: bytes, *, head: bool) -> None:
    headers = {**headers, "content-length": str(len(body))}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": b"" if head else body, "more_body": False})
