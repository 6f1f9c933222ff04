from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from deploy.device import observe, predict, serving, totals

RAW = np.random.default_rng(3).integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)


@pytest.fixture
def samples(tmp_path):
    np.save(tmp_path / "image.npy", RAW)
    return tmp_path / "image.npy"


def _line(text):
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _forget(folder, name):
    """Take a file's hash out of the manifest, so that its content counts."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    _edit(folder, files={file: digest for file, digest in files.items() if file != name})


def _said(ran):
    """What it said on stderr, without the lines of the runtime's own."""
    return [line for line in ran.stderr.splitlines() if not line.startswith("INFO:")]


@pytest.mark.parametrize(
    ("hide", "runtime"), [((), "ai-edge-litert"), (("ai_edge_litert",), "tflite-runtime")]
)
def test_an_undamaged_release_is_healthy(hide, runtime, release_folder, runner, hidden):
    ran = runner(release_folder, "health", "--json", env=hidden(*hide))
    found = json.loads(_line(ran.stdout))
    assert (ran.returncode, _said(ran)) == (0, [])
    assert found.pop("runtime").split()[0] == runtime
    assert found.pop("seconds") > 0
    assert found.pop("largest_steps") <= 1
    assert found.pop("differing") <= 16
    assert len(found.pop("digest")) == 64
    assert found == {"healthy": True, "samples": 16, "why": None}


def test_health_runs_isolated_and_on_as_many_samples_as_asked_and_leaves_no_file(release_folder, runner):
    before = sorted(release_folder.rglob("*"))
    ran = runner(release_folder, "health", "--samples", 3, options=("-I",))
    assert ran.returncode == 0
    assert _line(ran.stdout).startswith("healthy: 3 golden samples, 0 differ")
    assert sorted(release_folder.rglob("*")) == before


def test_a_wrong_golden_vector_is_not_healthy(release_folder, runner):
    path = release_folder / "golden_output_0.npy"
    golden = np.load(path)
    golden[5] ^= 0x10
    np.save(path, golden)
    _forget(release_folder, path.name)
    ran = runner(release_folder, "health")
    assert ran.returncode == 1
    line = _line(ran.stdout)
    assert line == "not healthy: golden sample 5: output class is 16 steps from the released one, allowed: 1"


def test_within_the_tolerance_it_is_healthy_and_says_how_many_differ(release_folder, runner):
    path = release_folder / "golden_output_0.npy"
    golden = np.load(path).astype(int)
    golden[5] += np.where(golden[5] < 127, 1, -1)
    np.save(path, golden.astype(np.int8))
    _forget(release_folder, path.name)
    found = json.loads(runner(release_folder, "health", "--json").stdout)
    assert (found["healthy"], found["differing"], found["largest_steps"]) == (True, 1, 1)


@pytest.mark.parametrize(
    "file", ["tiny-1.0-arm64.tflite", "golden_input_0.npy", "golden_output_0.npy", "predict.py", "observe.py"]
)
def test_a_file_that_was_changed_is_not_healthy(file, release_folder, runner):
    path = release_folder / file
    path.write_bytes(path.read_bytes() + b"\n")
    ran = runner(release_folder, "health")
    assert (ran.returncode, _line(ran.stdout)) == (
        1,
        f"not healthy: {file} is not as it was released: install the release again",
    )


@pytest.mark.parametrize("file", ["tiny-1.0-arm64.tflite", "golden_input_0.npy", "manifest.json"])
def test_a_file_that_is_missing_or_cut_short_is_not_healthy(file, release_folder, runner):
    path = release_folder / file
    content = path.read_bytes()
    for kept in (None, b"", content[:100], content[:-3]):
        if kept is None:
            path.unlink()
        else:
            path.write_bytes(kept)
        ran = runner(release_folder, "health")
        assert ran.returncode == 1, (kept, ran)
        assert _line(ran.stdout).startswith("not healthy: ")
        assert _said(ran) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../outside": "0" * 64}},
        {"files": {"/etc/passwd": "0" * 64}},
        {"golden": 17},
        {"inputs": []},
        {"outputs": None},
        {"model": "../x"},
        {"files": []},
    ],
)
def test_a_manifest_that_is_none_is_not_healthy(changes, release_folder, runner):
    _edit(release_folder, **changes)
    ran = runner(release_folder, "health")
    assert ran.returncode == 1
    assert _line(ran.stdout).startswith("not healthy: ")
    assert _said(ran) == []


def test_without_a_runtime_it_says_what_to_install(release_folder, runner, hidden):
    ran = runner(release_folder, "health", env=hidden("ai_edge_litert", "tflite_runtime"))
    assert ran.returncode == 4
    line = _line(ran.stderr)
    assert line.startswith("runner.py: no runtime for the model; install it with: ")
    assert line.endswith("-m pip install 'ai-edge-litert>=1.0.1'")


def test_a_runtime_that_is_too_old_is_none(release_folder, runner):
    _edit(release_folder, runtimes=[{"package": "ai-edge-litert", "least": "99.1"}])
    ran = runner(release_folder, "health", "--json")
    found = json.loads(_line(ran.stdout))
    assert (ran.returncode, found["healthy"]) == (4, False)
    assert re.search(r"ai-edge-litert is [0-9.]+, needed is 99\.1; .*'ai-edge-litert>=99\.1'$", found["why"])


def test_without_numpy_it_says_what_to_install(release_folder, runner, hidden):
    ran = runner(release_folder, "health", env=hidden("numpy"))
    assert ran.returncode == 4
    line = _line(ran.stderr)
    assert line.startswith("runner.py: no numpy; install it with: ")
    assert line.endswith("'ai-edge-litert>=1.0.1' 'numpy<2'")


def test_a_release_without_a_program_is_to_be_installed_again(release_folder, runner):
    (release_folder / "predict.py").unlink()
    ran = runner(release_folder, "health")
    assert ran.returncode == 1
    assert _line(ran.stderr).endswith("; install the release again")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["health", "--sample", "3"],
        ["health", "--samples"],
        ["health", "--samples", "-1"],
        ["health", "--samples", "x"],
        ["bench", "file"],
        ["run"],
        ["run", "--socket", "s", "file.npy"],
        ["run", "--observe", "some", "file.npy"],
        ["stats", "-x"],
        ["stats", "--json", "--metrics"],
        ["ask", "file.npy"],
        ["ask", "--socket", "s"],
    ],
)
def test_a_command_line_that_is_none_gets_the_usage(words, release_folder, runner):
    ran = runner(release_folder, *words)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: runner.py")
    assert ": error: " in ran.stderr.splitlines()[-1]


def test_bench_speaks_as_benchmark_model_does(release_folder, runner):
    ran = runner(release_folder, "bench", "--runs", 20)
    number = r"[0-9.e+]+"
    first, second = ran.stdout.splitlines()
    assert re.fullmatch(
        rf"count=20 first={number} curr={number} min={number} max={number} avg={number} std={number}", first
    )
    assert re.fullmatch(
        rf"Inference timings in us: Init: \d+, First inference: \d+, Warmup \(avg\): {number}, "
        rf"Inference \(avg\): {number}",
        second,
    )


def test_run_answers_files_and_keeps_statistics_over_runs(installed, runner, samples):
    first = runner(installed, "run", samples)
    assert first.returncode == 0
    assert len(first.stdout.splitlines()) == 20
    assert re.match(r'0  class: (left|right|a "third", \\ and é) \(0\.\d+\), ', first.stdout.splitlines()[0])
    assert runner(installed, "run", "--observe", "all", samples).stdout == first.stdout
    state = installed.parents[1] / "state"
    found = json.loads(runner(installed, "stats", "--json").stdout)
    assert found == json.loads((state / "statistics.json").read_text())
    assert (found["inferences"], found["digest"]) == (40, installed.name)
    assert 20 < found["observed"] <= 40
    assert sum(found["latency_us"]["counts"]) == 40
    assert sum(found["inputs"][0]["values"]) == 16 * found["observed"]
    assert 'edge_model_inferences_total{name="tiny"} 40\n' in (state / "metrics.prom").read_text()
    assert 'edge_model_inferences_total{name="tiny"} 40\n' in runner(installed, "stats", "--metrics").stdout
    assert _names(state) == ["days", "metrics.prom", "service.json", "statistics.json"]


def _days(state):
    return {path.name[:10]: json.loads(path.read_text()) for path in sorted((state / "days").iterdir())}


def test_each_day_has_counts_of_its_own(installed, samples, monkeypatch):
    state = installed.parents[1] / "state"
    model = predict.Model(installed)
    monkeypatch.setattr(observe, "now", lambda: f"{today}T12:00:00Z")

    def answer(count):
        store = serving.StatisticsStore(state, model, installed.name, everything=True, keep=0)
        for sample in np.load(samples)[:count]:
            serving.infer(model, store, [sample])
        return store

    today = "2026-11-27"
    first = answer(5)
    first.write(first.statistics())
    os.close(first.held)
    second = answer(4)  # the same day, after a restart
    today = "2026-11-28"
    second.write(second.statistics())  # what came before midnight belongs to the day before
    for sample in np.load(samples)[:3]:
        serving.infer(model, second, [sample])
    second.write(second.statistics())
    os.close(second.held)
    third = answer(2)
    third.write(third.statistics())
    os.close(third.held)

    assert {day: found["inferences"] for day, found in _days(state).items()} == {
        "2026-11-27": 9,
        "2026-11-28": 5,
    }
    assert totals.merge(*(
        {key: value for key, value in found.items() if key != "day"} for found in _days(state).values()
    ))["inputs"] == third.statistics()["inputs"]  # fmt: skip


def test_as_many_days_are_kept_as_a_month_has(installed, samples, monkeypatch):
    state = installed.parents[1] / "state"
    dates = np.arange("2026-01-01", "2026-02-10", dtype="datetime64[D]").astype(str)
    today = dates[0]
    monkeypatch.setattr(observe, "now", lambda: f"{today}T00:00:01Z")
    store = serving.StatisticsStore(state, predict.Model(installed), installed.name, everything=True, keep=0)
    for today in (*dates, dates[-1]):  # noqa: B007  the clock
        store.write(store.statistics())
    os.close(store.held)

    assert sorted(_days(state)) == list(dates[-serving.MAX_DAYS :])


def test_statistics_lie_where_they_are_asked_to(installed, release_folder, runner, samples, tmp_path):
    runner(installed, "run", samples, env={**os.environ, "STATE_DIRECTORY": str(tmp_path / "service")})
    runner(installed, "run", "--state", tmp_path / "asked" / "deep", samples)
    assert (tmp_path / "service" / "statistics.json").exists()
    assert (tmp_path / "asked" / "deep" / "statistics.json").exists()
    before = sorted(release_folder.iterdir())
    assert runner(release_folder, "run", samples).returncode == 0
    assert sorted(release_folder.iterdir()) == before, "a release that is not installed keeps none"
    ran = runner(release_folder, "stats")
    assert ran.returncode == 1
    assert _line(ran.stderr).startswith("runner.py: no statistics in ")


def test_samples_are_kept_where_that_was_asked_for(installed, runner, samples):
    kept = installed.parents[1] / "state" / "kept_input_0.npy"
    runner(installed, "run", "--observe", "all", samples)
    assert not kept.exists()
    for _ in range(2):
        runner(installed, "run", "--observe", "all", "--keep", 7, samples)
        found = np.load(kept)
        assert (found.shape, found.dtype) == ((7, 4, 4, 1), np.uint8)
        assert all((sample == RAW).all(axis=(1, 2, 3)).any() for sample in found)


def test_statistics_of_another_release_are_put_aside_until_it_is_back(installed, runner, samples):
    runner(installed, "run", samples)
    state = installed.parents[1] / "state"
    old = (state / "statistics.json").read_text()
    manifest = (installed / "manifest.json").read_text()
    _edit(installed, counter=2)
    runner(installed, "run", samples)
    assert (state / f"statistics-{installed.name[:8]}.json").read_text() == old
    assert json.loads((state / "statistics.json").read_text())["inferences"] == 20
    (installed / "manifest.json").write_text(manifest)  # rolled back
    runner(installed, "run", samples)
    assert json.loads((state / "statistics.json").read_text())["inferences"] == 40
    assert len(list(state.glob("statistics-*.json"))) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[" * 100_000,
        lambda text: "[]",
        lambda text: "\0" * 1000,
        lambda text: json.dumps(json.loads(text) | {"inferences": -3}),
        lambda text: json.dumps(json.loads(text) | {"inferences": 1e999}),
        lambda text: json.dumps(json.loads(text) | {"outputs": []}),
        lambda text: json.dumps(json.loads(text) | {"digest": "../../../x"}),
        lambda text: json.dumps(json.loads(text) | {"more": 1}),
        lambda text: json.dumps(json.loads(text) | {"until": "tomorrow"}),
    ],
)
def test_damaged_statistics_are_put_aside(damage, installed, runner, samples):
    runner(installed, "run", samples)
    path = installed.parents[1] / "state" / "statistics.json"
    path.write_text(damage(path.read_text()))
    ran = runner(installed, "run", samples)
    assert ran.returncode == 0
    assert "put aside" in "\n".join(_said(ran))
    assert len(_said(ran)) == 1
    assert json.loads(path.read_text())["inferences"] == 20
    assert path.with_name("statistics.json.damaged").exists()


def test_a_full_disk_stops_no_answer(installed, runner, samples):
    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    ran = runner(installed, "run", samples, preexec_fn=full)
    assert ran.returncode == 0
    assert len(ran.stdout.splitlines()) == 20
    assert [line.split(":")[1] for line in _said(ran)] == [" statistics are not written"]
    assert _names(installed.parents[1] / "state") == []


def test_statistics_are_whole_whenever_it_is_killed(installed, runner, samples):
    runner(installed, "run", samples)
    state = installed.parents[1] / "state"
    program = (
        "import predict, serving\nfrom pathlib import Path\n"
        f"state, digest = Path({str(state)!r}), {installed.name!r}\n"
        "model = predict.Model(Path('.'))\n"
        "store = serving.StatisticsStore(state, model, digest, everything=True, keep=0)\n"
        "print('ready', flush=True)\n"
        "while True:\n    store.write(store.statistics())\n"
    )
    for number in range(8):
        writing = subprocess.Popen(
            [sys.executable, "-c", program], cwd=installed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert writing.stdout is not None
        assert writing.stdout.readline() == b"ready\n"
        time.sleep(0.003 * number)
        writing.send_signal(signal.SIGKILL)
        writing.wait()
        writing.stdout.close()
        assert json.loads((state / "statistics.json").read_text())["inferences"] == 20
        assert _names(state)[-3:] == ["metrics.prom", "service.json", "statistics.json"]
        assert len(_names(state)) <= 6, "what a kill leaves is written over by the next"


def test_a_file_that_is_no_sample_is_one_line(installed, runner, samples, tmp_path):
    np.save(tmp_path / "wrong.npy", RAW[:, :2])
    np.save(tmp_path / "objects.npy", np.array([{}, []], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("no array")
    for names in (["wrong.npy"], ["objects.npy"], ["text.npy"], ["missing.npy"], ["image.npy", "image.npy"]):
        ran = runner(installed, "run", *(tmp_path / name for name in names))
        assert ran.returncode == 1
        assert len(_said(ran)) == 1, ran.stderr
        assert _said(ran)[0].startswith("runner.py: ")
