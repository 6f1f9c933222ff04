"""A transport that fails as told: where, how, and each time alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.errors import TransportError
from deploy.transports.faulty import Fault, Faulty
from deploy.transports.local import LocalTransport

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = bytes(range(100))


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "local"
    path.write_bytes(CONTENT)
    return path


def copied(fault: Fault, local: Path, tmp_path: Path) -> tuple[Faulty, bytes | None, str]:
    """Push once; returns the transport, what arrived, and the error."""
    transport, there = Faulty(LocalTransport(), fault), tmp_path / "there"
    there.unlink(missing_ok=True)
    try:
        transport.push(local, str(there))
        said = ""
    except TransportError as error:
        said = str(error)
    return transport, there.read_bytes() if there.exists() else None, said


def test_without_a_fault_it_counts(local: Path, tmp_path: Path):
    transport, arrived, said = copied(Fault(), local, tmp_path)
    transport.run(["true"])
    assert (transport.count, arrived, said) == (2, CONTENT, "")
    assert transport.done == [f"push {tmp_path}/there", "run true"]


@pytest.mark.parametrize(
    ("kind", "arrives", "says"),
    [
        ("lost", None, "link was cut"),
        ("lost after", CONTENT, "link was cut"),
        ("cut", CONTENT[:50], "link was cut"),
        ("full", CONTENT[:50], "No space left"),
        ("truncated", CONTENT[:50], ""),
        ("slow", CONTENT, ""),
    ],
)
def test_a_push_fails_as_told(kind, arrives: bytes | None, says: str, local: Path, tmp_path: Path):
    _, arrived, said = copied(Fault(kind, delay_s=0.01), local, tmp_path)
    assert arrived == arrives
    assert says in said
    assert bool(says) == bool(said)
    assert local.read_bytes() == CONTENT


def test_another_bit_is_the_same_one_each_time(local: Path, tmp_path: Path):
    first, second, third = (copied(Fault("corrupt", seed=seed), local, tmp_path)[1] for seed in (1, 1, 2))
    assert first == second != third
    assert first is not None
    assert sum((a ^ b).bit_count() for a, b in zip(first, CONTENT, strict=True)) == 1


def test_a_command_is_lost_before_or_after_it_took_effect(tmp_path: Path):
    for kind, happens in (("lost", False), ("cut", False), ("lost after", True)):
        transport, made = Faulty(LocalTransport(), Fault(kind)), tmp_path / kind
        with pytest.raises(TransportError):
            transport.run(["touch", str(made)])
        assert made.exists() == happens


def test_a_pull_is_damaged_or_lost(local: Path, tmp_path: Path):
    back = tmp_path / "back"
    for kind, size in (("truncated", 50), ("corrupt", 100)):
        Faulty(LocalTransport(), Fault(kind)).pull(str(local), back)
        assert (back.read_bytes() != CONTENT, len(back.read_bytes())) == (True, size)
    with pytest.raises(TransportError):
        Faulty(LocalTransport(), Fault("cut")).pull(str(local), back)


def test_the_nth_of_a_sort_fails_once_or_from_then_on(local: Path, tmp_path: Path):
    for lasts, expected in ((False, [True, False, True]), (True, [True, False, False])):
        transport = Faulty(LocalTransport(), Fault("lost", at=2, of="push", lasts=lasts))
        done = []
        for _ in range(3):
            transport.run(["true"])
            try:
                transport.push(local, str(tmp_path / "there"))
                done.append(True)
            except TransportError:
                done.append(False)
        assert done == expected
