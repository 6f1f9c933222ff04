"""``pipeline plan``: bad input ends with one line before anything is loaded."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--goal", "rpi3 instructions <= 1M"), 2, "'rpi3' is no device of arm64"),
        (("--goal", "fast"), 2, "'fast' is not a limit"),
        (("--recipe", "weights75"), 2, "a plan is for int8"),
        (("--model", "zoo:resnet9"), 2, "did you mean zoo:resnet8?"),
        (("--model", "missing.keras"), 3, "missing.keras: no such file"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code(pipeline, arguments, code, message):
    ended = pipeline("plan", "--target", "arm64", *arguments)

    assert ended.code == code
    assert message in ended.message


def test_a_target_without_known_costs_is_refused(pipeline):
    ended = pipeline("plan", "--target", "host")

    assert ended.code == 2
    assert "no instruction costs of 'host' are known" in ended.message
