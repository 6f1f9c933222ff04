"""Temporary folders: made for one process, and removed by the next one where that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import StageError
from pipeline.scratch import Scratch, scratch

HOLD = """
import sys, time
from pipeline.scratch import scratch
with scratch("work") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def holder():
    """Another process with a folder, and that folder."""
    from pathlib import Path

    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_nothing_is_left_after_the_block(tmp_path):
    with scratch("work") as folder:
        (folder / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_for_its_user_alone():
    with scratch("work") as folder:
        assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700


def test_the_folder_of_a_killed_process_is_removed_by_the_next(holder):
    process, left = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (left / "file").exists()

    with scratch("work"):
        assert not left.exists()


def test_the_folder_of_a_process_that_runs_stays(holder):
    _, other = holder
    with scratch("work"):
        pass
    assert (other / "file").exists()


def test_many_at_once_get_a_folder_each():
    def use(_):
        with scratch("work") as folder:
            (folder / "file").write_text("x")
            return folder

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(use, range(100)))
    assert len(set(folders)) == 100


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    with pytest.raises(StageError, match="belongs to another user; free space there, or name another"):
        Scratch("work")


def test_a_missing_folder_says_what_to_do(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent/tmp")
    with pytest.raises(StageError, match="no temporary folder: No such file or directory; free space"):
        Scratch("work")
