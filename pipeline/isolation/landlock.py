"""Landlock: the kernel lets a process and its children open no file but those that are listed.

It needs no rights and no namespaces, and cannot be undone. https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

MIN_VERSION = 2
"""The first version that lets files be moved between folders."""
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/nix/store")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all architectures
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVS = 38  # linux/prctl.h
# linux/landlock.h
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_MOVE, _TRUNCATE = 1 << 13, 1 << 14
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 13))  # remove files and folders, and make any kind
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2
_SCOPED_VERSION, _TRUNCATE_VERSION = 6, 3

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Access:
    """The files that a process may open from now on; what it has open stays open.

    Attributes:
        readable: files, and folders with all that is in them. Those that are not there are left out.
        writable: likewise, to read, too; None to write, make and remove files wherever the user may.
        hidden: what may not be read although it is in one of the folders. Files that are made later beside
            it, or in a folder above it, cannot be read either.
    """

    readable: tuple[str, ...]
    writable: tuple[str, ...] | None = None
    hidden: tuple[str, ...] = ()


def python_files() -> list[str]:
    """Return the folders of Python, the pipeline's packages and their libraries, without the current one."""
    here = str(Path.cwd())
    packages = Path(__file__).parents[2]
    return [
        *SYSTEM,
        *(sys.prefix, sys.base_prefix),
        *(place for place in sys.path if place not in {"", here}),
        *(str(packages / name) for name in ("pipeline", "models", "calibration", "deploy")),
        *filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")),
    ]


def version() -> int:
    """Return the version of Landlock that this kernel has for this process; 0 for one that cannot be used."""
    found = int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG))
    return found if found >= MIN_VERSION else 0


def restrict(access: Access) -> None:
    """Restrict this process and those that it starts to ``access``.

    Nor can they trace others, read their memory and environment, or, where the kernel can refuse it, send
    them signals.

    Raises:
        OSError: the kernel refuses it.
    """
    number = version()
    change = _WRITE_FILE | _CHANGE_FOLDER | (_TRUNCATE if number >= _TRUNCATE_VERSION else 0)
    # Kinds of access that are not handled are allowed.
    handled = _READ_FILE | _MOVE if access.writable is None else _READ | change | _MOVE
    readable = handled if access.writable is None else _READ
    scoped = _ABSTRACT_SOCKETS | _SIGNALS if number >= _SCOPED_VERSION else 0
    attributes = struct.pack("=QQQ", handled, 0, scoped)[: 24 if scoped else 8]
    ruleset = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    hidden = [Path(os.path.realpath(file)) for file in access.hidden]
    try:
        for paths, rights in ((access.readable, readable), (access.writable or (), handled)):
            for path in paths:
                _allow(ruleset, Path(os.path.realpath(path)), rights, hidden)
        _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int, hidden: list[Path]) -> None:
    """Allow a file or folder without its hidden parts; if it has some, allow its entries one by one."""
    if path in hidden:
        return
    if not any(file.is_relative_to(path) for file in hidden):
        _add(ruleset, path, rights)
        return
    if rights & _READ_DIR:
        _add(ruleset, path, _READ_DIR)
    try:
        found = list(path.iterdir())
    except OSError:  # then only what leads to the hidden file is known to be in it
        return
    for inner in found:
        if not inner.is_symlink():  # the target of a link counts, wherever it is
            _allow(ruleset, inner, rights, hidden)


def _add(ruleset: int, path: Path, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it is not there, or out of reach anyway
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _OF_FILES
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
