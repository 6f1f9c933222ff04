"""Debian packages and Python wheels for the emulator, fetched without root and without touching the system.

apt works on a state of its own, in a folder that is thrown away afterwards: its lists come from the sources
that this machine is configured with, its downloads are verified against their signatures, and the system's
lists, cache and dpkg status are neither used nor changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline.errors import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEBIAN_RELEASE = "bookworm"
APT_TIMEOUT_S = 900
PIP_TIMEOUT_S = 900

DOWNLOADS = re.compile(r"^'[^']+' (?P<name>\S+\.deb) (?P<size>\d+)", re.MULTILINE)

WHEEL_PLATFORMS = ("manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def require_debian(release: Path = Path("/etc/os-release")) -> None:
    """Check that this system's packages are those that the emulator is made of.

    Raises:
        ToolchainError: it is not Debian 12, or apt is missing.
    """
    system = release.read_text(encoding="utf-8") if release.exists() else ""
    if f"VERSION_CODENAME={DEBIAN_RELEASE}\n" not in system:
        message = (
            "the emulator is made of Debian 12's packages; on this system use the Docker image: make image"
        )
        raise ToolchainError(message)
    for tool in ("apt-get", "apt-config", "dpkg-deb"):
        if shutil.which(tool) is None:
            message = f"{tool} is missing; as root: apt-get install apt dpkg"
            raise ToolchainError(message)


class PrivateApt:
    """An apt of our own in ``folder``, for packages of ``architectures`` (Debian's names).

    Packages whose names match a pattern of ``backports`` are those of Debian's backports, from the mirrors
    that this machine has the release itself from; it need not have them among its sources.
    """

    def __init__(self, folder: Path, architectures: Sequence[str], backports: Sequence[str] = ()) -> None:
        self.archives = folder / "cache/archives"
        for path in ("lists/partial", "cache/archives/partial", "cache/archives/none/partial", "conf.d"):
            (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        listed = " ".join(f'"{name}";' for name in architectures)
        settings = [
            f'Dir::State "{folder}";',
            f'Dir::State::status "{folder}/status";',
            f'Dir::Cache "{folder}/cache";',
            f'Dir::Log "{folder}/log";',
            # The system's own apt.conf.d may hold hooks that change the system. Its proxies are kept, below.
            f'Dir::Etc::parts "{folder}/conf.d";',
            f'Dir::Etc::main "{folder}/conf.d/main";',
            'APT::Sandbox::User "root";',
            'APT::Install-Recommends "false";',
            f'APT::Architecture "{architectures[0]}";',
            f"APT::Architectures {{ {listed} }};",
            'Acquire::Languages "none";',
            'Acquire::Retries "3";',
            *_system_acquire_settings(),
        ]
        configuration = folder / "apt.conf"
        configuration.touch(mode=0o600)  # a proxy's address may carry a password
        configuration.write_text("\n".join(settings) + "\n", encoding="utf-8")
        self.environment = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"}
        if backports:
            self._add_backports(folder, configuration, backports)

    def download(self, packages: Sequence[str], on_progress: Callable[[int, int], None]) -> list[Path]:
        """Download ``packages`` (``name:architecture``) and all that they depend on.

        Args:
            on_progress: called a few times a second with the bytes downloaded and the bytes in total.

        Raises:
            ToolchainError: there is no network, or a package is not in the machine's sources.
        """
        install = ("install", "--yes", "--no-install-recommends", *packages)
        problem = self._update()
        try:
            # Against an empty cache: apt does not list what an interrupted run downloaded already.
            listing = self._run(*install, "--print-uris", "-o", f"Dir::Cache::archives={self.archives}/none")
        except ToolchainError as error:
            if problem is None:
                raise
            raise problem from error
        sizes = {match["name"]: int(match["size"]) for match in DOWNLOADS.finditer(listing)}
        total = sum(sizes.values())
        self._run(*install, "--download-only", poll=lambda: on_progress(_bytes_in(self.archives), total))
        debs = [self.archives / name for name in sizes]
        missing = [deb.name for deb in debs if not deb.is_file()]
        if missing:
            message = f"apt did not deliver {missing[0]}; run: pipeline device provision"
            raise ToolchainError(message)
        return debs

    def _add_backports(self, folder: Path, configuration: Path, names: Sequence[str]) -> None:
        listing = self._list_targets("$(REPO_URI) $(RELEASE)")
        suites = [line.split() for line in listing.splitlines()]
        mirrors = dict.fromkeys(uri for uri, suite in suites if suite == DEBIAN_RELEASE)
        if not mirrors:
            message = (
                f"this machine's apt has no source of {DEBIAN_RELEASE}, to have its backports from; "
                "add one to /etc/apt/sources.list"
            )
            raise ToolchainError(message)
        known = {uri for uri, suite in suites if suite == f"{DEBIAN_RELEASE}-backports"}
        lines = [f"deb {uri} {DEBIAN_RELEASE}-backports main" for uri in mirrors if uri not in known]
        sources = folder / "sources.d"
        shutil.rmtree(sources, ignore_errors=True)
        sources.mkdir()
        for source in _system_folder("Dir::Etc::sourceparts").glob("*"):
            (sources / source.name).symlink_to(source)
        (sources / "backports-of-our-own.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
        pin = f"Package: {' '.join(names)}\nPin: release n={DEBIAN_RELEASE}-backports\nPin-Priority: 990\n"
        (folder / "preferences").write_text(pin, encoding="utf-8")
        with configuration.open("a", encoding="utf-8") as settings:
            settings.write(f'Dir::Etc::sourceparts "{sources}";\n')
            settings.write(f'Dir::Etc::preferences "{folder}/preferences";\n')

    def _list_targets(self, form: str) -> str:
        arguments = ("indextargets", "--no-release-info", "--format", form, "Created-By: Packages")
        return _run(["apt-get", *arguments], self.environment, APT_TIMEOUT_S)

    def _update(self) -> ToolchainError | None:
        """Fetch the lists; a source that fails matters only if a package is then not found."""
        try:
            self._run("update", "--error-on=any")
        except ToolchainError as error:
            return error
        return None

    def _run(self, *arguments: str, poll: Callable[[], None] = lambda: None) -> str:
        return _run(["apt-get", "--quiet", *arguments], self.environment, APT_TIMEOUT_S, poll)


def _system_acquire_settings() -> list[str]:
    """Return how this machine fetches from its sources, proxies and all, as lines of apt.conf."""
    dump = subprocess.run(
        ["apt-config", "dump"], capture_output=True, text=True, check=False, timeout=60
    ).stdout
    ours = ("Acquire::Languages", "Acquire::Retries", "Acquire::IndexTargets")
    return [line for line in dump.splitlines() if line.startswith("Acquire::") and not line.startswith(ours)]


def _system_folder(setting: str) -> Path:
    command = ["apt-config", "shell", "FOLDER", f"{setting}/d"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    return Path(found.strip().removeprefix("FOLDER=").strip("'") or "/etc/apt/sources.list.d")


def byte_reporter(advance: Callable[..., None]) -> Callable[[int, int], None]:
    """Adapt ``track``'s relative progress to absolute byte counts."""
    seen = 0

    def report(done: int, total: int) -> None:
        nonlocal seen
        advance(done - seen, f"of {total / 1e6:.0f} MB" if total else "")
        seen = done

    return report


def unpack_debs(debs: Sequence[Path], destination: Path) -> None:
    """Unpack packages over each other; their maintainer scripts are not run."""
    destination.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        _run(["dpkg-deb", "--extract", str(deb), str(destination)], dict(os.environ), 120)


def download_wheels(
    pip: Path,
    requirements: Path,
    destination: Path,
    on_progress: Callable[[int, int], None],
    *,
    platforms: Sequence[str] = WHEEL_PLATFORMS,
) -> list[Path]:
    """Download the wheels that a hash-pinned requirements file names.

    Args:
        pip: pip's own wheel, which Python runs as it is; an environment need not have pip installed.
        platforms: what the wheels may be built for, by pip's names.

    Raises:
        ToolchainError: there is no network, or a file's hash is not the one that is pinned.
    """
    destination.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", str(destination)]
    command += ["--implementation=cp", "--python-version=3.11", "--abi=cp311"]
    command += [f"--platform={platform}" for platform in platforms]
    environment = {**os.environ, "PYTHONPATH": str(pip)}
    _run(
        [*command, "--requirement", str(requirements)],
        environment,
        PIP_TIMEOUT_S,
        lambda: on_progress(_bytes_in(destination), 0),
    )
    return sorted(destination.glob("*.whl"))


def unpack_wheel(wheel: Path, destination: Path) -> None:
    """Unpack a wheel's files.

    Raises:
        ToolchainError: a member would land outside ``destination``.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                message = f"{wheel.name} holds the path {name!r}; it is not the wheel that was asked for"
                raise ToolchainError(message)
        archive.extractall(destination)


def _run(
    command: Sequence[str],
    environment: dict[str, str],
    timeout_s: float,
    poll: Callable[[], None] = lambda: None,
) -> str:
    """Run a tool, call ``poll`` a few times a second, and return what it printed."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    waited_s = 0.0
    with process:
        while True:
            try:
                output, errors = process.communicate(timeout=0.25)
                break
            except subprocess.TimeoutExpired:
                poll()
                waited_s += 0.25
                if waited_s < timeout_s:
                    continue
                process.kill()
                message = (
                    f"{_name(command)} took longer than {timeout_s:.0f} s; run: pipeline device provision"
                )
                raise ToolchainError(message) from None
            except BaseException:
                process.kill()
                raise
    if process.returncode != 0:
        message = f"{_name(command)} failed: {_reason(errors)}; fix that and run: pipeline device provision"
        raise ToolchainError(message)
    poll()
    return output


def _name(command: Sequence[str]) -> str:
    if "pip" in command:
        return "pip download"
    return " ".join(part for part in command[:3] if not part.startswith("-"))


def _reason(errors: str) -> str:
    """Return the line in which apt or pip says what is wrong."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    for prefix in ("E: ", "ERROR: ", "W: "):
        for line in lines:
            if line.startswith(prefix):
                return line.removeprefix(prefix)
    return lines[-1] if lines else "no output"


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
