"""Install a release on a device so that at every moment the active version is one that was proved there.

In order: look at the device, take its lock, push into a folder of its own, read the hashes back, name it by
its digest, answer the golden vectors there, switch, look once more through ``current``. What fails before the
switch leaves the old version untouched; what fails after it goes back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationError

from deploy.device.unit import PYTHON
from deploy.errors import DeployError, RefusedError, TransportError
from deploy.install import scripts
from deploy.install.device import DeviceState, can_check, check_device, digest_in, highest_known, place, probe
from deploy.install.lock import Lock
from deploy.install.messages import hashes, script, silent_script, unexpected
from deploy.layouts import device_files
from deploy.manifest import MANIFEST
from deploy.transports.arguments import last_line, quoted

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.install.options import Options
    from deploy.manifest import Manifest, Release
    from deploy.transports.transport import CommandResult, Transport

Step = Callable[[str], None]
"""Hears what is being done, e.g. ``"push 3 of 11"``."""

HEALTH_TIMEOUT_S = 600.0
_UNPROVED = f"a service runs it with {PYTHON}"
QUICK_SAMPLES = 4
"""After the switch: the version was proved before it, so this shows that ``current`` leads to it."""


@dataclass(frozen=True)
class Installed:
    """State of a device after the installation.

    Attributes:
        digest: of the active version.
        before: of the version that was active; None if there was none.
        previous: of the version that ``rollback`` goes back to.
        is_new: whether something was switched; False: it was active already.
        notes: what the user should know, one line each.
    """

    name: str
    digest: str
    before: str | None
    previous: str | None
    is_new: bool
    notes: tuple[str, ...] = ()


def install(release: Release, transport: Transport, options: Options, on_step: Step) -> Installed:
    """Install a verified release on a device, or leave the device as it was.

    Args:
        release: what ``deploy.signing.verify_release`` returned; its manifest is not read again.
        transport: to the device.
        options: what the user says of it.
        on_step: hears what is being done.

    Raises:
        RefusedError: the device cannot take the release, or the release is not healthy there.
        SignatureError: the device has a newer one.
        TransportError: the device was not reached; what it has is the old version, or the new one, whole.
    """
    manifest, digest = release.manifest, release.digest
    files = {name: release.folder / name for name in device_files(manifest)}
    expected = {name: manifest.files[name] for name in files if name != MANIFEST} | {MANIFEST: digest}
    on_step("look at the device")
    state = probe(transport, manifest.name, options, digest)
    size = 0 if state.is_present else sum(path.stat().st_size for path in files.values())
    check_device(transport, state, manifest, digest, options, size)
    there = place(state, manifest.name)
    with Lock(transport, there, state, break_lock=options.break_lock) as lock:
        target = f"{there}/releases/{digest}"
        if not state.is_present or _differences(lock, digest, expected):
            _push(transport, files, expected, lock, digest, on_step)
        lock.refresh()
        proof = Proof(transport, manifest, options, state)
        try:
            notes = proof.require(target, digest, None, on_step)
        except RefusedError:
            silent_script(transport, scripts.REMOVE, there, lock.id, digest)  # unless it is in use
            raise
        is_changed = proof.record(lock, digest)
        if state.active == digest:
            notes += _python_note(state, manifest.name) if is_changed else ()
            remember(lock, (manifest.counter, digest))
            previous = state.previous and digest_in(state.previous)
            return Installed(manifest.name, digest, digest, previous, is_new=False, notes=notes)
        notes += switch(lock, state, digest, proof, on_step)
        remember(lock, (manifest.counter, digest))
    before = state.active and digest_in(state.active)
    return Installed(manifest.name, digest, before, before, is_new=True, notes=notes)


def remember(lock: Lock, *now: tuple[int, str]) -> None:
    """Keep on the device the counter and digest of the highest version that it had, ``now`` too."""
    known = (*highest_known(lock.state), *now)
    counter, highest = max(known, key=lambda one: one[0], default=(0, ""))
    if known and lock.state.highest != (counter, highest):
        silent_script(lock.transport, scripts.REMEMBER, lock.there, lock.id, str(counter), highest)


def _push(
    transport: Transport,
    files: dict[str, Path],
    expected: dict[str, str],
    lock: Lock,
    digest: str,
    on_step: Step,
) -> None:
    """Push the files into a folder of their own, read their hashes back, and name it after its digest."""
    incoming = f".incoming-{lock.id}"
    for number, (name, path) in enumerate(files.items(), 1):
        on_step(f"push {number} of {len(files)}")
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected[name]:
            msg = f"{path} changed after it was verified; verify the release again"
            raise DeployError(msg)
        transport.push(path, f"{lock.there}/releases/{incoming}/{name}")
    on_step("read hashes back")
    _require_arrived(lock, incoming, expected)
    on_step("settle")
    silent_script(transport, scripts.SETTLE, lock.there, lock.id, digest)
    if lock.state.is_present:  # it was repaired, file by file
        _require_arrived(lock, digest, expected)


def _require_arrived(lock: Lock, folder: str, expected: dict[str, str]) -> None:
    wrong = _differences(lock, folder, expected)
    if wrong:
        msg = f"{lock.transport}: {wrong} did not arrive as it was sent; is its storage sound? Try again"
        raise TransportError(msg)


def _differences(lock: Lock, folder: str, expected: dict[str, str]) -> str:
    """Read the hashes of a folder in ``releases``; returns the first file that is not as expected, or "".

    Raises:
        RefusedError: another installation took the lock over.
        TransportError: the device was not reached, or its answer is not one hash for each file.
    """
    argv = (lock.there, lock.id, f"releases/{folder}")
    found = hashes(lock.transport, script(lock.transport, scripts.HASHES, *argv, timeout_s=600.0))
    differing = (
        name for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)
    )
    return next((quoted(name) for name in differing), "")


class _Health(BaseModel):
    """Output of ``runner.py health --json``; other keys are for people."""

    model_config = ConfigDict(extra="ignore")

    healthy: StrictBool
    digest: StrictStr | None = None
    why: StrictStr | None = None


@dataclass(frozen=True)
class Proof:
    """How it is shown on a device that a version of ``manifest`` works there."""

    transport: Transport
    manifest: Manifest
    options: Options
    state: DeviceState

    def require(self, folder: str, digest: str, samples: int | None, on_step: Step) -> tuple[str, ...]:
        """Run the check in a version's folder; returns what the user should know of it.

        Args:
            folder: on the device, or a link to it.
            digest: which the version has to have.
            samples: at most so many golden ones; None takes all.

        Raises:
            RefusedError: it is not healthy.
            TransportError: the device was not reached.
        """
        on_step("check its health" if samples is None else "check through current")
        if can_check(self.state, self.manifest):
            self._answers(folder, digest, samples)
            return ()
        if self.options.benchmark:
            self._runs(folder)
            what = "its answers were not checked, only that benchmark_model runs it: there is no Python"
            return (f"{what}; {_UNPROVED}",)
        if not self.options.without_health_check:
            msg = f"{self.transport}: nothing there can check a version's health; see --benchmark"
            raise RefusedError(msg)
        return (f"nothing was checked on the device, as --without-health-check says; {_UNPROVED}",)

    def record(self, lock: Lock, digest: str) -> bool:
        """Have a service run a version with the Python that answered for it, or with the usual one.

        Returns:
            Whether it is another one than before.

        Raises:
            RefusedError: another installation took the lock over.
            TransportError: the device was not reached.
        """
        python = self.state.python if can_check(self.state, self.manifest) else ""
        said = script(lock.transport, scripts.RECORD, lock.there, lock.id, digest, python)
        if said not in ("", "changed"):
            raise unexpected(lock.transport, said)
        return bool(said)

    def _answers(self, folder: str, digest: str, samples: int | None) -> None:
        argv = [self.state.python, f"{folder}/runner.py", "health", "--json"]
        argv += ["--samples", str(samples)] if samples is not None else []
        result = self.transport.run(argv, timeout_s=HEALTH_TIMEOUT_S)
        why = _why_unhealthy(result, digest)
        if not why:
            return
        msg = f"{self.transport}: {self.manifest.full_name} is not healthy there: {why}"
        raise RefusedError(msg)

    def _runs(self, folder: str) -> None:
        assert self.options.benchmark is not None
        argv = [self.options.benchmark, f"--graph={folder}/{self.manifest.model}", "--num_runs=1"]
        result = self.transport.run(argv, timeout_s=HEALTH_TIMEOUT_S)
        if result.status != 0:
            output = last_line(result.err)
            msg = f"{self.transport}: benchmark_model does not run {self.manifest.model}: {output}"
            raise RefusedError(msg)


def switch(lock: Lock, state: DeviceState, folder: str, proof: Proof, on_step: Step) -> tuple[str, ...]:
    """Make a proved version the active one, look at it through ``current``, and go back where that fails.

    Args:
        folder: the version's, in ``releases``.

    Returns:
        What the user should know.

    Raises:
        RefusedError: it is not healthy as the active one; what was active before is so again.
        TransportError: the device was not reached.
    """
    there, transport = lock.there, lock.transport
    on_step("switch")
    try:
        silent_script(transport, scripts.SWITCH, there, lock.id, f"releases/{folder}", _release(state.active))
        _restart(transport, state, proof.manifest.name)
        proof.require(f"{there}/current", digest_in(folder), QUICK_SAMPLES, on_step)
    except RefusedError as error:
        on_step("go back")
        _go_back(lock, state)
        kept = (
            f"{digest_in(state.active)[:12]} is active again" if state.active else "none is active, as before"
        )
        msg = f"{error}; {kept}"
        raise RefusedError(msg) from error
    except TransportError as error:
        msg = (
            f"{error}; the new version was healthy before the switch and may be active: ask "
            f"pipeline deploy status {proof.manifest.name}, or deploy it again"
        )
        raise TransportError(msg) from error
    return _service_note(state, proof.manifest.name)


def _go_back(lock: Lock, state: DeviceState) -> None:
    """Undo a switch: what was active and previous is so again."""
    if state.active is None:
        silent_script(lock.transport, scripts.LEAVE, lock.there, lock.id)
    else:
        before = _release(state.previous)
        silent_script(lock.transport, scripts.SWITCH, lock.there, lock.id, _release(state.active), before)
        _restart(lock.transport, state, lock.there.rpartition("/")[2])


def _restart(transport: Transport, state: DeviceState, name: str) -> None:
    """Have the release's service take the version up, where there is one and this user may."""
    if state.unit.startswith("enabled") and state.is_root:
        result = transport.run(["systemctl", "restart", f"{name}.service"])
        if result.status != 0:
            msg = f"{transport}: {name}.service does not start: {last_line(result.err)}"
            raise RefusedError(msg)


def _service_note(state: DeviceState, name: str) -> tuple[str, ...]:
    if state.unit.startswith("enabled") and not state.is_root:
        before = f"{name}.service still runs the version before; there: sudo systemctl restart {name}.service"
        return (before, *_home_note(state, name))
    return ()


def _python_note(state: DeviceState, name: str) -> tuple[str, ...]:
    """Return the note that the service uses the new Python only after its next start."""
    if not state.unit.startswith("enabled"):
        return ()
    runs = f"{name}.service runs it with another Python from its next start on; there: systemctl restart"
    return (f"{runs} {name}.service", *_home_note(state, name))


def _home_note(state: DeviceState, name: str) -> tuple[str, ...]:
    if not re.match("/(home|root)/", state.python):
        return ()
    what = f"{name}.service cannot run {state.python}: it may not enter homes"
    return (f"{what}; make that Python elsewhere, such as in /opt, and deploy with --python",)


def _release(folder: str | None) -> str:
    return f"releases/{folder}" if folder else ""


def _why_unhealthy(result: CommandResult, digest: str) -> str:
    """Return why a runner's answer is not that of a healthy version; "" if it is."""
    try:
        found = _Health.model_validate_json(result.out)
    except ValidationError:
        said = result.out.decode(errors="replace").strip()
        if result.status != 0 and not said:
            return last_line(result.err)
        return f"its runner answers {quoted(said)}, which is no health"
    if result.status != 0 or not found.healthy:
        return last_line(found.why or result.err)
    return "" if found.digest == digest else "it answers as another version"
