from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.device.observe import BINS, Observer, metrics
from deploy.device.totals import merge


def _input(shape, dtype="int8", scale=0.1, value_range=None):
    return {
        "name": "in",
        "shape": shape,
        "dtype": dtype,
        "scale": scale,
        "zero_point": 3,
        "range": value_range,
    }


def _output(shape, task="classification", *, logits=False, dtype="int8", scale=1 / 256, zero_point=-128):
    return {
        "name": "out",
        "shape": shape,
        "dtype": dtype,
        "scale": scale,
        "zero_point": zero_point,
        "range": [0.0, 1.0],
        "task": task,
        "logits": logits,
    }


def _manifest(one_input, one_output):
    return {
        "name": "m",
        "version": "1",
        "target": "t",
        "inputs": [one_input],
        "outputs": [one_output],
    }


def _seen(manifest, inputs, outputs, latency_us=None, **more):
    observer = Observer(manifest, **more)
    for values, answer in zip(inputs, outputs, strict=True):
        observer.see([values[np.newaxis]], [answer[np.newaxis]], latency_us)
    return observer.statistics()


def _numbers(rng, dtype, shape):
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 2, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("shape", [[1, 5], [1, 20, 20, 3], [1, 300], [1, 9, 40], [1, 17, 17, 1]])
@pytest.mark.parametrize(
    ("dtype", "scale", "limits"),
    [
        ("int8", 0.1, (-128, 128)),
        ("uint8", 0.1, (0, 256)),
        ("int16", 0.1, (-32768, 32768)),
        ("float32", None, (-3.0, 3.0)),
        ("int32", None, (0.0, 100.0)),
    ],
)
def test_values_means_spreads_and_channels_are_the_histograms_of_numpy(shape, dtype, scale, limits):
    rng = np.random.default_rng(1)
    inputs = _numbers(rng, dtype, (150, *shape[1:]))
    outputs = rng.integers(-128, 128, (150, 4)).astype(np.int8)
    value_range = None if scale else list(limits)
    found = _seen(_manifest(_input(shape, dtype, scale, value_range), _output([1, 4])), inputs, outputs)
    (one,) = found["inputs"]

    def histogram(values, low, high):
        inside = np.clip(values.ravel(), low, np.nextafter(high, low))
        return np.histogram(inside, BINS, (low, high))[0].tolist()

    low, high = limits
    wide = inputs.astype(float).reshape(150, -1)
    assert one["values"] == histogram(wide, low, high)
    assert one["means"] == histogram(wide.mean(axis=1), low, high)
    assert one["spreads"] == histogram(wide.std(axis=1), 0, (high - low) / 2)
    channels = shape[-1]
    each = inputs.astype(float).reshape(150, -1, channels).mean(axis=1)
    wanted = [histogram(each[:, channel], low, high) for channel in range(channels)]
    assert one["channels"] == (wanted if channels <= 32 else [])
    assert (found["inferences"], found["observed"]) == (150, 150)


@pytest.mark.parametrize("logits", [False, True])
def test_classes_and_confidence_of_a_classifier(logits):
    rng = np.random.default_rng(2)
    outputs = rng.integers(-128, 128, (100, 6)).astype(np.int8)
    scale = 0.05 if logits else 1 / 256
    manifest = _manifest(_input([1, 2]), _output([1, 6], logits=logits, scale=scale))
    found = _seen(manifest, np.zeros((100, 2), np.int8), outputs)["outputs"][0]
    real = (outputs.astype(float) + 128) * scale
    if logits:
        real = np.exp(real) / np.exp(real).sum(axis=1, keepdims=True)
    assert found["classes"] == np.bincount(outputs.argmax(axis=1), minlength=6).tolist()
    assert found["confidence"] == np.histogram(real.max(axis=1), BINS, (0, 1))[0].tolist()


@pytest.mark.parametrize("logits", [False, True])
def test_classes_and_confidence_of_a_yes_or_no(logits):
    outputs = np.arange(-128, 128, dtype=np.int8)[:, np.newaxis]
    manifest = _manifest(
        _input([1, 2]),
        _output(
            [1, 1],
            "binary",
            logits=logits,
            scale=0.1 if logits else 1 / 256,
            zero_point=0 if logits else -128,
        ),
    )
    found = _seen(manifest, np.zeros((256, 2), np.int8), outputs)["outputs"][0]
    assert found["classes"] == [129, 127]
    assert sum(found["confidence"]) == 256
    assert sum(found["confidence"][: BINS // 2]) == 0, "the likelier of the two has one half at least"


def test_an_output_without_classes_has_neither():
    manifest = _manifest(_input([1, 2]), _output([1, 2], "regression"))
    found = _seen(manifest, np.zeros((3, 2), np.int8), np.zeros((3, 2), np.int8))["outputs"][0]
    assert (found["classes"], found["confidence"]) == (None, None)
    assert sum(found["values"]) == 6


def test_what_is_no_number_or_outside_is_in_an_end_bin_and_no_warning():
    inputs = np.array([[np.nan, np.inf], [-np.inf, 1e30], [0.5, -5]], np.float32)
    manifest = _manifest(
        _input([1, 2], "float32", None, [0.0, 1.0]), _output([1, 2], dtype="float32", scale=None, logits=True)
    )
    found = _seen(manifest, inputs, inputs)
    values = found["inputs"][0]["values"]
    assert (values[0], values[-1], values[32]) == (3, 2, 1)
    for counts in (*found["inputs"][0]["channels"], found["outputs"][0]["confidence"]):
        assert sum(counts) == 3


def test_a_range_that_is_a_point_or_missing_still_has_bins():
    for value_range in ([0.0, 0.0], None):
        manifest = _manifest(_input([1, 2], "float32", None, value_range), _output([1, 2]))
        found = _seen(manifest, np.zeros((3, 2), np.float32), np.zeros((3, 2), np.int8))
        assert sum(found["inputs"][0]["values"]) == 6


def test_latencies_are_counted_in_eighths_of_an_octave_and_what_was_not_measured_is_not():
    observer = Observer(_manifest(_input([1, 2]), _output([1, 2])))
    tensors = [np.zeros((1, 2), np.int8)]
    for latency in (0.2, 1.0, 2.0, 2.5, 1024.0, 1e12, math.nan, None):
        observer.see(tensors, tensors, latency)
    found = observer.statistics()
    counts = found["latency_us"]["counts"]
    assert {i: n for i, n in enumerate(counts) if n} == {0: 2, 8: 1, 10: 1, 80: 1, 255: 1}
    assert found["inferences"] == 8
    assert found["latency_us"]["ratio"] ** 8 == pytest.approx(2)


def test_without_a_date_the_same_samples_give_the_same_bytes():
    rng = np.random.default_rng(5)
    inputs, outputs = (rng.integers(-128, 128, (70, 3)).astype(np.int8) for _ in range(2))
    manifest = _manifest(_input([1, 3]), _output([1, 3]))
    first, second = (_seen(manifest, inputs, outputs) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert (first["since"], first["until"], first["digest"]) == (None, None, None)


@pytest.mark.parametrize(("latency_us", "least", "most"), [(1e6, 20_000, 20_000), (1.0, 1, 2_000)])
def test_how_many_are_observed_follows_from_the_time_that_there_is(latency_us, least, most):
    observer = Observer(_manifest(_input([1, 4]), _output([1, 4])), share=0.02, seed=1)
    tensors = [np.zeros((1, 4), np.int8)]
    for _ in range(20_000):
        observer.see(tensors, tensors, latency_us)
    found = observer.statistics()
    assert found["inferences"] == sum(found["latency_us"]["counts"]) == 20_000
    assert least <= found["observed"] <= most
    assert sum(found["outputs"][0]["classes"]) == found["observed"]


def test_the_moments_have_no_rhythm():
    observer = Observer(_manifest(_input([1, 1]), _output([1, 2])), share=0.02, seed=3)
    answer = [np.zeros((1, 2), np.int8)]
    moments = [[np.array([[step]], np.int8)] for step in (-100, 100)]
    for number in range(60_000):
        observer.see(moments[number % 2], answer, 30.0)
    counts = [n for n in observer.statistics()["inputs"][0]["values"] if n]
    assert len(counts) == 2, "an input that alternates is seen on both sides"
    assert min(counts) > 0.25 * sum(counts)


def test_kept_samples_are_a_fair_choice_of_those_observed():
    manifest = _manifest(_input([1, 1], "int16"), _output([1, 2]))
    answer = [np.zeros((1, 2), np.int8)]
    firsts = []
    for seed in range(60):
        observer = Observer(manifest, keep=10, seed=seed)
        for number in range(200):
            observer.see([np.array([[number]], np.int16)], answer, raw=[np.array([number])])
        assert len({int(sample[0][0]) for sample in observer.kept}) == 10
        firsts += [int(sample[0][0]) < 100 for sample in observer.kept]
    assert 0.4 < np.mean(firsts) < 0.6


def _some(seed, dated=False, digest="d"):
    rng = np.random.default_rng(seed)
    inputs, outputs = (rng.integers(-128, 128, (40, 3)).astype(np.int8) for _ in range(2))
    manifest = _manifest(_input([1, 3]), _output([1, 3]))
    return (inputs, outputs), _seen(manifest, inputs, outputs, 50.0, dated=dated, digest=digest)


def test_merged_statistics_are_those_of_all_together():
    (a, b), first = _some(1)
    (c, d), second = _some(2)
    manifest = _manifest(_input([1, 3]), _output([1, 3]))
    together = _seen(manifest, np.concatenate([a, c]), np.concatenate([b, d]), 50.0, digest="d")
    assert merge(first, second) == together
    assert merge(first) == first
    early = {**first, "since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    late = {**second, "since": "2026-02-01T00:00:00Z", "until": "2026-02-02T00:00:00Z"}
    merged = merge(late, early, first)
    assert (merged["since"], merged["until"]) == ("2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z")


def test_statistics_of_different_releases_do_not_merge():
    first, second = _some(1)[1], _some(1, digest="e")[1]
    with pytest.raises(ValueError, match="digest: d and e are not of the same release"):
        merge(first, second)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None, database=None)
@given(st.sampled_from(sorted(_some(1)[1])), _json)
def test_whatever_a_file_holds_is_merged_or_refused(key, value):
    good = _some(1)[1]
    if key in ("inferences", "observed") and type(value) is int and 0 <= value < 2**62:
        assert merge(good, {**good, key: value})[key] == good[key] + value
    elif key in ("since", "until") or (value == good[key] and type(value) is type(good[key])):
        merge(good, {**good, key: value})
    else:
        with pytest.raises(ValueError, match="not of the same release"):
            merge(good, {**good, key: value})


_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
_SAMPLE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)\{{({_LABEL}(?:,{_LABEL})*)\}} ([0-9.e+-]+)")


def _parsed(text):
    """Read Prometheus' text as strictly as its grammar is; the values by name and labels."""
    assert text.endswith("\n")
    found, kinds = {}, {}
    family = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in kinds
            assert not re.search(r"\\(?![\\n])", line)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family
            assert kind in ("counter", "gauge", "summary")
            kinds[name] = kind
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            ends = ("", "_sum", "_count") if kinds[family] == "summary" else ("",)
            assert name in [family + end for end in ends]
            assert kinds[family] != "counter" or name.endswith("_total")
            assert (name, labels) not in found
            found[name, labels] = float(value)
    return found


def test_metrics_are_prometheus_text():
    statistics = _some(1, dated=True)[1]
    labels = ('a "b"', "back\\slash", "new\nline é")
    found = _parsed(metrics(statistics, labels, errors=4))
    assert found["edge_model_info", 'name="m",version="1",target="t",digest="d"'] == 1
    assert found["edge_model_inferences_total", 'name="m"'] == 40
    assert found["edge_model_errors_total", 'name="m"'] == 4
    assert found["edge_model_observed_ratio", 'name="m"'] == 1
    assert found["edge_model_last_inference_timestamp_seconds", 'name="m"'] > 1.7e9
    assert found["edge_model_latency_seconds", 'name="m",quantile="0.5"'] == pytest.approx(50e-6, rel=0.1)
    assert found["edge_model_latency_seconds_count", 'name="m"'] == 40
    assert found["edge_model_latency_seconds_sum", 'name="m"'] == pytest.approx(40 * 50e-6, rel=0.1)
    classes = [value for (name, _), value in found.items() if name == "edge_model_class_total"]
    assert classes == statistics["outputs"][0]["classes"]
    assert ("edge_model_class_total", r'name="m",output="out",class="a \"b\""') in found
    assert ("edge_model_class_total", r'name="m",output="out",class="back\\slash"') in found
    assert ("edge_model_class_total", r'name="m",output="out",class="new\nline é"') in found


def test_a_percentile_is_said_only_of_enough_inferences():
    statistics = _some(1)[1]
    for count, shown in ((0, 0), (1, 1), (63, 1), (64, 2), (661, 2), (662, 3)):
        statistics["latency_us"]["counts"][40] = count
        statistics["latency_us"]["counts"][41:] = [0] * 215
        statistics["latency_us"]["counts"][:40] = [0] * 40
        text = metrics(statistics)
        _parsed(text)
        assert text.count("quantile=") == shown


def test_of_few_inferences_there_are_metrics_too():
    manifest = _manifest(_input([1, 3]), _output([1, 3], "regression"))
    assert _parsed(metrics(Observer(manifest).statistics()))["edge_model_inferences_total", 'name="m"'] == 0
