"""A device takes no release that is older than any it has had, nor another one of the same counter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import SignatureError, TransportError
from deploy.install.versions import rollback
from deploy.manifest import digest_of, read_release
from deploy.transports.local import LocalTransport

if TYPE_CHECKING:
    from pathlib import Path

QUICK = {"python": "/nowhere/python3", "without_health_check": True}


def go_back(device: Any) -> None:
    rollback("tiny", LocalTransport(), device.options(**QUICK), lambda _: None)


def test_another_release_of_the_same_counter_is_refused(
    device: Any, old: Path, derive: Any, tmp_path: Path
) -> None:
    other = derive(tmp_path / "rc", version="1.0-rc1")
    device.install(other, **QUICK)
    with pytest.raises(
        SignatureError, match=r"tiny-1\.0-rc1-arm64 with counter 1, .*--counter or \[release\]"
    ):
        device.install(old, **QUICK)
    assert device.active == digest_of(other)

    device.install(old, **QUICK, allow_downgrade=True)
    assert device.active == digest_of(old)
    device.install(old, **QUICK)


def test_the_highest_is_remembered_when_another_is_active(
    device: Any, old: Path, new: Path, derive: Any, tmp_path: Path
) -> None:
    device.install(old, **QUICK)
    device.install(new, **QUICK)
    assert (device.home / "highest").read_text() == f"2 {digest_of(new)}\n"
    go_back(device)
    assert device.active == digest_of(old)

    with pytest.raises(SignatureError, match=rf"had version {digest_of(new)[:12]} with counter 2, .* older"):
        device.install(derive(tmp_path / "low", version="1.0.5", counter=1), **QUICK)
    device.install(old, **QUICK)  # it is active
    device.install(new, **QUICK)  # it was the highest


def test_a_device_from_before_remembers_what_it_goes_back_from(
    device: Any, old: Path, new: Path, derive: Any, tmp_path: Path
) -> None:
    device.install(old, **QUICK)
    device.install(new, **QUICK)
    (device.home / "highest").unlink()
    go_back(device)
    with pytest.raises(SignatureError, match=r"counter 2, .* older"):
        device.install(derive(tmp_path / "low", version="1.0.5", counter=1), **QUICK)


def test_going_back_by_force_lowers_nothing(device: Any, old: Path, new: Path) -> None:
    device.install(new, **QUICK)
    device.install(old, **QUICK, allow_downgrade=True)
    assert (device.home / "highest").read_text() == f"2 {digest_of(new)}\n"


@pytest.mark.parametrize(
    "text", ["x", "1", f"{'9' * 100} {'a' * 64}", "1 a\n2 b", "\x1b[2J", "-1 " + "a" * 64]
)
def test_a_damaged_memory_is_an_error_that_names_its_file(device: Any, old: Path, text: str) -> None:
    device.install(old, **QUICK)
    (device.home / "highest").write_text(text)
    with pytest.raises(TransportError) as caught:
        device.install(old, **QUICK)
    assert str(caught.value).isprintable()


def test_the_manifest_that_was_verified_is_the_one_that_is_installed(
    device: Any, old: Path, new: Path, tmp_path: Path
) -> None:
    from deploy.install.install import install

    verified = read_release(old)
    content = (old / "manifest.json").read_bytes()

    def swap(step: str) -> None:
        if step == "look at the device":
            verified.folder.joinpath("manifest.json").write_bytes((new / "manifest.json").read_bytes())

    try:
        from deploy.errors import DeployError

        with pytest.raises(DeployError, match=r"manifest\.json changed after it was verified"):
            install(verified, LocalTransport(), device.options(**QUICK), swap)
    finally:
        (old / "manifest.json").write_bytes(content)
    assert device.active is None
