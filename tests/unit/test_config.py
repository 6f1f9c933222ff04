"""Settings: defaults, paths, and how a wrong key, value or name is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.zoo import catalogue
from pipeline.build_config import BuildConfig
from pipeline.errors import ConfigError
from pipeline.events import listening
from pipeline.settings import make_config, read_toml, read_validation, zoo_settings

MINIMAL = {"model": {"path": "model.keras"}, "data": {"source": "data.npz"}}


def refusal(**sections):
    with pytest.raises(ConfigError) as caught:
        make_config(MINIMAL | sections, "pipeline.toml")
    message = str(caught.value)
    assert message.startswith("pipeline.toml: ")
    assert "\n" not in message
    return message


def test_a_model_and_data_are_all_that_must_be_said():
    config = make_config(MINIMAL, "pipeline.toml")

    assert config.model.path == Path("model.keras")
    assert (config.project.name, config.seed) == ("model", 0)
    assert config.compress[0].sparsity == "auto"
    assert config.validation.golden_samples >= 64
    assert config.gates.accuracy_drop_points == 1


@pytest.mark.parametrize("section", ["model", "data"])
def test_what_is_missing_is_named(section):
    with pytest.raises(ConfigError, match=f"{section}: it is missing"):
        make_config({key: value for key, value in MINIMAL.items() if key != section}, "pipeline.toml")


@pytest.mark.parametrize(
    ("sections", "unknown", "nearest"),
    [
        ({"compres": []}, "compres", "compress"),
        ({"sed": 1}, "sed", "seed"),
        ({"compress": [{"method": "weights", "sparcity": 0.5}]}, "compress.0.sparcity", "sparsity"),
        ({"quantize": {"training": {"epoch": 1}}}, "quantize.training.epoch", "epochs"),
        ({"quantize": {"methd": "qat"}}, "quantize.methd", "method"),
        ({"validate": {"latency_pair": 9}}, "validate.latency_pair", "latency_pairs"),
        ({"gates": {"accuracy_drop": 1}}, "gates.accuracy_drop", "accuracy_drop_points"),
        ({"project": {"nmae": "x"}}, "project.nmae", "name"),
        ({"data": {"source": "d", "lables": []}}, "data.lables", "labels"),
    ],
)
def test_an_unknown_key_comes_with_the_nearest_one(sections, unknown, nearest):
    assert f"unknown key '{unknown}'; did you mean '{nearest}'?" in refusal(**sections)


def test_a_key_like_no_other_comes_with_all_of_them():
    assert refusal(project={"zzz": 1}).endswith("known keys: name, version")


@pytest.mark.parametrize(
    ("sections", "key", "value"),
    [
        ({"compress": [{"method": "weights", "sparsity": 1.0}]}, "compress.0.sparsity", "1.0"),
        (
            {"compress": [{"method": "weights", "sparsity": "much"}]},
            "compress.0.sparsity",
            "'much'; 'auto' is allowed, too",
        ),
        ({"compress": [{"method": "weights", "pattern": "4:2"}]}, "compress.0", "4:2"),
        (
            {"compress": [{"method": "weights", "training": {"epochs": 0}}]},
            "compress.0.training.epochs",
            "0",
        ),
        ({"quantize": {"training": {"learning_rate": -1}}}, "quantize.training.learning_rate", "-1"),
        (
            {"quantize": {"training": {"learning_rate": float("nan")}}},
            "quantize.training.learning_rate",
            "nan",
        ),
        ({"gates": {"accuracy_drop_points": float("nan")}}, "gates.accuracy_drop_points", "nan"),
        ({"gates": {"accuracy_drop_points": float("inf")}}, "gates.accuracy_drop_points", "inf"),
        ({"preprocessing": {"scale": float("nan")}}, "preprocessing.scale", "nan"),
        ({"preprocessing": {"std": [1.0, 0.0]}}, "preprocessing.std.1", "0.0"),
        ({"convert": {"formats": []}}, "convert.formats", "[]"),
        ({"convert": {"backend": "litert"}}, "convert.backend", "'litert'"),
        ({"data": {"source": "d", "task": ["guess"]}}, "data.task.0", "'guess'"),
        ({"validate": {"golden_samples": 8}}, "validate.golden_samples", "8"),
        ({"validate": {"threads": [1, 0]}}, "validate.threads.1", "0"),
        ({"gates": {"inconclusive": "maybe"}}, "gates.inconclusive", "'maybe'"),
        ({"seed": 2**32}, "seed", str(2**32)),
        ({"seed": -1}, "seed", "-1"),
        ({"project": "tiny"}, "project", "'tiny'"),
        ({"compress": 3}, "compress", "3"),
        ({"compress": [3]}, "compress.0", "3"),
        ({"quantize": 3}, "quantize", "3"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_key(sections, key, value):
    message = refusal(**sections)

    assert message.startswith(f"pipeline.toml: {key}:")
    assert value in message


@pytest.mark.parametrize("key", ["name", "version"])
@pytest.mark.parametrize(
    "name",
    [
        "a;reboot",
        "$(x)",
        "`x`",
        "-rf",
        "a b",
        "a\nb",
        "a\n",
        "../a",
        "a/b",
        "",
        ".hidden",
        "x" * 65,
        "ä",
        "a\0",
    ],
)
def test_a_name_that_a_shell_or_a_file_system_could_misread_is_refused(key, name):
    assert refusal(project={key: name}).startswith(f"pipeline.toml: project.{key}: ")


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
def test_any_other_name_is_taken_literally(name):
    assert make_config(MINIMAL | {"project": {"name": name}}, "x").project.name == name


def test_settings_do_not_change():
    config = make_config(MINIMAL, "pipeline.toml")
    with pytest.raises(ValueError, match="frozen"):
        config.compress[0].sparsity = 0.1


def write(folder, text):
    path = folder / "pipeline.toml"
    path.write_text(text)
    return path


def test_relative_paths_are_taken_from_the_files_own_folder(tmp_path):
    raw = read_toml(write(tmp_path, '[model]\npath = "m.keras"\n[data]\nsource = "../data"\n'))

    assert raw["model"]["path"] == str(tmp_path / "m.keras")
    assert raw["data"]["source"] == str(tmp_path / "../data")


def test_files_of_compression_steps_are_taken_from_the_files_own_folder(tmp_path):
    steps = '[[compress]]\nmethod = "distill"\ninto = "{}"\n'
    raw = read_toml(write(tmp_path, steps.format("small.keras") + steps.format("zoo:lenet5")))

    assert [step["into"] for step in raw["compress"]] == [str(tmp_path / "small.keras"), "zoo:lenet5"]


@pytest.mark.parametrize("source", ["/data/set.npz", "my_project.data:load"])
def test_absolute_paths_and_import_paths_stay(source, tmp_path):
    assert read_toml(write(tmp_path, f'[data]\nsource = "{source}"\n'))["data"]["source"] == source


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"sparsity": 2}, r"compress\.0\.sparsity: 2 is out of range"),
        ({"sparsity": "much"}, r"compress\.0\.sparsity: a number is expected"),
        ({"training": {"distillation": 7}}, r"compress\.0\.training\.distillation: 7 is out of range"),
    ],
)
def test_a_value_of_several_types_is_refused_by_its_key_alone(step, said):
    raw = {"model": {"path": "m"}, "data": {"source": "d"}, "compress": [{"method": "weights"} | step]}

    with pytest.raises(ConfigError, match=said):
        make_config(raw, "pipeline.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a = ", "invalid TOML file"), (b"\xff\xfe", "invalid TOML file"), (None, "no such file")],
)
def test_a_file_that_is_missing_or_no_toml_is_refused_by_name(content, said, tmp_path):
    path = tmp_path / "pipeline.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"pipeline.toml: {said}"):
        read_toml(path)


def test_a_folder_is_no_settings_file(tmp_path):
    with pytest.raises(ConfigError, match="invalid TOML file"):
        read_toml(tmp_path)


def test_validation_needs_neither_model_nor_data(tmp_path):
    path = write(tmp_path, "[gates]\nsize_ratio = 0.3\n[validate]\nthreads = [1]\n")

    found = read_validation(config=path)

    assert (found.validation.threads, found.gates.size_ratio) == ((1,), 0.3)
    assert read_validation().gates.size_ratio == 0.5


def test_flags_win_over_the_file_that_judges(tmp_path):
    path = write(tmp_path, '[data]\nsource = "a.npz"\n[preprocessing]\nscale = 2.0\n')

    flags = {"data.source": "b.npz", "data.task": ("regression",), "gates.enabled": ("size",), "seed": 3}
    scaling = {"preprocessing.scale": 0.5, "preprocessing.offset": -1.0}
    found = read_validation(path, flags | scaling, shifted=("night=n.npz",))

    assert (found.data.source, found.data.task) == ("b.npz", ("regression",))
    assert (found.preprocessing.scale, found.preprocessing.offset) == (0.5, -1.0)
    assert found.validation.shift.sources == {"night": "n.npz"}
    assert (found.gates.enabled, found.seed) == (("size",), 3)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"validate": {"shift": {"shifts": ["blurr"]}}}, "unknown shift 'blurr'; did you mean '"),
        ({"gates": {"min_runtime": "litert 9.9.9"}}, "no release '9.9.9' of litert is known"),
        (
            {"validate": {"board": {"core": "rpi44"}}},
            "validate.board.core: no 64-bit Arm device 'rpi44'; did you",
        ),
    ],
)
def test_a_name_that_only_a_measurement_looks_up_is_refused_with_the_settings(section, message):
    with pytest.raises(ConfigError, match=message):
        make_config(MINIMAL | section, "pipeline.toml")


def test_shifted_data_without_a_name_is_refused_with_an_example():
    with pytest.raises(ConfigError, match="NAME=SOURCE"):
        read_validation(shifted=("photos",))


def test_shifted_data_is_taken_from_the_files_own_folder(tmp_path):
    path = write(tmp_path, '[validate.shift.sources]\nnight = "night"\nfunction = "a.b:c"\n')

    sources = read_validation(config=path).validation.shift.sources

    assert sources == {"night": str(tmp_path / "night"), "function": "a.b:c"}


@pytest.mark.parametrize("name", catalogue.ZOO)
def test_the_settings_of_each_reference_model_are_valid_and_its_file_is_there(name):
    config = BuildConfig.model_validate(zoo_settings(name))

    assert config.model.path.is_file()
    assert ":" in config.data.source or Path(config.data.source).exists()


def test_an_unknown_reference_model_comes_with_the_nearest_one():
    with pytest.raises(ConfigError, match="zoo:resnet: no such reference model; did you mean zoo:resnet8"):
        zoo_settings("resnet")


def test_a_split_is_either_by_group_or_in_time():
    message = refusal(data={"source": "data.npz", "group": "subject", "split": "time"})

    assert 'group and split = "time" exclude each other' in message


def test_every_table_of_preprocessing_is_an_input():
    config = make_config(
        MINIMAL | {"preprocessing": {"scale": 0.5, "photo": {"mean": [1.0]}, "scale_of": {"offset": 2.0}}},
        "pipeline.toml",
    )

    assert config.preprocessing.scale == 0.5
    assert config.preprocessing.per_input["photo"].mean == (1.0,)
    assert config.preprocessing.per_input["scale_of"].offset == 2.0


def test_an_unknown_key_of_an_input_names_the_nearest():
    message = refusal(preprocessing={"photo": {"scal": 0.5}})

    assert "unknown key 'preprocessing.photo.scal'; did you mean 'scale'?" in message


def test_a_scale_that_is_given_leaves_the_rest_of_the_preprocessing(tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text('[preprocessing]\nchannel_order = "reversed"\n')
    found = read_validation(path, {"preprocessing.scale": 2.0}).preprocessing

    assert (found.scale, found.channel_order) == (2.0, "reversed")


def test_one_text_stands_for_a_list_of_one():
    settings = {"model": {"path": "m.keras"}, "data": {"source": "d.csv", "target": "fall", "task": "binary"}}
    data = BuildConfig.model_validate(settings).data

    assert (data.target, data.task) == (("fall",), ("binary",))


OLD = """
[prune]
sparsity = 0.5
lost_points = 2.0
least_weights = 7
epochs = 2
least_steps = 9
learning_rate = 0.1
[quantize]
epochs = 5
samples = 128
formats = ["int8"]
convert_timeout_s = 60.0
"""
NEW = """
[[compress]]
method = "weights"
sparsity = 0.5
max_drop_points = 2.0
min_weights = 7
training = { epochs = 2, min_steps = 9, learning_rate = 0.1 }
[quantize]
training = { epochs = 5, samples = 128 }
[convert]
formats = ["int8"]
timeout_s = 60.0
"""


def test_old_keys_mean_the_same_as_before_and_a_warning_names_the_new_ones(tmp_path):
    heard = []
    with listening(heard.append):
        tables = [read_toml(write(tmp_path, text)) for text in (OLD, NEW)]

    old, new = (make_config(MINIMAL | table, "pipeline.toml") for table in tables)
    assert old == new
    [warning] = [record.event.text for record in heard]
    assert "[prune] least_steps is now [[compress]] training.min_steps, " in warning
    assert "[quantize] convert_timeout_s is now [convert] timeout_s" in warning


@pytest.mark.parametrize(
    ("section", "old", "new", "value"),
    [
        ("preprocessing", "balance", "standardize", False),
        ("calibration", "field", "field_statistics", "july.json"),
        ("validate.board", "least_memory_mib", "min_memory_mib", 96),
        ("validate.board", "most_memory_mib", "max_memory_mib", 256),
        ("gates", "oldest_runtime", "min_runtime", "litert 2.1.0"),
    ],
)
def test_an_old_key_means_the_same_and_is_warned_about(section, old, new, value, tmp_path):
    heard = []
    with listening(heard.append):
        before, after = (
            make_config(
                MINIMAL | read_toml(write(tmp_path, f"[{section}]\n{key} = {json.dumps(value)}\n")), "x"
            )
            for key in (old, new)
        )

    assert before == after != make_config(MINIMAL, "x")
    [warning] = heard
    said = f"[{section}] {old} is now [{section}] {new}; the old name will be removed"
    assert warning.event.text == f"{tmp_path / 'pipeline.toml'}: {said}"


def test_a_key_that_an_old_section_never_had_comes_with_the_nearest_one(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key 'prune\.sparcity'; did you mean 'sparsity'\?"):
        read_toml(write(tmp_path, "[prune]\nsparcity = 0.5\n"))


def test_old_and_new_spelling_of_pruning_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match=r"for prune\.epochs write \[\[compress\]\] training\.epochs"):
        read_toml(write(tmp_path, '[prune]\nepochs = 1\n[[compress]]\nmethod = "weights"\n'))


def test_a_table_of_training_keeps_the_steps_own_defaults():
    config = make_config(
        MINIMAL
        | {
            "compress": [{"method": "weights", "training": {"batch_size": 64}}],
            "quantize": {"training": {"batch_size": 64}},
        },
        "pipeline.toml",
    )

    default = make_config(MINIMAL, "pipeline.toml")
    for found, expected in ((config.compress[0], default.compress[0]), (config.quantize, default.quantize)):
        assert found.training == expected.training.model_copy(update={"batch_size": 64})
    assert (default.compress[0].training.epochs, default.quantize.training.epochs) == (4, 3)


@pytest.mark.parametrize(
    ("method", "nearest"), [("qta", "did you mean 'qat'?"), ("zzz", "known methods: auto, none, ptq, qat")]
)
def test_a_wrong_quantization_method_comes_with_the_nearest_one(method, nearest):
    message = refusal(quantize={"method": method})

    assert message == f"pipeline.toml: quantize.method: unknown method '{method}'; {nearest}"


@pytest.mark.parametrize("quantize", [{}, {"quantize": {"method": "qat"}}])
def test_a_method_that_trains_needs_a_converter_of_fake_quantization(quantize):
    message = refusal(convert={"backend": "litert-quantizer"}, **quantize)

    assert message.startswith(
        "pipeline.toml: convert.backend: 'litert-quantizer' quantizes after training only"
    )
    assert 'set [quantize] method = "ptq"' in message


@pytest.mark.parametrize("method", ["ptq", "none"])
def test_methods_without_training_take_any_converter(method):
    given = {"convert": {"backend": "litert-quantizer"}, "quantize": {"method": method}}

    assert make_config(MINIMAL | given, "pipeline.toml").convert.backend == "litert-quantizer"


def test_a_key_of_another_method_is_refused():
    assert "unknown key 'quantize.training'" in refusal(quantize={"method": "ptq", "training": {}})


@pytest.mark.parametrize("changed", [{"quantize": {"method": "none"}}, {"convert": {"formats": ["float32"]}}])
def test_wider_layers_are_refused_where_the_model_does_not_become_int8(changed):
    message = refusal(precision={"layers": "auto"}, **changed)

    assert message.startswith("pipeline.toml: precision.layers: the model does not become int8")
