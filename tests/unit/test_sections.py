"""Sections of pipeline.toml: old names are accepted with a warning that names the new one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pytest

from pipeline import events
from pipeline.errors import ConfigError
from pipeline.events import Warned
from pipeline.sections import Section, renamed_value

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
