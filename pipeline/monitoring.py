"""Monitoring, from a release and addresses to drift and advice."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.errors import TransportError
from deploy.manifest import digest_of, read_manifest
from deploy.monitor.advice import Advice, advise
from deploy.monitor.collect import collect, collect_days
from deploy.monitor.compare import FALSE_ALARMS, Drift, Item, check_same_model, compare, compare_latency
from deploy.monitor.period import after, latest, merged
from deploy.monitor.statistics import MAX_BYTES, Statistics, read_devices, read_statistics
from deploy.signing import verify_release
from pipeline.content import write_whole
from pipeline.emulation.board.addresses import is_device, open_device
from pipeline.errors import DeviceError, InputError, IntegrityError, leaf_errors_mapped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from deploy.manifest import Manifest

BASELINE = "baseline.json"
AT_A_TIME = 8
RATIO_ALPHA = 0.05


@dataclass(frozen=True)
class Device:
    """One device or file that answered.

    Attributes:
        address: as the user wrote it.
        seen: what it saw in the period that is judged.
        drift: of it alone; None if it is the only one. One of many is lost in what all of them saw.
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
    """Result over all devices.

    Attributes:
        period: that is judged, in words.
        seen: in this period, on all devices together.
        drift: of all that was seen together.
        problems: (address, a line that says why) of each that gave nothing.
        notes: what the user should know about the period.
    """

    name: str
    digest: str
    period: str
    baseline: Statistics
    seen: Statistics
    drift: Drift
    advice: tuple[Advice, ...]
    devices: tuple[Device, ...]
    problems: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[str, ...]:
        """Drifted items: over all devices, else of single ones; empty if nothing drifted."""
        if self.drift.verdict == "drifted":
            return _drifted(self.drift)
        return tuple(
            f"{device.address}: {', '.join(_drifted(device.drift))}"
            for device in self.devices
            if device.drift and device.drift.verdict == "drifted"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-like values."""
        items = [asdict(item) | {"verdict": item.verdict} for item in self.drift.items]
        return {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "release": self.name,
            "digest": self.digest,
            "period": self.period,
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
            "notes": self.notes,
        }


def _drifted(drift: Drift) -> tuple[str, ...]:
    return tuple(f"{item.tensor} {item.what}" for item in drift.items if item.verdict == "drifted")


@dataclass(frozen=True)
class Counted:
    """Counts of this release from one source: in total, and per day by date."""

    address: str
    total: Statistics
    days: dict[str, Statistics]


@dataclass(frozen=True)
class Period:
    """The part of the counts that is evaluated.

    Attributes:
        title: in words.
        seen: (address, counts) of each source.
        notes: what the user should know.
    """

    title: str
    seen: tuple[tuple[str, Statistics], ...]
    notes: tuple[str, ...] = ()


def monitor(
    folder: Path,
    sources: Sequence[str],
    *,
    before: Path | None = None,
    since: Path | None = None,
    days: int | None = None,
    save: Path | None = None,
    root: str | None = None,
    public_keys: Sequence[Path | str] = (),
    revoked: Collection[str] = (),
) -> Monitored:
    """Ask devices what they saw and compare it with the release's baseline.

    Args:
        folder: the release's.
        sources: addresses of devices, and files of statistics.
        before: earlier statistics of the same devices: latencies after them are compared with theirs.
        since: earlier statistics of the same devices: only what was counted after them is judged.
        days: judge the last days only, today included; 0 judges everything since the installation. By default
            the latest days are judged that have enough samples.
        save: where to write everything that all of them saw.
        root: the folder on the devices that releases are installed below; by default the usual ones.
        public_keys: any one of them verifies the release, a path or PEM text; none leaves it unverified.
        revoked: fingerprints of keys that are no longer trusted.

    Raises:
        DeviceError: no device answered.
        InputError: the release, a file or a device's statistics are damaged or of another release.
        IntegrityError: the release is not what was signed.
    """
    with leaf_errors_mapped():
        manifest, digest = _release(folder, public_keys, revoked)
        baseline = _baseline(folder, manifest)
        earlier = _read(before) if before else None
        ask = partial(_ask, manifest=manifest, digest=digest, baseline=baseline, root=root)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            answers = list(zip(sources, pool.map(ask, sources), strict=True))
        counted = [found for _, found in answers if isinstance(found, Counted)]
        problems = tuple((address, problem) for address, problem in answers if isinstance(problem, str))
        if not counted:
            msg = "; ".join(problem for _, problem in problems)
            raise DeviceError(msg)
        share = FALSE_ALARMS / (len(counted) + 1 if len(counted) > 1 else 1)
        if (start := since or before) is not None:
            period = _after(start, counted)
        else:
            period = _latest(counted, days, lambda seen: _is_enough(baseline, seen, share))
        seen = merged([one for _, one in period.seen], "all devices together")
        drift = compare(baseline, seen, earlier, false_alarms=share)
        devices = _devices(baseline, period.seen, share)
        advice = advise(baseline, seen, drift)
    if save:
        _save(save, counted, manifest, baseline)
    return Monitored(
        manifest.full_name,
        digest,
        period.title,
        baseline,
        seen,
        drift,
        advice,
        devices,
        problems,
        period.notes,
    )


def _is_enough(baseline: Statistics, seen: Statistics, share: float) -> bool:
    needed = compare(baseline, seen, false_alarms=share).needed
    return needed is not None and seen.observed >= needed


def _after(start: Path, counted: Sequence[Counted]) -> Period:
    """Return the counts of each source after those in the file, matched by address or as the only one."""
    raw = _bytes(start)
    alone = read_statistics(raw, str(start))
    earlier = read_devices(raw, str(start)) or ({counted[0].address: alone} if len(counted) == 1 else {})
    seen, notes = [], []
    for one in counted:
        known = earlier.get(one.address)
        rest = after(one.total, known, one.address) if known else None
        if rest is None:
            why = "statistics were restarted since" if known else "is not in"
            notes.append(f"{one.address}: {why} {start}; all that it counted is judged")
        seen.append((one.address, rest or one.total))
    return Period(f"after {start}" + (f", {alone.until}" if alone.until else ""), tuple(seen), tuple(notes))


def _latest(counted: Sequence[Counted], days: int | None, enough: Callable[[Statistics], bool]) -> Period:
    """Return the last ``days``, or the latest ones that are enough; everything if a source keeps no days.

    Raises:
        DeviceError: nothing was counted in these days.
    """
    everything = Period("since the installation", tuple((one.address, one.total) for one in counted))
    if days == 0 or (days is None and not all(one.days for one in counted)):
        return everything
    if days is None:
        dates = latest([one.days for one in counted], enough)
        if not enough(_of_days(counted, dates)):
            return everything
    else:
        first = (datetime.now(UTC).date() - timedelta(days - 1)).isoformat()
        dates = tuple(sorted({date for one in counted for date in one.days if date >= first}))
    seen = tuple(
        (one.address, merged([one.days[date] for date in dates if date in one.days], one.address))
        for one in counted
        if any(date in one.days for date in dates)
    )
    if not seen:
        known = max((date for one in counted for date in one.days), default="none")
        msg = (
            f"nothing was counted in the last {days} days; the latest day is {known}; judge more with --days"
        )
        raise DeviceError(msg)
    silent = [one.address for one in counted if one.address not in dict(seen)]
    title = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return Period(title, seen, tuple(f"{address}: nothing was counted on these days" for address in silent))


def _of_days(counted: Sequence[Counted], dates: Sequence[str]) -> Statistics:
    return merged([one.days[date] for one in counted for date in dates if date in one.days], "the days")


def _devices(
    baseline: Statistics, found: Sequence[tuple[str, Statistics]], share: float
) -> tuple[Device, ...]:
    """Return each on its own, with its share of the false alarms."""
    first, devices = found[0][1], []
    for address, seen in found:
        drift = compare(baseline, seen, false_alarms=share) if len(found) > 1 else None
        drifted = drift is not None and drift.verdict == "drifted"
        advice = advise(baseline, seen, drift) if drift and drifted else ()
        devices.append(Device(address, seen, drift, advice, None if seen is first else _ratio(first, seen)))
    return tuple(devices)


def _release(
    folder: Path, public_keys: Sequence[Path | str], revoked: Collection[str]
) -> tuple[Manifest, str]:
    if not public_keys:
        return read_manifest(folder), digest_of(folder)
    always = date.min  # an expired release is still monitored
    verified = verify_release(folder, public_keys, revoked, today=always)
    return verified.manifest, verified.digest


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
) -> Counted | str:
    """Return the counts of one source, or why it is omitted."""
    daily: list[Statistics] = []
    if not is_device(source):
        found = [_read(Path(source))]
    else:
        try:
            transport = open_device(source)
            try:
                raws = collect(transport, manifest.name, root=root)
                raw_days = collect_days(transport, manifest.name, root=root)
            finally:
                transport.close()
        except TransportError as error:
            return str(error)
        found = [read_statistics(raw, source) for raw in raws]
        daily = [read_statistics(raw, f"{source}, a day") for raw in raw_days]
    about = manifest.model_dump(
        include={"name", "version", "target"}
    )  # the digest says it, the device may not
    same, days = (
        [one.model_copy(update=about) for one in each if one.digest == digest] for each in (found, daily)
    )
    if not same:
        first = found[0]
        other = _printable(f"{first.name}-{first.version}-{first.target} ({str(first.digest)[:16]})")
        return f"{source}: its statistics are of {other}, not of {manifest.full_name} ({digest[:16]})"
    for one in (*same, *days):
        check_same_model(baseline, one, source)
    by_date: dict[str, list[Statistics]] = {}
    for one in days:
        by_date.setdefault(one.day or "", []).append(one)
    return Counted(
        source, merged(same, source), {date: merged(each, source) for date, each in by_date.items() if date}
    )


def _read(path: Path) -> Statistics:
    return read_statistics(_bytes(path), str(path))


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        msg = f"{path}: {error.strerror}; give a file of statistics, as pipeline monitor --save writes it"
        raise InputError(msg) from error


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def _ratio(first: Statistics, other: Statistics) -> Item | None:
    if not (sum(first.latency_us.counts) and sum(other.latency_us.counts)):
        return None
    return compare_latency(first, other, 0.5, RATIO_ALPHA)


def _save(path: Path, counted: Sequence[Counted], manifest: Manifest, baseline: Statistics) -> None:
    """Write all counts with what a build needs to read them: how raw samples became what was counted."""
    seen = merged([one.total for one in counted], "all devices together")
    devices = {one.address: one.total.model_dump(mode="json", exclude={"null", "day"}) for one in counted}
    contract = manifest.model_dump(mode="json", include={"inputs", "outputs"})
    total, tested = (one.model_dump(mode="json", exclude={"null", "day"}) for one in (seen, baseline))
    more = {"contract": contract, "baseline": tested, "devices": devices}
    text = json.dumps(total | more, separators=(",", ":")) + "\n"
    try:
        write_whole(path, text)
    except OSError as error:
        msg = f"{path}: {error.strerror}; save into a folder that can be written"
        raise InputError(msg) from error
