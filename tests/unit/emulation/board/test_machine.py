"""A boot: what qemu is told, what a boot's end is called, and that nothing outlives its thread."""

from __future__ import annotations

import io
import signal
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.emulation.board.image import BoardImage
from pipeline.emulation.board.machine import (
    VirtualMachine,
    _judged,
    _read_results,
    board_device,
    required,
    start,
)
from pipeline.errors import ConfigError, StageError
from pipeline.targets import get_device

IMAGE = BoardImage("image", Path("image"))
KILL = "[ 9.1] Out of memory: Killed process 88 (python3.11)"


def test_a_32_bit_core_is_refused_and_an_unknown_one_has_a_nearest(monkeypatch: pytest.MonkeyPatch):
    narrow = replace(get_device("rpi4"), name="old", arch="armv7l")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.emulation.board.machine.get_device", lambda name: narrow)
        with pytest.raises(ConfigError, match=r"old is armv7l: choose one of .*rpi4"):
            board_device("old")
    with pytest.raises(ConfigError, match="did you mean 'rpi4'"):
        board_device("rpi44")


def test_only_a_deterministic_machine_counts_instructions():
    device = get_device("rpi4")
    ordinary = VirtualMachine(device=device, memory_mib=96, cores=2).command(IMAGE, IMAGE.initrd, {})
    deterministic = VirtualMachine(device=device, memory_mib=96, deterministic=True).command(
        IMAGE, IMAGE.diskless, {}
    )
    assert "-icount" not in ordinary
    assert deterministic[deterministic.index("-icount") + 1] == "shift=1,sleep=off"
    for command in (ordinary, deterministic):
        assert command[command.index("-cpu") + 1] == "cortex-a72"
        assert command[command.index("-m") + 1] == "96"


def test_only_the_root_is_a_throw_away_overlay_and_commas_stay_in_names():
    disks = {"root": Path("root,x"), "job": Path("job")}
    command = VirtualMachine(device=get_device("rpi4"), memory_mib=96).command(IMAGE, IMAGE.initrd, disks)
    drives = [word for word in command if word.startswith("if=none")]
    assert drives == [
        "if=none,id=root,format=raw,file=root,,x,snapshot=on",
        "if=none,id=job,format=raw,file=job",
    ]


@pytest.mark.parametrize(
    ("console", "in_time", "outcome", "status"),
    [
        ("BOARD BOOTED\nBOARD ENDED 0", True, "ended", 0),
        ("BOARD BOOTED\nBOARD ENDED 3", True, "ended", 3),
        (f"BOARD BOOTED\n{KILL}\nBOARD ENDED 137", True, "out of memory", 137),
        (f"BOARD BOOTED\n{KILL}\nBOARD ENDED 0", True, "ended", 0),
        (f"{KILL}", True, "out of memory", None),
        ("Kernel panic - not syncing: System is deadlocked", True, "panicked", None),
        ("qemu-system-aarch64: Not enough space for DTB", True, "did not boot", None),
        ("", False, "did not boot", None),
        ("BOARD BOOTED", False, "no end", None),
    ],
)
def test_a_boots_end_has_one_name(console: str, in_time: bool, outcome: str, status: int | None):
    run = _judged(console, in_time, {})
    assert (run.outcome, run.status) == (outcome, status)


def test_a_boot_that_did_not_end_well_is_an_error_that_quotes_the_console():
    run = _judged("BOARD BOOTED\nValueError: no such model\nBOARD ENDED 1", True, {})
    with pytest.raises(StageError, match="ended with status 1: ValueError: no such model"):
        required(run, "board bench")


def test_only_regular_files_come_back_and_an_empty_disk_brings_none(tmp_path: Path):
    disk = tmp_path / "results"
    with tarfile.open(disk, "w") as archive:
        member = tarfile.TarInfo("./result.json")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
        link = tarfile.TarInfo("./passwd")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert _read_results(disk) == {"result.json": b"{}"}
    disk.write_bytes(b"\0" * 4096)
    assert _read_results(disk) == {}
    disk.write_bytes(b"no archive" * 500)
    assert _read_results(disk) == {}


def test_the_machine_ends_with_the_thread_that_started_it(tmp_path: Path):
    started = []

    def begin() -> None:
        with (tmp_path / "console").open("wb") as console:
            process = start(["/bin/sleep", "600"], console.fileno(), tmp_path)
        started.append(process)
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"/bin/sleep"):
            time.sleep(0.01)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    try:
        assert started[0].wait(timeout=120) == -signal.SIGKILL
    finally:
        started[0].kill()
        started[0].wait()
