"""The layers as tables and as a page that escapes their names."""

from __future__ import annotations

from rich.console import Console

from pipeline.report.sensitivity import decibels, sensitivity_html, sensitivity_parts, span
from pipeline.tasks.comparison import Metric
from pipeline.validation.layer_errors import LayerError, SignalError
from pipeline.validation.sensitivity import Effect, LayerSensitivity, Sensitivity

HOSTILE = "<script>alert(1)</script>[bold]{{ 7 * 7 }}"


def effect(sqnr_db, difference):
    metric = Metric(
        name="top-1", unit="points", better="higher", baseline=90, quantized=90 + difference,
        difference=difference, low=difference - 1, high=difference + 1,
    )  # fmt: skip
    return Effect(sqnr_db=sqnr_db, metrics=(metric,))


def row(layer, place, alone, **changes):
    signal = SignalError(
        sqnr_db=12.3, channel_sqnr_db=4.5, low=0, high=8, int8_low=0, int8_high=9, saturated=0.25
    )
    facts = {
        "error": LayerError(output=signal, input_sqnr_db=None, added_sqnr_db=20),
        "only_rounded": effect(alone, -3),
        "only_float": effect(33, -0.5),
    }
    return LayerSensitivity(
        layer=layer,
        place=place,
        is_input=False,
        operators=("CONV_2D",),
        merged=("norm",),
        **(facts | changes),
    )


FOUND = Sensitivity(
    sha256="aa", samples=512, float_weights=0, int8=effect(11, -4), simulated=effect(11, -4), equal=0.995,
    largest_steps=1.0,
    layers=(row("late", 1, 15.0), row(HOSTILE, 0, 40.0), row("indices", 2, None, error=None)),
)  # fmt: skip


def shown(found):
    console = Console(width=110, record=True)
    for part in sensitivity_parts("model", found):
        console.print(part, markup=False)
    return console.export_text()


def test_the_tables_rank_the_effects_and_keep_the_order_of_the_errors():
    text = shown(FOUND)
    effects, errors = text.split("Errors in dB")

    assert effects.index("late") < effects.index(HOSTILE[:8])
    assert errors.index(HOSTILE[:8]) < errors.index("late")
    assert "float 90, int8 86, -4 [-5, -3]" in text
    assert "25.00%" in errors
    assert "Pass the float file" in text
    assert "not in steps" in errors


def test_without_targets_there_are_no_metrics():
    bare = Effect(sqnr_db=20.0)
    rows = (row("conv", 0, None, only_rounded=bare, only_float=bare),)
    found = Sensitivity(
        sha256="aa", samples=4, float_weights=2, int8=bare, simulated=bare, equal=1.0, largest_steps=0.0,
        layers=rows,
    )  # fmt: skip

    text = shown(found)

    assert "top-1" not in text
    assert "Pass the float file" not in text


def test_the_page_shows_each_layer_and_escapes_its_name():
    page = sensitivity_html("model", FOUND, (f"{HOSTILE}: was split",))

    assert "<script>" not in page
    assert "{{ 7" in page
    assert page.count('class="alone"') == len(FOUND.layers)
    assert "with norm" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_bad_layer_is_further_left_than_a_good_one_and_an_exact_one_is_at_the_end():
    page = sensitivity_html("model", FOUND, ())
    places = [float(part.split('"')[1]) for part in page.split('<circle class="alone" cx=')[1:]]

    assert places == sorted(places)
    assert places[0] < places[-1]


def test_numbers_as_text():
    assert decibels(None) == "exact"
    assert span(1e-9, 2.0) == "0..2"
    assert span(-1.234, 5) == "-1.23..5"
