"""The archive that the kernel unpacks: its members, read back by hand."""

from __future__ import annotations

import io
import stat
from typing import TYPE_CHECKING

from pipeline.emulation.board.initrd import write_end, write_files, write_skeleton, write_tree

if TYPE_CHECKING:
    from pathlib import Path


def _members(data: bytes) -> list[tuple[str, int, bytes]]:
    """Return name, mode and content of each member, up to the end of each archive."""
    found, at = [], 0
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at += (110 + name_size + 3) // 4 * 4
        found.append((name, mode, data[at : at + size]))
        at += (size + 3) // 4 * 4
    return found


def test_files_keep_their_bytes_whatever_their_length():
    stream = io.BytesIO()
    write_files(stream, {f"job/{size}": b"x" * size for size in range(9)})
    write_end(stream)
    members = _members(stream.getvalue())
    assert [(name, content) for name, _, content in members[:-1]] == [
        (f"job/{size}", b"x" * size) for size in range(9)
    ]
    assert members[-1][0] == "TRAILER!!!"


def test_a_tree_comes_with_the_folders_above_it_and_its_links(tmp_path: Path):
    (tmp_path / "usr/lib/inner").mkdir(parents=True)
    (tmp_path / "usr/lib/inner/a.so.1").write_bytes(b"library")
    (tmp_path / "usr/lib/a.so").symlink_to("inner/a.so.1")
    (tmp_path / "usr/other").write_bytes(b"not asked for")
    stream = io.BytesIO()
    write_tree(stream, tmp_path, ["usr/lib"])
    members = _members(stream.getvalue())
    assert [name for name, _, _ in members] == [
        "usr",
        "usr/lib",
        "usr/lib/a.so",
        "usr/lib/inner",
        "usr/lib/inner/a.so.1",
    ]
    assert stat.S_ISDIR(members[0][1])
    assert stat.S_ISLNK(members[2][1])
    assert members[2][2] == b"inner/a.so.1"


def test_the_same_files_make_the_same_bytes(tmp_path: Path):
    (tmp_path / "site").mkdir()
    for name in ("b", "a", "c"):
        (tmp_path / "site" / name).write_text(name)
    first, second = io.BytesIO(), io.BytesIO()
    for stream in (first, second):
        write_skeleton(stream)
        write_tree(stream, tmp_path, ["site"])
        (tmp_path / "site/a").touch()
    assert first.getvalue() == second.getvalue()
