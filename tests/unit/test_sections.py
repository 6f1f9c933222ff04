"""Sections of pipeline.toml: old names are accepted with a warning that names the new one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pytest

from pipeline import events
from pipeline.errors import ConfigError
from pipeline.events import Warned
from pipeline.sections import Section, renamed_value
from pipeline.settings import make_config

KINDS = {"old": "new"}


class Example(Section):
    renamed: ClassVar[dict[str, str]] = {"least": "minimum"}

    minimum: int = 1
    kinds: tuple[Annotated[Literal["new", "other"], renamed_value("the kind", KINDS)], ...] = ()


@pytest.fixture
def warnings():
    """The events that are emitted."""
    heard = []
    with events.listening(lambda record: heard.append(record.event)):
        yield heard


def test_an_old_key_is_accepted_with_a_warning_that_names_the_new_one(warnings):
    assert Example.model_validate({"least": 5}).minimum == 5
    assert warnings == [Warned(text='the key "least" is now called "minimum"; the old name will be removed')]


def test_an_old_value_is_accepted_with_a_warning_that_names_the_new_one(warnings):
    assert Example(kinds=("other", "old")).kinds == ("other", "new")
    assert warnings == [Warned(text='the kind "old" is now called "new"; the old name will be removed')]


def test_current_names_give_no_warning(warnings):
    assert Example(minimum=2, kinds=("new",)).minimum == 2
    assert warnings == []


def test_both_names_of_a_key_are_an_error():
    with pytest.raises(ConfigError, match='"least" is the old name of "minimum"'):
        Example.model_validate({"least": 5, "minimum": 6})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"data": {"task": "clasification"}},
            "unknown value 'clasification'; did you mean 'classification'?",
        ),
        ({"gates": {"enabled": ["acuracy"]}}, "unknown value 'acuracy'; did you mean 'accuracy'?"),
        ({"release": {"expires": "tomorrow"}}, "'tomorrow' is not a date; write it as 2027-06-30"),
        ({"data": {"test_fraction": 20}}, "20 is out of range; it is a fraction, write 0.2 for 20 %"),
        ({"data": {"test_fraction": 200}}, "200 is out of range; allowed: below 1.0"),
        ({"project": {"name": "my model"}}, "use letters, digits, '.', '_' and '-', e.g. my-model"),
    ],
)
def test_a_wrong_value_is_explained_with_what_to_write(settings, said):
    complete = {"model": {"path": "m.h5"}, "data": {"source": "d.npz"}}

    with pytest.raises(ConfigError) as caught:
        make_config({**complete, **settings, "data": complete["data"] | settings.get("data", {})}, "here")

    assert said in str(caught.value)
