"""The rules of the house, held on the source itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from pipeline.errors import LEAF_ERRORS, PipelineError

ROOT = Path(__file__).resolve().parents[1]
LEAVES = ("models", "calibration", "deploy")
PACKAGES = ("pipeline", *LEAVES)
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PROGRAMS = sorted([*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
MAX_LINES_IN_A_FILE = 450  # above 400, ask whether the file does two jobs
MAX_LINES_IN_A_FUNCTION = 50

TENSORFLOW = ("tensorflow", "tf_keras", "keras", "tensorflow_model_optimization")
NOT_NEEDED_FOR_HELP = (*TENSORFLOW, "ai_edge_litert", "tflite_runtime", "numpy", "h5py", "PIL", "pydantic")


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _loaded_after(statements: str) -> set[str]:
    """Top-level modules in memory after a fresh interpreter has run the statements in the root folder."""
    program = (
        f"{statements}\nimport sys, json; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


def _module(path: Path) -> str:
    return _relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(path: Path, modules: set[str]) -> set[str]:
    """Which of ``modules`` a file imports: at its top, in a function, or for its annotations."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in modules else str(node.module))
    return found & modules


def _functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _lines_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_import_contracts_are_kept():
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_help_loads_nothing_that_it_does_not_need():
    loaded = _loaded_after(
        "from click.testing import CliRunner\n"
        "from pipeline.cli import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0"
    )
    assert loaded.isdisjoint(NOT_NEEDED_FOR_HELP), loaded.intersection(NOT_NEEDED_FOR_HELP)


def test_no_module_imports_tensorflow_scipy_or_jinja_at_its_top():
    modules = [
        module.name
        for package in PACKAGES
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
        if not module.name.endswith("__main__")
    ]
    loaded = _loaded_after("\n".join(f"import {name}" for name in modules))
    slow = (
        *TENSORFLOW,
        "scipy",
        "jinja2",
        "litert_quantizer",
    )  # a build that takes every step from the store needs none of them
    assert loaded.isdisjoint(slow), loaded.intersection(slow)


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_error_of_a_leaf_becomes_one_of_the_pipelines(leaf):
    package = importlib.import_module(leaf)
    modules = [
        package,
        *(
            importlib.import_module(module.name)
            for module in pkgutil.walk_packages(package.__path__, f"{leaf}.")
        ),
    ]
    raised = {
        kind
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, BaseException) and kind.__module__.split(".")[0] == leaf
    }
    assert raised, f"{leaf} has errors of its own"
    assert [kind for kind in raised if not issubclass(kind, tuple(LEAF_ERRORS))] == []


def test_leaf_errors_map_to_errors_of_the_pipeline():
    assert all(issubclass(kind, PipelineError) for kind in LEAF_ERRORS.values())


def test_tfmot_is_imported_in_one_file():
    importers = [
        _relative(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and node.names[0].name.startswith("tensorflow_model_optimization"))
        or (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("tensorflow_model_optimization")
        )
    ]
    assert set(importers) == {"pipeline/training/tfmot.py"}


def test_no_relative_imports():
    assert [
        f"{_relative(path)}:{node.lineno}"
        for path in PROGRAMS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ] == []


def test_no_files_import_each_other():
    modules = {_module(path): path for path in SOURCES}
    order = TopologicalSorter({name: _imports(path, set(modules)) for name, path in modules.items()})
    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_every_package_has_an_init_file():
    folders = {path.parent for path in SOURCES}
    assert [_relative(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_no_file_is_too_long():
    lines = {_relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PROGRAMS}
    assert {name: count for name, count in lines.items() if count > MAX_LINES_IN_A_FILE} == {}


def test_no_function_is_too_long():
    lines = {
        f"{_relative(path)}:{function.lineno} {function.name}": _lines_without_docstring(function)
        for path in SOURCES
        for function in _functions(path)
    }
    assert {name: count for name, count in lines.items() if count > MAX_LINES_IN_A_FUNCTION} == {}


def test_no_file_names_this_machine():
    places = {f"{ROOT}/", f"{Path.home()}/"} - {"//"}
    texts = [*PROGRAMS, *ROOT.glob("*.toml"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    texts += [ROOT / "Makefile", ROOT / "requirements.lock", *(ROOT / ".ci").iterdir()]
    assert [
        f"{_relative(path)}: {place}"
        for path in texts
        for place in places
        if place in path.read_text(encoding="utf-8")
    ] == []


def test_the_lock_names_no_index_and_hashes_every_package():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock
    entries = [entry for entry in lock.split("\n") if entry and not entry.startswith(("#", " "))]
    assert entries
    assert [entry for entry in entries if not entry.endswith(" \\") or "==" not in entry] == []
