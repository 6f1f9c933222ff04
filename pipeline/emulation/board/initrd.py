"""The archive that the kernel unpacks into memory when it starts: cpio's "newc" form, written by hand.

Archives may follow each other in one file, so a job is appended to a root that was made before.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOLDERS = ("dev", "proc", "sys", "root", "run", "tmp", "job")
CONSOLE = (5, 1)


def write_skeleton(archive: BinaryIO) -> None:
    """Write the folders that programs mount on, and the console."""
    for name in FOLDERS:
        archive.write(_member(name, stat.S_IFDIR | 0o755))
    archive.write(_member("dev/console", stat.S_IFCHR | 0o600, device=CONSOLE))


def write_files(archive: BinaryIO, files: Mapping[str, bytes | Path]) -> None:
    """Write files, all executable: a path's content, or the content. The folders they are in come first."""
    for name, content in files.items():
        data = content.read_bytes() if isinstance(content, Path) else content
        archive.write(_member(name, stat.S_IFREG | 0o755, data))


def write_tree(archive: BinaryIO, root: Path, names: Sequence[str]) -> None:
    """Write what is at ``names`` below ``root``, with all that is in it; in the order of the names."""
    for path in _walk(root, names):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            archive.write(_member(name, stat.S_IFLNK | 0o777, str(path.readlink()).encode()))
        elif path.is_dir():
            archive.write(_member(name, stat.S_IFDIR | 0o755))
        elif path.is_file():
            archive.write(_member(name, stat.S_IFREG | 0o755, path.read_bytes()))


def write_end(archive: BinaryIO) -> None:
    """End an archive; another one may follow."""
    archive.write(_member("TRAILER!!!", 0))


def _walk(root: Path, names: Sequence[str]) -> Iterator[Path]:
    seen: set[Path] = set()
    for name in names:
        above = [root / folder for folder in reversed(Path(name).parents) if folder != Path()]
        below = sorted((root / name).rglob("*")) if (root / name).is_dir() else []
        for path in (*above, root / name, *below):
            if path not in seen:
                seen.add(path)
                yield path


def _member(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    # inode, mode, uid, gid, links, mtime, size, device (2), special file (2), length of the name, checksum
    # With one link each, inodes are not looked at.
    encoded = name.encode()
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded + b"\0"
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
