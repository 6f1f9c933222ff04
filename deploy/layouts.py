"""The release laid out for where it goes: a device's folder, an Android Studio module, a Debian package."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.codegen.ports import input_ports, output_ports
from deploy.codegen.source import (
    c_prefix,
    classifiers,
    kotlin_files,
    kotlin_object,
    kotlin_package,
    render,
)
from deploy.contents import DEBIAN_FOLDER
from deploy.errors import DeployError
from deploy.manifest import MANIFEST, digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.manifest import Manifest

LITERT_FOR_ANDROID = "2.3.0"
"""The release of LiteRT's Android library with the Interpreter that the Python package of this number has."""

ARCHITECTURES = {"aarch64": "arm64", "armv7l": "armhf", "x86_64": "amd64"}
NOBODY = "edge-deploy-pipeline <edge-deploy-pipeline@localhost>"
SCRIPTS = ("postinst", "prerm", "postrm")
_STAGE = re.compile(r"(?<=[0-9])[._-]?(?=(dev|alpha|a|beta|b|rc|c)[._-]?[0-9]*\Z)", re.IGNORECASE)
_ON_DEVICE = re.compile(r"labels\.txt|baseline\.json|golden_(input|output)_[0-9]+\.npy|[A-Za-z_]+\.py")


def device_files(manifest: Manifest) -> tuple[str, ...]:
    """Return the names, in the release folder, of the files that go to a device, sorted.

    The manifest itself; of the files it lists the model, its labels, golden samples and baseline, the
    programs beside it and the systemd unit. They all are at the top of the folder, on the device too.
    """
    unit = f"{manifest.name}.service"
    listed = (name for name in manifest.files if name in (manifest.model, unit) or _ON_DEVICE.fullmatch(name))
    return tuple(sorted({MANIFEST, *listed}))


def android_files(manifest: Manifest, model: bytes, golden: Sequence[NDArray[Any]]) -> dict[str, bytes | str]:
    """Write ``android/``: the model among the assets, the Kotlin around it, what Gradle needs, a README.

    Args:
        manifest: of the release; its ``files`` are not looked at.
        model: the .tflite file. Android maps it from the app's package, so it is there a second time.
        golden: for each output (n, ...) the golden tensors, as stored.

    Returns:
        Content by path in the release.

    Raises:
        DeployError: a tensor has a type, a shape or a scale for which there is no code.
    """
    known = {
        "full_name": manifest.full_name,
        "object": kotlin_object(manifest),
        "package": kotlin_package(manifest),
        "classifiers": classifiers(manifest),
        "inputs": input_ports(manifest),
        "outputs": output_ports(manifest),
        "abi": manifest.android_abi if re.fullmatch(r"[a-z0-9_-]+", manifest.android_abi) else "",
        "litert": LITERT_FOR_ANDROID,
    }
    return {
        f"android/src/main/assets/{c_prefix(manifest)}.tflite": model,
        "android/build.gradle.kts": render("build.gradle.kts.j2", **known),
        "android/README.md": render("android-README.md.j2", **known),
        **kotlin_files(manifest, golden),
    }


def write_debian_package(folder: Path, manifest: Manifest, maintainer: str = NOBODY, epoch: int = 0) -> str:
    """Write ``raspberrypi/edge-model-NAME_VERSION_ARCH.deb`` from a release folder that has its manifest.

    The same folder gives the same bytes, as long as dpkg-deb and its xz are the same.

    Args:
        folder: of the release: ``manifest.json`` and every file of ``device_files``.
        manifest: of the release.
        maintainer: ``Name <address>``, for whom the package asks.
        epoch: of its files, in seconds since 1970: SOURCE_DATE_EPOCH.

    Returns:
        "", or why there is none: no such machine in Debian, or dpkg-deb is not installed.

    Raises:
        DeployError: the release lacks a file, or dpkg-deb fails.
    """
    architecture = ARCHITECTURES.get(manifest.machine)
    if architecture is None:
        return f"no .deb: Debian has no architecture for {manifest.machine!r}"
    if shutil.which("dpkg-deb") is None:
        return "no .deb: dpkg-deb is not installed; install the package dpkg"
    package, version = debian_name(manifest), debian_version(manifest)
    out = folder / DEBIAN_FOLDER / f"{package}_{version}_{architecture}.deb"
    out.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        try:
            _lay_out(folder, manifest, tree)
        except OSError as error:
            msg = f"{error.filename}: {error.strerror}; build the release again"
            raise DeployError(msg) from error
        values = {"package": package, "version": version, "architecture": architecture}
        _write_control(tree, manifest, values | {"maintainer": _one_line(maintainer)})
        _freeze(tree, epoch)
        done = subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zxz", "-z6", "--build", tree, out],
            env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch), "DPKG_DEB_THREADS_MAX": "1", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        out.unlink(missing_ok=True)
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        places = f"{tempfile.gettempdir()} and {folder}"
        msg = f"no {out.name}: {_one_line(reason)}; free space in {places}, then repeat"
        raise DeployError(msg)
    return ""


def debian_name(manifest: Manifest) -> str:
    """Return the package's name, ``edge-model-NAME``: no model called bash takes the place of bash."""
    return "edge-model-" + re.sub(r"[^a-z0-9.+]+", "-", manifest.name.lower()).strip("-.")


def debian_version(manifest: Manifest) -> str:
    """Return the version as dpkg compares it, with the release's counter as the package's revision.

    What follows a dash comes before the version without it, as in semantic versions, and so does a stage of a
    pre-release without a dash: 1.0-rc1 and 1.0rc1 are ``1.0~rc1``.
    A version begins with a digit there, so ``nightly`` is ``0.nightly``.
    """
    plain = _STAGE.sub("~", manifest.version).replace("-", "~").replace("_", ".")
    return f"{plain if plain[0].isdigit() else f'0.{plain}'}-{manifest.counter}"


def _lay_out(folder: Path, manifest: Manifest, tree: Path) -> None:
    release = tree / "opt" / manifest.name / "releases" / digest_of(folder)
    release.mkdir(parents=True)
    for name in device_files(manifest):
        shutil.copyfile(folder / name, release / name)
    if (release / _unit(manifest)).is_file():
        units = tree / "lib" / "systemd" / "system"
        units.mkdir(parents=True)
        shutil.copyfile(release / _unit(manifest), units / _unit(manifest))


def _write_control(tree: Path, manifest: Manifest, values: dict[str, str]) -> None:
    """Write DEBIAN/: control, checksums, and what runs on the board as it is installed and removed."""
    content = sorted(path for path in tree.rglob("*") if path.is_file())
    release = next((tree / "opt" / manifest.name / "releases").iterdir())
    unit = release / _unit(manifest)
    user = re.search(r"^User=([a-z_][a-z0-9_-]*)$", unit.read_text(), re.M) if unit.is_file() else None
    known = values | {
        "manifest": manifest,
        "digest": release.name,
        "user": user[1] if user else "",
        "unit": _unit(manifest) if unit.is_file() else "",
        "has_runner": (release / "runner.py").is_file(),
        "installed_kib": sum(-(-path.stat().st_size // 1024) for path in content),
    }
    control = tree / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(render("control.j2", **known), encoding="utf-8")
    sums = (
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(tree)}\n"
        for path in content
    )
    (control / "md5sums").write_text("".join(sums), encoding="utf-8")
    for script in SCRIPTS:
        (control / script).write_text(render(f"{script}.j2", **known), encoding="utf-8")
        (control / script).chmod(0o755)


def _unit(manifest: Manifest) -> str:
    return f"{manifest.name}.service"


def _freeze(tree: Path, epoch: int) -> None:
    """Set the same permissions and time on all files, so that archives are reproducible."""
    for path in (tree, *tree.rglob("*")):
        executable = path.is_dir() or (path.parent.name == "DEBIAN" and path.name in SCRIPTS)
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch, epoch))


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or NOBODY
