"""Work in a child process, whose crash is a warning and a second try, or one line."""

from __future__ import annotations

import os
import platform

import pytest
from crashing import crash, crash_with_onednn, onednn, process

from pipeline.errors import StageCrashedError
from pipeline.events import Warned, listening
from pipeline.isolation import child
from pipeline.isolation.child import in_child


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    found = {}
    monkeypatch.setattr(child, "_settings", found)
    return found


@pytest.fixture
def warnings():
    heard = []
    with listening(lambda record: heard.append(record.event)):
        yield heard


def test_it_runs_in_another_process(tmp_path):
    assert in_child(process)(out=tmp_path) != os.getpid()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere TensorFlow decides")
def test_onednn_is_on_whatever_the_processor_unless_the_user_has_it_off(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    assert in_child(onednn)(out=tmp_path) == "1"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert in_child(onednn)(out=tmp_path) == "0"


def test_a_crash_is_tried_again_without_onednn_in_an_empty_folder(tmp_path, warnings, settings):
    assert in_child(crash_with_onednn)("text", out=tmp_path) == []
    assert (tmp_path / "half" / "written").read_text() == "text"
    assert [event.text for event in warnings if isinstance(event, Warned)] == [
        "TensorFlow crashed (the child process was killed by SIGSEGV); trying again without oneDNN"
    ]
    assert settings == {"TF_ENABLE_ONEDNN_OPTS": "0"}


def test_after_a_crash_the_children_that_follow_are_without_onednn(tmp_path, warnings):
    for number in range(2):
        (out := tmp_path / str(number)).mkdir()
        in_child(crash_with_onednn)("text", out=out)
    assert len([event for event in warnings if isinstance(event, Warned)]) == 1


def test_a_crash_either_way_is_an_error_in_the_name_of_the_stage(tmp_path, settings):
    with pytest.raises(StageCrashedError, match=r"^train: the child process was killed by SIGABRT; "):
        in_child(crash, "train")(out=tmp_path)
    assert settings == {}
