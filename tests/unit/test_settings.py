"""pipeline.toml: whatever is in it, it is settings or one line that names the key."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import BuildConfig
from pipeline.errors import ConfigError
from pipeline.settings import make_config, read_toml, read_validation

LEAST = {"model": {"path": "model.keras"}, "data": {"source": "data.npz"}}
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
        return lines[0].removeprefix(f"{path}: ")

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


@pytest.mark.parametrize("section", [name for name in BuildConfig.model_fields if name != "seed"])
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


def test_a_value_where_a_section_of_a_section_belongs_is_refused(refusal):
    assert refusal(f"[validate]\nshift = 2{NEEDED}").startswith("validate.shift: it is a section;")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("seed = true", "seed"),
        ("[prune]\nepochs = true", "prune.epochs"),
        ("[prune]\nsparsity = false", "prune.sparsity"),
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


@pytest.mark.parametrize("text", ["[prune]\nepochs = 99999999999999999999", "[prune]\nsparsity = 1e400"])
def test_a_number_beyond_every_use_is_refused(text, refusal):
    assert refusal(text + NEEDED).startswith("prune.")


def test_a_nul_character_is_named_by_its_key(refusal):
    assert refusal('[model]\npath = "a\\u0000b"') == "model.path: it holds a NUL character; remove that"


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    path = tmp_path / "pipeline.toml"
    path.write_text('[model]\npath = "~/m.keras"\n[data]\nsource = "d.npz"')
    raw = read_toml(path)
    assert (raw["model"]["path"], raw["data"]["source"]) == ("/home/user/m.keras", str(tmp_path / "d.npz"))


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
