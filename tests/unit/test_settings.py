"""pipeline.toml: whatever is in it, it is settings or one line that names the key."""

from __future__ import annotations

import contextlib
import re
from datetime import date
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.build_config import BuildConfig
from pipeline.errors import ConfigError
from pipeline.events import listening
from pipeline.setting_paths import locate
from pipeline.settings import (
    configure,
    make_config,
    overlay,
    parse_setting,
    read_toml,
    read_validation,
    zoo_settings,
)

LEAST = {"model": {"path": "model.keras"}, "data": {"source": "data.npz"}}
WEIGHTS = "[[compress]]\nmethod = 'weights'\n"
NEEDED = '\n[model]\npath = "model.keras"\n[data]\nsource = "data.npz"\n'


@pytest.fixture
def refusal(tmp_path):
    """Read a file as ``build`` and as ``validate`` do; return the one line of the error."""

    def read(text):
        path = tmp_path / "pipeline.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        lines = []
        for reading in (
            lambda: make_config(read_toml(path), str(path)),
            lambda: read_validation(config=path),
        ):
            with pytest.raises(ConfigError) as caught:
                reading()
            lines.append(str(caught.value))
        assert lines[0] == lines[1]
        assert "\n" not in lines[0]
        assert len(lines[0]) < 300 + len(str(path))
        return re.sub(r"^(:\d+)?: ", "", lines[0].removeprefix(str(path)))

    return read


UNREADABLE = {
    "deep lists": "x = " + "[" * 3000 + "]" * 3000,
    "deep tables": "x = " + "{a = " * 1500 + "1" + "}" * 1500,
    "deep names": "[prune" + ".a" * 3000 + "]\nb = 1" + NEEDED,
    "a number of 6,000 digits": "seed = " + "9" * 6000 + NEEDED,
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_file_that_cannot_be_read_is_one_line(what, refusal):
    assert refusal(UNREADABLE[what])


@pytest.mark.parametrize(
    "section", [name for name in BuildConfig.model_fields if name not in ("seed", "compress")]
)
@pytest.mark.parametrize("value", ["3", "true", "'text'", "[1, 2]", "1979-05-27"])
def test_a_value_where_a_section_belongs_is_refused_with_how_to_write_it(section, value, refusal):
    section = "validate" if section == "validation" else section
    needed = "".join(
        f"\n[{name}]\n{key} = 'x'" for name, key in (("model", "path"), ("data", "source")) if name != section
    )
    assert (
        refusal(f"{section} = {value}\n{needed}")
        == f"{section}: it is a section; write [{section}] and its keys below"
    )


@pytest.mark.parametrize("value", ["3", "'text'", "[1, 2]", "{ method = 'weights' }"])
def test_a_value_where_a_list_of_sections_belongs_is_refused_with_how_to_write_it(value, refusal):
    expected = "compress: it is a list of sections; write [[compress]] and its keys below"
    assert refusal(f"compress = {value}\n{NEEDED}") == expected


def test_a_value_where_a_section_of_a_section_belongs_is_refused(refusal):
    assert refusal(f"[validate]\nshift = 2{NEEDED}").startswith("validate.shift: it is a section;")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("seed = true", "seed"),
        ("[quantize.training]\nepochs = true", "quantize.training.epochs"),
        ("[[compress]]\nmethod = 'weights'\nsparsity = false", "compress.0.sparsity"),
        ("[validate]\nthreads = [true]", "validate.threads"),
        ("[release]\ncounter = true", "release.counter"),
        ("[release]\nexpires = true", "release.expires"),
    ],
)
def test_true_or_false_where_a_number_belongs_is_refused(text, key, tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text(text + NEEDED)
    with pytest.raises(ConfigError, match=f"{key}: a number or text is expected, without true or false"):
        make_config(read_toml(path), "pipeline.toml")


@pytest.mark.parametrize(
    "text", [f"{WEIGHTS}training.epochs = 99999999999999999999", f"{WEIGHTS}sparsity = 1e400"]
)
def test_a_number_beyond_every_use_is_refused(text, refusal):
    assert refusal(text + NEEDED).startswith("compress.0.")


def test_a_nul_character_is_named_by_its_key(refusal):
    assert refusal('[model]\npath = "a\\u0000b"') == "model.path: it holds a NUL character; remove that"


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    path = tmp_path / "pipeline.toml"
    path.write_text('[model]\npath = "~/m.keras"\n[data]\nsource = "d.npz"')
    raw = read_toml(path)
    assert (raw["model"]["path"], raw["data"]["source"]) == ("/home/user/m.keras", str(tmp_path / "d.npz"))


def path_fields(section, places=()):
    """Where paths may be: the keys to it, and whether it may be a list."""
    for name, field in section.model_fields.items():
        place = (*places, field.alias or name)
        kinds = {field.annotation, *get_args(field.annotation)}
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from path_fields(field.annotation, place)
        elif Path in kinds:
            yield place, tuple[Path, ...] in kinds


@pytest.mark.parametrize(("place", "takes_lists"), [*path_fields(BuildConfig)], ids=str)
def test_a_path_is_taken_from_the_folder_of_its_file(place, takes_lists):
    for value, found in (("a", "/folder/a"), (["a", "b"], ["/folder/a", "/folder/b"]))[: 1 + takes_lists]:
        raw = value
        for key in reversed(place):
            raw = {key: raw}
        locate(raw, Path("/folder"))
        for key in place:
            raw = raw[key]
        assert raw == found


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text(max_size=8), deeper, max_size=3),
    max_leaves=6,
)
PLACES = [
    (section, key)
    for section, field in BuildConfig.model_fields.items()
    for key in [None, *getattr(field.annotation, "model_fields", {})]
]


@settings(max_examples=150)
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_at_any_key_is_settings_or_one_line(place, value):
    section, key = place
    name = BuildConfig.model_fields[section].alias or section
    raw = {each: dict(keys) for each, keys in LEAST.items()}
    if key is None:
        raw[name] = value
    else:
        raw.setdefault(name, {})[key] = value
    with contextlib.suppress(ConfigError):
        make_config(raw, "pipeline.toml")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.5", 0.5),
        ("true", True),
        ("2031-02-03", date(2031, 2, 3)),
        ("[1, 2]", [1, 2]),
        ('{photo = "p"}', {"photo": "p"}),
        ('"a b"', "a b"),
        ("photos/night", "photos/night"),
        ("1.2.3", "1.2.3"),
        ("", ""),
        ("a=b", "a=b"),
        ("1\nseed = 2", "1\nseed = 2"),
        ('é \\ "', 'é \\ "'),
    ],
)
def test_a_value_that_is_set_is_tomls_or_a_string(value, expected):
    assert parse_setting(f"data.x={value}") == {"data": {"x": expected}}


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=30))
def test_any_value_that_is_set_is_read_or_one_error(value):
    with contextlib.suppress(ConfigError):
        assert set(parse_setting(f"data.x={value}")) == {"data"}


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("prune", "not section.key=value"),
        ("prune=1", "not section.key=value"),
        ("data.labels=[a, b]", "write it as in pipeline.toml"),
        ("data. =1", "write it as in pipeline.toml"),
    ],
)
def test_what_is_no_setting_is_refused_with_an_example(setting, why):
    with pytest.raises(ConfigError, match=why) as caught:
        parse_setting(setting)
    assert str(caught.value).startswith(f"--set {setting}: ")
    assert "\n" not in str(caught.value)


def test_a_number_is_a_place_in_a_list_of_tables():
    base = {"compress": [{"method": "weights", "sparsity": 0.75}]}

    assert overlay(base, parse_setting("compress.0.sparsity=0.5")) == {
        "compress": [{"method": "weights", "sparsity": 0.5}]
    }
    assert overlay(base, parse_setting("compress.1.method=channels"))["compress"][1] == {"method": "channels"}
    assert base["compress"] == [{"method": "weights", "sparsity": 0.75}]
    with pytest.raises(ConfigError, match="no entry 3: the next one is 1"):
        overlay(base, parse_setting("compress.3.sparsity=0.5"))


def test_the_setting_at_fault_is_named_with_its_key_its_value_and_the_nearest_key():
    with pytest.raises(
        ConfigError, match=r"^--set gates.size_rati=0.4: unknown key 'gates.size_rati'; did you"
    ):
        configure(LEAST, "pipeline.toml", ["seed=3", "gates.size_rati=0.4", "gates.x=2"])
    with pytest.raises(ConfigError, match=r"^--set gates.size_ratio=-1: -1.* out of range; allowed: above 0"):
        configure(LEAST, "pipeline.toml", ["gates.size_ratio=0.3", "gates.size_ratio=-1"])
    with pytest.raises(ConfigError, match=r"^pipeline.toml: seed"):
        configure(LEAST | {"seed": -1}, "pipeline.toml", ["gates.size_ratio=0.3"])


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("[gates]\nask = ['size']\n", "gates.enabled=accuracy"),
        ("[gates]\nenabled = ['size']\n", "gates.ask=accuracy"),
        ("[preprocessing]\nbalance = true\n", "preprocessing.standardize=false"),
        ("[calibration]\nfield = 'july.json'\n", "calibration.field_statistics=august.json"),
        ("[validate.board]\nleast_memory_mib = 64\n", "validate.board.min_memory_mib=96"),
    ],
)
def test_a_setting_overrides_a_key_of_the_file_whichever_names_both_have(text, setting, tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text(text)

    assert configure(LEAST | read_toml(path), "x", [setting]) == configure(LEAST, "x", [setting])


@pytest.mark.parametrize("method", ["ptq", "none"])
def test_a_setting_that_switches_the_method_leaves_out_what_the_new_one_lacks(method):
    heard, setting = [], f"quantize.method={method}"
    raw = LEAST | {"quantize": {"method": "qat", "training": {"epochs": 1}}}
    with listening(heard.append):
        found = configure(raw, "x", [setting])

    assert found == configure(LEAST, "x", [setting])
    assert [record.event.text for record in heard] == [f"--set {setting}: [quantize] training does not apply"]


def test_a_setting_takes_all_compression_away():
    assert configure(LEAST, "x", ["compress=[]"]).compress == ()
    with pytest.raises(ConfigError, match=r"compress.0: it names no method; write e.g. method = 'weights'"):
        configure(LEAST, "x", ["compress=[]", "compress.0.sparsity=0.5"])


def test_a_key_that_prune_never_had_comes_with_the_nearest_one():
    with pytest.raises(
        ConfigError, match=r"^--set prune.sparsty=0.3: unknown key 'prune.sparsty'; did you me"
    ):
        configure(LEAST, "x", ["prune.sparsty=0.3"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("prune.sparsity=0.5", "compress.0.sparsity=0.5"),
        ("prune.epochs=1", "compress.0.training.epochs=1"),
        ("quantize.samples=100", "quantize.training.samples=100"),
        ("quantize.convert_timeout_s=60", "convert.timeout_s=60"),
    ],
)
def test_the_old_key_of_a_setting_means_the_new_one_and_a_warning_names_it(old, new):
    heard = []
    with listening(heard.append):
        found = configure(LEAST, "x", [old])

    assert found == configure(LEAST, "x", [new]) != configure(LEAST, "x", [])
    assert [record.event.text for record in heard] == [
        f'--set {old}: the key "{old.partition("=")[0]}" is now called "{new.partition("=")[0]}"'
    ]


@pytest.mark.parametrize(
    ("settings", "flags", "message"),
    [
        (
            {"data": {"source": "d.npz", "task": ("clasification",)}},
            {"data.task": "--task"},
            "--task: unknown task 'clasification'; did you mean 'classification'?",
        ),
        (
            {"gates": {"enabled": ("acuracy",)}},
            {"gates.enabled": "--gate"},
            "--gate: unknown gate 'acuracy'; did you mean 'accuracy'?",
        ),
        (
            {"release": {"expires": "tomorrow"}},
            {"release.expires": "--expires"},
            "--expires: 'tomorrow' is not a date; write it as 2027-06-30",
        ),
        (
            {"project": {"name": "my model"}},
            {"project.name": "--name"},
            "--name: 'my model' contains a space; use letters, digits, '.', '_' and '-', e.g. my-model",
        ),
    ],
)
def test_an_error_names_the_flag_at_fault_and_what_to_write(settings, flags, message):
    with pytest.raises(ConfigError) as caught:
        configure(LEAST | settings, "the flags", [], flags)

    assert str(caught.value) == message


def test_an_error_of_a_setting_that_overrides_a_flag_names_the_setting():
    with pytest.raises(ConfigError, match=r"^--set project.name=b c: 'b c' contains a space"):
        configure(LEAST, "the flags", ["project.name=b c"], {"project.name": "--name"})


def test_the_last_of_several_settings_wins_and_paths_are_taken_from_where_the_user_is():
    found = configure(LEAST, "x", ["gates.size_ratio=0.3", "gates.size_ratio=0.4", "model.path=~/m.keras"])

    assert (found.gates.size_ratio, found.data.source) == (0.4, "data.npz")
    assert found.model.path == Path("~/m.keras").expanduser()


def test_a_setting_judges_a_file_too(tmp_path):
    (path := tmp_path / "pipeline.toml").write_text("[gates]\nsize_ratio = 0.3\n")

    assert read_validation(path, {"seed": 0}, ["gates.size_ratio=0.6"]).gates.size_ratio == 0.6


def test_the_default_preprocesses_no_input_in_a_way_of_its_own():
    assert make_config(zoo_settings(), "the default").preprocessing.per_input == {}
