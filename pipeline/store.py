"""The content-addressed store: results of stages by key, shared by all builds of a user."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.content import file_sha256, sha256_of, write_whole
from pipeline.emulation.bundle import cache_folder
from pipeline.errors import ConfigError, StageError, storing
from pipeline.scratch import empty, lock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

RECORD = "artifact.json"
OPTION = "--store"
STORE = "EDGE_PIPELINE_STORE"
Files = dict[str, dict[str, Any]]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Stored content of one stage.

    Attributes:
        name: the stage's name and its key, ``STAGE-KEY``.
        size_bytes: of all its files.
        used: when a build last used it, in seconds since the epoch.
    """

    name: str
    size_bytes: int
    used: float


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A published stage: its folder, what its record says, and the SHA-256 of each of its files."""

    folder: Path
    record: Any
    files: dict[str, str]


class SecondTier(Protocol):
    """Where stages are looked for that the folder lacks, such as a ``SharedStore``."""

    def making(self, name: str, folder: Path, waits: Say, warn: Say) -> AbstractContextManager[Stored | None]:
        """Fetch a stage into an empty folder; None if the block has to make it there."""

    def publish(self, folder: Path, warn: Say) -> None:
        """Keep a stage that was made."""


class Store:
    """A folder of finished stages. Several builds, also in several processes, may use it at once.

    A stage is a folder with its record, ``artifact.json``. It is published by a rename, so that a killed
    build leaves nothing half-written. A builder locks the stage's private folder; the kernel drops the lock
    when its holder dies. Stages in use are locked, too, until ``close``, and never evicted.

    Args:
        root: is made where it is missing.
        limit_bytes: size to which ``close`` evicts the stages that were not used for the longest time; None:
            without limit.
        shared: fetch stages from there instead of making them, and publish there what was made.

    Raises:
        ConfigError: the folder cannot be made.
    """

    def __init__(self, root: Path, limit_bytes: int | None = None, shared: SecondTier | None = None) -> None:
        self.root, self.limit_bytes, self._shared = root.absolute(), limit_bytes, shared
        self._in_use: dict[str, int] = {}
        self._being_made: dict[str, int] = {}
        self._reading = threading.Lock()
        self._making: dict[str, threading.Lock] = {}  # the kernel's locks do not tell threads apart
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{self.root}: {error.strerror}; choose another folder with {OPTION}"
            raise ConfigError(msg) from error

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Evict what is over the limit, then let go of the stages in use."""
        if self.limit_bytes is not None:
            with suppress(OSError, StageError):  # a store may be read-only for this user
                self.prune(self.limit_bytes)
        while self._in_use:
            os.close(self._in_use.popitem()[1])

    def get(self, name: str) -> Stored | None:
        """Return a published stage and keep it from being evicted; None if it is missing or damaged.

        Files are compared with the record by size, time stamp and inode, and hashed only if one differs.
        """
        with self._reading:
            folder = self.root / name
            if name not in self._in_use:
                handle = _share(folder)
                if handle is None:
                    return None
                self._in_use[name] = handle
            stored = read(folder)
            if stored is None:
                os.close(self._in_use.pop(name))
            else:
                with suppress(OSError):
                    os.utime(folder)  # last use
            return stored

    @contextmanager
    def making(self, name: str, waits: Say, warn: Say) -> Iterator[Path | None]:
        """Hold a stage's lock, and yield an empty private folder for its result; finish with ``publish``.

        Args:
            name: of the stage.
            waits: hears it if another build holds the lock.
            warn: hears of a damaged stage that is moved out of the way.

        Returns:
            The folder, which is removed in the end if it was not published; None if another build has
            published the stage meanwhile, or it was fetched from the second tier.

        Raises:
            OSError: the folder cannot be made.
            StageError: a damaged stage cannot be moved.
        """
        private = self.root / f".{name}"
        with self._making.setdefault(name, threading.Lock()):
            handle = self._being_made[name] = self._lock_private(private, waits)
            try:
                if self.get(name) is not None:
                    private.rmdir()
                    yield None
                    return
                if (self.root / name).exists():
                    warn(f"the stored stage {name} is damaged; it is made again")
                    self._discard(name)
                try:
                    with self._second_tier(name, private, waits, warn) as fetched:
                        if fetched is not None:
                            self.publish(private, name, fetched.record, fetched.files)
                            yield None
                            return
                        yield private
                        if self._shared is not None and not _is_at(handle, private):
                            self._shared.publish(self.root / name, warn)
                finally:
                    if _is_at(handle, private):  # else it is published, and that path may be another build's
                        shutil.rmtree(private, ignore_errors=True)
            finally:
                del self._being_made[name]
                os.close(handle)

    def _second_tier(
        self, name: str, private: Path, waits: Say, warn: Say
    ) -> AbstractContextManager[Stored | None]:
        return nullcontext() if self._shared is None else self._shared.making(name, private, waits, warn)

    def _lock_private(self, private: Path, waits: Say) -> int:
        """Make a stage's private folder, or take over that of a killed build, and lock it."""
        warned = False
        while True:
            private.mkdir(exist_ok=True)
            try:
                handle = lock(private, wait=False)
            except BlockingIOError:
                if not warned:
                    waits("another build is running this stage; waiting for its result")
                warned = True
                if (shared := _share(private)) is not None:  # it was published or abandoned
                    os.close(shared)
                continue
            except FileNotFoundError:  # published or removed meanwhile
                continue
            if _is_at(handle, private):
                empty(private)  # files that a killed build left
                return handle
            os.close(handle)

    def publish(self, private: Path, name: str, record: Any, files: dict[str, str]) -> None:
        """Rename a finished private folder into place, with its record.

        Args:
            private: as ``making`` gave it.
            name: of the stage.
            record: JSON-like.
            files: as ``hashes`` returned them.

        Raises:
            OSError: it cannot be written.
        """
        known = {file: facts | {"sha256": files[file]} for file, facts in _stats(private).items()}
        _write_record(private, record, known)
        private.rename(self.root / name)
        handle = self._in_use[name] = os.dup(self._being_made[name])
        fcntl.flock(handle, fcntl.LOCK_SH)

    def _discard(self, name: str) -> None:
        """Move a stage to a name under which no build looks for it, and remove what can be removed."""
        folder = self.root / name
        aside = Path(tempfile.mkdtemp(prefix=".damaged-", dir=self.root))
        try:
            folder.rename(aside)
        except OSError as error:
            if folder.exists():  # else another process has moved it
                cause = f"{folder} is damaged and cannot be moved: {error.strerror}"
                hint = f"remove that folder, or choose another store with {OPTION}"
                raise StageError(name.rpartition("-")[0], cause, hint) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def entries(self) -> list[Entry]:
        """Return all published stages, those first that were not used for the longest time."""
        found = []
        for folder in self.root.iterdir():
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            with suppress(FileNotFoundError):  # evicted meanwhile
                size = sum(facts["size"] for facts in _stats(folder).values())
                found.append(Entry(name=folder.name, size_bytes=size, used=folder.stat().st_mtime))
        return sorted(found, key=lambda entry: (entry.used, entry.name))

    def prune(self, limit_bytes: int = 0, unused_since: float | None = None) -> list[Entry]:
        """Evict stages until the store is within a limit; those in use stay. Remove what killed builds left.

        Args:
            limit_bytes: of all stages together.
            unused_since: evict those that no build has used since this time, in seconds since the epoch.

        Returns:
            What was evicted.

        Raises:
            StageError: a stage cannot be removed.
        """
        for left in self.root.glob(".*"):
            self._remove_unlocked(left, left)
        entries = self.entries()
        size, evicted = sum(entry.size_bytes for entry in entries), []
        for entry in entries:
            is_old = unused_since is not None and entry.used < unused_since
            if (size > limit_bytes or is_old) and self._evict(entry.name):
                size -= entry.size_bytes
                evicted.append(entry)
        return evicted

    def _evict(self, name: str) -> bool:
        """Remove a stage unless a build uses it; returns whether it was removed."""
        with storing("cache", OPTION):
            return self._remove_unlocked(self.root / name, self.root / f".evicted-{name}")

    def _remove_unlocked(self, folder: Path, aside: Path) -> bool:
        try:
            handle = lock(folder, wait=False)
        except (BlockingIOError, FileNotFoundError, NotADirectoryError):
            return False
        try:
            if folder != aside:
                folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        finally:
            os.close(handle)
        return True

    def verify(self) -> Iterator[tuple[str, bool]]:
        """Hash every file of every stage, remove damaged ones; yield each name and whether it was sound."""
        for entry in self.entries():
            is_sound = self.check(entry.name)
            if is_sound or not (self.root / entry.name).exists():
                yield entry.name, is_sound

    def check(self, name: str) -> bool:
        """Hash every file of a stage, and remove the stage if one is damaged.

        Raises:
            StageError: a damaged stage cannot be moved.
        """
        is_sound = read(self.root / name, hashes=True) is not None
        if not is_sound and (self.root / name).exists():
            self._discard(name)
        return is_sound


def user_store() -> Path:
    """Return the user's store: below the cache folder, unless ``EDGE_PIPELINE_STORE`` names another.

    Raises:
        ConfigError: it names a URL.
    """
    chosen = os.environ.get(STORE)
    if chosen and "://" in chosen:
        msg = f"{STORE}={chosen}: a URL; name a folder, and give the URL to pipeline search {OPTION}"
        raise ConfigError(msg)
    return Path(chosen).absolute() if chosen else cache_folder() / "store"


def read(folder: Path, *, hashes: bool = False) -> Stored | None:
    """Return a published stage, or None if its files are not the ones that its record names.

    Args:
        folder: of the stage.
        hashes: hash every file, whatever its time stamp says.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        known: Files = record["files"]
        found = _stats(folder)
        if known.keys() != found.keys():
            return None
        moved = {
            file
            for file, facts in found.items()
            if hashes or any(facts[key] != known[file][key] for key in facts)
        }
        if any(file_sha256(folder / file) != known[file]["sha256"] for file in moved):
            return None
        files = {file: known[file]["sha256"] for file in sorted(known)}
        stored = Stored(folder=folder, record=record["record"], files=files)
        if record["digest"] != sha256_of([stored.record, files]):
            return None
        if moved and not hashes:
            with suppress(OSError):  # a store that cannot be written to hashes it the next time, too
                _write_record(folder, stored.record, {file: known[file] | found[file] for file in known})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return stored


def hashes(folder: Path) -> dict[str, str]:
    """Map every file of a stage (POSIX path, sorted), its record left out, to its SHA-256."""
    return {file: file_sha256(folder / file) for file in _stats(folder)}


def _write_record(folder: Path, record: Any, files: Files) -> None:
    digest = sha256_of([record, {file: files[file]["sha256"] for file in files}])
    text = json.dumps({"record": record, "files": files, "digest": digest}, indent=1, sort_keys=True)
    write_whole(folder / RECORD, text)


def _stats(folder: Path) -> Files:
    """Map every file below a folder (POSIX path, sorted), its record left out, to its ``stat``."""
    found: Files = {}
    folders = [""]
    while folders:
        prefix = folders.pop()
        with os.scandir(folder / prefix) as listed:
            for each in listed:
                path = f"{prefix}{each.name}"
                if each.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                elif path != RECORD:
                    facts = each.stat()
                    found[path] = {
                        "size": facts.st_size,
                        "mtime_ns": facts.st_mtime_ns,
                        "inode": facts.st_ino,
                    }
    return dict(sorted(found.items()))


def _share(folder: Path) -> int | None:
    """Wait for the exclusive lock on a folder to end, then share it; None if the folder is gone by then."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    fcntl.flock(handle, fcntl.LOCK_SH)
    if _is_at(handle, folder):
        return handle
    os.close(handle)
    return None


def _is_at(handle: int, folder: Path) -> bool:
    """Return whether an open folder is still the one at that path."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False
