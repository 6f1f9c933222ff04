"""Every example runs as its first lines say."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.xdist_group("tiny build")


def test_a_release_runs_and_gives_its_golden_outputs(built):
    run = subprocess.run(
        [sys.executable, EXAMPLES / "run_release.py", built.release],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == "64 of 64 golden outputs are equal to the bit"


def test_every_example_is_run_here_or_in_the_tutorial():
    scripts = [path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")]
    assert sorted(scripts) == ["raspberry-pi/camera.py", "run_release.py", "train_shapes.py"]


@pytest.fixture
def pictures(tmp_path):
    """A folder of three pictures, larger than the model's."""
    (folder := tmp_path / "frames").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def service(built, tmp_path):
    """The socket of the built release's service."""
    path = tmp_path / "model.sock"
    command = [sys.executable, built.release / "runner.py", "run", "--socket", path]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not path.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        yield path
        process.terminate()


def camera(service, *words):
    command = [sys.executable, EXAMPLES / "raspberry-pi" / "camera.py", "--socket", service, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_camera_client_prints_the_likeliest_classes_of_each_frame(service, pictures):
    ran = camera(service, "--source", pictures, "--channels", "1", "--interval", "0")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(lines := ran.stdout.splitlines()) == 3
    assert all(re.fullmatch(r"\S+ \(\d\.\d\d\)(, \S+ \(\d\.\d\d\))*  [\d.]+ ms", line) for line in lines), (
        lines
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "frames", "--channels", "3"), "the model takes numbers of shape"),
        (("--source", "missing"), "No such file"),
        (("--source", "pi"), "No module named 'picamera2'"),
    ],
)
def test_the_camera_client_says_in_one_line_what_is_wrong(words, said, service, pictures, monkeypatch):
    monkeypatch.chdir(pictures.parent)

    ran = camera(service, *words)

    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    assert said in ran.stderr


def test_the_readme_of_a_built_release_names_its_files(built):
    text = (built.release / "README.md").read_text()

    assert text.startswith("# tiny 1.0 for arm64\n")
    assert all((built.release / name).exists() for name in re.findall(r"\]\(([^)]+)\)", text))
    assert "c/tiny_test.c" in text
    assert "python3 predict.py photo.jpg" in text
