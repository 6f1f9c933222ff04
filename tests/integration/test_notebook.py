"""The example notebook runs in a real kernel, and shows its results."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "examples" / "notebook"

pytestmark = [
    pytest.mark.xdist_group("notebook"),
    pytest.mark.filterwarnings("default"),  # of the client, whose kernel is another process
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The cells after a run in an empty folder."""
    notebook = nbformat.read(NOTEBOOKS / "first-build.ipynb", as_version=4)
    folder = tmp_path_factory.mktemp("notebook")
    # Only this environment's own kernel: a user's other kernels are none of the tests' business.
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": str(folder / "ipython")}
    client = NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return notebook


def outputs(notebook, beginning):
    """The outputs of the cell with this beginning of a line."""
    (cell,) = (
        cell for cell in notebook.cells if cell.cell_type == "code" and f"\n{beginning}" in f"\n{cell.source}"
    )
    return cell.outputs


def test_notebooks_are_kept_without_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert [cell.outputs for cell in cells if cell.get("outputs")] == []


@pytest.mark.parametrize(
    ("beginning", "words"),
    [
        ("plan(", ["weights75-qat8", "<table", "fewer instructions on rpi5"]),
        ("result = build(", ["corners-0.1.0-arm64: ", "passed", "<table", "report.html"]),
        ("validate(", ["passed", "<table"]),
    ],
)
def test_results_are_shown_as_html_in_a_small_output(executed, beginning, words):
    (html,) = (
        output.data["text/html"]
        for output in outputs(executed, beginning)
        if output.output_type == "execute_result"
    )
    assert [word for word in words if word not in html] == []
    assert len(html) < 20_000


def test_progress_is_shown_as_lines_and_not_as_an_error(executed):
    streams = [output for output in outputs(executed, "result = build(") if output.output_type == "stream"]
    assert {output.name for output in streams} == {"stdout"}
    lines = "".join(output.text for output in streams).splitlines()
    assert "\x1b" not in "".join(lines)
    assert any(line.endswith(" s") and "convert" in line for line in lines)
