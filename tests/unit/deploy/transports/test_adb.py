"""What adb says of a device becomes one line that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.errors import MissingToolError, TransportError
from deploy.transports.adb import AdbTransport, choose_device

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n",
            "allow USB debugging",
        ),
        ("adb: device offline\n", "adb://R58 is offline"),
        ("adb: device 'R58' not found\n", "knows no device adb://R58"),
        ("error: closed\n", "cannot reach adb://R58: closed$"),
        ("", "cannot reach adb://R58: the link was cut"),
        ("* daemon not running\nerror: cannot connect to daemon\n", "cannot connect to daemon"),
        ("error: \x1b[2Jgone\n", r"cannot reach adb://R58: \[2Jgone"),
    ],
)
def test_a_failure_says_what_to_do(said: str, message: str):
    with pytest.raises(TransportError, match=message):
        raise AdbTransport("R58").unreachable(said)


def test_of_two_devices_one_has_to_be_named():
    assert choose_device([("R58", "device")]) == "R58"
    with pytest.raises(TransportError, match=r"adb://R58 \(device\), adb://emulator-5554 \(offline\)"):
        choose_device([("R58", "device"), ("emulator-5554", "offline")])
    with pytest.raises(TransportError, match="adb knows no device"):
        choose_device([])


def test_without_adb_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ADB", raising=False)
    with pytest.raises(MissingToolError, match="apt-get install adb"):
        AdbTransport("R58").run(["true"])


def test_an_adb_that_cannot_be_run_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ADB", str(tmp_path))
    with pytest.raises(TransportError, match=r"cannot run .* for adb://R58: Permission denied"):
        AdbTransport("R58").run(["true"])
