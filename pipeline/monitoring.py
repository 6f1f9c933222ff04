"""Monitoring, from a release and addresses to drift and advice."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.device.observe import merge
from deploy.errors import DeployError, TransportError
from deploy.keys import PUBLIC_KEY
from deploy.manifest import digest_of, read_manifest
from deploy.monitor.advice import Advice, advise
from deploy.monitor.collect import collect
from deploy.monitor.compare import Drift, Item, compare, compare_latency
from deploy.monitor.statistics import MOST_BYTES, Statistics, read_statistics
from deploy.signing import verify
from pipeline.errors import DeviceError, InputError, IntegrityError, leaf_errors_mapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.manifest import Manifest

BASELINE = "baseline.json"
AT_A_TIME = 8
RATIO_ALPHA = 0.05


@dataclass(frozen=True)
class Monitored:
    """What was found over all devices.

    Attributes:
        devices: (address, what it saw) of each that answered.
        ratios: for each how much slower its median is than the first one's; None where it cannot be said.
        problems: (address, a line that says why) of each that gave nothing.
    """

    name: str
    digest: str
    baseline: Statistics
    seen: Statistics
    drift: Drift
    advice: tuple[Advice, ...]
    devices: tuple[tuple[str, Statistics], ...]
    ratios: tuple[Item | None, ...]
    problems: tuple[tuple[str, str], ...]

    def plain(self) -> dict[str, Any]:
        """As JSON-like values."""
        items = [asdict(item) | {"verdict": item.verdict} for item in self.drift.items]
        return {
            "release": self.name,
            "digest": self.digest,
            "verdict": self.drift.verdict,
            "samples": self.drift.samples,
            "needed": self.drift.needed,
            "baseline_samples": self.drift.baseline_samples,
            "items": items,
            "estimated_accuracy": [asdict(one) for one in self.drift.estimates],
            "advice": [asdict(one) for one in self.advice],
            "devices": [
                {"address": address, "inferences": found.inferences, "samples": found.observed}
                for address, found in self.devices
            ],
            "problems": dict(self.problems),
        }


def monitor(
    folder: Path,
    sources: Sequence[str],
    *,
    before: Path | None = None,
    save: Path | None = None,
    root: str | None = None,
    public_key: Path | None = None,
) -> Monitored:
    """Ask devices what they saw and compare it with the release's baseline.

    Args:
        folder: the release's.
        sources: addresses of devices, and files of statistics.
        before: earlier statistics of the same devices, to compare latencies with.
        save: where to write what all of them saw.
        root: the folder on the devices that releases are installed below; by default the usual ones.
        public_key: what the release is verified with.

    Raises:
        DeviceError: no device answered.
        InputError: the release, a file or a device's statistics are damaged or of another release.
        IntegrityError: the release is not what was signed.
    """
    with leaf_errors_mapped():
        manifest, digest = _release(folder, public_key)
        baseline = _baseline(folder, manifest)
        earlier = _read(before) if before else None
        ask = partial(_ask, manifest=manifest, digest=digest, root=root)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            answers = list(zip(sources, pool.map(ask, sources), strict=True))
        devices = tuple((address, found) for address, found in answers if isinstance(found, Statistics))
        problems = tuple((address, found) for address, found in answers if isinstance(found, str))
        if not devices:
            msg = "; ".join(problem for _, problem in problems)
            raise DeviceError(msg)
        merged = merge(*(found.model_dump(mode="json", exclude={"null"}) for _, found in devices))
        seen = read_statistics(json.dumps(merged).encode(), "all devices together")
        drift = compare(baseline, seen, earlier)
        advice = advise(baseline, seen, drift)
    if save:
        _save(save, merged, manifest, baseline)
    ratios = tuple(_ratio(devices[0][1], found) if at else None for at, (_, found) in enumerate(devices))
    return Monitored(manifest.full_name, digest, baseline, seen, drift, advice, devices, ratios, problems)


def _release(folder: Path, public_key: Path | None) -> tuple[Manifest, str]:
    key = public_key or os.environ.get(PUBLIC_KEY)
    if key:
        verify(folder, key, today=date.min)  # one that has expired is watched all the same
    return read_manifest(folder), digest_of(folder)


def _baseline(folder: Path, manifest: Manifest) -> Statistics:
    path = folder / BASELINE
    if BASELINE not in manifest.files:
        msg = f"{folder} has no {BASELINE}: it was released without one; build it again"
        raise InputError(msg)
    raw = _bytes(path)
    if hashlib.sha256(raw).hexdigest() != manifest.files[BASELINE]:
        msg = f"{path} is not the one that was released; take the release from where it was published"
        raise IntegrityError(msg)
    baseline = read_statistics(raw, str(path))
    tensors = [*manifest.inputs, *manifest.outputs]
    nulls = (*baseline.null.inputs, *baseline.null.outputs) if baseline.null else ()
    for tensor, null in zip(tensors, nulls, strict=False):
        if null.range != tensor.range:
            msg = f"{path}: {tensor.name} is counted in other bins than on a device; build the release again"
            raise InputError(msg)
    return baseline


def _ask(source: str, *, manifest: Manifest, digest: str, root: str | None) -> Statistics | str:
    """What one source saw, or why it is left out."""
    if "://" not in source:
        found = _read(Path(source))
    else:
        from deploy.transports.addresses import open_transport

        try:
            transport = open_transport(source)
            try:
                raw = collect(transport, manifest.name, root=root)
            finally:
                transport.close()
        except TransportError as error:
            return str(error)
        found = read_statistics(raw, source)
    if found.digest != digest:
        other = _printable(f"{found.name}-{found.version}-{found.target} ({str(found.digest)[:16]})")
        return f"{source}: its statistics are of {other}, not of {manifest.full_name} ({digest[:16]})"
    return found


def _read(path: Path) -> Statistics:
    return read_statistics(_bytes(path), str(path))


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MOST_BYTES + 1)
    except OSError as error:
        msg = f"{path}: {error.strerror}; give a file of statistics, as pipeline monitor --save writes it"
        raise InputError(msg) from error


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def _ratio(first: Statistics, other: Statistics) -> Item | None:
    if not (sum(first.latency_us.counts) and sum(other.latency_us.counts)):
        return None
    try:
        return compare_latency(first, other, 0.5, RATIO_ALPHA)
    except DeployError:
        return None


def _save(path: Path, merged: dict[str, Any], manifest: Manifest, baseline: Statistics) -> None:
    """Write what was seen with what a build needs to read it: how raw samples became what was counted."""
    contract = manifest.model_dump(mode="json", include={"inputs", "outputs"})
    tested = baseline.model_dump(mode="json", exclude={"null"})
    text = json.dumps(merged | {"contract": contract, "baseline": tested}, separators=(",", ":")) + "\n"
    try:
        handle, partial_name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(partial_name).replace(path)
    except OSError as error:
        msg = f"{path}: {error.strerror}; save into a folder that can be written"
        raise InputError(msg) from error
