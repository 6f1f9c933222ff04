"""Content-addressed steps: the only place that caches, logs and records provenance."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from pipeline.artifacts import Artifact, Source
from pipeline.errors import FULL_DISK, ConfigError, PipelineError, StageError, leaf_errors_mapped
from pipeline.scratch import locked

A = TypeVar("A", bound=Artifact)
Notify = Callable[[str, str], None]

RECORD = "artifact.json"
# A step's result depends on these; another version is another key.
TOOLS = (
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "numpy",
    "ai-edge-litert",
    "tflite-runtime",
)


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digests(folder: Path) -> dict[str, str]:
    """Map every file below ``folder`` (posix path, sorted) to its sha256; the record itself is left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): file_sha256(path) for path in files if path != folder / RECORD
    }


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Artifact | Source):
        return value.digest
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def sha256_of(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass
class Workspace:
    """The folder in which a build's steps live; ``notify(level, text)`` hears what happens."""

    root: Path
    notify: Notify = lambda level, text: None
    steps: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = self.root.absolute()
        try:
            self._store.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{self._store}: {error.strerror}; build into another folder with --out"
            raise ConfigError(msg) from error
        self._tools = {name: metadata.version(name) for name in TOOLS}

    @property
    def _store(self) -> Path:
        return self.root / "steps"

    def step(self, stage: Callable[..., A], *inputs: Artifact | Source, **settings: Any) -> A:
        """Return the stage's artifact, from the store where these inputs and settings were seen before.

        The key covers the stage's name, its module's ``VERSION``, the inputs' digests, the settings and
        the tools' versions. A stage writes into a private folder that is renamed when it is complete, so
        a killed build leaves nothing half-written, and of two builds with one key either one wins.

        Args:
            stage: ``stage(*inputs, **settings, out=folder) -> artifact``.
            inputs: what earlier stages returned.
            settings: JSON-like values or config sections.

        Raises:
            PipelineError: what the stage raised; anything else becomes a ``StageError``.
        """
        name = stage.__name__
        version = getattr(sys.modules[stage.__module__], "VERSION", 1)
        key = sha256_of([stage.__module__, name, version, inputs, settings, self._tools])[:24]
        folder = self._store / f"{name}-{key}"
        started = time.monotonic()
        artifact = self._stored(folder, stage)
        cached = artifact is not None
        if artifact is None:
            self.notify("start", name)
            artifact = self._run(stage, name, inputs, settings, folder)
        seconds = time.monotonic() - started
        self.steps.append(
            {
                "stage": name,
                "key": key,
                "digest": artifact.digest,
                "cached": cached,
                "seconds": round(seconds, 3),
            }
        )
        self._record()
        self.notify("cached" if cached else "done", f"{name}  {seconds:.1f} s")
        self.notify("detail", f"{artifact.digest[:16]}  {folder}")
        for finding in artifact.findings:
            self.notify("info", finding)
        for note in artifact.notes:
            self.notify("warning", note)
        return artifact

    def _stored(self, folder: Path, stage: Callable[..., A]) -> A | None:
        """Load a published step, or None if there is none; a damaged one is moved out of the way.

        Raises:
            StageError: a damaged step cannot be moved.
        """
        if not folder.is_dir():
            return None
        artifact = self._intact(folder, stage)
        if artifact is None:
            self._discard(folder, stage.__name__)
        return artifact

    def _intact(self, folder: Path, stage: Callable[..., A]) -> A | None:
        """Load a published step, or None if its bytes are not the ones that were published."""
        # Only the return type: the other annotations may not be importable at run time.
        returned = stage.__annotations__["return"]
        kind: type[A] = (
            vars(sys.modules[stage.__module__])[returned] if isinstance(returned, str) else returned
        )
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            artifact = TypeAdapter(kind).validate_python(record["artifact"])
            intact = record["files"] == folder_digests(folder) and artifact.digest == _digest(
                artifact, record["files"]
            )
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return replace(artifact, folder=folder) if intact else None

    def _discard(self, folder: Path, name: str) -> None:
        """Move a damaged step to a name under which no build looks for it, and remove what can be removed."""
        self.notify("warning", f"the stored step {folder.name} is damaged; it is made again")
        aside = Path(tempfile.mkdtemp(prefix=".damaged-", dir=self._store))
        try:
            folder.rename(aside)
        except OSError as error:
            if folder.exists():  # else another build has moved it
                cause = f"{folder} is damaged and cannot be moved: {error.strerror}"
                hint = "remove that folder, or build into another with --out"
                raise StageError(name, cause, hint) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _run(
        self,
        stage: Callable[..., A],
        name: str,
        inputs: tuple[Any, ...],
        settings: dict[str, Any],
        folder: Path,
    ) -> A:
        try:
            with storing(name), leaf_errors_mapped(), self._private_folder(name) as private:
                artifact = stage(*inputs, **settings, out=private)
                files = folder_digests(private)
                artifact = replace(artifact, folder=Path(), digest=_digest(artifact, files))
                record = {
                    "artifact": TypeAdapter(type(artifact)).dump_python(artifact, mode="json"),
                    "files": files,
                }
                (private / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
                private.chmod(0o755)
                self._publish(private, folder, stage)
        except PipelineError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or ["no message"]
            cause = f"{type(error).__name__}: {lines[0]}"
            raise StageError(name, cause, "run again with --debug for the traceback") from error
        return replace(artifact, folder=folder)

    def _publish(self, private: Path, folder: Path, stage: Callable[..., A]) -> None:
        """Rename into place; if another build was quicker, its equal result stands."""
        try:
            private.rename(folder)
        except OSError:
            if self._intact(folder, stage) is None:
                raise

    @contextmanager
    def _private_folder(self, name: str) -> Iterator[Path]:
        """A folder for this process alone; those that killed builds left are removed on the way."""
        with ExitStack() as held:
            with locked(self._store):
                for left in self._store.glob(".*"):
                    with suppress(OSError), locked(left, wait=False):
                        shutil.rmtree(left, ignore_errors=True)
                private = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self._store))
                held.enter_context(locked(private))
            try:
                yield private
            finally:
                shutil.rmtree(private, ignore_errors=True)

    def _record(self) -> None:
        """Write ``run.json``: which steps this build took, and from where."""
        text = json.dumps({"tools": self._tools, "steps": self.steps}, indent=1)
        with storing("run.json"):
            write_whole(self.root / "run.json", text)


def write_whole(path: Path, text: str) -> None:
    """Write a file as a whole or not at all: a full disk leaves the old one and nothing new.

    Raises:
        OSError: it cannot be written.
    """
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


@contextmanager
def storing(stage: str) -> Iterator[None]:
    """Turn a full disk or a missing permission into an error that says how to fix it.

    Raises:
        StageError: the block raised an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            place = f"{error.filename}: " if error.filename else ""
            raise StageError(stage, f"{place}{error.strerror}", FULL_DISK[error.errno]) from error
        raise StageError(stage, str(error), "free space or fix the permissions, then build again") from error


def _digest(artifact: Artifact, files: dict[str, str]) -> str:
    facts = {
        f.name: getattr(artifact, f.name) for f in fields(artifact) if f.name not in {"folder", "digest"}
    }
    return sha256_of([type(artifact).__name__, facts, files])
