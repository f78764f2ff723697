import keras
import numpy as np
import pytest
from doctor_cases import case_of, labels, normal
from keras import layers

from keras_deeptricks.diagnostics.doctor.first_gradients import first_gradients
from keras_deeptricks.diagnostics.doctor.first_loss import first_loss
from keras_deeptricks.diagnostics.doctor.first_nan import first_nan
from keras_deeptricks.diagnostics.doctor.first_signals import first_signals
from keras_deeptricks.diagnostics.doctor.idle_units import (
    dead_share,
    dead_units,
    saturated_units,
)

X = normal(200, 20)
Y = labels(200)


def network(*hidden, x=X, y=Y, last="softmax", loss="sparse_categorical_crossentropy", **options):
    keras.utils.set_random_seed(0)
    units = 3 if loss.startswith("sparse") else 1
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), *hidden, layers.Dense(units, last, name="out")]
    )
    model.compile(options.pop("optimizer", "sgd"), loss)
    return case_of(model, x, y)


def dense(activation="relu", units=32, **options):
    return layers.Dense(units, activation, **options)


def codes(findings):
    return [(finding.code, finding.severity) for finding in findings]


def test_dead_share():
    values = np.array([[[0.0, 1.0, 0.0]], [[0.0, 0.0, 0.0]]])
    np.testing.assert_allclose(dead_share(values), 2 / 3)


def test_dead_units_are_told():
    case = network(dense(bias_initializer=keras.initializers.Constant(-50.0), name="dead"))
    (finding,) = dead_units(case)
    assert (finding.code, finding.severity, finding.layer) == ("dead_units", "error", "dead")


@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_living_units_are_silent(activation):
    assert list(dead_units(network(dense(activation)))) == []


def test_dead_units_of_an_activation_layer():
    low = keras.initializers.Constant(-50.0)
    case = network(layers.Dense(32, bias_initializer=low), layers.ReLU(name="cut"))
    assert [f.layer for f in dead_units(case)] == ["cut"]


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_saturated_units(activation):
    assert list(saturated_units(network(dense(activation)))) == []
    (finding,) = saturated_units(network(dense(activation, name="flat"), x=300 * X))
    assert (finding.code, finding.severity, finding.layer) == ("saturated_units", "warning", "flat")


def test_nan_of_a_layer():
    def logarithm(x):
        return keras.ops.log(x)

    case = network(layers.Lambda(logarithm, name="log"), dense())
    (finding,) = first_nan(case)
    assert (finding.code, finding.severity, finding.layer) == ("nan", "error", "log")


def test_nan_of_the_loss():
    def loss(y_true, y_pred):
        return keras.ops.log(-1 - keras.ops.square(y_pred - y_true))

    model = keras.Sequential([keras.Input((20,)), dense(), layers.Dense(1)])
    model.compile("sgd", loss)
    (finding,) = first_nan(case_of(model, X, X[:, 0]))
    assert (finding.code, finding.layer) == ("nan", "loss")


def test_finite_programs_are_silent():
    assert list(first_nan(network(dense(), dense("tanh")))) == []


def test_vanishing_gradient():
    case = network(*[dense("sigmoid", name=f"h{n}") for n in range(12)])
    (finding,) = first_gradients(case)
    assert (finding.code, finding.severity, finding.layer) == (
        "vanishing_gradient",
        "warning",
        "h0",
    )
    assert case.facts["gradient_layers"][0] == "h0"


@pytest.mark.parametrize("activation, initializer", [("relu", "he_normal"), ("tanh", None)])
def test_gradients_of_sound_depth_are_silent(activation, initializer):
    options = {} if initializer is None else {"kernel_initializer": initializer}
    case = network(*[dense(activation, **options) for _ in range(12)])
    assert list(first_gradients(case)) == []


def test_exploding_gradient():
    x, y = 1e3 * X, 1e4 * X[:, 0]
    case = network(dense(), x=x, y=y, last=None, loss="mse")
    assert codes(first_gradients(case)) == [("exploding_gradient", "warning")]
    clipped = keras.optimizers.SGD(0.01, clipnorm=1.0)
    case = network(dense(), x=x, y=y, last=None, loss="mse", optimizer=clipped)
    assert codes(first_gradients(case)) == [("exploding_gradient", "note")]


def test_the_first_loss_of_a_sound_network():
    case = network(dense(), dense("selu", kernel_initializer="lecun_normal"))
    assert list(first_loss(case)) == []
    np.testing.assert_allclose(case.facts["guessing_loss"], np.log(3))
    assert 0.9 < case.facts["initial_loss"] < 2.5


def test_a_first_loss_out_of_all_proportion():
    (finding,) = first_loss(network(dense(), x=200 * X))
    assert (finding.code, finding.severity, finding.layer) == ("initial_loss", "warning", "out")
    case = network(dense(), x=1e4 * X, y=X[:, 0], last=None, loss="mse")
    assert codes(first_loss(case)) == [("initial_loss", "warning")]


def test_signals_are_noted():
    case = network(dense(name="a"), layers.Dropout(0.5), dense(name="b"))
    assert list(first_signals(case)) == []
    assert case.facts["signal_layers"] == ["a", "b", "out"]
    assert (case.facts["signal_deviations"] > 0).all()
