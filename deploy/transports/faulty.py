"""A transport with fault injection, for tests that interrupt an installation at each of its steps.

An operation is a ``run``, a ``push`` or a ``pull``, counted from 1. Run once with no fault to learn how many
there are, then once for each::

    counting = Faulty(transport, Fault())
    install(counting)
    for at in range(1, counting.count + 1):
        install(Faulty(transport, Fault("lost", at=at)))
"""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deploy.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.transports.transport import CommandResult, Transport

Kind = Literal["none", "lost", "lost after", "cut", "full", "truncated", "corrupt", "slow"]
Operation = Literal["run", "push", "pull"]


@dataclass(frozen=True)
class Fault:
    """An injected fault, and when it occurs.

    Attributes:
        kind: ``"lost"``: the link is gone before the operation, ``"lost after"``: once it took effect and
            before its answer; ``"cut"``: in the middle of a push, of which half arrives (a run or pull is
            lost); ``"full"``: a push finds no room for its second half; ``"truncated"`` and ``"corrupt"``:
            half of the file arrives, or another bit, without an error (a run is as ever); ``"slow"``.
        at: the number of the operation, from 1.
        of: the operations that ``at`` counts; None for all.
        lasts: whether every later one fails as well, as on a link that stays down.
        seed: of the bit that is another.
        delay_s: how slow, in seconds.
    """

    kind: Kind = "none"
    at: int = 1
    of: Operation | None = None
    lasts: bool = False
    seed: int = 0
    delay_s: float = 0.0


class Faulty:
    """A transport that fails as ``fault`` says and otherwise is ``inner``.

    Attributes:
        count: how many operations were asked for, failed ones included.
        done: each as a line, e.g. ``"push /opt/m/model.tflite"``.
    """

    def __init__(self, inner: Transport, fault: Fault) -> None:
        self.inner, self.fault = inner, fault
        self.count = 0
        self.done: list[str] = []
        self._counted = 0
        self._random = random.Random(fault.seed)  # noqa: S311 - no secret

    def __str__(self) -> str:
        return str(self.inner)

    def run(self, argv: Sequence[str], *, timeout_s: float = 120.0) -> CommandResult:
        """Run a command there, or fail; see ``Transport.run``."""
        kind = self._next("run", " ".join(argv))
        if kind in ("lost", "cut"):
            raise self._lost()
        result = self.inner.run(argv, timeout_s=timeout_s)
        if kind == "lost after":
            raise self._lost()
        return result

    def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
        """Copy a file there, or a part of it, or fail; see ``Transport.push``."""
        kind = self._next("push", remote)
        if kind == "lost":
            raise self._lost()
        if kind in ("cut", "full", "truncated", "corrupt"):
            with tempfile.TemporaryDirectory() as folder:
                damaged = Path(folder) / local.name
                damaged.write_bytes(local.read_bytes())
                self._damage(damaged, "corrupt" if kind == "corrupt" else "truncated")
                self.inner.push(damaged, remote, timeout_s=timeout_s)
        else:
            self.inner.push(local, remote, timeout_s=timeout_s)
        if kind in ("cut", "lost after"):
            raise self._lost()
        if kind == "full":
            message = f"{self} did not take part in a copy: {remote}: No space left on device"
            raise TransportError(message)

    def pull(self, remote: str, local: Path, *, timeout_s: float = 600.0) -> None:
        """Copy a file from there, or a part of it, or fail; see ``Transport.pull``."""
        kind = self._next("pull", remote)
        if kind in ("lost", "cut"):
            raise self._lost()
        self.inner.pull(remote, local, timeout_s=timeout_s)
        if kind == "lost after":
            raise self._lost()
        if kind in ("truncated", "corrupt"):
            self._damage(local, kind)

    def close(self) -> None:
        """Close what is inside."""
        self.inner.close()

    def _next(self, operation: Operation, what: str) -> Kind:
        """Count an operation; returns what goes wrong with it."""
        self.count += 1
        self.done.append(f"{operation} {what}")
        fault = self.fault
        if fault.of not in (None, operation):
            return "none"
        self._counted += 1
        hit = self._counted == fault.at or (fault.lasts and self._counted > fault.at)
        if hit and fault.kind == "slow":
            time.sleep(fault.delay_s)
        return fault.kind if hit else "none"

    def _damage(self, path: Path, kind: Literal["truncated", "corrupt"]) -> None:
        data = bytearray(path.read_bytes())
        if kind == "truncated":
            data = data[: len(data) // 2]
        elif data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        path.write_bytes(data)

    def _lost(self) -> TransportError:
        return TransportError(f"cannot reach {self}: the link was cut")
