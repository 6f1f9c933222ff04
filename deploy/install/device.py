"""A device as an installation finds it, and whether it can take a release."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from deploy.errors import RefusedError, SignatureError, TransportError
from deploy.install import scripts
from deploy.install.messages import (
    fields,
    matched,
    read_manifest_text,
    script,
    texts,
    unexpected,
)
from deploy.install.options import is_plain_path, require_name
from deploy.transports.arguments import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.install.options import Options
    from deploy.manifest import Manifest
    from deploy.transports.transport import Transport

SPARE_BYTES = 4 << 20
_ACTIVE = re.compile(r"releases/((?:\.kept-)?[0-9a-f]{64})")
FIELDS = {
    "root": r".*",
    "home": r".*",
    "owner": r"[0-9]{0,10}",
    "machine": r"[A-Za-z0-9_.-]{1,64}",
    "bits": r"(32|64)?",
    "abi": r"[A-Za-z0-9_.-]{0,64}",
    "writable": r"yes|no",
    "free_kib": r"[0-9]{0,15}",
    "current": r".*",
    "previous": r".*",
    "release_kind": r"yes|no|link|file|foreign",
    "previous_kind": r"yes|no|link|file|foreign",
    "hashes": r"yes|no",
    "user": r"[0-9]{1,10}",
    "unit": r"[a-z-]{0,32}",
    "python": r"(/.*)?",
    "packages": r".*",
    "highest": r"([0-9]{1,19} [0-9a-f]{64})?",
    "manifest": r".*",
}
"""Output of ``scripts.FACTS``, in order, with the form of each value."""


@dataclass(frozen=True)
class DeviceState:
    """State of a device at one moment.

    Attributes:
        root: the folder below which releases are.
        home: the one that an ordinary user's releases are below by default; "" if the user has no home.
        owner: user id of whom the release's folder in ``root`` belongs to; None if there is none.
        machine: as ``uname -m`` says it; ``bits`` of its programs, 0 if nothing says.
        abi: as Android's ``ro.product.cpu.abi``; "" on anything else.
        free_bytes: on the file system of ``root``.
        active: the folder in ``releases`` of the active version; None if there is none.
        manifest: of the active version; None if there is none that can be read.
        release_kind: what the folder is that the release asked about would be in: ``"no"`` (there is none),
            ``"yes"``, ``"link"``, ``"file"``, or ``"foreign"``: another user's.
        previous_kind: likewise of the previous version.
        highest: counter and digest of the highest version that was ever active, as far as it was remembered.
        python: the path of the Python that checks; "" if there is none.
        packages: version by package of that Python, ``"python"`` among them; empty without one.
        unit: what systemd says of the release's service; "" if there is none.
    """

    root: str
    home: str
    owner: int | None
    machine: str
    bits: int
    abi: str
    is_writable: bool
    free_bytes: int
    active: str | None
    previous: str | None
    manifest: Manifest | None
    release_kind: str
    previous_kind: str
    hashes: bool
    highest: tuple[int, str] | None
    is_root: bool
    unit: str
    python: str
    packages: Mapping[str, str]

    @property
    def is_present(self) -> bool:
        """Whether the release that was asked about has a folder there."""
        return self.release_kind == "yes"


def probe(transport: Transport, name: str, options: Options, digest: str = "") -> DeviceState:
    """Look at a device, in one command and without changing anything.

    Raises:
        TransportError: it was not reached, or its answer is none.
    """
    arguments = (require_name(name), options.root or "", options.python or "", digest, scripts.PROBE)
    output = script(transport, scripts.FACTS, *arguments)
    found = fields(transport, output, tuple(FIELDS))
    for key, pattern in FIELDS.items():
        if key != "highest":
            matched(transport, pattern, found[key], key)
    if not is_plain_path(found["root"]):
        raise unexpected(transport, found["root"], "the folder of all releases")
    return DeviceState(
        root=found["root"],
        home=found["home"] if is_plain_path(found["home"]) else "",
        owner=int(found["owner"]) if found["owner"] else None,
        machine=found["machine"],
        bits=int(found["bits"] or 0),
        abi=found["abi"],
        is_writable=found["writable"] == "yes",
        free_bytes=int(found["free_kib"] or 0) << 10,
        active=version_in(found["current"]),
        previous=version_in(found["previous"]),
        manifest=read_manifest_text(found["manifest"]),
        release_kind=found["release_kind"],
        previous_kind=found["previous_kind"],
        hashes=found["hashes"] == "yes",
        highest=_highest(transport, name, found),
        is_root=found["user"] == "0",
        unit=found["unit"],
        python=found["python"],
        packages=texts(transport, found["packages"], "what its Python has"),
    )


def _highest(transport: Transport, name: str, found: Mapping[str, str]) -> tuple[int, str] | None:
    text = found["highest"]
    if not re.fullmatch(FIELDS["highest"], text, re.ASCII):
        file = f"{found['root']}/{name}/highest"
        msg = f"{transport}: {file} has {quoted(text)}, which is not a counter and digest; remove that file"
        raise TransportError(msg)
    counter, _, digest = text.partition(" ")
    return (int(counter), digest) if text else None


def check_device(
    transport: Transport,
    state: DeviceState,
    manifest: Manifest,
    digest: str,
    options: Options,
    size_bytes: int,
) -> None:
    """Refuse a device that cannot take the release; nothing is pushed yet.

    Raises:
        RefusedError: its machine, space, folder, tools or runtime are not what the release needs, or what is
            where the release would be was made by somebody else.
        SignatureError: it has had a newer release, or another one of the same counter.
    """
    for problem in (
        _abi_problem(state, manifest),
        unwritable(state) or planted(state.release_kind, "where it would be installed"),
        _folder_problem(state, size_bytes),
        _runtime_problem(state, manifest, options),
    ):
        if problem:
            msg = f"{transport} cannot take {manifest.full_name}: {problem}"
            raise RefusedError(msg)
    if not options.allow_downgrade:
        _refuse_older(transport, state, manifest, digest)


def highest_known(state: DeviceState) -> tuple[tuple[int, str], ...]:
    """Return counter and digest of what a device is known to have had, the highest first."""
    known = {state.highest} if state.highest else set()
    if state.manifest is not None and state.active is not None:
        known.add((state.manifest.counter, digest_in(state.active)))
    return tuple(sorted(known, reverse=True))


def _refuse_older(transport: Transport, state: DeviceState, manifest: Manifest, digest: str) -> None:
    """Refuse what a device is past, but for the version that is active there anyway."""
    known = highest_known(state)
    if state.active is not None and digest_in(state.active) == digest:
        return
    if not known or manifest.counter > known[0][0] or (manifest.counter, digest) in known:
        return
    counter, other = known[0]
    active = state.manifest
    is_active = active is not None and state.active is not None and digest_in(state.active) == other
    what = active.full_name if active is not None and is_active else f"version {other[:12]}"
    if manifest.counter < counter:
        msg = (
            f"{transport} has had {what} with counter {counter}, and {manifest.full_name} has "
            f"{manifest.counter}: older; to go back say --allow-downgrade, or: pipeline deploy rollback"
        )
    else:
        msg = (
            f"{transport} has had {what} with counter {counter}, and {manifest.full_name} has the same with "
            "other files; give it a higher version, or a higher counter with pipeline release --counter or "
            "[release] counter, or say --allow-downgrade"
        )
    raise SignatureError(msg)


def can_check(state: DeviceState, manifest: Manifest) -> bool:
    """Return whether the device's Python can answer the golden vectors."""
    return not _python_problem(state, manifest)


def planted(kind: str, where: str) -> str:
    """Return what is wrong with a version's folder that this user did not make; "" if nothing is."""
    if kind in ("yes", "no"):
        return ""
    what = {"link": "a link", "file": "no folder", "foreign": "another user's folder"}[kind]
    instead = ", or name another folder with --root" if kind == "foreign" else ""
    return f"there is {what} {where}; find out who put it there, and remove it{instead}"


def unwritable(state: DeviceState) -> str:
    """Return why the user may not change a release's versions, and what to do; "" if the user may."""
    if state.is_writable:
        return ""
    elsewhere = f"--root {state.home}" if state.home not in ("", state.root) else "--root"
    if state.owner is None:
        return f"{state.root} is not writable for this user; name another folder with {elsewhere}"
    who = "root" if state.owner == 0 else f"the user with id {state.owner}"
    return (
        f"{who} has installed it in {state.root}, where this user may not write; deploy as that user, or "
        f"install a second copy with {elsewhere}, here and in later commands"
    )


def require_writable(transport: Transport, state: DeviceState) -> None:
    """Refuse to change versions that belong to somebody else.

    Raises:
        RefusedError: the user may not write there; says what to do.
    """
    problem = unwritable(state)
    if problem:
        msg = f"{transport}: {problem}"
        raise RefusedError(msg)


def _abi_problem(state: DeviceState, manifest: Manifest) -> str:
    if state.abi:
        if manifest.android_abi in (state.abi, "any"):
            return ""
        return f"its ABI is {state.abi}, the release's {manifest.android_abi}; build for its target"
    machine = state.machine
    if state.bits == 32 and machine in ("aarch64", "armv8l"):
        machine = "armv7l"  # a 64-bit kernel under 32-bit programs, as older Raspberry Pi OS
    if manifest.machine in (machine, "any"):
        return ""
    return f"its programs are for {machine}, the release is for {manifest.machine}; build for its target"


def _folder_problem(state: DeviceState, size_bytes: int) -> str:
    if not state.hashes:
        return "it has no sha256sum to read hashes back with"
    needed = size_bytes + SPARE_BYTES
    if state.free_bytes < needed:
        have, want = (f"{amount / 2**20:.1f} MiB" for amount in (state.free_bytes, needed))
        return f"{have} are free below {state.root}, needed are {want}; try: pipeline deploy prune"
    return ""


def _runtime_problem(state: DeviceState, manifest: Manifest, options: Options) -> str:
    problem = _python_problem(state, manifest)
    if not problem or options.benchmark or options.without_health_check:
        return ""
    return (
        f"{problem}; without one name a benchmark_model there with --benchmark, or go without any proof by "
        "--without-health-check"
    )


def _python_problem(state: DeviceState, manifest: Manifest) -> str:
    packages = state.packages
    if not packages:
        return "it has no Python to check the model with (--python names another)"
    named = f"its Python {packages['python']} ({state.python})"
    required = " or ".join(f"{need.package} >= {need.least}" for need in manifest.runtimes)
    found = [need for need in manifest.runtimes if need.package in packages]
    if not found:
        return f"{named} has no {required}"
    if not any(_numbers(packages[need.package]) >= _numbers(need.least) for need in found):
        have = ", ".join(f"{need.package} {packages[need.package]}" for need in found)
        return f"{named} has {have}, needed is {required}"
    return "" if "numpy" in packages else f"{named} has no numpy"


def digest_in(folder: str) -> str:
    """Return a version's digest by its folder in ``releases``, which a .deb may have put aside."""
    return folder[-64:]


def place(state: DeviceState, name: str) -> str:
    """Return the folder on the device in which all versions of a release are."""
    return str(PurePosixPath(state.root) / require_name(name))


def version_in(link: str) -> str | None:
    """Return the folder in ``releases`` that ``current`` or ``previous`` leads to; None of no version."""
    found = _ACTIVE.fullmatch(link)
    return found[1] if found else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
