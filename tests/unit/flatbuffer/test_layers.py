"""Layers by the names that converters leave behind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.flatbuffer.layers import layer_names, merged_layers, user_layers


def model(*operators):
    """A chain of operators with these names and output names."""
    tensors = [SimpleNamespace(name="input")]
    made = []
    for index, (name, output) in enumerate(operators):
        tensors.append(SimpleNamespace(name=output))
        made.append(SimpleNamespace(index=index, name=name, inputs=(index,), outputs=(index + 1,)))
    return SimpleNamespace(tensors=tensors, operators=made)


OTHERS = [("ADD", "net/a/add"), ("ADD", "net/b/add"), ("ADD", "net/c/add"), ("ADD", "net/d/add")]


@pytest.mark.parametrize(
    ("operator", "name", "layer"),
    [
        # The layer whose operation it is, not the activation that was fused into it.
        ("CONV_2D", "net/quant_re_lu/Relu;net/quant_bn/FusedBatchNormV3;net/quant_conv/Conv2D1", "conv"),
        ("DEPTHWISE_CONV_2D", "net/relu/Relu6;net/BN/FusedBatchNormV3;net/dw/depthwise1", "dw"),
        ("ADD", "net/quant_re_lu_2/Relu;net/quant_add_7/add", "add_7"),
        ("FULLY_CONNECTED", "net/class/MatMul;net/class/BiasAdd", "class"),
        # A model in a model, and a model that is written without Keras.
        ("CONV_2D", "net/encoder/conv/Conv2D", "encoder/conv"),
        ("CONV_2D", "Mixed_5b/Branch_0/Conv2d_0a/Conv2D", "Mixed_5b/Branch_0/Conv2d_0a"),
        # TF-MOT's quantizer of a layer's output.
        ("RESHAPE", "net/quant_c2/MovingAvgQuantize/FakeQuantWithMinMaxVars", "c2"),
        (
            "RESHAPE",
            "net/quant_flat/Reshape;net/quant_re_lu/MovingAvgQuantize/FakeQuantWithMinMaxVars",
            "flat",
        ),
        # Nothing that is known: the longest.
        ("CUSTOM", "net/x/y;net/longer_name/op", "longer_name"),
        ("SOFTMAX", "probabilities", "probabilities"),
        # Names that say nothing: the layer before.
        ("SOFTMAX", "StatefulPartitionedCall:0", "d"),
        ("SOFTMAX", "Identity_1", "d"),
        ("SOFTMAX", "", "d"),
    ],
)
def test_an_operators_layer(operator, name, layer):
    assert layer_names(model(*OTHERS, (operator, name)))[-1] == layer


@pytest.mark.parametrize(
    ("name", "layer", "merged"),
    [
        (
            "net/quant_re_lu/Relu;net/quant_bn/FusedBatchNormV3;net/quant_conv_2d/Conv2D1",
            "conv",
            ("bn", "re_lu"),
        ),
        ("net/lstm_forward/lstm_cell/MatMul_3", "lstm", ()),
        ("net/block/conv/BiasAdd;net/block/conv/Conv2D", "block/conv", ()),
        ("net/unknown/Conv2D", "d", ()),
    ],
)
def test_the_layer_of_the_users_model_that_it_was_made_of(name, layer, merged):
    known = {each: each for each in ("re_lu", "bn", "a", "b", "c", "d", "block/conv", "conv")}
    known |= {"conv_2d": "conv", "lstm_forward": "lstm"}
    found = model(*OTHERS, ("CONV_2D", name))

    assert user_layers(found, known)[-1] == layer
    assert set(merged_layers(found, found.operators[-1], known)) - {layer} == set(merged)


def test_an_operator_without_a_known_name_is_of_the_layer_before():
    found = model(*OTHERS, ("SOFTMAX", "StatefulPartitionedCall:0"))

    assert user_layers(found, {"a": "a", "d": "last"})[-1] == "last"


def test_a_file_without_names_has_no_layers():
    assert layer_names(model(("CONV_2D", ""), ("SOFTMAX", "42"))) == ("", "")


def test_a_file_without_outputs_is_no_error():
    nothing = SimpleNamespace(index=0, name="CALL_ONCE", inputs=(), outputs=())
    assert layer_names(SimpleNamespace(tensors=[], operators=[nothing])) == ("",)
