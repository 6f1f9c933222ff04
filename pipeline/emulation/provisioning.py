"""Make the emulator's bundles: fetch, unpack, compile and record packages and wheels.

tools-KEY/                  for this machine
    root            qemu-aarch64, qemu-arm, tcc and their libraries
    pip-*.whl       the pip that fetches the wheels: an environment need not have one
    *.so            qemu's plugins, compiled by tcc
arm64-KEY/, armhf-KEY/      for an architecture of devices (sysroot)
    root            Python 3.11 and its libraries
    site            the wheels
openssh-KEY/                for the tests, on this machine
    bin             ssh, ssh-keygen and sshd, which run on the libraries of:
    root            OpenSSH and its libraries
proofs-KEY/                 for the tests, on this machine: what generated files are compiled and checked with
    bin             gcc, g++, make, cmake, ctest and systemd-analyze, which run on the libraries of:
    root            those and their libraries
browser-KEY/                for the tests, on this machine: what pages are looked at with
    bin             chromium, without a window, which runs on the libraries and fonts of:
    root            Chromium, its libraries and DejaVu
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.emulation import packages
from pipeline.emulation.bundle import (
    LOADERS,
    PROVISION,
    TRIPLETS,
    Bundle,
    bundle_for,
    host_architecture,
    require_space,
    resource,
    sha256,
    write_manifest,
)
from pipeline.emulation.sysroots import SYSROOTS
from pipeline.errors import ToolchainError
from pipeline.progress import track

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.emulation.sysroots import Sysroot

TOOL_PACKAGES = ("qemu-user", "tcc", "python3-pip-whl")
PLUGINS = ("icount", "statx")

OPENSSH_PACKAGES = ("openssh-client", "openssh-server", "libnss-wrapper")
OPENSSH_PROGRAMS = ("usr/bin/ssh", "usr/bin/ssh-keygen", "usr/sbin/sshd")
WITH_ACCOUNTS = "usr/sbin/sshd"
"""It reads accounts from the files in ``NSS_WRAPPER_PASSWD`` and ``NSS_WRAPPER_GROUP`` where they are set."""
WRAPPER = """\
#!/bin/sh
unpacked=$(cd "$(dirname "$0")/.." && pwd)/root
exec "$unpacked/{loader}" --library-path "$unpacked/lib/{triplet}:$unpacked/usr/lib/{triplet}" \\
    {preload}"$unpacked/{program}" "$@"
"""

PROOF_PACKAGES = ("gcc", "g++", "libc6-dev", "make", "cmake", "systemd")
PROOF_PROGRAMS = {
    "gcc": '--sysroot="$unpacked"',
    "g++": '--sysroot="$unpacked"',
    "make": "",
    "cmake": "",
    "ctest": "",
    "systemd-analyze": "",
}
"""Names of programs, and their fixed arguments."""
PROOF_WRAPPER = """\
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
unpacked=${{here%/*}}/root
export PATH="$here:$unpacked/usr/bin:$PATH"
libraries=$unpacked/usr/lib/{triplet}
export LD_LIBRARY_PATH="$libraries:$unpacked/lib/{triplet}:$libraries/systemd"
exec "$unpacked/usr/bin/{program}" {options} "$@"
"""

BROWSERS = ("chromium-headless-shell", "chromium")
"""Programs that show pages, as Debian calls them."""
BROWSER_PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")
BROWSER_WRAPPER = """\
#!/bin/sh
unpacked=$(cd "$(dirname "$0")/.." && pwd)/root
libraries=$unpacked/usr/lib/{triplet}
export LD_LIBRARY_PATH="$libraries:$unpacked/lib/{triplet}:$libraries/pulseaudio:$libraries/nss"
export FONTCONFIG_FILE="${{unpacked%/root}}/fonts.conf"
exec "$unpacked/usr/lib/chromium/chromium-headless-shell" "$@"
"""
BROWSER_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir prefix="relative">root/usr/share/fonts</dir>
<cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""

NEEDED_BYTES = 400_000_000
"""Free space that making one bundle needs, downloads included."""
NEEDED_FOR_BROWSER_BYTES = 800_000_000


def tools_bundle() -> Bundle:
    """Return where the programs for this machine are provisioned.

    Raises:
        ToolchainError: the emulator does not run on this machine.
    """
    return bundle_for(
        "tools", [host_architecture(), *TOOL_PACKAGES, *(resource(f"{name}.c") for name in PLUGINS)]
    )


def provision_bundles(sysroot: Sysroot) -> None:
    """Provision the tools and the sysroot, where they are missing or damaged.

    Raises:
        ToolchainError: this system, its sources or the cache do not allow it; says how to fix that.
    """
    tools = tools_bundle()
    tools.make_with(_make_tools)
    sysroot.bundle.make_with(partial(_make_sysroot, sysroot=sysroot, tools=tools))


def openssh_bundle() -> Bundle:
    """Return where OpenSSH for this machine is provisioned.

    Raises:
        ToolchainError: there is none for this machine.
    """
    remedy = "pipeline device provision board"
    recipe = [host_architecture(), *OPENSSH_PACKAGES, *OPENSSH_PROGRAMS, WITH_ACCOUNTS, WRAPPER]
    return bundle_for("openssh", recipe, remedy)


def provision_openssh() -> Path:
    """Provision ssh, ssh-keygen and sshd where they are missing or damaged; returns the folder they are in.

    A system that has none needs no root to get them. sshd has to be run with ``-r``, since it would otherwise
    re-execute itself without its libraries.

    Raises:
        ToolchainError: this system, its sources or the cache do not let it; says how to fix that.
    """
    found = openssh_bundle()
    found.make_with(_make_openssh)
    return found.folder / "bin"


def provision_proofs() -> Path | None:
    """Provision compilers of C and C++, cmake and systemd-analyze; None if this machine has them all.

    They work on the release of Debian that they come from, which is this machine's own. Errors are those of
    ``provision_openssh``.
    """
    if all(map(shutil.which, PROOF_PROGRAMS)):
        return None
    recipe = [host_architecture(), *PROOF_PACKAGES, str(PROOF_PROGRAMS), PROOF_WRAPPER]
    found = bundle_for("proofs", recipe)
    found.make_with(_make_proofs)
    return found.folder / "bin"


def provision_browser() -> Path:
    """Provision Chromium where this machine has none; returns its program.

    It works on the release of Debian that it comes from, which is this machine's own. Errors are those of
    ``provision_openssh``.
    """
    for program in filter(None, map(shutil.which, BROWSERS)):
        return Path(program)
    recipe = [host_architecture(), *BROWSER_PACKAGES, BROWSER_WRAPPER, BROWSER_FONTS]
    found = bundle_for("browser", recipe)
    found.make_with(_make_browser)
    return found.folder / "bin" / "chromium"


def _make_openssh(folder: Path) -> None:
    """Fill the folder with OpenSSH and scripts that run its programs on its own libraries."""
    host = host_architecture()
    triplet = TRIPLETS[host]
    debs = _install("openssh", OPENSSH_PACKAGES, host, folder)
    with track("provision: prepare openssh"):
        sources = {deb.name: sha256(deb) for deb in debs}
        _drop(folder)
        for program in OPENSSH_PROGRAMS:
            library = f"usr/lib/{triplet}/libnss_wrapper.so"
            text = WRAPPER.format(
                loader=f"lib/{triplet}/{LOADERS[host]}",
                triplet=triplet,
                program=program,
                preload=f'--preload "$unpacked/{library}" ' if program == WITH_ACCOUNTS else "",
            )
            _write_program(folder, Path(program).name, text)
        write_manifest(folder, sources)


def _make_proofs(folder: Path) -> None:
    """Fill the folder with what generated files are compiled and checked with."""
    host = host_architecture()
    debs = _install("proofs", PROOF_PACKAGES, host, folder)
    with track("provision: prepare proofs"):
        sources = {deb.name: sha256(deb) for deb in debs}
        shutil.rmtree(folder / "apt", ignore_errors=True)
        for program, options in PROOF_PROGRAMS.items():
            text = PROOF_WRAPPER.format(triplet=TRIPLETS[host], program=program, options=options)
            _write_program(folder, program, text)
        write_manifest(folder, sources)


def _make_browser(folder: Path) -> None:
    """Fill the folder with Chromium and a script that runs it on its own libraries and fonts."""
    host = host_architecture()
    require_space(folder, "the browser", NEEDED_FOR_BROWSER_BYTES)
    debs = _install("browser", BROWSER_PACKAGES, host, folder)
    with track("provision: prepare browser"):
        sources = {deb.name: sha256(deb) for deb in debs}
        shutil.rmtree(folder / "apt", ignore_errors=True)
        (folder / "fonts.conf").write_text(BROWSER_FONTS, encoding="utf-8")
        _write_program(folder, "chromium", BROWSER_WRAPPER.format(triplet=TRIPLETS[host]))
        write_manifest(folder, sources)


def _write_program(folder: Path, name: str, text: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _make_tools(folder: Path) -> None:
    """Fill the folder with what runs on this machine."""
    host = host_architecture()
    debs = _install("tools", TOOL_PACKAGES, host, folder)
    with track("provision: prepare tools"):
        sources = {deb.name: sha256(deb) for deb in debs}
        wheel = next((folder / "root/usr/share/python-wheels").glob("pip-*.whl"))
        wheel.rename(folder / wheel.name)
        used = {sysroot.qemu for sysroot in SYSROOTS.values()}
        for path in (folder / "root/usr/bin").glob("qemu-*"):
            if path.name not in used:
                path.unlink()
        _drop(folder)
        for name in PLUGINS:
            _compile_plugin(name, Bundle("tools", folder), TRIPLETS[host])
        write_manifest(folder, sources)


def _make_sysroot(folder: Path, sysroot: Sysroot, tools: Bundle) -> None:
    """Fill the folder with a sysroot's Python and runtime."""
    debs = _install(sysroot.debian, sysroot.packages, sysroot.debian, folder)
    with track(f"provision: {sysroot.debian} wheels", unit="bytes") as advance:
        requirements = folder / "wheels.txt"
        requirements.write_text(resource(sysroot.wheels), encoding="utf-8")
        wheels = packages.download_wheels(
            next(tools.folder.glob("pip-*.whl")),
            requirements,
            folder / "wheels",
            packages.byte_reporter(advance),
            platforms=sysroot.platforms,
        )
        for wheel in wheels:
            packages.unpack_wheel(wheel, folder / "site")
    with track(f"provision: prepare {sysroot.debian}"):
        sources = {path.name: sha256(path) for path in (*debs, *wheels)}
        _drop(folder)
        _compile_python(folder)
        write_manifest(folder, sources)


def _install(name: str, names: Sequence[str], architecture: str, folder: Path) -> list[Path]:
    """Unpack packages and what they depend on into ``root``; returns the downloads."""
    packages.require_debian()
    require_space(folder, "the emulator", NEEDED_BYTES)
    for stale in ("root", "site"):
        shutil.rmtree(folder / stale, ignore_errors=True)
    with track(f"provision: {name} packages", unit="bytes") as advance:
        apt = packages.PrivateApt(folder / "apt", [architecture])
        debs = apt.download(
            [f"{package}:{architecture}" for package in names], packages.byte_reporter(advance)
        )
    with track(f"provision: unpack {name}", total=len(debs), unit="packages") as advance:
        for deb in debs:
            packages.unpack_debs([deb], folder / "root")
            advance(1, deb.name.partition("_")[0])
    return debs


def _drop(folder: Path) -> None:
    """Delete downloads and documentation."""
    for name in ("apt", "wheels", "root/usr/share"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _compile_plugin(name: str, tools: Bundle, triplet: str) -> None:
    tcc = tools.folder / "root/usr/lib" / triplet / "tcc"
    source = tools.folder / f"{name}.c"
    source.write_text(resource(source.name), encoding="utf-8")
    command = [
        *tools.tool("usr/bin/tcc"),
        f"-B{tcc}",
        "-nostdinc",
        f"-I{tcc}/include",
        "-nostdlib",
        "-shared",
    ]
    _compiled([*command, "-o", str(source.with_suffix(".so")), str(source)])


def _compile_python(folder: Path) -> None:
    """Compile the sysroot's Python files, which would take seconds when emulated."""
    python = [sys.executable, "-m", "compileall", "-qx", "/tests?/", "--invalidation-mode=unchecked-hash"]
    for root, code in ((folder / "root", "usr/lib"), (folder, "site")):
        _compiled([*python, "-s", str(root), "-p", "/", str(root / code)])


def _compiled(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        output = (done.stderr or done.stdout).strip().splitlines()
        reason = output[-1] if output else f"exit code {done.returncode}"
        message = f"{Path(command[-1]).name} does not compile: {reason}; free the cache and run: {PROVISION}"
        raise ToolchainError(message)
