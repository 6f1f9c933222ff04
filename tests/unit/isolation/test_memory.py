"""What counts as used memory, and what a machine or a cgroup has of it."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from pipeline.isolation import memory


def test_memory_is_what_the_machine_has_unless_a_group_has_less(tmp_path, monkeypatch):
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory.machine_bytes() <= machine

    for version, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        root = tmp_path / f"groups{version}"
        (root / version).mkdir(parents=True)
        monkeypatch.setattr(memory, "_CGROUPS", root)
        assert memory.machine_bytes() == machine
        for text, expected in (("max\n", machine), ("9" * 19, machine), ("50000000\n", 50_000_000)):
            (root / version / name).write_text(text)
            with_group = version in memory_controllers()
            assert memory.machine_bytes() == (expected if with_group else machine)


def memory_controllers():
    return {line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()}


def test_used_memory_is_what_a_process_wrote_to_and_not_the_files_it_reads(tmp_path):
    before = memory.used_bytes([os.getpid()], 0)
    hoard = bytearray(64 << 20)
    (file := tmp_path / "file").write_bytes(bytes(64 << 20))
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[::4096]) == 0
        grown = memory.used_bytes([os.getpid()], 0) - before
    assert len(hoard) == pytest.approx(grown, abs=16 << 20)


def test_a_process_that_has_ended_uses_nothing():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert memory.used_bytes([child], 0) == 0
