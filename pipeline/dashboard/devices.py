"""Results of ``pipeline monitor --json`` and ``pipeline deploy status --json``: drift over time, a fleet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.dashboard.folder import MAX_DEVICES_BYTES, parsed
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.dashboard.folder import Library, Place

HEALTH = {True: ("yes", "passed"), False: ("no", "failed"), None: ("unknown", "inconclusive")}
VERDICTS = {"same": "passed", "drifted": "failed"}
SHORT = 12


@dataclass(frozen=True)
class Drift:
    """One result of ``pipeline monitor``.

    Attributes:
        strength: the largest change as a share of what counts as drift; None if nothing was compared.
        advice: actions, each once.
        devices: (address, samples, verdict) of each.
        problems: (address, why) of each that gave nothing.
    """

    release: str
    date: str
    period: str
    verdict: str
    samples: int
    strength: float | None
    drifted: tuple[str, ...]
    advice: tuple[str, ...]
    devices: tuple[tuple[str, int, str], ...]
    problems: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Device:
    """The newest known status of a device; "" where nothing is known.

    Attributes:
        healthy: words, and their class in the style sheet.
        verdict: of drift, from the newest result that names the device.
    """

    address: str
    date: str
    active: str = ""
    previous: str = ""
    healthy: tuple[str, str] = ("", "")
    why: str = ""
    free_mib: float | None = None
    samples: int | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Field:
    """All that is known of devices: drift by release, the oldest first; devices by release."""

    drifts: dict[str, list[Drift]]
    fleets: dict[str, list[Device]]


class Devices:
    """Reads results, each file again only when it has changed."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._known: dict[str, tuple[float, Drift | list[tuple[str, Device]] | None]] = {}

    def field(self, places: Iterable[Place]) -> Field:
        """Return what all files say together; files of other kinds say nothing."""
        drifts: dict[str, list[Drift]] = {}
        newest: dict[tuple[str, str], Device] = {}
        for place in sorted(places, key=lambda each: each.started):
            found = self._of(place)
            if isinstance(found, Drift):
                drifts.setdefault(found.release, []).append(found)
            elif found is not None:
                for release, device in found:
                    newest[release, device.address] = device
        for release, results in drifts.items():
            results.sort(key=lambda each: each.date)
            for one in results:
                for address, samples, verdict in one.devices:
                    base = _of_release(newest, release, address)
                    newest[base] = _with(newest.get(base), address, one.date, samples, verdict)
        fleets: dict[str, list[Device]] = {}
        for (release, _), device in sorted(newest.items()):
            fleets.setdefault(release, []).append(device)
        return Field(drifts, fleets)

    def _of(self, place: Place) -> Drift | list[tuple[str, Device]] | None:
        known = self._known.get(place.key)
        if known is not None and known[0] == place.started:
            return known[1]
        date = datetime.fromtimestamp(place.started, UTC).isoformat(timespec="seconds")
        try:
            raw = parsed(self._library.read(place.path, MAX_DEVICES_BYTES))
            found = drift_of(raw, date) or status_of(raw, date)
        except (InputError, KeyError, TypeError, ValueError, AttributeError):
            found = None  # another file's JSON
        self._known[place.key] = (place.started, found)
        return found


def drift_of(raw: Any, date: str) -> Drift | None:
    """Return a result of ``pipeline monitor --json``; None if it is none.

    Args:
        raw: a JSON value.
        date: of its file, for results without one.
    """
    if not isinstance(raw, dict) or not {"release", "verdict", "items", "advice", "devices"} <= raw.keys():
        return None
    items = [item for item in raw["items"] if item["floor"]]
    return Drift(
        release=str(raw["release"]),
        date=str(raw.get("created") or date),
        period=str(raw["period"]),
        verdict=str(raw["verdict"]),
        samples=int(raw["samples"]),
        strength=max((float(item["size"]) / float(item["floor"]) for item in items), default=None),
        drifted=tuple(f"{item['tensor']} {item['what']}" for item in items if item["verdict"] == "drifted"),
        advice=tuple(dict.fromkeys(str(each["action"]) for each in raw["advice"])),
        devices=tuple(
            (str(each["address"]), int(each["samples"]), str(each["verdict"] or raw["verdict"]))
            for each in raw["devices"]
        ),
        problems=tuple((str(address), str(why)) for address, why in dict(raw["problems"]).items()),
    )


def status_of(raw: Any, date: str) -> list[tuple[str, Device]] | None:
    """Return the devices of ``pipeline deploy status --json`` with their releases; None if it is none."""
    if not isinstance(raw, dict) or not {"name", "devices", "problems"} <= raw.keys():
        return None
    if not isinstance(raw["devices"], dict):
        return None
    name = str(raw["name"])
    found = []
    for address, one in raw["devices"].items():
        if not {"active", "healthy", "free_bytes"} <= one.keys():
            return None
        device = Device(
            address,
            date,
            _version(one["active"]),
            _version(one.get("previous")),
            HEALTH[one["healthy"]],
            str(one.get("why") or ""),
            float(one["free_bytes"]) / 2**20,
        )
        found.append((name, device))
    for address, why in raw["problems"].items():
        found.append((name, Device(address, date, healthy=("no answer", "failed"), why=str(why))))
    return found


def _version(one: Any) -> str:
    return f"{one['version']} {str(one['digest'])[:SHORT]}" if one else ""


def _of_release(newest: dict[tuple[str, str], Device], release: str, address: str) -> tuple[str, str]:
    """Return where a device is listed: a status knows a release's name without version and target."""
    for name, known in newest:
        if known == address and (release == name or release.startswith(f"{name}-")):
            return name, address
    return release, address


def _with(known: Device | None, address: str, date: str, samples: int, verdict: str) -> Device:
    base = known or Device(address, date)
    return Device(
        address,
        max(base.date, date),
        base.active,
        base.previous,
        base.healthy,
        base.why,
        base.free_mib,
        samples,
        verdict,
    )
