"""Line protocol over HTTP: `/write` of InfluxDB 1, and of whatever takes the same (VictoriaMetrics)."""

from __future__ import annotations

import logging

import httpx

from fedsight.errors import FedsightError, UsageError

logger = logging.getLogger(__name__)

TIMEOUT_SEC = 10.0
MAX_ERROR_CHARS = 300


class Unavailable(FedsightError):
    """The database does not take points now; later it may."""


class LineWriter:
    """One database. url: user name and password may stand in it. Raises `UsageError` for one that can't be meant."""

    def __init__(self, url: str, database: str, username: str | None = None, password: str | None = None) -> None:
        target = _target(url)
        auth = (username or target.username, password or target.password)
        self._target = target.copy_with(userinfo=b"", query=None, fragment=None)
        self._database = database
        self._client = httpx.Client(
            timeout=TIMEOUT_SEC, auth=auth if any(auth) else None, trust_env=False, follow_redirects=False
        )
        self.num_refused = 0
        """Points that the database will never take."""
        self.last_refused: str | None = None

    @property
    def url(self) -> str:
        """Where it writes to, without secrets."""
        return str(self._target)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def check(self) -> None:
        """Ask whether the database is there.

        Raises `Unavailable`.
        """
        answer = self._ask("GET", "/ping", {})
        if answer.status_code >= 500:
            raise Unavailable(_told(answer))

    def write(self, lines: list[bytes]) -> int:
        """Bring points into the database; how many it took. Those that it will never take are counted and left.

        Raises `Unavailable`.
        """
        answer = self._post(lines)
        if answer.status_code == 404 and "database not found" in answer.text:
            self._create_database()
            answer = self._post(lines)
        if answer.is_success:
            return len(lines)
        if answer.status_code not in (400, 413, 422):
            raise Unavailable(_told(answer))
        if len(lines) > 1 and "partial write" not in answer.text:
            # Which of them it was is not said; the halves are written again, which changes nothing.
            middle = len(lines) // 2
            return self.write(lines[:middle]) + self.write(lines[middle:])
        num_refused = _num_dropped(answer, len(lines))
        self.num_refused += num_refused
        self.last_refused = _told(answer)
        logger.warning("InfluxDB has refused %d points: %s", num_refused, self.last_refused)
        return len(lines) - num_refused

    def _post(self, lines: list[bytes]) -> httpx.Response:
        return self._ask("POST", "/write", {"db": self._database, "precision": "ns"}, b"".join(lines))

    def _create_database(self) -> None:
        name = self._database.replace("\\", "\\\\").replace('"', '\\"')
        answer = self._ask("POST", "/query", {"q": f'CREATE DATABASE "{name}"'})
        if not answer.is_success:
            raise Unavailable(f"the database {self._database!r} is not there and can't be made: {_told(answer)}")

    def _ask(self, method: str, path: str, params: dict[str, str], body: bytes = b"") -> httpx.Response:
        url = self._target.copy_with(path=self._target.path.rstrip("/") + path)
        try:
            return self._client.request(method, url, params=params, content=body)
        except httpx.HTTPError as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error


def _target(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL as error:
        fault = str(error)
    else:
        if target.scheme in ("http", "https") and target.host:
            return target
        fault = f"its scheme is {target.scheme!r}" if target.host else "it names no host"
    # The URL itself stays out of it: it may hold a password.
    raise UsageError("influxdb_url", f"INFLUXDB_URL can't be meant ({fault}); give http://HOST:8086")


def _num_dropped(answer: httpx.Response, most: int) -> int:
    """How many points a "partial write: … dropped=N" says were refused."""
    digits = answer.text.partition("dropped=")[2]
    count = digits[: len(digits) - len(digits.lstrip("0123456789"))]
    return min(max(int(count or 1), 1), most)


def _told(answer: httpx.Response) -> str:
    return f"HTTP {answer.status_code}: {answer.text.strip()[:MAX_ERROR_CHARS]}"
