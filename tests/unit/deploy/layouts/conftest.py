"""A release folder, and its Debian package."""

from __future__ import annotations

import pytest

from deploy.layouts import write_debian_package
from deploy.manifest import (
    Input,
    Manifest,
    Output,
    Preprocessing,
    Resize,
    RuntimeNeed,
    digest_of,
    write_manifest,
)

STEPS = Preprocessing(
    resize=Resize(size=(4, 4), interpolation="bilinear"),
    indices=False,
    reverse_channels=False,
    scale=(1 / 255,),
    offset=(0.0,),
)
IMAGE = {"name": "image", "shape": (1, 4, 4, 1), "dtype": "int8", "scale": 1 / 255, "zero_point": -128}
ANSWER = {"name": "class", "shape": (1, 2), "dtype": "int8", "scale": 1 / 256, "zero_point": -128}
RELEASE = Manifest(
    name="tiny",
    version="1.0",
    target="arm64",
    counter=1,
    created=None,
    expires=None,
    devices=("rpi4",),
    machine="aarch64",
    android_abi="arm64-v8a",
    runtimes=(RuntimeNeed(package="ai-edge-litert", least="2.3.0"),),
    format="int8",
    inputs=(Input(**IMAGE, preprocessing=STEPS),),
    outputs=(Output(**ANSWER, task="classification", logits=False),),
    labels=("cat", "dog"),
    tolerance_steps=1,
    golden=2,
    model="tiny-1.0-arm64.tflite",
    files={},
)
UNIT = "[Unit]\nDescription=tiny\n\n[Service]\nExecStart=/usr/bin/python3 run\nUser=edge-models\n"


@pytest.fixture
def release():
    return RELEASE


@pytest.fixture
def unit():
    """The text of the release's systemd unit."""
    return UNIT


@pytest.fixture
def release_folder():
    return write_release_folder


@pytest.fixture
def package():
    """Write a release folder and package it; returns the .deb and the release's digest."""

    def package_of(folder, **changes):
        manifest = write_release_folder(folder, **changes)
        assert write_debian_package(folder, manifest) == ""
        return next((folder / "raspberrypi").iterdir()), digest_of(folder)

    return package_of


def write_release_folder(folder, health=0, **changes):
    """A release whose health check exits with ``health``, and its manifest."""
    folder.mkdir(parents=True)
    manifest = RELEASE.model_copy(update=changes)
    texts = {
        manifest.model: f"model of {manifest.version}",
        "labels.txt": "cat\ndog\n",
        "golden_input_0.npy": "in",
        "golden_output_0.npy": "out",
        "predict.py": "",
        "runner.py": f"import sys\nassert sys.argv[1] == 'health'\nsys.exit({health})\n",
        f"{manifest.name}.service": UNIT,
        "MODEL_CARD.md": "# tiny",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    manifest = manifest.model_copy(update={"files": dict.fromkeys(texts, "0" * 64)})
    write_manifest(manifest, folder)
    return manifest
