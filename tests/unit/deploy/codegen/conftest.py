"""Releases of every kind of tensor, and golden outputs for them."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.manifest import Input, Manifest, Output, Preprocessing, Resize, RuntimeNeed

HOSTILE = (
    '"); system("reboot"); ("',
    "back\\slash\\",
    "two\nlines\r\n",
    "??/ trigraph ??)",
    "*/ int x; /*",
    "${System.exit(1)} $x",
    "köttbullar 🍝 \u2028",
    "int",
    "7up",
    "\x00\x07",
    "%s%n",
    "L" * 6000,
)


def take(
    name,
    shape,
    dtype,
    scale=None,
    zero_point=0,
    *,
    by=(1.0,),
    plus=(0.0,),
    image=False,
    indices=False,
    reverse=False,
    columns=(),
):
    resize = Resize(size=shape[1:3], interpolation="bilinear") if image else None
    return Input(
        name=name,
        shape=shape,
        dtype=dtype,
        scale=scale,
        zero_point=zero_point,
        columns=columns,
        preprocessing=Preprocessing(
            resize=resize, indices=indices, reverse_channels=reverse, scale=by, offset=plus
        ),
    )


def give(name, shape, dtype, scale=None, zero_point=0, task="regression", logits=False):
    return Output(
        name=name, shape=shape, dtype=dtype, scale=scale, zero_point=zero_point, task=task, logits=logits
    )


def release(inputs, outputs, name="tiny", labels=()):
    return Manifest(
        name=name,
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
        inputs=inputs,
        outputs=outputs,
        labels=labels,
        tolerance_steps=1,
        golden=5,
        model="tiny-1.0-arm64.tflite",
        files={},
    )


FEATURES = ("sepal length (cm)", "rms", "class", "0", *(f"f{i}" for i in range(9)))
NORM = {"by": (0.017124753, 0.017507, 0.01742919), "plus": (-2.117904, -2.0357141, -1.8044444)}
ANSWER = give("answer", (1, 3), "int8", 0.1, 4)
RELEASES = {
    "an image of one channel": release(
        (take("image", (1, 28, 28, 1), "int8", 1 / 255, -128, by=(1 / 255,), image=True),),
        (give("class", (1, 10), "int8", 1 / 256, -128, "classification"),),
        "fashion-mnist",
        tuple(f"class {i}" for i in range(10)),
    ),
    "an image of reversed channels, each scaled for itself": release(
        (take("rgb", (1, 9, 7, 3), "uint8", 0.0186, 114, image=True, reverse=True, **NORM),),
        (give("mask", (1, 9, 7, 4), "int8", 0.17, 3, "segmentation", logits=True),),
        "0-day",
    ),
    "a vector of features, each scaled for itself": release(
        (
            take(
                "features",
                (1, 13),
                "int8",
                0.031,
                -7,
                by=tuple(0.3 ** (i % 5) for i in range(13)),
                plus=(1.5,),
                columns=FEATURES,
            ),
        ),
        (give("flower", (1, 1), "int8", 0.2, -3, "binary", logits=True),),
        "class",
        ("no", "yes"),
    ),
    "two inputs and two outputs whose names become one": release(
        (
            take("a b", (1, 6, 2), "int8", 0.05, 1, plus=(0.5, -0.5)),
            take("a.b", (1, 4), "float32", columns=("size", "SIZE", "int", "size 2")),
        ),
        (give("a_b", (1, 2), "int8", 0.01, -128, "multi-label"), give("A-B", (1, 1), "float32")),
    ),
    "16-bit tensors": release(
        (take("sound", (1, 33), "int16", 1 / 32768, 0, by=(0.7,), plus=(0.1,)),),
        (give("sound", (1, 5), "int16", 0.003, 0),),
    ),
    "a float model with logits": release(
        (take("x", (1, 5, 3), "float32", by=(0.3, 0.1, 7.0), plus=(0.1,)),),
        (give("class", (1, 3), "float32", None, 0, "classification", logits=True),),
        "std",
        ("a", "b", "c"),
    ),
    "indices": release(
        (take("words", (1, 20), "int32", indices=True), take("long", (1, 2), "int64", indices=True)),
        (ANSWER,),
    ),
    "indices in float tensors and bits": release(
        (take("words", (1, 20), "float32", indices=True), take("bits", (1, 8), "bool", indices=True)),
        (give("found", (1, 4), "bool"), give("place", (1, 1), "int64"), give("total", (1, 2), "int32")),
    ),
    "unquantized integers and bits of raw values": release(
        (take("count", (1, 8), "int32", by=(2.0,), plus=(0.25,)), take("bits", (1, 8), "bool")),
        (give("byte", (1, 9), "uint8", 0.25, 7),),
    ),
    "hostile names and labels": release(
        (
            *(take(name, (1, 3), "int8", 0.1, i) for i, name in enumerate(HOSTILE)),
            take("columns", (1, 12), "int8", 0.1, columns=HOSTILE),
            take("words", (1, 2), "int64", indices=True, columns=("this", "next")),
        ),
        (
            give("", (1, 12), "uint8", 0.1, 128, "classification"),
            *(give(name, (1, 3), "int8", 0.1) for name in HOSTILE),
        ),
        "linux",
        HOSTILE,
    ),
}


@pytest.fixture(scope="session")
def releases():
    return RELEASES


@pytest.fixture(params=RELEASES.values(), ids=RELEASES)
def manifest(request):
    """Each of the releases in turn."""
    return request.param


@pytest.fixture(scope="session")
def files_of():
    """What a function of ``deploy.codegen.source`` writes for a release and some golden outputs."""

    def written(function, manifest):
        golden = [some_of(output.dtype, (5, *output.shape[1:])) for output in manifest.outputs]
        return function(manifest, golden)

    return written


@pytest.fixture(scope="session")
def write(files_of):
    """Write those files into a folder, which is returned."""

    def write_into(folder, function, manifest):
        for path, text in files_of(function, manifest).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        return folder

    return write_into


def some_of(dtype, shape):
    numbers = np.random.default_rng(5)
    if dtype.startswith("float"):
        return numbers.normal(0, 3, shape).astype(dtype)
    return numbers.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
