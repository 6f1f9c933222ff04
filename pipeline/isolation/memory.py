"""Memory of this machine, and memory used by processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CGROUPS = Path("/sys/fs/cgroup")
_LIMITS = {"": "memory.max", "memory": "memory.limit_in_bytes"}  # cgroups version 2, and 1
_OWN = ("RssAnon:", "RssShmem:", "VmSwap:")
_SHARE = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")


def machine_bytes() -> int:
    """Return the memory that this process may use: the machine's, or less with a cgroup limit."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, group = line.split(":", 2)
        name = _LIMITS.get(controllers)
        if name is None:
            continue
        folder = Path(_CGROUPS, controllers, group.lstrip("/"))
        # In a container the file's root may be the process's own group, which has another path outside.
        for place in (folder, *folder.parents):
            if place.is_relative_to(_CGROUPS):
                found = min(found, _limit(place / name, found))
    return found


def _limit(file: Path, otherwise: int) -> int:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return otherwise
    return int(text) if text.isdigit() else otherwise


def used_bytes(pids: Iterable[int], limit: int) -> int:
    """Return the memory that processes use, swapped out or not, without the files that they only read.

    Args:
        pids: the processes. Those that have ended count nothing.
        limit: what to be exact about: below it, memory that several of them share counts for each.
    """
    pids = tuple(pids)
    found = sum(_sum(pid, "status", _OWN) or 0 for pid in pids)
    if found <= limit:
        return found
    shares = [_sum(pid, "smaps_rollup", _SHARE) for pid in pids]  # slow: the kernel walks every page
    return sum(_sum(pid, "status", _OWN) or 0 if share is None else share
               for pid, share in zip(pids, shares, strict=True))  # fmt: skip


def _sum(pid: int, file: str, names: tuple[str, ...]) -> int | None:
    """Add up lines of a file of ``/proc`` in bytes; None if it has none of them or cannot be read."""
    try:
        text = Path("/proc", str(pid), file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = [int(words[1]) for words in map(str.split, text.splitlines()) if words and words[0] in names]
    return sum(found) << 10 if found else None
