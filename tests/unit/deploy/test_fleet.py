"""Fleets of folders on this machine: the work writes into them, and cannot into one that is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from deploy.errors import AddressError, DeployError, SignatureError, TransportError
from deploy.fleet import Outcome, each_once, read_addresses, roll_out


class Folders:
    """Devices: each a folder, in which the work leaves the times of its beginning and end."""

    def __init__(self, root, names, seconds=0.0):
        self.root, self.seconds = root, seconds
        self.heard, self.threads = [], set()
        for name in names:
            (root / name).mkdir()

    def work(self, address):
        begun = time.monotonic()
        try:
            (self.root / address / "begun").write_text(f"{begun}")
        except OSError as error:
            msg = f"{address}: {error.strerror}\nno such device"
            raise TransportError(msg) from error
        time.sleep(self.seconds)
        (self.root / address / "ended").write_text(f"{time.monotonic()}")
        return Outcome(address=address, state="installed", before="a" * 64, after="b" * 64)

    def on_change(self, outcome):
        self.heard.append(outcome)
        self.threads.add(threading.current_thread())

    def roll_out(self, addresses, **options):
        return roll_out(addresses, self.work, on_change=self.on_change, **options)

    def span(self, address):
        return tuple(float((self.root / address / name).read_text()) for name in ("begun", "ended"))

    def begun(self):
        return {path.parent.name for path in self.root.glob("*/begun")}


def states(outcomes):
    return [one.state for one in outcomes]


def test_every_device_ends_with_an_outcome_in_the_order_of_the_addresses(tmp_path):
    names = [f"device{n}" for n in range(7)]
    folders = Folders(tmp_path, names, seconds=0.02)
    outcomes = folders.roll_out(names)

    assert [one.address for one in outcomes] == names
    assert set(states(outcomes)) == {"installed"}
    assert folders.begun() == set(names)
    assert all(0.02 <= one.seconds < 300 for one in outcomes)


def test_the_canaries_end_before_any_other_begins(tmp_path):
    names = list("abcdef")
    folders = Folders(tmp_path, names, seconds=0.05)
    folders.roll_out(names, parallel=6, canary=2)

    ended = max(folders.span(name)[1] for name in "ab")
    assert all(folders.span(name)[0] >= ended for name in "cdef")


@pytest.mark.parametrize("max_failures", [1, 5])
def test_a_canary_that_fails_keeps_all_others_from_it(tmp_path, max_failures):
    folders = Folders(tmp_path, list("bcd"))
    outcomes = folders.roll_out(list("abcd"), max_failures=max_failures)

    assert states(outcomes) == ["failed", "not begun", "not begun", "not begun"]
    assert folders.begun() == set()
    assert outcomes[1].why == "a, which was to try it first, failed"


def test_so_many_are_under_way_at_a_time_and_no_more(tmp_path):
    names = [f"device{n}" for n in range(9)]
    folders = Folders(tmp_path, names, seconds=0.5)
    folders.roll_out(names, parallel=3, canary=0)

    spans = [folders.span(name) for name in names]
    together = [sum(begun <= at < ended for begun, ended in spans) for at, _ in spans]
    assert max(together) == 3


@pytest.mark.parametrize(("max_failures", "left"), [(1, 4), (2, 3), (3, 2), (6, 0)])
def test_after_so_many_failures_none_is_begun(tmp_path, max_failures, left):
    folders = Folders(tmp_path, ["first"])
    names = ["first", "a", "b", "c", "d", "e"]
    outcomes = folders.roll_out(names, parallel=1, max_failures=max_failures)

    assert states(outcomes).count("not begun") == left
    if left:
        count = f"{max_failures} device{'s' if max_failures > 1 else ''} failed before"
        assert outcomes[-1].why == count


def test_those_under_way_end_after_the_last_failure(tmp_path):
    folders = Folders(tmp_path, ["slow", "other"], seconds=0.2)
    outcomes = folders.roll_out(["slow", "missing", "other"], parallel=2, canary=0)

    assert states(outcomes) == ["installed", "failed", "not begun"]
    assert folders.span("slow")[1] > 0


def test_a_failure_is_told_in_one_line_with_its_error(tmp_path):
    (outcome,) = Folders(tmp_path, []).roll_out(["missing"])

    assert outcome.why == "missing: No such file or directory no such device"
    assert isinstance(outcome.error, TransportError)


def test_a_fault_of_the_program_on_one_device_loses_nothing_of_the_others(tmp_path):
    names = list("abc")
    folders = Folders(tmp_path, names)

    def work(address):
        return {"a": folders.work, "c": folders.work}[address](address)

    outcomes = roll_out(names, work, canary=0, max_failures=3, parallel=1, on_change=folders.on_change)

    assert states(outcomes) == ["installed", "failed", "installed"]
    assert (outcomes[1].why, type(outcomes[1].error)) == ("KeyError: 'b'", KeyError)


def test_every_change_is_heard_in_the_callers_thread(tmp_path):
    folders = Folders(tmp_path, ["a"])
    folders.roll_out(["a", "missing", "c"], parallel=1)

    heard = [(one.address, one.state) for one in folders.heard]
    assert heard == [
        ("a", "under way"), ("a", "installed"), ("missing", "under way"), ("missing", "failed"),
        ("c", "not begun"),
    ]  # fmt: skip
    assert folders.threads == {threading.current_thread()}


def test_doing_it_again_goes_on_with_those_that_failed(tmp_path):
    names = list("abcd")
    folders = Folders(tmp_path, list("abd"))
    assert states(folders.roll_out(names, parallel=1)) == ["installed", "installed", "failed", "not begun"]
    (tmp_path / "c").mkdir()

    assert set(states(folders.roll_out(names, parallel=1))) == {"installed"}


def test_more_canaries_than_devices_and_no_device_are_no_trouble(tmp_path):
    folders = Folders(tmp_path, list("ab"))

    assert states(folders.roll_out(list("ab"), canary=9)) == ["installed", "installed"]
    assert folders.roll_out([]) == ()


INTERRUPTED = """
import subprocess, sys
from pathlib import Path
from deploy.fleet import Outcome, roll_out

root, seconds = Path(sys.argv[1]), sys.argv[2]

def work(address):
    (root / f"{address}.begun").touch()
    subprocess.run(["sleep", seconds], check=True, stdout=subprocess.DEVNULL)
    (root / f"{address}.ended").touch()
    return Outcome(address=address, state="installed")

def hear(outcome):
    print(outcome.address, outcome.state, outcome.why, flush=True)

try:
    roll_out(list("abcd"), work, parallel=2, canary=0, on_change=hear)
except KeyboardInterrupt:
    sys.exit(130)
"""


def interrupt(folder, seconds, times):
    """Run a fleet of four, two at a time; interrupt it, as a terminal does, when two are under way."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, folder, seconds],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: len(list(folder.glob("*.begun"))) == 2)
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.2)
        out, _ = process.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, out.splitlines()


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_interrupt_lets_those_under_way_end_and_begins_no_other(tmp_path):
    code, heard = interrupt(tmp_path, "5", times=1)

    assert code == 130
    assert {path.name for path in tmp_path.glob("*.ended")} == {"a.ended", "b.ended"}
    assert {line.strip() for line in heard[2:]} == {
        "a installed", "b installed", "c not begun interrupted", "d not begun interrupted",
    }  # fmt: skip


def test_a_second_interrupt_waits_for_nobody(tmp_path):
    begun = time.monotonic()
    code, heard = interrupt(tmp_path, "600", times=2)

    assert code == 130
    assert time.monotonic() - begun < 300
    assert {line.strip() for line in heard[2:]} == {
        "a failed stopped while it was running", "b failed stopped while it was running",
        "c not begun interrupted", "d not begun interrupted",
    }  # fmt: skip


def test_a_file_has_one_address_a_line_and_comments(tmp_path):
    file = tmp_path / "fleet.txt"
    file.write_text(
        "# kitchen\n\nssh://pi@kitchen   # the old one\r\n  adb://R5CT20ABCDE\nssh://pi@kitchen/\n"
    )

    assert read_addresses(file) == ("ssh://pi@kitchen", "adb://R5CT20ABCDE")


@pytest.mark.parametrize("line", ["kitchen", "ssh://-oProxyCommand=x", "adb://a;b", "x" * 500, "\0" * 9])
def test_a_line_that_is_no_address_is_named_by_its_number(tmp_path, line):
    file = tmp_path / "fleet.txt"
    file.write_text(f"ssh://pi@kitchen\n\n{line}\n")

    with pytest.raises(AddressError, match=r"fleet\.txt:3: ") as caught:
        read_addresses(file)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(tmp_path)) + 300


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe", b"#" * (1 << 20) + b"\n"])
def test_a_file_without_addresses_is_refused(tmp_path, content):
    (tmp_path / "fleet.txt").write_bytes(content)

    with pytest.raises(DeployError, match=r"fleet\.txt: "):
        read_addresses(tmp_path / "fleet.txt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DeployError, match=r"nowhere\.txt: No such file"):
        read_addresses(tmp_path / "nowhere.txt")


def test_a_device_that_is_named_twice_is_done_once():
    assert each_once(["ssh://pi@a", "adb://b", "ssh://pi@A/", "ssh://pi@a"]) == ("ssh://pi@a", "adb://b")


def test_a_refused_signature_keeps_its_kind():
    def work(address):
        msg = f"{address} has a newer one"
        raise SignatureError(msg)

    (outcome,) = roll_out(["a"], work, on_change=lambda _: None)
    assert isinstance(outcome.error, SignatureError)
