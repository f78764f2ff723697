import keras
import pytest
from keras.layers import Dense
from keras.optimizers import SGD, Adam, AdamW, Lion, RMSprop
from structural_cases import case_of, found, numbers, tables

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics.doctor import optimizer_settings

X = numbers(24, 6)


@pytest.fixture(scope="module")
def model():
    return tables(Dense(8, "relu"), Dense(3, "softmax"))


def report(detector, model, optimizer):
    return found(case_of(model, X, optimizer=optimizer), getattr(optimizer_settings, detector))


def test_rates_that_are_not_above_zero(model):
    expected = [("learning_rate_too_low", "error", "learning_rate")]
    assert report("learning_rate_sign", model, SGD(0.0)) == expected
    assert report("learning_rate_sign", model, Adam(-1e-3)) == expected
    never = keras.optimizers.schedules.PiecewiseConstantDecay([5], [0.0, 0.0])
    assert report("learning_rate_sign", model, Adam(never)) == expected


def test_healthy_rates(model):
    warmup = keras.optimizers.schedules.CosineDecay(0.0, 100, warmup_target=1e-3, warmup_steps=10)
    for optimizer in (SGD(1e-9), Adam(5.0), Adam(warmup)):
        assert report("learning_rate_sign", model, optimizer) == []


@pytest.mark.parametrize(
    "optimizer,expected",
    [
        (SGD(momentum=0.9999), ("warning", "momentum")),
        (SGD(momentum=1.0), ("error", "momentum")),
        (RMSprop(momentum=0.999), ("warning", "momentum")),
        (Adam(beta_1=0.9995), ("warning", "beta_1")),
        (Adam(beta_1=0.0), ("note", "beta_1")),
        (SGD(momentum=0.99), None),
        (Adam(), None),
        (Lion(), None),
    ],
)
def test_momentum(model, optimizer, expected):
    expected = [("optimizer_setting", *expected)] if expected else []
    assert report("momentum", model, optimizer) == expected


def test_the_second_moment(model):
    expected = [("optimizer_setting", "warning", "beta_2")]
    assert report("second_moment", model, Adam(beta_2=0.1)) == expected
    expected = [("optimizer_setting", "warning", "rho")]
    assert report("second_moment", model, RMSprop(rho=0.1)) == expected
    for optimizer in (Adam(beta_2=0.9), RMSprop(), Lion(beta_2=0.4), kdt.optimizers.Nadam()):
        assert report("second_moment", model, optimizer) == []


def test_epsilon(model):
    for optimizer, severity in (
        (Adam(epsilon=1.0), "warning"),
        (AdamW(epsilon=0.1), "warning"),
        (Adam(epsilon=0.01), "note"),
        (RMSprop(epsilon=1.0), "note"),
    ):
        expected = [("optimizer_setting", severity, "epsilon")]
        assert report("epsilon", model, optimizer) == expected
    assert report("epsilon", model, Adam(epsilon=1e-4)) == []


def test_clipping(model):
    for argument in ("clipnorm", "clipvalue", "global_clipnorm"):
        expected = [("optimizer_setting", "warning", argument)]
        assert report("clipping", model, SGD(**{argument: 1e-6})) == expected
        assert report("clipping", model, SGD(**{argument: 0.1})) == []


def test_optimizers_inside_others(model):
    scaled = keras.optimizers.LossScaleOptimizer(SGD(momentum=0.9999))
    assert report("momentum", model, scaled) == [("optimizer_setting", "warning", "momentum")]
    healthy = keras.optimizers.LossScaleOptimizer(SGD(momentum=0.9))
    assert report("momentum", model, healthy) == []
