"""Stages of a build as people read them: which phase each belongs to, and what it does."""

from __future__ import annotations

PHASES: tuple[dict[str, str], ...] = (
    {"load_model": "load the model", "load_data": "load the data"},
    {
        "prepare_model": "prepare the graph",
        "convert_float": "convert the float model",
        "choose_calibration": "choose calibration samples",
        "check_float": "check the float model",
    },
    {"choose_teacher": "fine-tune the float model"},
    {
        "prune_weights": "prune weights",
        "remove_channels": "remove channels",
        "remove_layers": "remove layers",
        "cluster_weights": "cluster weights",
        "factorize_layers": "factorize layers",
        "train_low_bit": "train low-bit weights",
        "distill_model": "distill a smaller model",
        "measure_step": "measure the step",
    },
    {
        "train_qat": "quantization-aware training",
        "find_ranges": "find ranges",
        "repair_model": "repair the int8 model",
        "convert_quantized": "convert to int8",
        "convert_unquantized": "convert without quantization",
        "choose_quantized": "choose the quantized model",
        "select_precision": "choose wider layers",
        "add_metadata": "add metadata",
    },
    {
        "run_golden_set": "run golden samples",
        "run_on_device": "run on an emulated device",
        "infer_test_set": "run the test set",
        "evaluate": "evaluate",
        "evaluate_shift": "evaluate under shift",
        "soak_model": "long run",
        "inject_faults": "inject faults",
        "compare_counterpart": "compare with fake-quantized Keras",
        "compare_runtimes": "compare runtimes",
        "measure_operators": "measure operators",
        "profile_layers": "measure layers",
        "time_model": "measure latency",
        "compare_latency": "compare latency with float",
        "assemble_report": "assemble the report",
    },
    {
        "judge": "evaluate the gates",
        "make_drift_reference": "make the drift reference",
        "release": "write the release",
    },
)
"""The phases of a build in their order: what each stage does, by its name in ``events.jsonl``."""

TASKS = {"prune": "prune weights", "quantization-aware": "quantization-aware training"}
"""Names of tasks that are too short to be understood."""
_WORDS = TASKS | {name: words for phase in PHASES for name, words in phase.items()}
_PHASE = {name: place for place, phase in enumerate(PHASES, 1) for name in phase}


def words_of(name: str) -> str:
    """Return what a stage or a task does, in words."""
    return _WORDS.get(name, name.replace("_", " "))


def phase_of(stage: str) -> str:
    """Return e.g. "[4/7] ", or "" for a stage that is not one of a build."""
    return f"[{_PHASE[stage]}/{len(PHASES)}] " if stage in _PHASE else ""
