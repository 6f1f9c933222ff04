"""Layers by the names that converters leave behind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.validate.layers import layer_names


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


def test_a_file_without_names_has_no_layers():
    assert layer_names(model(("CONV_2D", ""), ("SOFTMAX", "42"))) == ("", "")


def test_a_file_without_outputs_is_no_error():
    nothing = SimpleNamespace(index=0, name="CALL_ONCE", inputs=(), outputs=())
    assert layer_names(SimpleNamespace(tensors=[], operators=[nothing])) == ("",)
