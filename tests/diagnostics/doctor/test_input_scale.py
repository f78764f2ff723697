"""Scales of features by hand, and of what reaches the first kernel of models of every kind."""

import keras
import numpy as np
import pytest
from doctor_cases import Batches, case_of, classifier, found, labels, normal
from keras import layers

from keras_deeptricks.diagnostics.doctor.entrances import entrances
from keras_deeptricks.diagnostics.doctor.input_scale import (
    feature_scales,
    find_input_scale,
    scale_verdict,
)
from keras_deeptricks.layers import Standardization


def test_scales_by_hand():
    scales = feature_scales(np.array([[[1.0, 3.0], [-5.0, 5.0]]]), axis=1)
    assert scales.mean.tolist() == [2, 0]
    assert scales.deviation.tolist() == [1, 5]
    np.testing.assert_allclose(scales.size, [np.sqrt(5), 5], rtol=1e-12)
    assert scales.largest == 5


@pytest.mark.parametrize(
    "mean, deviation, expected",
    [
        (0, 1, None),
        (5, 3, None),
        (0.5, 0.3, None),
        (0, 0.047, None),
        (0, 20, ("note", "large")),
        (0, 60, ("warning", "large")),
        (2000, 8, ("warning", "large")),
        (9, 0.1, ("warning", "offset")),
        (9, 0.5, ("note", "offset")),
        (0, 1e-4, ("warning", "tiny")),
        (0, 0.0015, ("warning", "tiny")),
    ],
)
def test_verdicts(mean, deviation, expected):
    verdict = scale_verdict(feature_scales(mean + deviation * normal(2000, 3)))
    assert verdict == expected or verdict[:2] == expected


def test_one_narrow_column_is_a_note_and_flags_are_not():
    x = np.column_stack([5 * normal(500), 0.01 * normal(500, seed=2)])
    assert scale_verdict(feature_scales(x))[:2] == ("note", "uneven")
    rare = (np.arange(500) == 7).astype(float)
    assert scale_verdict(feature_scales(np.column_stack([x[:, 0], rare]))) is None


def table(wide):
    x = normal(80, 4)
    return x * np.array([1, 1, 500, 1], "float32") if wide else x


def images(wide):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 1))
    return pixels.astype("uint8") if wide else (pixels / 255).astype("float32")


class Subclassed(keras.Model):
    """Divides by `unit` in its own call."""

    def __init__(self, unit):
        super().__init__()
        self.unit = unit
        self.hidden, self.out = layers.Dense(6, "relu"), layers.Dense(3)

    def call(self, inputs):
        return self.out(self.hidden(inputs / self.unit))


def subclassed(unit):
    model = Subclassed(unit)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_raw_inputs_are_found():
    y = labels(80)
    convolution = layers.Conv2D(3, 3, activation="relu", name="conv")
    cases = [
        case_of(classifier((4,)), table(True), y),
        case_of(classifier((4,)), Batches(table(True), y)),
        case_of(classifier((6, 6, 1), 3, convolution), images(True), labels(60)),
        case_of(classifier((6, 6, 1)), images(True), labels(60)),
        case_of(classifier((10, 2), 3, layers.LSTM(2)), 90 * normal(50, 10, 2), labels(50)),
        case_of(classifier((4,)), labels(320, 900).reshape(80, 4), y),
        case_of(subclassed(1.0), table(True), y),
    ]
    for case in cases:
        assert found(find_input_scale, case) == [("input_scale", "warning")]
    (finding,) = find_input_scale(cases[2])
    assert finding.layer == "conv"
    assert "255" in finding.remedy


def test_scaled_inputs_are_silent():
    y = labels(80)
    x = table(True)
    adapted = layers.Normalization()
    adapted.adapt(x)
    own = Standardization()
    own.adapt(x)
    convolution = layers.Conv2D(3, 3, activation="relu")
    tokens = labels(800, 900).reshape(80, 10)
    embedding = layers.Embedding(900, 3)
    cases = [
        case_of(classifier((4,)), table(False), y),
        case_of(classifier((4,), 3, adapted), x, y),
        case_of(classifier((4,), 3, own), x, y),
        case_of(classifier((4,), 3, layers.BatchNormalization()), x, y),
        case_of(classifier((4,), 3, layers.LayerNormalization(), layers.Dense(3)), x, y),
        case_of(classifier((6, 6, 1), 3, convolution), images(False), labels(60)),
        case_of(
            classifier((6, 6, 1), 3, layers.Rescaling(1 / 255), layers.Conv2D(3, 3)),
            images(True),
            labels(60),
        ),
        case_of(classifier((10,), 3, embedding, layers.LSTM(2), dtype="int32"), tokens, y),
        case_of(subclassed(300.0), 300 * table(False), y),
        case_of(classifier((4,)), (x > 0).astype("int32"), y),
    ]
    for place, case in enumerate(cases):
        assert not found(find_input_scale, case), place


def test_a_normalization_behind_the_kernel_makes_it_a_note():
    stages = layers.Conv2D(3, 3, use_bias=False), layers.BatchNormalization()
    case = case_of(classifier((6, 6, 1), 3, *stages), images(True), labels(60))
    assert found(find_input_scale, case) == [("input_scale", "note")]


def test_frozen_layers_are_a_note():
    case = case_of(classifier((4,), 3, layers.Dense(5, trainable=False)), table(True), labels(80))
    assert found(find_input_scale, case) == [("input_scale", "note")]


def test_normalization_that_was_never_adapted_is_found():
    # Its values pass as they are: only what reaches the kernel counts.
    case = case_of(classifier((4,), 3, Standardization()), table(True), labels(80))
    assert found(find_input_scale, case) == [("input_scale", "warning")]


def test_entrances_of_two_branches():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    first = layers.Dense(3, name="first")(a)
    second = layers.Dense(3, name="second")(layers.BatchNormalization()(b))
    third = layers.Dense(3, name="third")(layers.Concatenate()([first, second]))
    model = keras.Model([a, b], third)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    case = case_of(model, [table(True), normal(80, 2)], labels(80))
    assert [entrance.name for entrance in entrances(case)] == ["first"]
