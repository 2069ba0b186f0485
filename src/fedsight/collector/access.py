"""Who may do what: tokens, kept as hashes in one file, and the rules for reads, writes and addresses.

Reads are open to this machine where the collector listens to this machine alone; everybody else
needs a token. Writes always need one. A token's role says what it opens: `viewer` reads,
`producer` ships journals (of one run or one client, where it is bound to them), `admin` does both.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Literal

import msgspec

from fedsight.collector.settings import is_loopback
from fedsight.errors import UsageError
from fedsight.events import JournalHeader

logger = logging.getLogger(__name__)

COOKIE = "fedsight_token"

_OF_A_PROXY = frozenset({"forwarded", "via", "x-real-ip"})
"""Headers that proxies add, beside X-Forwarded-…: whoever really asks is elsewhere."""

TokenRole = Literal["admin", "producer", "viewer"]


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one token opens. The token itself is not kept, only its SHA-256."""

    id: str
    role: TokenRole
    sha256: str
    created_at: float
    name: str | None = None
    run: str | None = None
    client: str | None = None

    def may_read(self) -> bool:
        """A producer may not: one site must not see another's data."""
        return self.role in ("admin", "viewer")

    def why_not_write(self, header: JournalHeader) -> str | None:
        """Why this token may not ship the journal with that header; None when it may."""
        if self.role == "admin":
            return None
        if self.role == "viewer":
            return "this token may only read; shipping needs a token with the role producer"
        if header.role == "people":
            return "a journal of people's edits needs a token with the role admin"
        if header.role == "source" and (self.run is not None or self.client is not None):
            return "a source's journal is of all runs; it needs a token that is bound to none"
        if self.run is not None and header.run_id != self.run:
            return f"this token writes for run {self.run!r}, the journal's run_id is {header.run_id!r}"
        if self.client is not None and (header.client_id != self.client or header.role not in ("client", "monitor")):
            return (
                f"this token speaks for client {self.client!r}, the journal's role is {header.role!r} "
                f"and its client_id {header.client_id!r}"
            )
        return None


class _TokensFile(msgspec.Struct):
    version: int
    tokens: list[Grant]


class Tokens:
    """The tokens file. Read again when it changes, so that `fedsight token` reaches a running collector."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._grants: dict[str, Grant] = {}

    def grants(self) -> list[Grant]:
        """All tokens, oldest first.

        Raises `UsageError` when the file can't be understood.
        """
        with self._lock:
            self._refresh()
            return list(self._grants.values())

    def find(self, token: str) -> Grant | None:
        """The grant of a token, or None when there is no such token."""
        parts = token.split("_")
        if len(parts) != 3 or parts[0] != "fs":
            return None
        with self._lock:
            self._refresh()
            grant = self._grants.get(parts[1])
        if grant is None or not hmac.compare_digest(grant.sha256, _sha256(token)):
            return None
        return grant

    def knows(self, grant: Grant) -> bool:
        """Whether a grant that was found earlier still stands. Raises `UsageError`."""
        with self._lock:
            self._refresh()
            return self._grants.get(grant.id) == grant

    def create(
        self, role: TokenRole, *, name: str | None = None, run: str | None = None, client: str | None = None
    ) -> tuple[str, Grant]:
        """Make a token; the text returned is nowhere else and can't be had again.

        Raises `UsageError` when a role other than producer is bound to a run or client.
        """
        if role != "producer" and (run is not None or client is not None):
            raise UsageError("role", f"only a producer is bound to a run or a client, not the role {role!r}")
        token_id = secrets.token_hex(4)
        token = f"fs_{token_id}_{secrets.token_hex(24)}"
        grant = Grant(
            id=token_id, role=role, sha256=_sha256(token), created_at=time.time(), name=name, run=run, client=client
        )
        with self._changing():
            self._write([*self._grants.values(), grant])
        return token, grant

    def revoke(self, token_id: str) -> Grant:
        """Take a token away.

        Raises `UsageError` when there is none with that id.
        """
        with self._changing():
            grant = self._grants.get(token_id)
            if grant is None:
                raise UsageError("token_id", f"there is no token {token_id!r}; `fedsight token list` shows their ids")
            self._write([g for g in self._grants.values() if g.id != token_id])
        return grant

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The file as it is now, and nobody else changes it meanwhile: two commands may run at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self._lock:
                self._seen = None
                self._refresh()
                yield
        finally:
            os.close(lock)

    def _refresh(self) -> None:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._seen, self._grants = None, {}
            return
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen == self._seen:
            return
        try:
            content = msgspec.json.decode(self.path.read_bytes(), type=_TokensFile)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UsageError(
                "tokens", f"{self.path} is no tokens file ({error}); restore it, or remove it and make new tokens"
            ) from error
        self._seen, self._grants = seen, {grant.id: grant for grant in content.tokens}

    def _write(self, grants: list[Grant]) -> None:
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        content = msgspec.json.format(msgspec.json.encode(_TokensFile(1, grants)), indent=2)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        self._seen = None
        self._refresh()


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Denied(Exception):
    """A request that may not be. `status` is 401 (no token, or a wrong one), 403 (not this one), 429 (too often), 503 (can't say)."""

    def __init__(self, status: int, code: str, message: str, retry_after_sec: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after_sec = retry_after_sec


class Caller(msgspec.Struct, frozen=True):
    """What of a request decides about access."""

    peer: str | None
    host: str
    origin: str | None
    forwarded: bool
    bearer: str | None
    cookie: str | None


def caller(peer: str | None, headers: dict[str, str]) -> Caller:
    """Read the headers (names in lower case) that matter here."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        morsel = None
    return Caller(
        peer=peer,
        host=headers.get("host", ""),
        origin=headers.get("origin"),
        forwarded=any(name in _OF_A_PROXY or name.startswith("x-forwarded-") for name in headers),
        bearer=value.strip() if scheme.lower() == "bearer" else None,
        cookie=morsel.value if morsel else None,
    )


class Access:
    """The rules, for one collector."""

    def __init__(
        self, tokens: Tokens | None, *, on_loopback: bool, open_reads: bool = True, open_logs: bool = False
    ) -> None:
        self.tokens = tokens
        self.on_loopback = on_loopback
        self.open_reads = open_reads
        self.open_logs = open_logs

    def check_host(self, who: Caller) -> None:
        """Refuse a page of another site that has its name point at this machine (DNS rebinding).

        Raises `Denied`.
        """
        if self.on_loopback and not is_loopback(_host_name(who.host)):
            raise Denied(
                403, "forbidden_host", f"This collector answers to localhost and 127.0.0.1, not to {who.host!r}."
            )

    def check_origin(self, who: Caller, allowed: Collection[str] = ()) -> None:
        """Refuse a WebSocket that a page of another site opens (`allowed` apart): browsers send cookies along with it.

        Raises `Denied`.
        """
        if who.origin is not None and who.origin not in allowed and who.origin.partition("://")[2] != who.host:
            raise Denied(403, "forbidden_origin", f"A page of {who.origin!r} may not open a stream here.")

    def reader(self, who: Caller) -> Grant | None:
        """The grant of a caller who wants to read; None where reads are open to it.

        Raises `Denied`.
        """
        if self.open_reads and self.on_loopback and not who.forwarded and who.peer and is_loopback(who.peer):
            return None
        grant = self.login(who.bearer or who.cookie)
        if not grant.may_read():
            raise Denied(403, "forbidden", "This token may only ship journals; reading needs the role viewer or admin.")
        return grant

    def is_good(self, grant: Grant) -> bool:
        """Whether the token of a grant was not taken away since."""
        try:
            return self.tokens is not None and self.tokens.knows(grant)
        except UsageError:
            return False

    def writer(self, who: Caller) -> Grant:
        """The grant of a caller who wants to write. Cookies don't count: a foreign page could use them.

        Raises `Denied`.
        """
        return self.login(who.bearer)

    def log_sender(self, who: Caller) -> None:
        """Check that the caller may post samples without a token, which heflwr's monitors can't send.

        Raises `Denied`.
        """
        if who.origin is not None:  # a page of any site can post a form to this machine
            raise Denied(403, "forbidden_origin", f"A page of {who.origin!r} may not send samples here.")
        if self.open_logs or (who.bearer is not None and self.login(who.bearer).role != "viewer"):
            return
        if self.on_loopback and not who.forwarded and who.peer and is_loopback(who.peer):
            return
        raise Denied(
            403,
            "forbidden",
            "Samples of heflwr's monitors, which can't send a token, are taken from this machine alone; "
            "set FEDSIGHT_OPEN_LOGS=1 for the collector to take them from everywhere.",
        )

    def login(self, token: str | None) -> Grant:
        """The grant of a token.

        Raises `Denied`.
        """
        if not token:
            raise Denied(401, "unauthorized", "A token is needed: send it as `Authorization: Bearer …`, or log in.")
        try:
            grant = self.tokens.find(token) if self.tokens is not None else None
        except UsageError as error:  # damaged while we run: nobody comes in on a guess
            logger.error("%s", error)  # noqa: TRY400
            raise Denied(503, "unavailable", "The tokens can't be read; the collector's log says more.") from error
        if grant is None:
            raise Denied(401, "unauthorized", "The token is not known here; `fedsight token list` shows which are.")
        return grant


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]
