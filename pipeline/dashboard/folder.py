"""What a folder holds: builds, searches, releases, reports, and files on devices.

Only what this module lists is ever shown, so that no address of a page reaches another file.
"""

from __future__ import annotations

import json
import os
import re
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline.dashboard.following import first_record
from pipeline.errors import InputError
from pipeline.events import BuildStarted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Kind = Literal["build", "search", "release", "report", "devices"]

EVENTS, REPORT, RUN, SEARCH, MANIFEST = (
    "events.jsonl",
    "report.json",
    "run.json",
    "search.json",
    "manifest.json",
)
SHOWN_FILES = frozenset(
    {"report.html", "report.txt", "report.json", "junit.xml", "search.html", "search.json"}
)
"""Names of the files that are served; ``report.html`` is drawn from ``report.json``."""
OWN_FILES = frozenset({"artifact.json", "baseline.json", "calibration.json", RUN, SEARCH, MANIFEST, REPORT})
"""Names that are never results of ``pipeline monitor`` or ``pipeline deploy``."""
PARTS = frozenset({"report", "release", "store", "tensorboard", "trials", "inputs"})
"""Folders within a build or a search that belong to it."""
OF_STORE = re.compile(r"[a-z0-9_]+-[0-9a-f]{24}")
"""Names of the folders in which the store keeps artifacts."""
MAX_DEPTH = 8
MAX_FOLDERS = 20_000
MAX_BYTES = 1 << 26
MAX_DEVICES_BYTES = 1 << 22
SCAN_S = 2.0
"""Seconds for which a scan is taken as current."""


@dataclass(frozen=True)
class Place:
    """One thing in the folder.

    Attributes:
        key: its path below the folder, which names it in addresses of pages; "." is the folder itself.
        path: a folder; of ``devices`` a file.
        report: its ``report.json``; None if it has none (yet).
        started: seconds since the epoch: of a build or a search, when its first event was; else the file's.
        release: what a build builds, by its first event; "" if that is unknown.
    """

    key: str
    path: Path
    kind: Kind
    report: Path | None
    started: float
    release: str = ""

    @property
    def name(self) -> str:
        """What it is called before its report is read."""
        if self.release:
            return self.release
        if self.report is not None and self.report.parent != self.path:
            return self.report.parent.name
        return self.path.stem if self.kind == "devices" else self.path.name


class Library:
    """A folder, scanned again when it is asked after a while.

    Args:
        root: the folder; links in it are not followed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}
        self._scanned = -SCAN_S
        self._starts: dict[tuple[str, int], tuple[float, str]] = {}
        self.is_cut = False

    def find(self, key: str) -> Place | None:
        """Return what has a key, also if it has just been made."""
        return self.places().get(key) or self.places(is_new=True).get(key)

    def places(self, *, is_new: bool = False) -> dict[str, Place]:
        """Return everything by key, the newest first; ``is_new`` asks for another scan."""
        with self._lock:
            if is_new or time.monotonic() - self._scanned >= SCAN_S:
                found = sorted(self._scan(), key=lambda each: (-each.started, each.key))
                self._places = {each.key: each for each in found}
                self._scanned = time.monotonic()
            return self._places

    def releases(self, place: Place) -> list[Path]:
        """Return the folders of a build's releases."""
        folders, _ = _children(place.path / "release")
        return [folder for _, folder in sorted(folders.items()) if (folder / MANIFEST).is_file()]

    def read(self, path: Path, limit: int = MAX_BYTES) -> bytes:
        """Return a file's bytes.

        Raises:
            InputError: it is not a regular file inside the folder, cannot be read, or is too large.
        """
        try:
            if not path.resolve(strict=True).is_relative_to(self.root):
                msg = f"{path.name} is outside of the folder"
                raise InputError(msg)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                    msg = f"{path.name} is not a file of at most {limit >> 20} MiB"
                    raise InputError(msg)
                return file.read(limit)
        except OSError as error:
            msg = f"{path.name} cannot be read: {error.strerror}"
            raise InputError(msg) from error

    def _scan(self) -> Iterator[Place]:
        left = [(self.root, 0)]
        visited = 0
        self.is_cut = False
        while left:
            folder, depth = left.pop()
            visited += 1
            if visited > MAX_FOLDERS:
                self.is_cut = True
                return
            folders, files = _children(folder)
            place = self._place(folder, folders, files)
            if place is not None:
                yield place
                if place.kind in {"release", "report"}:
                    continue
                folders = {name: path for name, path in folders.items() if name not in PARTS}
            else:
                yield from self._devices(folder, files)
            if depth < MAX_DEPTH:
                left += [(path, depth + 1) for path in folders.values()]
            self.is_cut = self.is_cut or (depth == MAX_DEPTH and bool(folders))

    def _place(
        self, folder: Path, folders: dict[str, Path], files: dict[str, os.stat_result]
    ) -> Place | None:
        key = folder.relative_to(self.root).as_posix()
        if EVENTS in files or RUN in files or SEARCH in files:
            is_search = SEARCH in files or "trials" in folders
            first = files.get(EVENTS) or files.get(RUN) or files[SEARCH]
            started, release = (first.st_mtime, "")
            if EVENTS in files:
                started, release = self._start(folder / EVENTS, first)
            report = None if is_search else _report_of(folder, folders, files)
            return Place(key, folder, "search" if is_search else "build", report, started, release)
        if MANIFEST in files:
            report = folder / REPORT if REPORT in files else None
            return Place(key, folder, "release", report, files[MANIFEST].st_mtime)
        if REPORT in files:
            return Place(key, folder, "report", folder / REPORT, files[REPORT].st_mtime)
        # A folder of a build whose events are gone, such as one that was copied without them.
        if "report" in folders and (report := _report_of(folder, folders, files)) is not None:
            return Place(key, folder, "build", report, report.stat().st_mtime)
        return None

    def _start(self, path: Path, status: os.stat_result) -> tuple[float, str]:
        """Return when the first event of a file happened, and what it builds; a new build is a new file."""
        known = (str(path), status.st_ino)
        if known not in self._starts:
            first = first_record(path)
            if first is None:
                return status.st_mtime, ""
            event = first.event
            release = event.release if isinstance(event, BuildStarted) else ""
            self._starts[known] = (first.time.timestamp(), release)
        return self._starts[known]

    def _devices(self, folder: Path, files: dict[str, os.stat_result]) -> Iterator[Place]:
        for name, status in files.items():
            if not name.endswith(".json") or name in OWN_FILES or status.st_size > MAX_DEVICES_BYTES:
                continue
            path = folder / name
            yield Place(path.relative_to(self.root).as_posix(), path, "devices", None, status.st_mtime)


def _children(folder: Path) -> tuple[dict[str, Path], dict[str, os.stat_result]]:
    """Return a folder's subfolders by name, and its files by name with their status; no links."""
    folders: dict[str, Path] = {}
    files: dict[str, os.stat_result] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError, UnicodeEncodeError):
                entry.name.encode()  # a name that is not UTF-8 has no address
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith(".") and not OF_STORE.fullmatch(entry.name):
                        folders[entry.name] = folder / entry.name
                elif entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                    files[entry.name] = entry.stat(follow_symlinks=False)
    return folders, files


def _report_of(folder: Path, folders: dict[str, Path], files: dict[str, os.stat_result]) -> Path | None:
    """Return the newest report of a build: of the gates, else of its release."""
    if REPORT in files:
        return folder / REPORT
    for part in ("report", "release"):
        if part not in folders:
            continue
        subfolders, _ = _children(folders[part])
        found = []
        for each in subfolders.values():
            _, inside = _children(each)
            if REPORT in inside:
                found.append((inside[REPORT].st_mtime, each / REPORT))
        if found:
            return max(found)[1]
    return None


def parsed(raw: bytes) -> Any:
    """Return the JSON value of bytes; None if they are none."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
