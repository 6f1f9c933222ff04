"""A lease on a stage at a URL: of several machines that need the stage, one makes it."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

STALE_S = 180.0
"""A lease that was not renewed for so long has lost its holder."""
POLL_S = 2.0
RENEWALS = 6
"""How often a holder renews its lease in ``STALE_S``: it may miss a few when the network is slow."""


class Lease:
    """The object ``STAGE-KEY.lease``: exclusively created, renewed by a thread, removed by ``release``.

    Those who wait measure by their own clock how long the object has not changed, so that the clocks of
    machines may differ. A holder that died is replaced.

    Two machines can still hold the lease at once: where the filesystem cannot create exclusively, or if a
    holder was stopped for ``stale_s``. Both then make the stage, which costs time but does no harm: a result
    is whole, and its key names everything that it depends on.

    Creation is exclusive on S3 (``If-None-Match``), on Google Cloud Storage (``ifGenerationMatch=0``) and in
    a folder (``O_EXCL``). Filesystems for which fsspec knows no such request look first and then write.

    Args:
        files: an fsspec filesystem.
        path: of the object.
        is_folder: whether ``files`` is a folder that is mounted.
        stale_s: a holder that has not renewed its lease for so many seconds is taken for dead.
        poll_s: seconds between two looks at a lease that another process holds.
    """

    def __init__(self, files: Any, path: str, *, is_folder: bool, stale_s: float, poll_s: float) -> None:
        self.is_held = False
        self._files, self._path, self._is_folder = files, path, is_folder
        self._stale_s, self._poll_s = stale_s, poll_s
        self._owner = uuid.uuid4().hex
        self._released = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)

    def acquire(self) -> bool:
        """Create the object and keep renewing it; False if it is there, or cannot be created."""
        try:
            if self._is_folder:  # there, fsspec's pipe_file looks first and then writes
                with self._files.open(self._path, "xb") as stream:
                    stream.write(self._content())
            else:
                self._files.pipe_file(self._path, self._content(), mode="create")
        except Exception:  # each filesystem has an exception of its own for an object that exists
            return False
        self.is_held = True
        self._renewing.start()
        return True

    def wait(self, waits: Callable[[str], None]) -> bool:
        """Wait until the object is gone, and remove it if its holder died; False if there is none.

        Args:
            waits: hears who holds it.

        Raises:
            Exception: what the filesystem raises, for example without a network.
        """
        content, since = self._read(), time.monotonic()
        if content is None:
            return False
        waits(
            f"{_holder(content).get('host', 'another machine')} is running this stage; waiting for its result"
        )
        while (current := self._read()) is not None:
            if current != content:
                content, since = current, time.monotonic()
            elif time.monotonic() - since > self._stale_s:
                with suppress(FileNotFoundError):  # another one that waited was faster
                    self._files.rm_file(self._path)
                break
            time.sleep(self._poll_s)
        return True

    def release(self) -> None:
        """Remove the object if this process still holds it; one that cannot be removed becomes stale."""
        if not self.is_held:
            return
        self.is_held = False
        self._released.set()
        self._renewing.join()
        with suppress(Exception):
            if self._is_ours():
                self._files.rm_file(self._path)

    def _renew(self) -> None:
        while not self._released.wait(self._stale_s / RENEWALS):
            with suppress(Exception):  # the next renewal may succeed
                if not self._is_ours():
                    return
                self._files.pipe_file(self._path, self._content())

    def _is_ours(self) -> bool:
        return _holder(self._read() or b"").get("owner") == self._owner

    def _content(self) -> bytes:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        facts = {"owner": self._owner, "host": socket.gethostname(), "renewed": now, "clock": time.time()}
        return json.dumps(facts).encode()

    def _read(self) -> bytes | None:
        try:
            content: bytes = self._files.cat_file(self._path)
        except FileNotFoundError:
            return None
        return content


def _holder(content: bytes) -> dict[str, Any]:
    """Return what a lease says of its holder; nothing while the holder is writing it."""
    with suppress(ValueError):
        facts = json.loads(content)
        if isinstance(facts, dict):
            return facts
    return {}
