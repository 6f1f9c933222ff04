import numpy as np

from models.graph import Call, Graph, Layer
from pipeline.costing.macs import Positions, multiply_accumulates, positions_of


def test_every_call_of_a_layer_counts():
    kernel = np.ones((3, 3, 2, 4), np.float32)
    config = {"filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same"}
    layers = {
        "image": Layer("image", "InputLayer", {"shape": (8, 8, 2)}),
        "window": Layer("window", "Conv2D", config, (kernel, np.ones(4, np.float32))),
        "relu": Layer("relu", "ReLU"),
    }
    calls = (Call("image"), Call("window", (0,)), Call("window", (0,)), Call("relu", (2,)))
    graph = Graph("twice", layers, calls, (0,), (3,))
    shapes = [(None, 8, 8, 2), (None, 4, 4, 4), (None, 4, 4, 4), (None, 4, 4, 4)]

    assert positions_of(graph, shapes) == {"window": Positions(128, 64, 32)}
    assert multiply_accumulates(graph) == {"window": 2 * 4 * 4 * kernel.size}


def test_a_transposed_convolution_uses_its_weights_at_each_position_of_its_input():
    kernel = np.ones((2, 2, 3, 5), np.float32)
    config = {"filters": 3, "kernel_size": [2, 2], "strides": [2, 2], "use_bias": False}
    layers = {
        "image": Layer("image", "InputLayer", {"shape": (4, 4, 5)}),
        "up": Layer("up", "Conv2DTranspose", config, (kernel,)),
    }
    graph = Graph("up", layers, (Call("image"), Call("up", (0,))), (0,), (1,))

    assert multiply_accumulates(graph) == {"up": 4 * 4 * kernel.size}


def test_a_recurrent_layer_uses_its_weights_at_each_step():
    kernels = (np.ones((3, 8), np.float32), np.ones((2, 8), np.float32), np.ones(8, np.float32))
    layers = {
        "series": Layer("series", "InputLayer", {"shape": (7, 3)}),
        "lstm": Layer("lstm", "LSTM", {"units": 2}, kernels),
    }
    graph = Graph("series", layers, (Call("series"), Call("lstm", (0,))), (0,), (1,))

    assert multiply_accumulates(graph) == {"lstm": 7 * (24 + 16)}
