"""Model files and notes on their way to MLflow's artifacts, in a thread of their own.

An upload may take minutes while metrics go on; one that is not done is part of what the emitter
saves, and is begun again after a restart.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import threading
from collections import deque
from pathlib import Path, PurePath
from typing import Any

import msgspec

from fedsight.emitters.mlflow.tracking import Tracking
from fedsight.events import Checkpoint

logger = logging.getLogger("fedsight")

_TRIES = 5
_MOST_TAKEN = 1000
_BUSY = (429, 502, 503, 504)
_FIRST_BACKOFF_SEC = 0.5
_LONGEST_BACKOFF_SEC = 30.0


class Upload(msgspec.Struct):
    """A file to upload (with a description beside it), or the text of a note.

    folder, name: where it goes among the artifacts. sha256: as recorded when the file was logged,
    where that is known. is_description: only the description is to be written (anew). run_id: of the MLflow run
    that it belongs to; None: the main one.
    """

    folder: str
    name: str
    path: str | None = None
    text: str | None = None
    round: int | None = None
    ts: float = 0.0
    size_bytes: int | None = None
    sha256: str | None = None
    metadata: dict[str, Any] | None = None
    uploaded_sha256: str | None = None
    is_description: bool = False
    run_id: str | None = None


class Uploads:
    """Uploads to an MLflow run, and single notes to others, in order.

    registered_model: each model file becomes a version of this registered model, too.
    """

    def __init__(self, tracking: Tracking, run_id: str, registered_model: str | None) -> None:
        self._tracking = tracking
        self._run_id = run_id
        self._model = registered_model
        self._waiting: deque[Upload] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._hashes: dict[tuple[str | None, int | None], str] = {}
        self._taken: dict[str, str] = {}
        self._repositories: dict[str, Any] = {}
        self.num_refused = 0
        self.last_error: BaseException | None = None

    def add(self, upload: Upload) -> None:
        """Upload it when its turn comes. Another file's name in the same folder gets a folder of its own."""
        with self._changed:
            self._settle_folder(upload)
            self._waiting.append(upload)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="fedsight-mlflow-uploads", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _settle_folder(self, upload: Upload) -> None:
        if upload.path is None:
            return
        taken_by = self._taken.setdefault(f"{upload.folder}/{upload.name}", upload.path)
        if taken_by != upload.path:
            upload.folder += "/" + hashlib.sha256(upload.path.encode()).hexdigest()[:8]
        if len(self._taken) > _MOST_TAKEN:
            self._taken.pop(next(iter(self._taken)))

    def pending(self) -> list[Upload]:
        """What is not uploaded yet."""
        with self._changed:
            return list(self._waiting)

    def confirm(self, upload: Upload) -> None:
        """The SHA-256 that the file had when it was logged is known now; where it had changed, that is described."""
        with self._changed:
            for waiting in self._waiting:
                if (waiting.path, waiting.round) == (upload.path, upload.round) and not waiting.is_description:
                    waiting.sha256 = upload.sha256
                    return
            upload.uploaded_sha256 = self._hashes.pop((upload.path, upload.round), None)
        if upload.uploaded_sha256 not in (None, upload.sha256):
            upload.is_description = True
            self.add(upload)

    def wait(self, timeout_sec: float | None) -> bool:
        """Wait until all is uploaded or refused. False: it isn't, after `timeout_sec` or a failure (`last_error`)."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self.last_error is not None, timeout_sec)
            return not self._waiting

    def stop(self) -> None:
        """Begin no further upload."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _work(self) -> None:
        tries, backoff_sec = 0, _FIRST_BACKOFF_SEC
        most_tries = _TRIES
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                upload = self._waiting[0]
            try:
                self._tracking.reach()
                self._upload(upload)
            except Exception as error:
                tries += not _is_outage(error)
                if tries < most_tries and not isinstance(error, FileNotFoundError):
                    with self._changed:
                        self.last_error = error
                        self._changed.notify_all()
                        self._changed.wait_for(lambda: self._stopped, backoff_sec)
                    backoff_sec = min(backoff_sec * 2, _LONGEST_BACKOFF_SEC)
                    continue
                self.num_refused += 1
                most_tries = 1 if tries else most_tries  # what is wrong with the store, is so for the next one, too
                logger.warning("fedsight: %s is not at MLflow, and won't be: %s", upload.path or upload.name, error)
            else:
                most_tries = _TRIES
            tries, backoff_sec = 0, _FIRST_BACKOFF_SEC
            with self._changed:
                self.last_error = None
                self._waiting.popleft()
                self._changed.notify_all()

    def _upload(self, upload: Upload) -> None:
        if upload.text is not None:
            self._upload_text(upload.text, upload.folder, upload.name, upload.run_id)
            return
        assert upload.path is not None
        if not upload.is_description:
            file = Path(upload.path)
            if file.is_dir():
                self._artifacts().log_artifacts(str(file), f"{upload.folder}/{upload.name}")
            else:
                upload.uploaded_sha256 = _sha256(file)
                upload.size_bytes = file.stat().st_size
                self._artifacts().log_artifact(str(file), upload.folder)
                self._hashes[upload.path, upload.round] = upload.uploaded_sha256
        self._upload_text(_description(upload), upload.folder, f"{upload.name}.json")
        if self._model is not None and not upload.is_description:
            self._register(self._model, upload)

    def _upload_text(self, text: str, folder: str, name: str, run_id: str | None = None) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / name
            file.write_text(text, encoding="utf-8")
            self._artifacts(run_id).log_artifact(str(file), folder or None)

    def _artifacts(self, run_id: str | None = None) -> Any:
        """Where a run's artifacts are. Older clients ask the process's own tracking URI for it, which is the user's."""
        run_id = run_id or self._run_id
        if run_id not in self._repositories:
            self._repositories[run_id] = self._tracking.artifact_repository(run_id)
        return self._repositories[run_id]

    def _register(self, model: str, upload: Upload) -> None:
        """Make the file a version of the registered model, unless it is one."""
        from mlflow.exceptions import MlflowException

        client = self._tracking.client
        try:
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{client.get_run(self._run_id).info.artifact_uri}/{upload.folder}/{upload.name}"
        if any(
            version.name == model and version.source == source
            for version in client.search_model_versions(f"run_id = '{self._run_id}'")
        ):
            return
        tags = {"fedsight/round": upload.round, "fedsight/sha256": upload.uploaded_sha256}
        client.create_model_version(
            model,
            source,
            run_id=self._run_id,
            tags={key: str(value) for key, value in tags.items() if value is not None},
        )


def _is_outage(error: Exception) -> bool:
    """Whether waiting mends it: nobody answers, or the server is too busy or not up yet."""
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, requests.exceptions.HTTPError):
        return error.response is not None and error.response.status_code in _BUSY
    if isinstance(error, MlflowException):
        cause = error.__cause__ or error.__context__
        status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
        return status in _BUSY or (isinstance(cause, Exception) and _is_outage(cause))
    return isinstance(error, (ConnectionError, TimeoutError, requests.exceptions.RequestException))


def _description(upload: Upload) -> str:
    """What is known of the file, as JSON."""
    fields: dict[str, Any] = {
        "file": upload.name,
        "path": upload.path,
        "round": upload.round,
        "logged_at": upload.ts,
        "size_bytes": upload.size_bytes,
        "sha256": upload.uploaded_sha256 or upload.sha256,
        "metadata": upload.metadata or {},
    }
    if upload.sha256 and upload.uploaded_sha256 and upload.sha256 != upload.uploaded_sha256:
        fields["sha256_when_logged"] = upload.sha256
        fields["note"] = "The file was changed between its logging and its upload."
    # "NaN", "Infinity" and "-Infinity" as strings: JSON has no such numbers.
    return json.dumps(json.loads(json.dumps(fields), parse_constant=str), indent=2)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def upload_of(event: Checkpoint) -> Upload:
    """The upload of a checkpoint."""
    return Upload(
        folder="checkpoints" if event.round is None else f"checkpoints/round_{event.round}",
        name=PurePath(event.path).name,
        path=event.path,
        round=event.round,
        ts=event.ts,
        size_bytes=event.size_bytes,
        sha256=event.sha256,
        metadata=event.metadata,
    )
