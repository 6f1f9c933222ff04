"""A look at a trial after its compression, and how the trial ends then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.choices import StepGain
from pipeline.searching import trial
from pipeline.searching.objectives import Limits
from pipeline.searching.trial import Spec, run_trial

GAIN = StepGain(
    step="weights50",
    parameters=(1000, 1000),
    size_bytes=(4000, 4000),
    download_bytes=(3000, 1500),
    instructions={"rpi4": (900, 800), "rpi5": (500, 400)},
    metric="accuracy",
    samples=100,
    score=(92.0, 91.0),
)
OWN = (-91.0, 1500.0, 800.0, 400.0)
BETTER = (-92.0, 1400.0, 700.0, 300.0)


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Run a trial whose compression buys something and whose quantization fails; return its outcome."""

    class Named:
        name = "model-1.0-arm64"

    def run(*gains, **given):
        def compiled(inputs, config, run, target, look):
            look(gains)
            raise trial.StageError("train_qat", "it was reached", "nothing")

        monkeypatch.setattr(trial, "compile_model", compiled)
        spec = Spec(
            number=3,
            settings={
                "model": {"path": "m.keras"},
                "data": {"source": "d.npz"},
                "compress": [{"method": "weights", "sparsity": 0.5}],
            },
            inputs=Named(),
            target="arm64",
            limits=Limits(drop_points=1, shift_points=2, size_ratio=0.5, download_bytes=None),
            folder=tmp_path / "trial",
            store=tmp_path / "store",
        )
        return run_trial(replace(spec, **given))

    return run


def test_a_trial_that_a_third_of_the_others_beat_is_stopped_before_its_quantization(ended):
    outcome = ended(GAIN, may_stop=True, others=(BETTER, BETTER, OWN))

    assert (outcome.state, outcome.compressed) == ("stopped", OWN)
    assert outcome.reason == "after its compression a third of the trials were better"


@pytest.mark.parametrize(
    "given",
    [
        {"may_stop": True, "others": (OWN,) * 3},
        {"may_stop": True},
        {"may_stop": False, "others": (BETTER,) * 3},
    ],
)
def test_a_trial_that_is_as_good_or_may_not_be_stopped_goes_on(ended, given):
    outcome = ended(GAIN, **given)

    assert (outcome.state, outcome.compressed) == ("refused", OWN)
    assert "it was reached" in outcome.reason


@pytest.mark.parametrize("gains", [(), (replace(GAIN, score=None),)])
def test_a_trial_whose_last_step_has_no_score_is_compared_with_none(ended, gains):
    outcome = ended(*gains, may_stop=True, others=(BETTER,) * 3)

    assert (outcome.state, outcome.compressed) == ("refused", ())
