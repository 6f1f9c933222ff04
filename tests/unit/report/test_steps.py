"""The table of what each compression step bought, as text and as a page."""

import json
from dataclasses import replace

from pipeline.choices import StepGain
from pipeline.report.html import report_html
from pipeline.report.steps import cells, headings
from pipeline.report.text import report_text
from pipeline.validation.report import read_report

STEPS = (
    StepGain(
        step="weights75", parameters=(78_426, 78_426), size_bytes=(93_632, 93_632),
        download_bytes=(77_710, 35_881), instructions={"rpi4": (3_394_080, 3_394_080)},
        metric="accuracy", samples=1000, score=(93.5, 92.25),
    ),
    StepGain(
        step="channels50", parameters=(78_426, 34_394), size_bytes=(93_632, 48_064),
        download_bytes=(35_881, 19_180), instructions={"rpi4": (3_394_080, 2_040_000)},
        metric="", samples=0, score=None,
    ),
)  # fmt: skip


def test_a_row_has_each_figure_after_the_step_and_its_change():
    assert headings(STEPS)[-2:] == ["instructions, rpi4", "accuracy, held out"]
    assert [cells(step) for step in STEPS] == [
        ["weights75", "78,426", "93,632", "35,881 (-54 %)", "3,394,080", "92.25 (-1.25)"],
        ["channels50", "34,394 (-56 %)", "48,064 (-49 %)", "19,180 (-47 %)", "2,040,000 (-40 %)", ""],
    ]


def test_the_steps_are_in_the_text_and_on_the_page(report, tmp_path):
    compressed = replace(report, steps=STEPS)
    text, page = report_text(compressed), report_html(compressed)

    assert "Compression steps" in text
    assert "35,881 (-54 %)" in " ".join(text.split())
    assert "<h2>Compression</h2>" in page
    assert '<td class="n">2,040,000 (-40 %)</td>' in page
    compressed_path = tmp_path / "report.json"
    compressed_path.write_text(json.dumps(compressed.to_dict()))
    assert read_report(compressed_path).steps == STEPS


def test_without_steps_there_is_no_table(report):
    assert "Compression steps" not in report_text(report)
    assert "<h2>Compression</h2>" not in report_html(report)
