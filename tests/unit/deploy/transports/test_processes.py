"""Programs that carry a device's answers: bounded in time and in what they print."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from deploy.errors import TransportError
from deploy.transports import processes
from deploy.transports.processes import finish

if TYPE_CHECKING:
    from pathlib import Path


def run(program: str, timeout_s: float = 60, **more: object) -> processes.CommandResult:
    return finish([sys.executable, "-c", program], "device", timeout_s, **more)  # type: ignore[arg-type]


def test_both_streams_and_the_status_are_what_they_are() -> None:
    ran = run("import sys; print(sys.stdin.read()); sys.stderr.write('e'); sys.exit(3)", stdin=b"x" * 200_000)
    assert (ran.status, ran.out, ran.err) == (3, b"x" * 200_000 + b"\n", "e")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_one_that_never_ends_to_print_is_ended(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_ANSWER_BYTES", 1 << 20)
    with pytest.raises(TransportError, match="device answered with more than 1 MiB; is it sound"):
        run(f"import sys\nwhile True: sys.{stream}.write('x' * 9999)")


def test_one_that_takes_too_long_is_ended_with_what_it_began(tmp_path: Path) -> None:
    program = f"import subprocess; subprocess.run(['sh', '-c', 'sleep 3; touch {tmp_path}/late'])"
    with pytest.raises(TransportError, match="gave no answer in 1 s"):
        run(program, 1)
    time.sleep(4)
    assert not (tmp_path / "late").exists()


def test_a_file_takes_what_is_printed(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        assert run("print('x' * 100_000)", file=file).out == b""
    assert (tmp_path / "file").read_bytes() == b"x" * 100_000 + b"\n"


def test_a_file_that_cannot_be_written_is_an_error_of_this_machine() -> None:
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):  # noqa: PTH123
        run("print('x' * 100_000)", file=file)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(TransportError, match="cannot run no-such-program for device: No such file"):
        finish(["no-such-program"], "device", 1)
