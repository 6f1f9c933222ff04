from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy import device
from deploy.device import predict, raw, resizing
from deploy.manifest import digest_of
from models.data.resizing import resize_bilinear

PROGRAMS = [Path(device.__file__).with_name(name) for name in device.FILES]
RAW = np.random.default_rng(3).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_program_of_a_device_needs_what_devices_have(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    nodes = list(ast.walk(tree))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    others = {Path(name).stem for name in device.FILES}
    allowed = {*sys.stdlib_module_names, *others, "numpy", "deploy"}
    allowed |= {"PIL"} if path.name in ("samples.py", "resizing.py") else set()  # for photos alone
    assert {name.split(".")[0] for name in imported} <= allowed
    assert {name for name in imported if name.startswith("deploy")} <= {"deploy.device"}
    later = [
        k.arg for node in nodes if isinstance(node, ast.Call) for k in node.keywords if k.arg == "strict"
    ]
    assert later == [], "zip(strict=) is of Python 3.10"


@pytest.mark.parametrize("hide", [(), ("ai_edge_litert",)])
def test_the_script_says_a_line_for_each_sample(hide, release_folder, hidden, tmp_path):
    np.save(tmp_path / "raw.npy", RAW)
    ran = subprocess.run(
        [sys.executable, release_folder / "predict.py", tmp_path / "raw.npy"],
        env=hidden(*hide),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split("  ")[0] for line in ran.stdout.splitlines()] == ["0", "1", "2", "3", "4"]
    assert all("class: " in line for line in ran.stdout.splitlines())


@pytest.fixture
def tested(release_folder):
    """A release whose manifest says which raw values it was tested on."""
    path = release_folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["inputs"][0]["raw"] = {"dtype": "uint8", "low": 3.0, "high": 251.0}
    path.write_text(json.dumps(manifest))
    return release_folder


@pytest.mark.parametrize("program", [["predict.py"], ["runner.py", "run"]], ids=["predict", "runner"])
def test_its_own_golden_input_is_refused_because_it_is_quantized(program, tested):
    ran = subprocess.run(
        [sys.executable, tested / program[0], *program[1:], tested / "golden_input_0.npy"],
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.splitlines()[-1] == (
        f"{program[0]}: image: int8 values, the samples are uint8; give raw samples: golden_input files are "
        "quantized already"
    )
    assert "warning" not in ran.stderr


@pytest.mark.parametrize("program", [["predict.py"], ["runner.py", "run"]], ids=["predict", "runner"])
@pytest.mark.parametrize(
    ("values", "warned"),
    [
        (RAW, ""),
        (RAW.astype(np.float32) / 255, "float32 values from "),
        (RAW.astype(np.int32) * 4, "int32 values from "),
        (RAW.astype(np.int64), ""),
    ],
    ids=["as tested", "scaled already", "out of range", "wider integers"],
)
def test_samples_unlike_those_of_the_tests_get_a_warning(program, values, warned, tested, tmp_path):
    np.save(tmp_path / "raw.npy", values)
    ran = subprocess.run(
        [sys.executable, tested / program[0], *program[1:], tmp_path / "raw.npy"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ran.stdout.splitlines()) == 5
    said = [line for line in ran.stderr.splitlines() if "warning" in line]
    assert len(said) == bool(warned)
    for line in said:
        assert line.startswith(f"{program[0]}: warning: image: {warned}")
        assert "tested on uint8 from 3 to 251" in line


def test_the_script_says_in_one_line_what_it_needs(release_folder, hidden):
    def said(**more):
        command = [sys.executable, release_folder / "predict.py"]
        ran = subprocess.run(command, capture_output=True, text=True, **more)
        assert ran.returncode == 1
        (line,) = [line for line in ran.stderr.splitlines() if not line.startswith("INFO:")]
        return line

    assert said() == "predict.py: give image.npy, of equally many samples"
    assert "install it with: " in said(env=hidden("ai_edge_litert", "tflite_runtime"))


def test_raw_samples_become_the_golden_inputs(released):
    model = predict.Model(released)
    golden = np.load(released / "golden_input_0.npy")
    raw = golden.astype(int) + 128  # its scale is that of its pixels
    for sample, wanted, answer in zip(raw, golden, np.load(released / "golden_output_0.npy"), strict=True):
        (tensor,) = model.tensors([sample])
        assert np.array_equal(tensor[0], wanted)
        assert np.array_equal(model.run([tensor])[0][0], answer)
        (values,) = model.predict(sample)
        assert np.allclose(values, (answer.astype(int) + 128) / 256)


def test_a_sample_of_another_shape_or_number_is_refused(released):
    model = predict.Model(released)
    with pytest.raises(ValueError, match=r"image: a sample of shape \(4, 4\), the model takes \[4, 4, 1\]"):
        model.predict(RAW[0, ..., 0])
    with pytest.raises(ValueError, match=r"save a single sample with a batch axis: x\[None\]"):
        model.predict(RAW[0, 0])
    with pytest.raises(ValueError, match="2 arrays for 1 inputs"):
        model.predict(RAW[0], RAW[0])


@pytest.mark.parametrize("how", ["bilinear-no-antialias", "bilinear", "nearest", "area"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_another_size_is_scaled_as_the_training_data_were(how, channels, tmp_path):
    from PIL import Image

    from models.data.images import Decoder

    photo = np.random.default_rng(5).integers(0, 256, (9, 13, channels)).astype(np.uint8)
    Image.fromarray(photo[..., 0] if channels == 1 else photo).save(tmp_path / "photo.png")
    read = Decoder((4, 6, channels), how)(("photo.png", tmp_path / "photo.png"))
    steps = {"resize": {"size": [4, 6], "interpolation": how}, "reverse_channels": False, "indices": False}
    contract = {"name": "image", "shape": [1, 4, 6, channels], "dtype": "uint8", "scale": None}
    contract["preprocessing"] = steps | {"scale": [1.0], "offset": [0.0]}

    np.testing.assert_array_equal(predict.to_input(photo, contract), read)


def test_a_float_image_of_another_size_is_scaled_without_antialias_or_refused():
    image, size = np.random.default_rng(5).random((9, 13, 3), np.float32), {"size": [4, 6]}

    scaled = resizing.resized(image, size | {"interpolation": "bilinear-no-antialias"})

    np.testing.assert_array_equal(scaled, resize_bilinear(image, (4, 6)))
    with pytest.raises(ValueError, match="an image of float32: scale it to 4x6 first"):
        resizing.resized(image, size | {"interpolation": "bilinear"})


def test_tflite_runtime_is_none_beside_numpy_2(monkeypatch):
    needs = [{"package": "tflite-runtime", "least": "2.14.0"}]
    assert predict.runtime(needs) == ("tflite-runtime", "2.14.0")
    monkeypatch.setattr(np, "__version__", "2.3.1")
    with pytest.raises(ImportError, match=r"tflite-runtime dies of numpy 2\.3\.1; .*'numpy<2'"):
        predict.runtime(needs)


@pytest.mark.parametrize(
    ("least", "enough"), [("2.14.0", True), ("2.9", True), ("2.14.1", False), ("10.0", False)]
)
def test_versions_are_compared_as_numbers(least, enough):
    needs = [{"package": "tflite-runtime", "least": least}]
    if enough:
        assert predict.runtime(needs)[1] == "2.14.0"
    else:
        with pytest.raises(ImportError, match="needed is"):
            predict.runtime(needs)


def test_every_cut_of_a_request_is_refused(released):
    contract = json.loads((released / "manifest.json").read_text())
    whole = _npy(RAW[0])
    assert np.array_equal(raw.decode(whole, contract)[0], RAW[0])
    for size in range(len(whole)):
        with pytest.raises(ValueError, match="image: "):
            raw.decode(whole[:size], contract)
    assert len(whole) < raw.largest_request(contract)


def test_the_digest_is_that_of_the_manifest(released):
    found = predict.check(released)
    assert (found["healthy"], found["digest"]) == (True, digest_of(released))


@pytest.mark.parametrize(
    ("task", "logits", "values", "said"),
    [
        ("classification", False, [0.1, 0.9], "b"),
        ("classification", False, [0.1, 0.2, 0.7], None),
        ("binary", False, [0.4], "a"),
        ("binary", True, [0.4], "b"),
        ("regression", False, [0.4, 1.0], None),
    ],
)
def test_an_answer_has_the_label_of_its_class(task, logits, values, said):
    assert predict.label_of(np.array(values), {"task": task, "logits": logits}, ["a", "b"]) == said


@pytest.mark.parametrize(
    ("task", "logits", "values", "said"),
    [
        ("classification", False, [0.25, 0.75], "yes (0.75), no (0.25)"),
        ("classification", True, [0, np.log(3)], "yes (0.75), no (0.25)"),
        ("binary", False, [0.75], "yes (0.75)"),
        ("binary", False, [0.25], "no (0.75)"),
        ("binary", True, [-np.log(3)], "no (0.75)"),
        ("binary", True, [-800.0], "no (1)"),
        ("regression", False, [0.25, 4], "0.25 4"),
    ],
)
def test_an_answer_is_printed_with_the_probability_of_its_class(task, logits, values, said):
    contract = {"task": task, "logits": logits}
    assert predict.describe(np.array(values), contract, ["no", "yes"]) == said


@pytest.mark.parametrize(
    ("ours", "golden", "steps"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0),
        ([1.0, 2.00004], [1.0, 2.0], 2),
        ([np.nan, 2.0], [np.nan, 2.0], 0),
        ([np.nan, 2.0], [1.0, 2.0], np.inf),
        ([np.inf, 2.0], [1.0, 2.0], np.inf),
    ],
)
def test_an_output_without_a_scale_is_compared_in_parts_of_the_largest_value(ours, golden, steps):
    got = predict._steps(np.array([ours], np.float32), np.array(golden, np.float32), 2e-5)
    assert got == pytest.approx(steps, rel=0.01)
