import pytest
from keras.layers import AlphaDropout, BatchNormalization, Dense, Dropout
from structural_cases import Chain, case_of, found, numbers, tables

from keras_deeptricks.diagnostics.doctor.self_normalizing_stack import self_normalization

X = numbers(64, 6)


def selu(name=None, start="lecun_normal", units=16):
    return Dense(units, "selu", kernel_initializer=start, name=name)


def report(*layers, x=X, kind=tables):
    return found(case_of(kind(*layers, Dense(3)), x), self_normalization)


def broken(severity, layer):
    return [("self_normalization_broken", severity, layer)]


@pytest.mark.parametrize("kind", [tables, Chain])
def test_a_healthy_stack(kind):
    assert report(selu(), AlphaDropout(0.05), selu(), selu(), kind=kind) == []


@pytest.mark.parametrize("kind", [tables, Chain])
def test_dropout_and_batch_norm_in_the_stack(kind):
    steps = [selu(), Dropout(0.2, name="drop"), selu()]
    assert report(*steps, kind=kind) == broken("warning", "drop")
    steps = [selu(), BatchNormalization(name="norm"), selu()]
    assert report(*steps, kind=kind) == broken("warning", "norm")


def test_other_initializers():
    steps = [selu("a", "he_normal"), selu("b", "he_normal")]
    assert report(*steps) == broken("warning", "a")
    # Between layers of one width Glorot's variance is LeCun's.
    steps = [selu("a", units=64), selu("b", "glorot_uniform", 64)]
    assert report(*steps) == broken("note", "b")


def test_a_single_selu_layer_is_noted():
    assert report(selu("a", "he_normal")) == broken("note", "a")


def test_inputs():
    assert report(selu("a"), selu("b"), x=20 + 5 * X) == broken("warning", "a")
    # Pixels in 0 to 1 come to mean 0 and variance 1 within a few layers.
    assert report(selu("a"), selu("b"), x=abs(X) / 4 + 0.2) == broken("note", "a")


def test_nets_without_selu():
    assert report(Dense(8, "relu"), Dropout(0.2), Dense(8, "relu")) == []
