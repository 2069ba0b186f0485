"""Talking to an MLflow store: a database, a folder or a server, in requests that it takes.

MLflow's client repeats a failing request for four minutes (seven times, with growing waits), and
only the process's environment can change that. So what is sent all the time, `log-batch`, goes to
a server by MLflow's own HTTP function without repeats, and before other calls the server is asked
whether it is there: the caller repeats, and says so.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from fedsight.emitters.mlflow.database import create_where_missing
from fedsight.emitters.mlflow.names import mlflow_name
from fedsight.emitters.mlflow.points import LONGEST_PARAM, LONGEST_TAG, Point, cut
from fedsight.errors import FedsightError, MissingExtra
from fedsight.events import float_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_METRICS_A_REQUEST = 1000
_PARAMS_A_REQUEST = 100
_TAGS_A_REQUEST = 100
_CHARACTERS_A_REQUEST = 500_000
_PROBE_SEC = (5.0, 30.0)
"""To connect, and until an answer comes."""


class MlflowError(FedsightError):
    """MLflow has what we need to deliver to, but not in a state that takes it."""


class Refusal(msgspec.Struct):
    """A value that MLflow refused for good, and why."""

    what: str
    why: str


def import_mlflow() -> Any:
    """The `mlflow` package. Where nobody imported it yet, its usage statistics are switched off.

    They would call out to the internet, which nobody asked for; `MLFLOW_DISABLE_TELEMETRY=false`
    in the environment keeps them. Raises `MissingExtra` where the package is missing.
    """
    if "mlflow" not in sys.modules:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "mlflow":
            raise MissingExtra("mlflow", "mlflow") from error
        raise
    return mlflow


def without_secrets(uri: str) -> str:
    """The URI without user, password and query."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


class Tracking:
    """The MLflow store at `uri`; None for the one that MLflow itself chooses.

    Nothing of the process's MLflow state (its tracking URI, experiment and active run) is touched.
    """

    def __init__(self, uri: str | None) -> None:
        mlflow = import_mlflow()
        self.uri: str = uri or mlflow.get_tracking_uri()
        self.shown_uri = without_secrets(self.uri)
        self.is_server = self.uri.startswith(("http://", "https://"))
        self.reach()
        create_where_missing(self.uri)
        self.client: MlflowClient = mlflow.MlflowClient(tracking_uri=self.uri)

    def reach(self) -> None:
        """Raise `ConnectionError` where the store is a server that does not answer."""
        if not self.is_server:
            return
        import requests
        from mlflow.utils.credentials import get_default_host_creds

        url = f"{self.uri.rstrip('/')}/health"
        try:
            verify = get_default_host_creds(self.uri).verify  # type: ignore[no-untyped-call]
            requests.get(url, timeout=_PROBE_SEC, verify=verify).close()
        except requests.exceptions.SSLError:
            return  # somebody is there; MLflow says what is wrong
        except requests.exceptions.RequestException as error:
            raise ConnectionError(f"The MLflow server {self.shown_uri} does not answer: {_shortly(error)}") from error

    # ── experiments and runs ──────────────────────────────────────────────────────────────────

    def experiment_id(
        self, name: str, artifact_location: str | None = None, tags: Mapping[str, str] | None = None
    ) -> str:
        """The id of the experiment, which is created where there is none of that name; the rest is for a new one.

        artifact_location: a URI; None: where the store puts them.
        """
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name, artifact_location, dict(tags or {})))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(name)  # another site was faster
        if found is None or found.lifecycle_stage != "active":
            raise MlflowError(f"The MLflow experiment {name!r} was deleted. Restore it, or give another `experiment`.")
        return str(found.experiment_id)

    def active_run(self, run_id: str) -> Run:
        """The MLflow run of that id. Raises `MlflowError` where it was deleted."""
        run = self.client.get_run(run_id)
        if run.info.lifecycle_stage != "active":
            raise MlflowError(f"The MLflow run {run_id} was deleted. Restore it to have the rest delivered.")
        return run

    def runs_with_tags(self, experiment_id: str, tags: Mapping[str, str]) -> list[Run]:
        """The runs that have all these tags, the newest first."""
        if any("'" in value and '"' in value for value in tags.values()):
            return []  # MLflow's search can't quote it
        conditions = [
            f"tags.`{key}` = " + (f'"{value}"' if "'" in value else f"'{value}'") for key, value in tags.items()
        ]
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [experiment_id], " and ".join(conditions), order_by=["attributes.start_time DESC"], page_token=token
            )
            found.extend(page)
            token = page.token
            if not token:
                return found

    def artifact_repository(self, run_id: str) -> Any:
        """The place of a run's artifacts; one that this server passes on is reached by its own address."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

        uri = str(self.client.get_run(run_id).info.artifact_uri)
        if self.is_server and uri.startswith("mlflow-artifacts:"):
            uri = MlflowArtifactsRepository.resolve_uri(uri, self.uri)  # type: ignore[no-untyped-call]
        return get_artifact_repository(uri)

    def end(self, run_id: str, status: str, ended_ms: int) -> None:
        """End a run. status: one of MLflow's."""
        if not self.is_server:
            self.client.set_terminated(run_id, status, ended_ms)
            return
        # The client would print two lines a run to the training's standard output.
        try:
            self._post("update", {"run_id": run_id, "status": status, "end_time": ended_ms})
        except Exception as error:
            raise _clearly(error, self.shown_uri) from error

    # ── values ────────────────────────────────────────────────────────────────────────────────

    def log(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> list[Refusal]:
        """Send them all; what MLflow refuses does not keep the rest from it.

        Keys of tags and params are escaped and long values cut here; `points` hold MLflow's names.
        """
        refused: list[Refusal] = []
        short_params = {mlflow_name(key): cut(value, LONGEST_PARAM) for key, value in (params or {}).items()}
        for pairs in _requests_of(list(short_params.items()), _PARAMS_A_REQUEST):
            refused += self._send(run_id, "params", pairs)
        short_tags = {mlflow_name(key): cut(value, LONGEST_TAG) for key, value in (tags or {}).items()}
        for pairs in _requests_of(list(short_tags.items()), _TAGS_A_REQUEST):
            refused += self._send(run_id, "tags", pairs)
        for start in range(0, len(points), _METRICS_A_REQUEST):
            refused += self._send(run_id, "metrics", points[start : start + _METRICS_A_REQUEST])
        return refused

    def _send(self, run_id: str, kind: str, entities: Sequence[Any]) -> list[Refusal]:
        """Send one request; where MLflow refuses it, its halves, down to the value that is at fault."""
        from mlflow.exceptions import MlflowException

        try:
            self._log_batch(run_id, kind, entities)
        except MlflowException as error:
            if not _is_refusal(error):
                raise _clearly(error, self.shown_uri) from error
            if len(entities) == 1:
                return [Refusal(f"{kind[:-1]} {_name_of(entities[0])!r}", _shortly(error))]
            self.active_run(run_id)  # a deleted run refuses everything
            middle = len(entities) // 2
            return self._send(run_id, kind, entities[:middle]) + self._send(run_id, kind, entities[middle:])
        return []

    def _log_batch(self, run_id: str, kind: str, entities: Sequence[Any]) -> None:
        if self.is_server:
            self._post("log-batch", {"run_id": run_id, kind: [_json_form(each) for each in entities]})
            return
        from mlflow.entities import Metric, Param, RunTag

        if kind == "metrics":
            made: list[Any] = [Metric(each.key, each.value, each.time_ms, each.step) for each in entities]
        else:
            made = [(Param if kind == "params" else RunTag)(key, value) for key, value in entities]
        self.client.log_batch(run_id, **{kind: made}, synchronous=True)

    def _post(self, call: str, body: dict[str, Any]) -> None:
        """One of the REST API's calls on runs, once."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        endpoint = f"/api/2.0/mlflow/runs/{call}"
        creds = get_default_host_creds(self.uri)  # type: ignore[no-untyped-call]
        answer = http_request(creds, endpoint, "POST", max_retries=0, json=body)  # type: ignore[no-untyped-call]
        verify_rest_response(answer, endpoint)


def _requests_of(pairs: list[tuple[str, str]], most: int) -> Iterator[list[tuple[str, str]]]:
    """Pairs in requests of at most `most`, and not too long."""
    request: list[tuple[str, str]] = []
    num_characters = 0
    for key, value in pairs:
        # A character is six bytes of JSON at worst.
        size = len(key) + (len(value) if value.isascii() else 6 * len(value))
        if request and (len(request) == most or num_characters + size > _CHARACTERS_A_REQUEST):
            yield request
            request, num_characters = [], 0
        request.append((key, value))
        num_characters += size
    if request:
        yield request


def _json_form(entity: Any) -> dict[str, Any]:
    if not isinstance(entity, Point):
        return {"key": entity[0], "value": entity[1]}
    # protobuf's JSON names the numbers that JSON lacks as our journals do.
    value = entity.value if math.isfinite(entity.value) else float_name(entity.value)
    return {"key": entity.key, "value": value, "timestamp": entity.time_ms, "step": entity.step}


def _name_of(entity: Any) -> str:
    return str(entity.key if isinstance(entity, Point) else entity[0])


_ERROR_400 = re.compile(r"error code (400|413)\b")


def _is_refusal(error: Any) -> bool:
    """Whether MLflow will never take this request: HTTP 400 and 413."""
    return error.get_http_status_code() == 400 or bool(_ERROR_400.search(str(error)))


def _clearly(error: Exception, uri: str) -> Exception:
    """The error, or, where it is one of the network, that."""
    import requests

    cause = error.__cause__ or error.__context__
    if isinstance(cause, requests.exceptions.RequestException):
        return ConnectionError(f"The MLflow server {uri} does not answer: {_shortly(cause)}")
    return error


def _shortly(error: BaseException) -> str:
    """The error's innermost cause, in a line."""
    while (cause := error.__cause__ or error.__context__) is not None and isinstance(error, OSError):
        error = cause
    return " ".join(str(error).split())[:300]
