"""Find the releases of each runtime that have the operators of a .tflite file.

``compatibility.toml`` says what each release knows; benchmarks/compatibility.py asked them. The operators
that a release registers come from one source file whatever the machine, so that what was asked of the wheels
for x86-64 holds for those for Arm.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.flatbuffer import TfliteModel

Known = TypeVar("Known")
TFLITE = "tflite-runtime"


@dataclass(frozen=True, kw_only=True)
class OperatorNeed:
    """One builtin operator of the file, in one version.

    Attributes:
        count: how many nodes of all subgraphs are of it.
        dtype: of the nodes' first computed input; nodes of another dtype are another need.
        since: package -> the first release that has this version; "" if none of those asked has it.
        kernel: package -> the first release whose own kernel takes the dtype too; "" if none does. A
            package is missing where the kernel was not asked about this dtype.
    """

    operator: str
    version: int
    count: int
    dtype: str
    since: dict[str, str]
    kernel: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Compatibility:
    """Requirements of the whole file.

    Attributes:
        oldest: package -> the first release that has every operator; "" if none of those asked has.
        asked: package -> its first and last release that were asked.
        custom: names of custom operators, which no plain runtime has.
        stated: the file's own ``min_runtime_version``, a TensorFlow release; "" if it gives none.
        notes: what a user should know, one line each.
    """

    operators: tuple[OperatorNeed, ...]
    oldest: dict[str, str]
    asked: dict[str, tuple[str, str]]
    custom: tuple[str, ...] = ()
    stated: str = ""
    notes: tuple[str, ...] = ()


def check_compatibility(flat: TfliteModel) -> Compatibility:
    """Return since which release each runtime has each operator of the file, in all subgraphs."""
    known = runtimes()
    counted: Counter[tuple[str, int, str]] = Counter()
    custom: set[str] = set()
    for graph in flat.subgraphs:
        for operator in graph.operators:
            if operator.is_custom:
                custom.add(operator.name)
            else:
                computed = [index for index in operator.inputs if index >= 0]
                varying = [index for index in computed if not graph.tensors[index].is_constant]
                dtype = graph.tensors[(varying or computed)[0]].dtype if computed else ""
                counted[operator.name, operator.version, dtype] += 1
    needs = tuple(
        OperatorNeed(
            operator=name,
            version=version,
            count=count,
            dtype=dtype,
            since={package: found.first(name, version) for package, found in known.items()},
            kernel={
                package: found.first_kernel(name, dtype)
                for package, found in known.items()
                if found.asked_kernel(name, dtype)
            },
        )
        for (name, version, dtype), count in sorted(counted.items())
    )
    oldest = {
        package: "" if custom else found.first_of_all([(need.operator, need.version) for need in needs])
        for package, found in known.items()
    }
    found = Compatibility(
        operators=needs,
        oldest=oldest,
        asked={package: (found.releases[0], found.releases[-1]) for package, found in known.items()},
        custom=tuple(sorted(custom)),
        stated=flat.min_runtime_version,
    )
    return replace(found, notes=_notes(found))


def needs_newer(found: Compatibility, min_runtime: str) -> str:
    """Return why the model does not run on a release, e.g. ``"tflite-runtime 2.14.0"``; "" if it does.

    Raises:
        ConfigError: it is not a runtime and a release that were asked.
    """
    package, release = split_runtime(min_runtime)
    if found.custom:
        return f"custom operator {found.custom[0]}, which no plain runtime has"
    known = runtimes()[package]
    lacking = [need for need in found.operators if not known.has(need.operator, need.version, release)]
    if not lacking:
        return ""
    first = lacking[0]
    needed = found.oldest[package]
    runs = f"it needs {package} {needed}" if needed else f"no release of {package} has all of its operators"
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return f"{first.operator} version {first.version}{more}; {runs}"


def split_runtime(text: str) -> tuple[str, str]:
    """Return the package and the release of a setting such as ``"litert 1.0.1"``.

    Raises:
        ConfigError: the package or the release is unknown.
    """
    package, _, release = text.partition(" ")
    known = runtimes()
    if package not in known:
        message = f"[gates] min_runtime: {text!r} is not a runtime; write e.g. {_example(known)}"
        raise ConfigError(message, key="gates.min_runtime")
    if release not in known[package].releases:
        message = (
            f"[gates] min_runtime: no release {release!r} of {package} is known; "
            f"write one of {', '.join(known[package].releases)}"
        )
        raise ConfigError(message, key="gates.min_runtime")
    return package, release


def _example(known: Mapping[str, Released]) -> str:
    return " or ".join(f'"{package} {found.releases[0]}"' for package, found in known.items())


def _notes(found: Compatibility) -> tuple[str, ...]:
    notes = [f"{name}: a custom operator, which no plain runtime has" for name in found.custom]
    for need in found.operators:
        what = f"{need.operator} version {need.version}"
        notes += [
            f"{what}: no release of {package} up to {found.asked[package][1]} has it"
            for package, since in need.since.items()
            if not since
        ]
        notes += [
            f"{need.operator} of {need.dtype}: no kernel in {package} up to {found.asked[package][1]}"
            for package, since in need.kernel.items()
            if not since and need.since[package]
        ]
    # tflite-runtime carries TensorFlow's release numbers, which the file's own statement is of.
    newest = found.asked[TFLITE][1]
    if found.stated and not found.custom:
        should = _numbers(found.stated) <= _numbers(newest)
        says = "the file says that"
        if should and not found.oldest[TFLITE]:
            notes.append(
                f"{says} TensorFlow {found.stated} is enough, yet {TFLITE} {newest} lacks an operator"
            )
        if not should and found.oldest[TFLITE]:
            has = f"yet {TFLITE} {newest} has all of its operators"
            notes.append(f"{says} it needs TensorFlow {found.stated}, {has}")
    return tuple(notes)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@dataclass(frozen=True)
class Released:
    """One package: its releases, the oldest first, and what changed from which release on.

    Attributes:
        operators: operator -> release -> the versions known from there on, lowest and highest; none is ().
        kernels: operator -> release -> the dtypes that its own kernel takes from there on.
        dtypes: what kernels were asked about.
    """

    releases: tuple[str, ...]
    operators: Mapping[str, Mapping[str, tuple[int, ...]]]
    kernels: Mapping[str, Mapping[str, frozenset[str]]]
    dtypes: frozenset[str]

    def has(self, operator: str, version: int, release: str) -> bool:
        """Return whether a release knows a version of an operator."""
        versions = self._at(self.operators.get(operator, {}), release) or ()
        return bool(versions) and versions[0] <= version <= versions[1]

    def first(self, operator: str, version: int) -> str:
        """Return the first release from which on every one knows a version; "" if the newest does not."""
        return self._first(lambda release: self.has(operator, version, release))

    def first_of_all(self, needs: list[tuple[str, int]]) -> str:
        """Return the first release from which on every one knows all of them."""
        return self._first(lambda release: all(self.has(*need, release) for need in needs))

    def asked_kernel(self, operator: str, dtype: str) -> bool:
        return operator in self.kernels and dtype in self.dtypes

    def first_kernel(self, operator: str, dtype: str) -> str:
        """Return the first release from which on every kernel takes a dtype; "" if the newest does not."""
        of_operator = self.kernels.get(operator, {})
        return self._first(lambda release: dtype in (self._at(of_operator, release) or ()))

    def _at(self, since: Mapping[str, Known], release: str) -> Known | None:
        """Return the state at a release: the entry of the last change up to it."""
        found = None
        for each in self.releases[: self.releases.index(release) + 1]:
            found = since.get(each, found)
        return found

    def _first(self, holds: Callable[[str], bool]) -> str:
        first = ""
        for release in reversed(self.releases):
            if not holds(release):
                break
            first = release
        return first


@cache
def runtimes() -> dict[str, Released]:
    """Return package -> what its releases know, in the order of the table."""
    text = files("pipeline.validation").joinpath("compatibility.toml").read_text(encoding="utf-8")
    return {
        package: Released(
            tuple(table["releases"]),
            {operator: _versions(since) for operator, since in table["operators"].items()},
            {operator: _dtypes(since) for operator, since in table["kernels"].items()},
            frozenset(table["dtypes"]),
        )
        for package, table in tomllib.loads(text).items()
    }


def _versions(since: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    return {release: tuple(map(int, text.split("-"))) if text else () for release, text in since.items()}


def _dtypes(since: Mapping[str, str]) -> dict[str, frozenset[str]]:
    return {release: frozenset(text.split()) for release, text in since.items()}
