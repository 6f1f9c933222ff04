"""Print, as a Markdown table, what the core and each extra of pyproject.toml add to an installation, in MB.

Usage: python benchmarks/extras.py

Follows the requirements of the installed packages and adds up their files, without bytecode. An extra counts
what the core does not have already. Install all of them first: pip install '.[dashboard,search,mlflow,docs]'
"""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NOT_FOR_USERS = ("dev",)


def closure(requirements: list[str], missing: set[str]) -> set[str]:
    """Return the packages that the requirements lead to; add those not installed to ``missing``."""
    found: set[str] = set()
    todo = [(Requirement(each), frozenset({""})) for each in requirements]
    done: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement, extras = todo.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": each}) for each in extras):
            continue
        name, asked = canonicalize_name(requirement.name), frozenset(requirement.extras | {""})
        if (name, asked) in done:
            continue
        done.add((name, asked))
        try:
            todo += [(Requirement(each), asked) for each in distribution(name).requires or []]
            found.add(name)
        except PackageNotFoundError:
            missing.add(name)
    return found


def megabytes(names: set[str]) -> float:
    """Return the size of the files of these packages."""
    paths = [
        distribution(name).locate_file(file) for name in names for file in distribution(name).files or []
    ]
    files = [Path(str(path)) for path in paths if not str(path).endswith(".pyc")]
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def main() -> None:
    """Print the table."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    missing: set[str] = set()
    core = closure(project["dependencies"], missing)
    sources = [
        path
        for package in ("pipeline", "models", "calibration", "deploy")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    own = sum(path.stat().st_size for path in sources) / 1e6
    largest = max(core, key=lambda name: megabytes({name}))
    print("| installation | packages | MB |\n|---|---|---|")
    print(f"| this project itself | 1 | {own:.0f} |")
    print(f"| its dependencies, of which {largest} {megabytes({largest}):,.0f} MB", end=" ")
    print(f"| {len(core)} | {megabytes(core):,.0f} |")
    for name, requirements in project["optional-dependencies"].items():
        if name not in NOT_FOR_USERS:
            lacking: set[str] = set()
            added = closure(requirements, lacking) - core
            note = f", without {', '.join(sorted(lacking))}: not installed" if lacking else ""
            print(f"| `[{name}]` adds{note} | {len(added)} | {megabytes(added):,.0f} |")
    if missing:
        print(f"\nnot installed: {', '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
