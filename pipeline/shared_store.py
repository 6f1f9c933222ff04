"""A store that machines share: finished stages at a URL, behind the store of each machine."""

from __future__ import annotations

import re
import tarfile
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from pipeline.errors import ConfigError
from pipeline.lease import POLL_S, STALE_S, Lease
from pipeline.scratch import empty, scratch
from pipeline.store import OPTION, RECORD, Store, Stored, read, user_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.store import Say

ABOUT = "about.txt"
_ABOUT = b"Finished stages of edge-deploy-pipeline. What is removed here is made again when it is needed.\n"
_DAMAGED = (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError)


class SharedStore:
    """Finished stages as objects at an fsspec URL: the tier behind the stores of several machines.

    A stage is one object, ``STAGE-KEY.tar.zst``, that appears as a whole or not at all. Object stores
    guarantee this; in a folder (``file://``) it is renamed into place. Of other filesystems a half-written
    object may be read; like every damaged object it is discarded with a warning, and the stage made again.

    While a machine makes a stage it holds a ``Lease``. If two make it nonetheless, the last result stays.

    After an error of the filesystem or the network there is one warning, and the stages of this object's
    owner are neither fetched nor published any more: no result is lost, and no stage waits for a time-out.

    Nothing is evicted: that is the task of the bucket's lifecycle rule.

    Args:
        url: such as s3://bucket/prefix.
        stale_s: see ``Lease``, in seconds.
        poll_s: see ``Lease``, in seconds.

    Raises:
        ConfigError: the URL is wrong, cannot be written to, or needs a package that is not installed.
    """

    def __init__(self, url: str, *, stale_s: float = STALE_S, poll_s: float = POLL_S) -> None:
        self.url = without_password(url)
        self._files, self._root, self._is_folder = _connected(url)
        self._stale_s, self._poll_s = stale_s, poll_s
        self._is_down = False

    @contextmanager
    def making(self, name: str, folder: Path, waits: Say, warn: Say) -> Iterator[Stored | None]:
        """Fetch a stage into a folder, or hold its lease while the block makes it.

        Args:
            name: of the stage, ``STAGE-KEY``.
            folder: empty.
            waits: hears it if another machine is making the stage.
            warn: hears of a damaged object and of an unreachable store.

        Returns:
            What is in the folder; None if the block has to make it there.

        Raises:
            OSError: the folder cannot be emptied.
        """
        lease = Lease(
            self._files, f"{self._root}/{name}.lease",
            is_folder=self._is_folder, stale_s=self._stale_s, poll_s=self._poll_s,
        )  # fmt: skip
        try:
            stored = None
            with self._tolerant(warn):
                stored = self._obtain(name, folder, lease, waits, warn)
            if stored is None:
                empty(folder)  # a fetch may have ended halfway
            yield stored
        finally:
            lease.release()

    def publish(self, folder: Path, warn: Say) -> None:
        """Upload a finished stage; an error is a warning.

        Args:
            folder: of the stage, named ``STAGE-KEY``.
            warn: hears of an unreachable store.
        """
        stored = None if self._is_down else read(folder)
        if stored is None:
            return
        with self._tolerant(warn), scratch("upload") as aside:
            archive, path = aside / "stage", self._object(folder.name)
            _pack(stored, archive)
            if not self._is_folder:
                self._files.put_file(str(archive), path)
                return
            partial = f"{self._root}/.{folder.name}.{aside.name}"  # fsspec copies into the file itself
            try:
                self._files.put_file(str(archive), partial)
                self._files.mv(partial, path)
            finally:
                with suppress(FileNotFoundError):
                    self._files.rm_file(partial)

    def _object(self, name: str) -> str:
        return f"{self._root}/{name}.tar.zst"

    @contextmanager
    def _tolerant(self, warn: Say) -> Iterator[None]:
        """Turn any error into one warning: a build does not depend on the shared store."""
        try:
            yield
        except Exception as error:  # boto's, aiohttp's and others have no common base
            if not self._is_down:
                warn(f"{self.url}: {_cause(error)}; going on without the shared store")
            self._is_down = True

    def _obtain(self, name: str, folder: Path, lease: Lease, waits: Say, warn: Say) -> Stored | None:
        """Fetch a stage, waiting for a machine that is making it; None if it has to be made here."""
        is_second = False
        while not self._is_down:
            if (stored := self._fetch(name, folder, warn)) is not None:
                return stored
            if lease.is_held:
                break
            if not lease.acquire() and not lease.wait(waits):
                if is_second:  # neither there nor to be created: this filesystem has no leases
                    break
                is_second = True
        return None

    def _fetch(self, name: str, folder: Path, warn: Say) -> Stored | None:
        """Download, unpack and verify a stage; None if it is missing or damaged."""
        path = self._object(name)
        with scratch("download") as aside:
            archive = aside / "stage"
            try:
                self._files.get_file(path, str(archive))
            except FileNotFoundError:
                return None
            with suppress(*_DAMAGED):
                _unpack(archive, folder)
                if (stored := read(folder, hashes=True)) is not None:
                    return stored
        warn(f"{self.url}: the stage {name} is damaged; it is made again")
        empty(folder)
        with suppress(Exception):  # another machine has removed it, or this one may not: it is overwritten
            self._files.rm_file(path)
        return None


def open_store(place: Path | str) -> Store:
    """Open the store in a folder, or the user's own with a shared one behind it.

    Args:
        place: a folder, or an fsspec URL.

    Raises:
        ConfigError: the folder cannot be made, or the URL cannot be used.
    """
    if "://" not in str(place):
        return Store(Path(place))
    return Store(user_store(), shared=SharedStore(str(place)))


@cache  # one request per process, not per trial: a network that fails later is only a warning
def _connected(url: str) -> tuple[Any, str, bool]:
    """Return a URL's filesystem, the path in it, and whether that is a folder; errors as ``SharedStore``."""
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    shown = f"{OPTION} {without_password(url)}"
    if re.match(r"(file|local)://(?!/)", url):
        msg = f"{shown}: a relative path differs on each machine; write file:///FOLDER"
        raise ConfigError(msg)
    try:
        files, root = url_to_fs(url)
        if is_folder := isinstance(files, LocalFileSystem):
            files.makedirs(root, exist_ok=True)
        files.pipe_file(f"{root}/{ABOUT}", _ABOUT)
    except ImportError as error:
        package = getattr(error.__cause__ or error, "name", None) or str(error)
        msg = (
            f"{shown}: needs the package {package}; on this machine and on each worker: pip install {package}"
        )
        raise ConfigError(msg) from error
    except Exception as error:
        fix = "check the address, the credentials and the permission to write"
        msg = f"{shown}: cannot be used ({_cause(error)}); {fix}"
        raise ConfigError(msg) from error
    return files, root.rstrip("/"), is_folder


def _pack(stored: Stored, archive: Path) -> None:
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    with (
        archive.open("wb") as raw,
        compressor.stream_writer(raw) as packed,
        tarfile.open(fileobj=packed, mode="w|", dereference=True) as tar,
    ):
        for file in (RECORD, *stored.files):
            tar.add(stored.folder / file, arcname=file, recursive=False, filter=_without_owner)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive of files.

    Raises:
        TarError: a path leads out of the folder.
        ValueError: there is something else than a file, for example a link.
        ZstdError: the archive is damaged.
    """
    with (
        archive.open("rb") as raw,
        zstandard.ZstdDecompressor().stream_reader(raw) as packed,
        tarfile.open(fileobj=packed, mode="r|") as tar,
    ):
        tar.extractall(folder, filter=_file_only)  # noqa: S202 - the filter keeps it in the folder


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _file_only(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    if not member.isreg():
        msg = f"{member.name} is not a file"
        raise ValueError(msg)
    return tarfile.data_filter(member, folder)


def _cause(error: Exception) -> str:
    """Return the first line of an error, with its class where that says more."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def without_password(text: str) -> str:
    """Return a text without the names and passwords of the URLs in it."""
    return re.sub(r"//[^/\s]*@", "//", text)
