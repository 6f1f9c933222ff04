"""The versions of a release that a device has: tell them, go back to one, remove old ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.errors import DeployError, RefusedError
from deploy.install import scripts
from deploy.install.device import DeviceState, can_check, digest_in, place, planted, probe, require_writable
from deploy.install.install import Installed, Proof, Step, remember, switch
from deploy.install.lock import Lock
from deploy.install.messages import fields, read_manifest_text, script, silent_script, unexpected

if TYPE_CHECKING:
    from deploy.install.options import Options
    from deploy.manifest import Manifest
    from deploy.transports.transport import Transport

MIN_KEPT = 2
_VERSION = re.compile(r"version ((?:\.kept-)?[0-9a-f]{64}) ([0-9]{1,12}) (-?[0-9]{1,15}) (.*)", re.ASCII)
_STATISTICS = re.compile(r"statistics (-?[0-9]{1,15})", re.ASCII)


@dataclass(frozen=True)
class Version:
    """A version in a device's ``releases``; ``installed_at`` in seconds since 1970, by the device's clock."""

    digest: str
    version: str
    counter: int
    target: str
    is_active: bool
    is_previous: bool
    size_bytes: int
    installed_at: int


@dataclass(frozen=True)
class Status:
    """Versions of a release on a device.

    Attributes:
        healthy: whether the active version answers its golden vectors; None if nothing there can tell.
        why: what is wrong, or why nothing can tell; "" otherwise.
        statistics_age_s: since the runner last wrote its statistics; None if it wrote none.
    """

    name: str
    root: str
    active: Version | None
    previous: Version | None
    healthy: bool | None
    why: str
    free_bytes: int
    statistics_age_s: float | None
    versions: int


def list_versions(name: str, transport: Transport, options: Options) -> tuple[Version, ...]:
    """Return the versions that a device has, the newest first.

    Raises:
        TransportError: it was not reached.
    """
    return _listed(transport, name, probe(transport, name, options))[0]


def status(name: str, transport: Transport, options: Options) -> Status:
    """Return the active version, whether it is healthy, and the other versions.

    Raises:
        TransportError: the device was not reached.
    """
    state = probe(transport, name, options)
    versions, age = _listed(transport, name, state)
    active = next((one for one in versions if one.is_active), None)
    healthy, why = _health(transport, name, state, options, active)
    return Status(
        name=name,
        root=state.root,
        active=active,
        previous=next((one for one in versions if one.is_previous), None),
        healthy=healthy,
        why=why,
        free_bytes=state.free_bytes,
        statistics_age_s=age,
        versions=len(versions),
    )


def rollback(name: str, transport: Transport, options: Options, on_step: Step) -> Installed:
    """Make the previous version the active one, once it has answered its golden vectors.

    Raises:
        DeployError: there is no previous version.
        RefusedError: it is not healthy, or somebody else made it; what was active still is.
        TransportError: the device was not reached.
    """
    on_step("look at the device")
    state = probe(transport, name, options)
    require_writable(transport, state)
    problem = planted(state.previous_kind, "where its previous version was")
    if problem:
        msg = f"{transport}: {problem}"
        raise RefusedError(msg)
    versions, _ = _listed(transport, name, state)
    chosen = next((one for one in versions if one.is_previous and not one.is_active), None)
    if chosen is None or state.previous is None:
        msg = f"{transport} has no previous version of {name} to go back to"
        raise DeployError(msg)
    there = place(state, name)
    with Lock(transport, there, state, break_lock=options.break_lock) as lock:
        manifest = _manifest_of(transport, f"{there}/releases/{state.previous}", name)
        proof = Proof(transport, manifest, options, state)
        notes = proof.require(f"{there}/releases/{state.previous}", chosen.digest, None, on_step)
        proof.record(lock, chosen.digest)
        notes += switch(lock, state, state.previous, proof, on_step)
        remember(lock)
    before = state.active and digest_in(state.active)
    return Installed(name, chosen.digest, before, before, is_new=True, notes=notes)


def prune(name: str, transport: Transport, options: Options, keep: int = MIN_KEPT) -> tuple[str, ...]:
    """Remove the oldest versions; never the active or the previous one. Returns the digests removed.

    Args:
        keep: how many stay, at least 2.

    Raises:
        DeployError: ``keep`` is less.
        TransportError: the device was not reached.
    """
    if keep < MIN_KEPT:
        msg = f"at least {MIN_KEPT} versions stay on a device, so that there is one to go back to"
        raise DeployError(msg)
    state = probe(transport, name, options)
    versions, _ = _listed(transport, name, state)
    spared = [one for one in versions if one.is_active or one.is_previous]
    others = [one for one in versions if one not in spared]
    removed = tuple(one.digest for one in others[max(0, keep - len(spared)) :])
    if removed:
        require_writable(transport, state)
        there = place(state, name)
        with Lock(transport, there, state, break_lock=options.break_lock) as lock:
            silent_script(transport, scripts.REMOVE, there, lock.id, *removed)
    return removed


def _listed(transport: Transport, name: str, state: DeviceState) -> tuple[tuple[Version, ...], float | None]:
    found: list[Version] = []
    age: float | None = None
    folders: set[str] = set()
    text = script(transport, scripts.LIST, place(state, name))
    for line in text.split("\n") if text else []:
        match = _STATISTICS.fullmatch(line)
        read = _VERSION.fullmatch(line)
        if match is not None and age is None:
            age = float(match[1])
            continue
        if read is None or read[1] in folders:
            raise unexpected(transport, line, "a version and its manifest")
        folders.add(read[1])
        manifest = read_manifest_text(read[4])
        if manifest is None:
            continue  # a folder that is not a version, which the next installation of it replaces
        found.append(
            Version(
                digest=digest_in(read[1]),
                version=manifest.version,
                counter=manifest.counter,
                target=manifest.target,
                is_active=read[1] == state.active,
                is_previous=read[1] == state.previous,
                size_bytes=int(read[2]) << 10,
                installed_at=int(read[3]),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.installed_at, one.digest))), age


def _health(
    transport: Transport, name: str, state: DeviceState, options: Options, active: Version | None
) -> tuple[bool | None, str]:
    if active is None or state.manifest is None:
        dangling = state.active is not None
        return (
            (False, "what current leads to is not a version") if dangling else (None, "no version is active")
        )
    proof = Proof(transport, state.manifest, options, state)
    if not can_check(state, state.manifest) and not options.benchmark:
        return None, "nothing on the device can check it"
    try:
        proof.require(f"{place(state, name)}/current", active.digest, None, lambda _: None)
    except RefusedError as error:
        return False, str(error)
    return True, ""


def _manifest_of(transport: Transport, folder: str, name: str) -> Manifest:
    answer = fields(transport, script(transport, scripts.MANIFEST, folder), ("manifest",))
    manifest = read_manifest_text(answer["manifest"])
    if manifest is None or manifest.name != name:
        msg = f"{transport}: the version in {folder} has no manifest of {name}; deploy it again"
        raise RefusedError(msg)
    return manifest
