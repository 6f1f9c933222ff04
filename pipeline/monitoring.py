"""Monitoring, from a release and addresses to drift and advice."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.device.observe import merge
from deploy.errors import TransportError
from deploy.keys import PUBLIC_KEY
from deploy.manifest import digest_of, read_manifest
from deploy.monitor.advice import Advice, advise
from deploy.monitor.collect import collect
from deploy.monitor.compare import FALSE_ALARMS, Drift, Item, check_same_model, compare, compare_latency
from deploy.monitor.statistics import MOST_BYTES, Statistics, read_statistics
from deploy.signing import verify
from pipeline.errors import DeviceError, InputError, IntegrityError, leaf_errors_mapped
from pipeline.workspace import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.manifest import Manifest

BASELINE = "baseline.json"
AT_A_TIME = 8
RATIO_ALPHA = 0.05


@dataclass(frozen=True)
class Device:
    """One device or file that answered.

    Attributes:
        address: as the user wrote it.
        seen: what it saw.
        drift: of it alone; None where it is the only one. One of many is lost in what all of them saw.
        advice: what to do about it, where it drifted.
        ratio: how much slower its median is than the first device's; None of the first, or unknown.
    """

    address: str
    seen: Statistics
    drift: Drift | None
    advice: tuple[Advice, ...]
    ratio: Item | None


@dataclass(frozen=True)
class Monitored:
    """What was found over all devices.

    Attributes:
        drift: of all that was seen together.
        problems: (address, a line that says why) of each that gave nothing.
    """

    name: str
    digest: str
    baseline: Statistics
    seen: Statistics
    drift: Drift
    advice: tuple[Advice, ...]
    devices: tuple[Device, ...]
    problems: tuple[tuple[str, str], ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """What drifted: of all together, or else of single devices; empty where nothing did."""
        if self.drift.verdict == "drifted":
            return _drifted(self.drift)
        return tuple(
            f"{device.address}: {', '.join(_drifted(device.drift))}"
            for device in self.devices
            if device.drift and device.drift.verdict == "drifted"
        )

    def plain(self) -> dict[str, Any]:
        """As JSON-like values."""
        items = [asdict(item) | {"verdict": item.verdict} for item in self.drift.items]
        return {
            "release": self.name,
            "digest": self.digest,
            "verdict": "drifted" if self.drifted else self.drift.verdict,
            "samples": self.drift.samples,
            "needed": self.drift.needed,
            "baseline_samples": self.drift.baseline_samples,
            "items": items,
            "estimated_accuracy": [asdict(one) for one in self.drift.estimates],
            "advice": [asdict(one) for one in self.advice],
            "devices": [
                {
                    "address": device.address,
                    "inferences": device.seen.inferences,
                    "samples": device.seen.observed,
                    "verdict": device.drift and device.drift.verdict,
                    "drifted": _drifted(device.drift) if device.drift else (),
                    "advice": [asdict(one) for one in device.advice],
                }
                for device in self.devices
            ],
            "problems": dict(self.problems),
        }


def _drifted(drift: Drift) -> tuple[str, ...]:
    return tuple(f"{item.tensor} {item.what}" for item in drift.items if item.verdict == "drifted")


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
        ask = partial(_ask, manifest=manifest, digest=digest, baseline=baseline, root=root)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            answers = list(zip(sources, pool.map(ask, sources), strict=True))
        found = [(address, seen) for address, seen in answers if isinstance(seen, Statistics)]
        problems = tuple((address, problem) for address, problem in answers if isinstance(problem, str))
        if not found:
            msg = "; ".join(problem for _, problem in problems)
            raise DeviceError(msg)
        seen = _merged([one for _, one in found], "all devices together")
        share = FALSE_ALARMS / (len(found) + 1 if len(found) > 1 else 1)
        drift = compare(baseline, seen, earlier, false_alarms=share)
        devices = _devices(baseline, found, share)
        advice = advise(baseline, seen, drift)
    if save:
        _save(save, seen, manifest, baseline)
    return Monitored(manifest.full_name, digest, baseline, seen, drift, advice, devices, problems)


def _devices(
    baseline: Statistics, found: Sequence[tuple[str, Statistics]], share: float
) -> tuple[Device, ...]:
    """Each on its own, with its share of the false alarms."""
    first, devices = found[0][1], []
    for address, seen in found:
        drift = compare(baseline, seen, false_alarms=share) if len(found) > 1 else None
        drifted = drift is not None and drift.verdict == "drifted"
        advice = advise(baseline, seen, drift) if drift and drifted else ()
        devices.append(Device(address, seen, drift, advice, None if seen is first else _ratio(first, seen)))
    return tuple(devices)


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


def _ask(
    source: str, *, manifest: Manifest, digest: str, baseline: Statistics, root: str | None
) -> Statistics | str:
    """What one source saw, or why it is left out."""
    if "://" not in source:
        found = [_read(Path(source))]
    else:
        from deploy.transports.addresses import open_transport

        try:
            transport = open_transport(source)
            try:
                raws = collect(transport, manifest.name, root=root)
            finally:
                transport.close()
        except TransportError as error:
            return str(error)
        found = [read_statistics(raw, source) for raw in raws]
    about = manifest.model_dump(
        include={"name", "version", "target"}
    )  # the digest says it, the device may not
    same = [one.model_copy(update=about) for one in found if one.digest == digest]
    if not same:
        first = found[0]
        other = _printable(f"{first.name}-{first.version}-{first.target} ({str(first.digest)[:16]})")
        return f"{source}: its statistics are of {other}, not of {manifest.full_name} ({digest[:16]})"
    for one in same:
        check_same_model(baseline, one, source)
    return _merged(same, source)


def _merged(found: Sequence[Statistics], where: str) -> Statistics:
    """All of them together; what they have beside counts is let go."""
    plain = merge(*(one.model_dump(mode="json", exclude={"null"}) for one in found))
    return read_statistics(json.dumps(plain).encode(), where)


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
    return compare_latency(first, other, 0.5, RATIO_ALPHA)


def _save(path: Path, seen: Statistics, manifest: Manifest, baseline: Statistics) -> None:
    """Write what was seen with what a build needs to read it: how raw samples became what was counted."""
    contract = manifest.model_dump(mode="json", include={"inputs", "outputs"})
    counted, tested = (one.model_dump(mode="json", exclude={"null"}) for one in (seen, baseline))
    text = json.dumps(counted | {"contract": contract, "baseline": tested}, separators=(",", ":")) + "\n"
    try:
        write_whole(path, text)
    except OSError as error:
        msg = f"{path}: {error.strerror}; save into a folder that can be written"
        raise InputError(msg) from error
