"""Dependencies of a stage's result besides its inputs: source code, packages and the machine.

Found without importing anything: from the syntax trees of the project's modules, and from the metadata of the
installed packages (docs/adr/0029-a-key-that-covers-the-code.md).
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import re
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.content import sha256_of, write_whole
from pipeline.runtimes.machine import read_features, read_machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "models", "calibration", "deploy")
COMPUTES = frozenset({"tensorflow", "tf_keras", "keras", "ai_edge_litert", "tflite_runtime"})
"""Import names of packages whose results differ in the last bits from one processor to another."""
TIMES = f"{read_machine.__module__}.{read_machine.__name__}"
"""It states which machine a time was measured on: code that imports it measures times."""
_PARSING = threading.Lock()
_NAME = re.compile(r"[\w./-]{3,100}", re.ASCII)

FORMAT = 1
"""Format version of the cache file."""
PARSE_TRIES = 5

Stamp = list[int]
"""Size, time stamp (ns) and inode of a file."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Dependencies of one stage.

    Attributes:
        sources: SHA-256 of each source file, by its path below the project's folder.
        packages: version of each distribution, and of Python.
        machine: the processor, if the stage computes; the number of cores as well, if it measures times.
    """

    sources: dict[str, str]
    packages: dict[str, str]
    machine: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return sha256_of([self.sources, self.packages, self.machine])


class Dependencies:
    """Finds what stages depend on.

    A module depends on the modules that it imports, anywhere in it except under ``TYPE_CHECKING``, and on the
    files that it names in a string, such as a program for another interpreter or a template. A data file that
    no module names counts for every module in its folder.

    Args:
        cache: a JSON file that keeps what was found in each file, by its size, time stamp and inode.
        root: the folder with the project's packages.
    """

    def __init__(self, cache: Path, root: Path = ROOT) -> None:
        self.root, self._cache = root, cache
        self._found: dict[tuple[str, ...], Needs] = {}
        self._kept, self._is_new = _kept(cache), False
        self._files = {path: stamp for package in PACKAGES for path, stamp in _scan(root, package)}
        self._texts = {path: self._text(path, stamp) for path, stamp in self._files.items()}
        self._by_name: dict[str, list[str]] = {}
        for path in self._files:
            self._by_name.setdefault(path.rpartition("/")[2], []).append(path)
        named = {name.rpartition("/")[2] for text in self._texts.values() for name in text["strings"]}
        self._unnamed: dict[str, list[str]] = {}
        for path in self._files:
            folder, _, name = path.rpartition("/")
            if not name.endswith(".py") and name not in named:
                self._unnamed.setdefault(folder, []).append(path)

    def of(self, *modules: str) -> Needs:
        """Return what a stage depends on.

        Args:
            modules: the stage's own, and those of the classes of what it is given.
        """
        asked = tuple(sorted(set(modules)))
        if asked not in self._found:
            self._found[asked] = self._needs(asked)
            self._keep()
        return self._found[asked]

    def _needs(self, modules: tuple[str, ...]) -> Needs:
        todo = [path for module in modules for path in self._loaded(module)]
        sources: dict[str, str] = {}
        names: set[str] = set()
        while todo:
            path = todo.pop()
            if path in sources:
                continue
            text = self._texts[path]
            sources[path] = text["sha256"]
            for name in text["imports"]:
                todo += self._modules(name)
            for name in text["strings"]:
                todo += self._modules(name) or self._named(name, path)
            todo += self._unnamed.get(path.rpartition("/")[0], ())
            names |= {*text["imports"], *(name for name in text["strings"] if _top(name) in COMPUTES)}
        imported = set(map(_top, names))
        machine: dict[str, Any] = {}
        if COMPUTES & imported:
            machine = {"cpu": read_machine().cpu, "features": read_features()}
        if TIMES in names:
            machine["cores"] = read_machine().cores
        packages = {"python": platform.python_version()}
        for name in sorted(imported.difference(PACKAGES, sys.stdlib_module_names)):
            packages |= self._distributions(name)
        return Needs(sources=dict(sorted(sources.items())), packages=packages, machine=machine)

    def _loaded(self, module: str) -> list[str]:
        """Return the files of a module that is in memory: of the project, or as in tests outside of it."""
        if found := self._modules(module):
            return found
        file = getattr(sys.modules.get(module), "__file__", None)
        if module.partition(".")[0] in sys.stdlib_module_names or file is None:
            return []
        if file not in self._texts:
            self._texts[file] = self._text(file, _stamp(Path(file).stat()))
        return [file]

    def _modules(self, name: str) -> list[str]:
        """Return the files of a module of the project and of the packages around it; none for other names."""
        found: list[str] = []
        parts = name.split(".")
        for end in range(1, len(parts) + 1) if parts[0] in PACKAGES else ():
            path = "/".join(parts[:end])
            if f"{path}/__init__.py" in self._files:
                found.append(f"{path}/__init__.py")
            elif f"{path}.py" in self._files:
                return [*found, f"{path}.py"]
        return found

    def _named(self, name: str, by: str) -> list[str]:
        """Return the files that a string may name: in the folder of its module, else in any."""
        beside = f"{by.rpartition('/')[0]}/{name}"
        return [beside] if beside in self._files else self._by_name.get(name.rpartition("/")[2], [])

    def _text(self, path: str, stamp: Stamp) -> dict[str, Any]:
        """Return a file's SHA-256 and the names in it, read again only if the file has changed."""
        kept: dict[str, Any] | None = self._kept["files"].get(path)
        if kept is None or kept["stamp"] != stamp:
            content = (self.root / path).read_bytes()
            imports, strings = _names(content) if path.endswith(".py") else ([], [])
            kept = {
                "stamp": stamp,
                "sha256": hashlib.sha256(content).hexdigest(),
                "imports": imports,
                "strings": strings,
            }
            self._kept["files"][path] = kept
            self._is_new = True
        return kept

    @cached_property
    def _installed(self) -> dict[str, dict[str, str]]:
        """Return the distributions behind an import name, cached while the same ones are installed."""
        listing = sorted(
            name
            for folder in dict.fromkeys(sys.path)
            if Path(folder).is_dir()
            for name in os.listdir(folder or ".")  # noqa: PTH208 - thousands of names, each build
            if name.endswith((".dist-info", ".egg-info"))
        )
        if self._kept["installed"] != listing:
            self._kept |= {"installed": listing, "reached": {}}
        reached: dict[str, dict[str, str]] = self._kept["reached"]
        return reached

    @cached_property
    def _by_import_name(self) -> Mapping[str, list[str]]:
        """The distributions of each import name: reads the metadata of all, which takes a second."""
        return metadata.packages_distributions()

    def _distributions(self, name: str) -> dict[str, str]:
        """Return the distributions of an import name and all that they require, with their versions."""
        if name not in self._installed:
            self._installed[name] = _reached(self._by_import_name.get(name, ()))
            self._is_new = True
        return self._installed[name]

    def _keep(self) -> None:
        if self._is_new:
            with suppress(OSError):  # a store that cannot be written to
                write_whole(self._cache, json.dumps(self._kept))
            self._is_new = False


def _kept(cache: Path) -> dict[str, Any]:
    """Read what an earlier build has found; nothing where that cannot be used."""
    with suppress(OSError, ValueError):
        kept = json.loads(cache.read_text(encoding="utf-8"))
        if isinstance(kept, dict) and kept.get("format") == FORMAT:
            return kept
    return {"format": FORMAT, "files": {}, "installed": [], "reached": {}}


def _scan(root: Path, folder: str) -> Iterator[tuple[str, Stamp]]:
    """Yield every source and data file below a package's folder, by its POSIX path below the root."""
    try:
        listed = sorted(os.scandir(root / folder), key=lambda each: each.name)
    except FileNotFoundError:
        return
    for each in listed:
        if each.name == "__pycache__" or each.name.startswith("."):
            continue
        path = f"{folder}/{each.name}"
        if each.is_dir():
            yield from _scan(root, path)
        else:
            yield path, _stamp(each.stat())


def _stamp(facts: os.stat_result) -> Stamp:
    return [facts.st_size, facts.st_mtime_ns, facts.st_ino]


def _names(content: bytes) -> tuple[list[str], list[str]]:
    """Return the modules that a module imports, and its strings that may name a file or module."""
    imports, strings = set(), set()
    todo: list[ast.AST] = [_parsed(content)]
    while todo:
        node = todo.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                todo += node.orelse
                continue
            case ast.Import():
                imports |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                imports |= {f"{module}.{alias.name}" for alias in node.names}
            case ast.Constant(value=str(text)) if "." in text and _NAME.fullmatch(text):
                strings.add(text)
        todo += ast.iter_child_nodes(node)
    return sorted(imports), sorted(strings)


def _parsed(content: bytes) -> ast.Module:
    """Parse a module.

    Python 3.11 counts the depth of all parsers of a process in one place and now and then raises SystemError
    for valid code (https://github.com/python/cpython/issues/106905). The lock keeps our own threads apart;
    what is left is tried again.
    """
    for _ in range(PARSE_TRIES - 1):
        with suppress(SystemError), _PARSING:
            return ast.parse(content)
    with _PARSING:
        return ast.parse(content)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _reached(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of installed distributions and of all that they require."""
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    todo = [(each, "") for each in distributions]
    while todo:
        distribution, extra = todo.pop()
        key = re.sub(r"[-_.]+", "-", distribution).lower()
        if (key, extra) in done:
            continue
        done.add((key, extra))
        try:
            facts = metadata.distribution(distribution)
        except metadata.PackageNotFoundError:  # an optional one
            continue
        found[key] = facts.version
        for requirement in map(Requirement, facts.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                todo += [(requirement.name, extra_name) for extra_name in ("", *requirement.extras)]
    return found
