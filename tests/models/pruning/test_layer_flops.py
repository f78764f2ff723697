"""Floating-point operations of layers, counted by hand."""

import keras
import pytest
from keras import layers

from keras_deeptricks.models.pruning.layer_flops import layer_flops

FIRST = {"data_format": "channels_first"}
CASES = {
    "dense": (lambda: layers.Dense(5), (None, 3), (None, 5), 3 * 5),
    "dense on rows": (lambda: layers.Dense(5), (None, 7, 3), (None, 7, 5), 7 * 3 * 5),
    "einsum": (
        lambda: layers.EinsumDense("abc,cde->abde", (7, 2, 4)),
        (None, 7, 3),
        (None, 7, 2, 4),
        7 * 3 * 2 * 4,
    ),
    "einsum with dots": (
        lambda: layers.EinsumDense("...x,xy->...y", 4, bias_axes="y"),
        (None, 7, 3),
        (None, 7, 4),
        7 * 3 * 4,
    ),
    "convolution": (
        lambda: layers.Conv2D(4, 3, strides=2, padding="same"),
        (None, 8, 6, 3),
        (None, 4, 3, 4),
        (4 * 3) * 9 * 3 * 4,
    ),
    "groups": (lambda: layers.Conv1D(4, 3, groups=2), (None, 8, 6), (None, 6, 4), 6 * 3 * 3 * 4),
    "channels first": (
        lambda: layers.Conv2D(4, 3, **FIRST),
        (None, 3, 8, 6),
        (None, 4, 6, 4),
        (6 * 4) * 9 * 3 * 4,
    ),
    "depthwise": (
        lambda: layers.DepthwiseConv2D(2, depth_multiplier=2),
        (None, 4, 3, 4),
        (None, 3, 2, 8),
        (3 * 2) * 4 * 8,
    ),
    "transposed": (
        lambda: layers.Conv2DTranspose(4, 2, strides=3),
        (None, 3, 2, 8),
        (None, 9, 6, 4),
        (3 * 2) * 4 * 8 * 4,
    ),
    "separable": (
        lambda: layers.SeparableConv2D(5, 2, depth_multiplier=2),
        (None, 4, 3, 4),
        (None, 3, 2, 5),
        (3 * 2) * (4 * 8 + 8 * 5),
    ),
    "recurrent": (lambda: layers.SimpleRNN(5), (None, 7, 3), (None, 5), 7 * (3 * 5 + 5 * 5)),
    "gated": (
        lambda: layers.GRU(5, return_sequences=True),
        (None, 7, 3),
        (None, 7, 5),
        7 * 3 * (3 * 5 + 5 * 5),
    ),
    "long memory": (lambda: layers.LSTM(5), (None, 7, 3), (None, 5), 7 * 4 * (3 * 5 + 5 * 5)),
    "stacked cells": (
        lambda: layers.RNN([layers.LSTMCell(5), layers.GRUCell(2)]),
        (None, 7, 3),
        (None, 2),
        7 * (4 * (3 * 5 + 5 * 5) + 3 * (5 * 2 + 2 * 2)),
    ),
    "two directions": (
        lambda: layers.Bidirectional(layers.SimpleRNN(5)),
        (None, 7, 3),
        (None, 10),
        2 * 7 * (3 * 5 + 5 * 5),
    ),
    "each step": (
        lambda: layers.TimeDistributed(layers.Conv1D(4, 3)),
        (None, 7, 8, 2),
        (None, 7, 6, 4),
        7 * 6 * 3 * 2 * 4,
    ),
    "spectral norm": (
        lambda: layers.SpectralNormalization(layers.Dense(5)),
        (None, 3),
        (None, 5),
        3 * 5,
    ),
    "embedding": (lambda: layers.Embedding(9, 4), (None, 7), (None, 7, 4), 0),
    "norm": (layers.BatchNormalization, (None, 4), (None, 4), 0),
}


@pytest.mark.parametrize("case", CASES)
def test_multiply_adds(case):
    make, inputs, outputs, expected = CASES[case]
    layer = make()
    layer.build(inputs)
    assert tuple(layer.compute_output_shape(inputs)) == outputs
    assert layer_flops(layer, inputs, outputs) == 2 * expected


def test_unknown_sizes():
    layer = layers.Conv2D(4, 3)
    output = layer(keras.Input((None, 6, 3)))
    assert layer_flops(layer, (None, None, 6, 3), output.shape) is None
    layer = layers.LSTM(5)
    layer.build((None, None, 3))
    assert layer_flops(layer, (None, None, 3), (None, 5)) is None


def test_attention():
    layer = layers.MultiHeadAttention(2, 3, value_dim=4)
    query, value, key = (None, 7, 5), (None, 6, 9), (None, 6, 8)
    layer.build(query, value, key)
    # Two heads: the projections, with the one at the end, queries by keys and scores by values.
    projections = 7 * 5 * 2 * 3 + 6 * 8 * 2 * 3 + 6 * 9 * 2 * 4 + 7 * 2 * 4 * 5
    expected = projections + 2 * 7 * 6 * (3 + 4)
    assert layer_flops(layer, [query, value, key], query) == 2 * expected
    # Of the query alone the number of keys is not known.
    assert layer_flops(layer, query, query) is None


def test_attention_over_one_of_two_axes():
    layer = layers.MultiHeadAttention(2, 3, attention_axes=2)
    shape = (None, 4, 7, 5)
    layer.build(shape, shape)
    expected = 4 * (4 * 7 * 5 * 6 + 2 * 7 * 7 * (3 + 3))
    assert layer_flops(layer, [shape, shape], shape) == 2 * expected


def test_attention_of_groups():
    layer = layers.GroupQueryAttention(3, 4, 2)
    shape = (None, 7, 5)
    layer.build(shape, shape)
    # Four heads of queries, two of keys and values.
    expected = 7 * 5 * 3 * (4 + 2 + 2 + 4) + 4 * 7 * 7 * (3 + 3)
    assert layer_flops(layer, [shape, shape], shape) == 2 * expected


def test_layers_that_are_not_known():
    class Product(layers.Layer):
        def build(self, shape):
            self.matrix = self.add_weight(shape=(shape[-1], 2))

        def call(self, inputs):
            return keras.ops.matmul(inputs, self.matrix)

    layer = Product()
    layer.build((None, 3))
    assert layer_flops(layer, (None, 3), (None, 2)) is None
    layer = layers.Dense(8)
    layer.build((None, 4))
    layer.enable_lora(2)
    assert layer_flops(layer, (None, 4), (None, 8)) is None
