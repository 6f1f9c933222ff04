"""Builds beside each other: order, copies, changes; as table, page and Markdown."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from pages import HOSTILE, Page, text_of

from pipeline.cli.report import report as command
from pipeline.errors import ConfigError, InputError
from pipeline.report.history import history_html, read_history
from pipeline.report.markdown import escaped, history_markdown, report_markdown
from pipeline.validation.report import Verdict, write_report


@pytest.fixture
def builds(report, tmp_path):
    """Two builds, the later one in the folder that comes first, with copies in their releases."""
    later = replace(report.quantized, compressed_bytes=report.quantized.compressed_bytes // 2)
    for name, made in (
        ("b", replace(report, name="old", created="2026-01-02T03:04:05+00:00")),
        ("a", replace(report, name="new", created="2026-02-02T03:04:05+00:00", quantized=later)),
    ):
        for place in ("report", "release"):
            folder = tmp_path / name / place / made.name
            folder.mkdir(parents=True)
            write_report(made, folder / "report.json")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(
        command, [str(each) for each in arguments], env={"COLUMNS": "200"}, catch_exceptions=False
    )


def test_builds_are_listed_once_by_the_time_of_their_verdicts(builds):
    assert [entry.report.name for entry in read_history([builds])] == ["old", "new"]
    assert [entry.report.name for entry in read_history([builds / "a", builds / "b"])] == ["old", "new"]


def test_a_report_without_a_date_has_that_of_its_file(report, tmp_path):
    write_report(report, tmp_path / "report.json")

    date = read_history([tmp_path / "report.json"])[0].date
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]+\+00:00", date)


def test_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no report.json in this folder; pass the folder of a build"):
        read_history([tmp_path])


def test_changes_are_those_from_the_build_before(builds, report):
    lines = run(builds).output.splitlines()

    assert lines[1].split()[:4] == ["date", "release", "gates", "top-1"]
    assert lines[2].startswith("2026-01-02  old")
    assert lines[4].startswith("2026-02-02  new")
    assert "(-50.0 %)" in lines[5]
    assert "%)" not in lines[3]


def test_json_has_the_figures_of_each_build(builds, report):
    old, new = json.loads(run(builds, "--json").output)

    assert old["download, bytes"] == report.quantized.compressed_bytes
    assert new["download, bytes"] == report.quantized.compressed_bytes // 2
    assert old["name"] == "old"


def test_the_page_draws_each_figure_and_fetches_nothing(builds, tmp_path):
    assert run(builds, "--html", tmp_path / "page.html").exit_code == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")

    assert text.count("<polyline") == len(read_history([builds])[0].figures())
    assert "2 builds" in text_of(Page(text))
    assert not re.search(r"https?:|url\(|<script|<link", text)


def test_names_stay_text_on_the_page(builds, report, tmp_path):
    write_report(replace(report, name=HOSTILE), tmp_path / "a/report.json")

    assert HOSTILE in Page(history_html(read_history([builds]))).words


def test_markdown_of_one_build_begins_with_what_did_not_pass(report):
    verdicts = (
        Verdict(gate="size", outcome="passed", got="1", allowed="2"),
        Verdict(gate="accuracy", outcome="failed", got="-3 | points", allowed="above -1"),
    )
    text = report_markdown(replace(report, verdicts=verdicts, recipe="weights50-qat8"))

    assert text.startswith(f"### {report.name}: FAILED\n\nGates: 1 failed, 1 passed.\n")
    assert "| failed | accuracy | -3 &#124; points | above -1 |" in text
    assert text.index("accuracy") < text.index("| file, bytes |") < text.index("Gates that passed: 1")
    assert "| download, bytes |" in text


def test_markdown_of_several_builds_is_one_table(builds):
    text = history_markdown(read_history([builds]))

    assert len({line.count("|") for line in text.splitlines()}) == 1
    assert len(text.splitlines()) == 4
    assert run(builds, "--markdown").output == text


def test_names_do_nothing_in_markdown():
    assert escaped("a|b `c` @team\n<img> #1") == "a&#124;b &#96;c&#96; &#64;team &#60;img&#62; &#35;1"


def test_markdown_and_json_exclude_each_other(builds):
    with pytest.raises(ConfigError, match="exclude each other"):
        run(builds, "--markdown", "--json")
