"""Run a command with a folder that is soon full: a small file system, or small files where there can be none.

Usage: small_disk.py KIND FOLDER BYTES RESULT COMMAND...

KIND is ``file system``, which is mounted over FOLDER with what was in it, for this command alone; or
``file sizes``, with which no file may grow beyond BYTES. The second stands in for the first where this user
may mount nothing. RESULT, a file elsewhere, gets how the command ended and what is in FOLDER then, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NEWNS, NEWUSER = 0x20000, 0x10000000
REC, PRIVATE = 1 << 14, 1 << 18
FULL = ("the disk is full", "No space left on device", "File too large", "File size limit exceeded")
"""What the system and a shell say of the two kinds."""


def mounted(folder: Path, size: int) -> bool:
    """Mount a file system of ``size`` bytes in a mount namespace; returns whether this user may."""
    libc = ctypes.CDLL(None)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(NEWNS | (NEWUSER if user else 0)) != 0:
        return False
    try:
        if user:
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    except OSError:
        return False
    if libc.mount(b"", b"/", b"", ctypes.c_ulong(REC | PRIVATE), None) != 0:
        return False
    with tempfile.TemporaryDirectory(dir=folder.parent) as kept:
        shutil.copytree(folder, kept, symlinks=True, dirs_exist_ok=True)
        options = f"size={size},mode=700".encode()
        if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), options) != 0:
            return False
        shutil.copytree(kept, folder, symlinks=True, dirs_exist_ok=True)
    return True


def listing(folder: Path) -> dict[str, int]:
    """Every file and folder, with the bytes of the files."""
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.stat().st_size if path.is_file() else 0 for path in found}


def main() -> None:
    kind, place, text, result, *command = sys.argv[1:]
    folder, size = Path(place), int(text)
    small_files = kind == "file sizes" or not mounted(folder, size)

    def limit() -> None:
        if small_files:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    found = {"code": done.returncode, "out": done.stdout, "err": done.stderr, "left": listing(folder)}
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
