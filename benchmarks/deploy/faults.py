"""Every fault at every operation of an installation, and what the device has afterwards.

    python benchmarks/deploy/faults.py RELEASE --to local:// --root FOLDER [--python PYTHON] [--every 3]

Makes two versions of the release, and installs, upgrades and rolls back on the device with a fault at each
operation in turn: the link lost before it or after it took effect, cut in the middle of a file, a full disk,
a file truncated or changed on the way, and the installing process killed; once, and from then on. After each,
the active version has to be wholly the old or wholly the new one and answer its golden vectors on the device,
and a deploy without faults has to succeed. Whatever is below ROOT/NAME on the device is removed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from rich.console import Console
from rich.table import Table

from deploy.bundle import seal
from deploy.contents import CHECKSUMS, DEBIAN_FOLDER, REPORTS, SIGNATURE
from deploy.errors import DeployError
from deploy.install.device import place, probe
from deploy.install.install import install
from deploy.install.options import Options
from deploy.install.versions import rollback
from deploy.manifest import MANIFEST, Release, read_manifest, read_release
from deploy.transports.addresses import open_transport
from deploy.transports.faulty import Fault, Faulty, Kind
from deploy.transports.ssh import SshTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.transports.transport import CommandResult, Transport

KINDS = ("lost", "lost after", "cut", "full", "truncated", "corrupt", "killed", "killed after")
ONLY_PUSHES = ("cut", "full", "truncated", "corrupt")
SCENARIOS = ("install", "upgrade", "rollback")


class Killing:
    """A transport whose process is killed at operation ``at``, before it or once it took effect."""

    def __init__(self, inner: Transport, at: int, *, after: bool) -> None:
        self.inner, self.at, self.after, self.count = inner, at, after, 0

    def __str__(self) -> str:
        return str(self.inner)

    def run(self, argv: Any, *, timeout_s: float = 120.0) -> CommandResult:
        with self._killed():
            return self.inner.run(argv, timeout_s=timeout_s)

    def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
        with self._killed():
            self.inner.push(local, remote, timeout_s=timeout_s)

    def pull(self, remote: str, local: Path, *, timeout_s: float = 600.0) -> None:
        with self._killed():
            self.inner.pull(remote, local, timeout_s=timeout_s)

    def close(self) -> None:
        self.inner.close()

    @contextlib.contextmanager
    def _killed(self) -> Iterator[None]:
        self.count += 1
        if self.count == self.at and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Bench:
    """A device, the two versions to put on it, and how it is prepared for each scenario."""

    open: Callable[[], Transport]
    transport: Transport
    options: Options
    old: Release
    new: Release
    there: str

    def act(self, scenario: str, transport: Transport) -> None:
        if scenario == "rollback":
            rollback(self.new.manifest.name, transport, self.options, lambda _: None)
        else:
            install(self.new, transport, self.options, lambda _: None)

    def shell(self, text: str) -> None:
        result = self.transport.run(["sh", "-c", text, "sh", self.there])
        if result.status != 0:
            msg = f"cannot prepare the device: {result.err}"
            raise SystemExit(msg)

    def learn(self) -> None:
        """Make what each scenario begins with, once, beside the release's folder."""
        self.shell('rm -rf "$1" "$1".at-*; mkdir -p "$1" && cp -a "$1" "$1.at-install"')
        install(self.old, self.transport, self.options, lambda _: None)
        self.shell('cp -a "$1" "$1.at-upgrade"')
        install(self.new, self.transport, self.options, lambda _: None)
        self.shell('cp -a "$1" "$1.at-rollback"')

    def reset(self, scenario: str) -> None:
        self.shell(f'rm -rf "$1"; cp -a "$1.at-{scenario}" "$1"')

    def forget(self) -> None:
        self.shell('rm -rf "$1" "$1".at-*')

    def problem(self, scenario: str) -> str:
        """Say what is wrong with what the device has now; "" where nothing is."""
        state = probe(self.transport, self.new.manifest.name, replace(self.options, python="none"))
        digests = {self.old.digest, self.new.digest}
        if state.active is None:
            return "" if scenario == "install" else "no version is active"
        if state.active not in digests:
            return f"another version is active: {state.active}"
        runner = f"{self.there}/current/runner.py"
        result = self.transport.run([self.options.python, runner, "health", "--json"], timeout_s=600)
        found = json.loads(result.out or b"{}")
        if result.status or not found.get("healthy") or found.get("digest") != state.active:
            return f"the active version is not healthy: {found.get('why') or result.err[-200:]}"
        return ""


def versions(release: Path, folder: Path) -> Iterator[Release]:
    """Make two versions of a release that differ in their counters."""
    source = read_manifest(release)
    for counter in (1, 2):
        manifest = source.model_copy(update={"counter": counter, "expires": None})
        copy = folder / str(counter) / source.full_name
        shutil.copytree(release, copy)
        shutil.rmtree(copy / DEBIAN_FOLDER, ignore_errors=True)
        for name in (MANIFEST, CHECKSUMS, SIGNATURE, *REPORTS):
            (copy / name).unlink(missing_ok=True)
        seal(copy, manifest)
        yield read_release(copy)


def fail(bench: Bench, scenario: str, kind: str, at: int, *, lasts: bool) -> None:
    """Act with one fault, however that ends."""
    if kind.startswith("killed"):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                # Its own connection: a forked one would be ended with the child.
                killing = Killing(bench.open(), at, after=kind.endswith("after"))
                bench.act(scenario, killing)
            os._exit(0)
        os.waitpid(child, 0)
        return
    with contextlib.suppress(DeployError):
        bench.act(scenario, Faulty(bench.transport, Fault(cast("Kind", kind), at=at, lasts=lasts, seed=at)))


@contextlib.contextmanager
def reached(to: str, folder: Path) -> Iterator[Callable[[], Transport]]:
    """Give what opens a transport to the device; the emulated board is booted first."""
    if not to.startswith("board-"):
        yield lambda: open_transport(to)
        return
    from pipeline.emulation.board.board import Board
    from pipeline.emulation.board.machine import board_device

    with Board(board_device("rpi4"), adb=True, disk=folder / "disk") as board:
        os.environ["ADB"] = str(board.image.adb)
        address, adb = board.address, board.adb_address
        yield lambda: SshTransport(address) if to == "board-ssh" else open_transport(adb)


def cases(operations: list[str], kinds: tuple[str, ...], every: int) -> Iterator[tuple[str, int, bool]]:
    for at, operation in enumerate(operations, 1):
        if at % every == 0 or at == len(operations):
            for kind in kinds:
                if kind not in ONLY_PUSHES or operation.startswith("push"):
                    for lasts in (False,) if kind.startswith("killed") else (False, True):
                        yield kind, at, lasts


def run(
    bench: Bench, kinds: tuple[str, ...], every: int, say: Callable[[str], None]
) -> tuple[Counter[Any], list[str]]:
    """Go through all cases; returns how many there were of each, and what was broken."""
    counted: Counter[Any] = Counter()
    broken = []
    bench.learn()
    for scenario in SCENARIOS:
        bench.reset(scenario)
        counting = Faulty(bench.transport, Fault())
        bench.act(scenario, counting)
        for kind, at, lasts in cases(counting.done, kinds, every):
            what = f"{scenario}: {kind} at {at} of {counting.count}{', lasting' if lasts else ''}"
            bench.reset(scenario)
            fail(bench, scenario, kind, at, lasts=lasts)
            problem = bench.problem(scenario)
            if not problem:
                try:
                    install(bench.new, bench.transport, bench.options, lambda _: None)
                except DeployError as error:
                    problem = f"the next deploy fails: {error}"
            counted[scenario, kind] += 1
            if problem:
                broken.append(f"{what}: {problem}")
                say(broken[-1])
    bench.forget()
    return counted, broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("release", type=Path)
    to = "ssh://..., adb://..., local://, or board-ssh or board-adb: the emulated board"
    parser.add_argument("--to", required=True, help=to)
    parser.add_argument("--root")
    parser.add_argument("--python", default="python3")
    parser.add_argument("--every", type=int, default=1, help="Take every Nth operation alone.")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    assert set(KINDS) - {"killed", "killed after"} <= set(get_args(Kind))
    began, console = time.monotonic(), Console(width=110)
    with tempfile.TemporaryDirectory() as folder, reached(options.to, Path(folder)) as open_device:
        old, new = versions(options.release, Path(folder))
        transport = open_device()
        # What a killed or cut deploy left locked is taken over at once: nobody else is there.
        installing = Options(root=options.root, python=options.python, break_lock=True, allow_downgrade=True)
        there = place(probe(transport, new.manifest.name, installing), new.manifest.name)
        bench = Bench(open_device, transport, installing, old, new, there)
        counted, broken = run(bench, tuple(options.kinds), options.every, lambda line: console.print(line))
        transport.close()
    table = Table("fault", *SCENARIOS, title=f"{options.to}: faults injected", title_justify="left")
    for kind in options.kinds:
        table.add_row(kind, *(str(counted[scenario, kind]) for scenario in SCENARIOS))
    console.print(table)
    console.print(
        f"{sum(counted.values())} faults, {len(broken)} broken devices, {time.monotonic() - began:.0f} s"
    )
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
