"""What somebody else left where versions are: nothing of it becomes active."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import RefusedError
from deploy.install.scripts import HASHES
from deploy.install.versions import rollback
from deploy.manifest import digest_of
from deploy.transports.local import LocalTransport
from deploy.transports.transport import CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = {"python": "/nowhere/python3", "without_health_check": True}
SOMEBODY = 12345


def plant_link(folder: Path) -> None:
    aside = folder.parents[2] / "elsewhere"
    folder.rename(aside)
    folder.symlink_to(aside)


def plant_dangling_link(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("/nowhere")


def plant_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def plant_folder(folder: Path) -> None:
    for path in (folder, *folder.iterdir()):
        os.chown(path, SOMEBODY, SOMEBODY)


PLANTED = [
    (plant_link, "there is a link where"),
    (plant_dangling_link, "there is a link where"),
    (plant_file, "there is no folder where"),
]
IS_ROOT = os.geteuid() == 0  # who alone may give files away
if IS_ROOT:
    PLANTED.append((plant_folder, "there is another user's folder where"))


@pytest.mark.parametrize(("plant", "said"), PLANTED)
def test_a_version_that_was_planted_is_not_installed(
    device: Any, old: Path, new: Path, plant: Callable[[Path], None], said: str
) -> None:
    device.install(new, **QUICK)
    device.install(old, **QUICK, allow_downgrade=True)
    plant(device.home / "releases" / digest_of(new))

    with pytest.raises(RefusedError, match=f"{said} it would be installed; find out who put it there"):
        device.install(new, **QUICK)
    assert device.active == digest_of(old)

    with pytest.raises(RefusedError, match=f"{said} its previous version was"):
        rollback("tiny", LocalTransport(), device.options(**QUICK), lambda _: None)
    assert device.active == digest_of(old)


class Ordinary(LocalTransport):
    """This machine, whose user may not write to where ``owner`` has installed something."""

    def __init__(self, owner: str, home: str = "/home/pi/.local/share/edge-models") -> None:
        self.owner, self.home = owner, home

    def run(self, argv: Any, *, timeout_s: float = 120.0) -> CommandResult:
        result = super().run(argv, timeout_s=timeout_s)
        out = result.out.replace(b"\nwritable=yes\n", b"\nwritable=no\n")
        for key, value in (("owner", self.owner), ("home", self.home)):
            out = re.sub(rf"\n{key}=.*\n".encode(), f"\n{key}={value}\n".encode(), out)
        return CommandResult(result.status, out, result.err)


@pytest.mark.parametrize(
    ("transport", "said"),
    [
        (
            Ordinary("0"),
            "root has installed it in .*, where this user may not write; deploy as that user, or ",
        ),
        (Ordinary("1001"), "the user with id 1001 has installed it in .*; deploy as that user, or "),
        (Ordinary(""), "is not writable for this user; name another folder "),
    ],
)
def test_where_another_user_has_installed_it_a_place_of_ones_own_is_named(
    device: Any, old: Path, new: Path, transport: Ordinary, said: str
) -> None:
    third = {"allow_downgrade": True, **QUICK}
    device.install(old, **QUICK)
    device.install(new, **QUICK)

    said += r".*--root /home/pi/\.local/share/edge-models"
    with pytest.raises(RefusedError, match=said):
        device.install(old, transport, **third)
    with pytest.raises(RefusedError, match=said):
        rollback("tiny", transport, device.options(**QUICK), lambda _: None)
    assert device.active == digest_of(new)


def test_a_user_without_a_home_is_asked_for_a_folder(device: Any, old: Path) -> None:
    for home in ("", "relative", str(device.root)):
        with pytest.raises(RefusedError, match=r"name another folder with --root$"):
            device.install(old, Ordinary("", home), **QUICK)


class ForeignFile(LocalTransport):
    """A device on which one file, by its inode, is another user's: only root may give a file away."""

    def __init__(self, inode: int) -> None:
        self.inode = inode

    def run(self, argv: Any, *, timeout_s: float = 120.0) -> CommandResult:
        assert OWN in HASHES
        other = f'[ "$(stat -c %i "$file")" != {self.inode} ]'
        return super().run([word.replace(OWN, other) for word in argv], timeout_s=timeout_s)


OWN = '[ -O "$file" ]'


def test_a_file_of_another_user_in_a_version_is_replaced(device: Any, old: Path) -> None:
    device.install(old, **QUICK)
    file = device.home / "current" / "predict.py"
    inode = file.stat().st_ino
    if IS_ROOT:
        os.chown(file, SOMEBODY, SOMEBODY)
        transport = LocalTransport()
    else:
        transport = ForeignFile(inode)
    device.install(old, transport, **QUICK)
    assert file.stat().st_ino != inode
    assert file.stat().st_uid == os.geteuid()


def test_a_link_in_place_of_a_file_is_replaced(device: Any, old: Path, tmp_path: Path) -> None:
    device.install(old, **QUICK)
    file = device.home / "current" / "predict.py"
    (tmp_path / "same").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(tmp_path / "same")
    device.install(old, **QUICK)
    assert not file.is_symlink()
    device.require_whole(old)


def damage(folder: Path) -> None:
    """Everything that can be wrong with a version at once."""
    (folder / "predict.py").write_text("broken")
    (folder / "runner.py").unlink()
    (folder / "runner.py").mkdir()
    (folder / "runner.py" / "x").write_text("")
    (folder / "extra").mkdir()
    (folder / ".hidden").write_text("")
    (folder / "observe.py").unlink()
    (folder / "serving.py").unlink()
    (folder / "serving.py").symlink_to("/nowhere")


def test_a_repair_never_leaves_current_leading_nowhere(device: Any, old: Path) -> None:
    device.install(old, **QUICK)
    damage(device.home / "current")
    seen: list[bool] = []

    class Watching(LocalTransport):
        """Has every program that changes a folder look at ``current`` before and after."""

        def run(self, argv: Any, *, timeout_s: float = 120.0) -> Any:
            watch = f"[ -e '{device.home}/current/.' ] || echo gone >> '{device.root}/gone'"
            text = argv[2] if argv[:2] == ["sh", "-c"] else ""
            if text:
                tools = "\n".join(
                    f'{name}() {{ {watch}; command {name} "$@"; s=$?; {watch}; return $s; }}'
                    for name in ("mv", "rm", "rmdir", "chmod")
                )
                argv = [*argv[:2], f"{tools}\n{text}", *argv[3:]]
                seen.append("mv" in text)
            return super().run(argv, timeout_s=timeout_s)

    device.install(old, Watching(), **QUICK)
    assert any(seen)
    assert not (device.root / "gone").exists()
    device.require_whole(old)
    assert {path.name for path in (device.home / "releases").iterdir()} == {digest_of(old)}


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_repair_that_is_cut_leaves_the_version_where_it_was(device: Any, old: Path, cut: int) -> None:
    device.install(old, **QUICK)
    damage(device.home / "current")

    class Cutting(LocalTransport):
        def run(self, argv: Any, *, timeout_s: float = 120.0) -> Any:
            if argv[:2] == ["sh", "-c"] and "File by file" in argv[2]:
                count = f'n=$((${{n:-0}} + 1)); [ "$n" -lt {cut} ] || kill -9 $$'
                argv = [*argv[:2], f'mv() {{ {count}; command mv "$@"; }}\n{argv[2]}', *argv[3:]]
            return super().run(argv, timeout_s=timeout_s)

    from contextlib import suppress

    from deploy.errors import DeployError

    with suppress(DeployError):
        device.install(old, Cutting(), **QUICK)
    assert device.active == digest_of(old)
    device.install(old, **QUICK)
    device.require_whole(old)
