"""The record of one build: which steps it took and from where, and the events on the way."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from pipeline.artifacts import Artifact, Source
from pipeline.content import sha256_of, write_whole
from pipeline.dependencies import Dependencies
from pipeline.errors import (
    ConfigError,
    GateFailed,
    InputError,
    PipelineError,
    StageError,
    leaf_errors_mapped,
    storing,
)
from pipeline.event_file import EventFile
from pipeline.events import (
    BuildFinished,
    BuildStarted,
    Finding,
    Outcome,
    StageFinished,
    StageStarted,
    Warned,
    emit,
    in_stage,
    listening,
)
from pipeline.sections import Unkeyed
from pipeline.store import OPTION, Store, Stored, hashes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

A = TypeVar("A", bound=Artifact)


@dataclass
class Run:
    """One build into a folder, whose steps come from the store; it records ``run.json`` and ``events.jsonl``.

    Threads may take steps at the same time.

    Attributes:
        folder: of the build; its release and report go there, too.
        store: where steps are kept.
        steps: those taken so far, as ``run.json`` lists them.
        packages: name and version of every package that they depend on.
        command: that runs the build, for its report; "" if it is not a command.

    Raises:
        ConfigError: the folder cannot be made.
    """

    folder: Path
    store: Store
    steps: list[dict[str, Any]] = field(default_factory=list)
    packages: dict[str, str] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{self.folder}: {error.strerror}; build into another folder with --out"
            raise ConfigError(msg) from error
        self._dependencies = Dependencies(self.store.root / "sources.json")
        self._lock = Lock()

    @contextmanager
    def recording(self, release: str) -> Iterator[None]:
        """Write the events of a build, which is the block, to a new ``events.jsonl``.

        Args:
            release: what is built.

        Raises:
            StageError: the file cannot be made.
        """
        path, started = self.folder / "events.jsonl", time.monotonic()
        outcome: Outcome = "released"
        error = ""
        with storing(path.name):
            path.unlink(missing_ok=True)  # a build that still writes there keeps its own file
            file = EventFile(path)
        with file, listening(file):
            emit(BuildStarted(release=release))
            try:
                yield
            except BaseException as caught:
                error = type(caught).__name__
                outcome = "failed" if isinstance(caught, GateFailed) else "error"
                outcome = "interrupted" if isinstance(caught, KeyboardInterrupt) else outcome
                raise
            finally:
                seconds = round(time.monotonic() - started, 3)
                emit(BuildFinished(outcome=outcome, error=error, seconds=seconds))

    def step(self, stage: Callable[..., A], *inputs: Artifact | Source, **settings: Any) -> A:
        """Return the stage's artifact, from the store if the same step was done before.

        The key covers the stage's name, the inputs' digests, the settings, the source of the code that the
        stage depends on, the packages that this code can reach, and the machine if the stage computes or
        measures with it (``dependencies.py``). Settings that are ``Unkeyed`` are left out.

        Args:
            stage: ``stage(*inputs, **settings, out=folder) -> artifact``.
            inputs: what earlier stages returned.
            settings: JSON-like values or config sections.

        Raises:
            PipelineError: what the stage raised; anything else becomes a ``StageError``.
        """
        name, entry = stage.__name__, self._entry(stage, inputs, settings)
        started = time.monotonic()
        with in_stage(name):
            stored = self.store.get(entry)
            if stored is None:
                emit(StageStarted())
                stored, is_cached = self._make(stage, inputs, settings, entry)
            else:
                is_cached = True
            artifact = _artifact(stage, stored)
            self._record(name, entry, artifact, is_cached, time.monotonic() - started)
        return artifact

    def verify(self, *artifacts: Artifact) -> None:
        """Hash the files of artifacts that a release is made of: a step from the store is not hashed again.

        Raises:
            StageError: one is damaged; it is removed, so that the next build makes it again.
        """
        for artifact in artifacts:
            name = artifact.folder.name
            if not self.store.check(name):
                cause = f"the stored stage {name} is damaged"
                raise StageError(name.rpartition("-")[0], cause, "build again, which creates it again")

    def _entry(self, stage: Callable[..., A], inputs: tuple[Any, ...], settings: dict[str, Any]) -> str:
        """Return the name that the step has in the store, ``STAGE-KEY``."""
        values = {name: value for name, value in settings.items() if not isinstance(value, Unkeyed)}
        # Objects bring their methods along; a section is data, which is in the key already.
        given = (*inputs, *(value for value in values.values() if not isinstance(value, BaseModel)))
        with self._lock:
            needs = self._dependencies.of(stage.__module__, *(type(each).__module__ for each in given))
            self.packages |= needs.packages
        key = sha256_of([stage.__module__, stage.__qualname__, needs.digest, inputs, values])
        return f"{stage.__name__}-{key[:24]}"

    def _make(
        self, stage: Callable[..., A], inputs: tuple[Any, ...], settings: dict[str, Any], entry: str
    ) -> tuple[Stored, bool]:
        """Run a stage and publish its result; returns it, and whether another build did this meanwhile."""
        name = stage.__name__
        given = {key: value.value if isinstance(value, Unkeyed) else value for key, value in settings.items()}
        try:
            with (
                storing(name, OPTION),
                leaf_errors_mapped(),
                self.store.making(
                    entry,
                    waits=lambda text: emit(Finding(text=f"{name}: {text}")),
                    warn=lambda text: emit(Warned(text=text)),
                ) as private,
            ):
                if private is not None:
                    artifact = stage(*inputs, **given, out=private)
                    files = hashes(private)
                    artifact = replace(artifact, folder=Path(), digest=_digest(artifact, files))
                    record = TypeAdapter(type(artifact)).dump_python(artifact, mode="json")
                    self.store.publish(private, entry, record, files)
                stored = self.store.get(entry)
        except PipelineError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or ["no message"]
            cause = f"{type(error).__name__}: {lines[0]}"
            raise StageError(name, cause, "run again with --debug for the traceback") from error
        if stored is None:
            cause = f"{self.store.root / entry} was damaged or removed as soon as it was there"
            raise StageError(name, cause, f"choose another store with {OPTION}")
        return stored, private is None

    def _record(self, name: str, entry: str, artifact: Artifact, is_cached: bool, seconds: float) -> None:
        """Write a step into ``run.json``, and emit what it found."""
        seconds = round(seconds, 3)
        step = {
            "stage": name,
            "key": entry.removeprefix(f"{name}-"),
            "digest": artifact.digest,
            "cached": is_cached,
            "seconds": seconds,
        }
        with self._lock, storing("run.json"):
            self.steps.append(step)
            record = {
                "store": str(self.store.root),
                "tools": dict(sorted(self.packages.items())),
                "steps": self.steps,
            }
            write_whole(self.folder / "run.json", json.dumps(record, indent=1))
        folder, digest = str(artifact.folder), artifact.digest
        emit(StageFinished(cached=is_cached, seconds=seconds, digest=digest, folder=folder))
        for finding in artifact.findings:
            emit(Finding(text=finding))
        for note in artifact.notes:
            emit(Warned(text=note))


def recorded_store(folder: Path) -> Path:
    """Return the folder of the store that the build in ``folder`` used; errors as ``recorded``."""
    return Path(str(_record(folder)["store"]))


def recorded(folder: Path, store: Store, stage: Callable[..., A]) -> list[A]:
    """Return the artifacts of a stage in the build that ``folder`` has the record of: one or more, in order.

    Raises:
        InputError: there is no record, the build did not get there, or the store has them no longer.
    """
    name = stage.__name__
    keys = [str(step["key"]) for step in _record(folder)["steps"] if step["stage"] == name]
    if not keys:
        msg = f"{folder}: its build did not get to {name}; build again"
        raise InputError(msg)
    found = [store.get(f"{name}-{key}") for key in keys]
    if None in found:
        msg = f"{folder}: the store {store.root} has the results of {name} no longer; build again"
        raise InputError(msg)
    return [_artifact(stage, stored) for stored in found if stored is not None]


def _record(folder: Path) -> dict[str, Any]:
    """Return ``run.json``; errors as ``recorded``."""
    try:
        record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if {"store", "steps"} <= set(record) and all(
            {"stage", "key"} <= set(step) for step in record["steps"]
        ):
            return record
    except (OSError, ValueError, TypeError):
        pass
    msg = f"{folder}: it has no readable run.json; give the output folder of a build"
    raise InputError(msg)


def _artifact(stage: Callable[..., A], stored: Stored) -> A:
    # Only the return type: the other annotations may not be importable at run time.
    returned = stage.__annotations__["return"]
    kind: type[A] = vars(sys.modules[stage.__module__])[returned] if isinstance(returned, str) else returned
    return replace(TypeAdapter(kind).validate_python(stored.record), folder=stored.folder)


def _digest(artifact: Artifact, files: dict[str, str]) -> str:
    """Return what the artifact is, by content; what is said about it is left out."""
    reported = {"folder", "digest", "notes", "findings"}
    facts = {
        each.name: getattr(artifact, each.name) for each in fields(artifact) if each.name not in reported
    }
    return sha256_of([type(artifact).__name__, facts, files])
