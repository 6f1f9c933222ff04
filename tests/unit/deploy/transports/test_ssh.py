"""Addresses over ssh: what is refused, what a command becomes, and what a failure says."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from deploy.errors import AddressError, MissingToolError, TransportError
from deploy.transports.ssh import SshAddress, parse_address, split_addresses

ADDRESS = SshAddress("board.local", "pi", 2222)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://pi@board.local:2222", ADDRESS),
        ("ssh://board", SshAddress("board")),
        ("ssh://root@[fe80::1]:22/", SshAddress("fe80::1", "root", 22)),
        (
            "ssh://pi@board/home/pi/venv/bin/python3",
            SshAddress("board", "pi", python="/home/pi/venv/bin/python3"),
        ),
    ],
)
def test_an_address_is_read(text: str, expected: SshAddress):
    assert parse_address(text) == expected
    assert parse_address(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ssh://-oProxyCommand=touch",
        "ssh://pi@-oProxyCommand",
        "ssh://-l@board",
        "ssh://a;reboot",
        "ssh://$(reboot)@board",
        "ssh://board:99999",
        "ssh://board/path",
        "ssh://board/a b/python3",
        "ssh://board/bin/python3;reboot",
        "ssh://pi:secret@board",
        "http://board",
        "board",
        "ssh://",
    ],
)
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(AddressError, match="ssh://user@host"):
        parse_address(text)


def test_addresses_are_told_from_names_of_devices():
    assert split_addresses(["rpi4", " ssh://board", "rpi4", "ssh://board"]) == (
        ("rpi4",),
        (SshAddress("board"),),
    )


def test_adb_is_refused_with_what_to_give():
    with pytest.raises(AddressError, match="over ssh alone"):
        split_addresses(["adb://serial"])


def test_host_keys_are_checked_in_every_command_and_the_host_is_never_an_option():
    for command in (ADDRESS.command(["true"]), ADDRESS.shell):
        assert "StrictHostKeyChecking=yes" in command
        assert command[command.index("--") + 1] == "board.local"


def test_the_words_of_a_command_arrive_as_they_are():
    argv = ["echo", "a b", "$(reboot)", "-rf", "it's", ";", ""]
    assert shlex.split(ADDRESS.command(argv)[-1]) == argv


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Host key verification failed.\n", "is not known; compare it .* ssh -p 2222 board.local"),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n",
            "another host key",
        ),
        ("pi@board.local: Permission denied (publickey).\n", "authorized_keys"),
        ("ssh: connect to host board.local port 2222: Connection refused\n", "Connection refused"),
    ],
)
def test_a_failure_says_what_to_do(said: str, message: str):
    with pytest.raises(TransportError, match=message):
        raise ADDRESS.unreachable(said)


@pytest.mark.usefixtures("openssh")
def test_nobody_listening_is_a_transport_error():
    with pytest.raises(TransportError, match=r"cannot reach ssh://127\.0\.0\.1:1"):
        SshAddress("127.0.0.1", port=1, known_hosts=Path("/dev/null")).run(["true"], timeout_s=60)


def test_without_ssh_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="apt-get install openssh-client"):
        ADDRESS.run(["true"])
