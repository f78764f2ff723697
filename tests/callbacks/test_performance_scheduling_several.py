"""Performance scheduling over several optimizers, over wrappers, and by relative thresholds."""

import warnings

import keras
import numpy as np
import pytest
from small_models import dense_model, regression_data

import keras_deeptricks as kdt

needs_multi_optimizer = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has no MultiOptimizer"
)
STALL = [1.0] * 5


class Script(keras.callbacks.Callback):
    """Writes given values to the logs, one an epoch."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.values[epoch]


def play(optimizer, values, **options):
    """Trains a small model with a scripted value; returns callback, model and history."""
    slower = kdt.callbacks.PerformanceScheduling("score", mode="min", **options)
    model = dense_model()
    model.compile(optimizer, "mse")
    x, y = regression_data(rows=32)
    callbacks = [Script(values), slower]
    history = model.fit(x, y, batch_size=8, epochs=len(values), callbacks=callbacks, verbose=0)
    return slower, model, history.history


def multi(first, second):
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(first, {".*out/.*": second})
    )


@needs_multi_optimizer
def test_lowers_the_rate_of_each_optimizer():
    optimizer = multi(keras.optimizers.SGD(0.5), keras.optimizers.Adam(0.25))
    slower, _, history = play(optimizer, STALL, patience=2)
    assert slower.reductions == [2, 4]
    rates = sorted(float(one.learning_rate) for one in optimizer.optimizers)
    assert rates == [0.0625, 0.125]  # halved twice, exact in binary
    logged = sorted(name for name in history if name.startswith("learning_rate"))
    assert logged == ["learning_rate_0", "learning_rate_1"]
    assert sorted(history[name][-1] for name in logged) == [0.125, 0.25]


@needs_multi_optimizer
def test_scales_a_schedule_beside_a_float():
    scheduled = kdt.optimizers.SGD(kdt.schedules.StepDecay(0.5, 0.5, every_steps=1000))
    optimizer = multi(scheduled, keras.optimizers.SGD(0.25))
    slower, _, _ = play(optimizer, STALL, patience=2)
    assert slower.factor_applied == 0.25
    assert sorted(float(one.learning_rate) for one in optimizer.optimizers) == [0.0625, 0.125]


@needs_multi_optimizer
def test_the_compiled_step_of_several_has_the_lower_rate():
    tiny = 2.0**-10
    scheduled = kdt.optimizers.SGD(kdt.schedules.Constant(tiny))
    optimizer = multi(scheduled, keras.optimizers.SGD(tiny))
    _, model, _ = play(optimizer, STALL, patience=2)
    x, y = regression_data(rows=8)
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    plain.compile(keras.optimizers.SGD(tiny / 4), "mse")
    for each in (model, plain):
        for layer in each.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([0, 0])
        each.train_on_batch(x, y)
    for first, second in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-6)  # the same sums in float32


@needs_multi_optimizer
def test_other_callbacks_say_that_there_is_no_one_rate():
    model = dense_model()
    model.compile(multi(keras.optimizers.SGD(0.5), keras.optimizers.Adam(0.25)), "mse")
    x, y = regression_data(rows=32)
    with pytest.raises(ValueError, match="MultiOptimizer"):
        model.fit(x, y, callbacks=[kdt.callbacks.OneCycle(0.1, momentum=None)], verbose=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(x, y, callbacks=[kdt.callbacks.HyperparameterLog()], verbose=0)
    assert any("has no one learning rate" in str(warning.message) for warning in caught)
    assert "learning_rate" not in history.history


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: kdt.optimizers.AdaptiveGradientClipping(inner, exclude=["out"]),
        lambda inner: kdt.optimizers.GradientNoise(inner, seed=1),
        lambda inner: kdt.optimizers.LayerwiseLearningRates(inner, {"out": 0.5}),
        kdt.optimizers.PartialTraining,
    ],
)
@pytest.mark.parametrize("rate", [0.5, kdt.schedules.Constant(0.5)])
def test_over_our_wrappers(wrap, rate):
    slower, model, history = play(wrap(kdt.optimizers.SGD(rate)), STALL, patience=2)
    assert slower.reductions == [2, 4]
    assert history["learning_rate"] == [0.5, 0.5, 0.5, 0.25, 0.25]
    assert float(model.optimizer.learning_rate) == 0.125


def test_relative_threshold_by_hand():
    # 5 % of the best: 100 → 96 is too little, 96 → 90 counts from 100, then 86 from 90 does not.
    course = [100.0, 96.0, 90.0, 86.0, 86.0]
    relative = {"min_delta": 0.05, "min_delta_mode": "relative"}
    slower, _, _ = play(keras.optimizers.SGD(0.5), course, patience=2, **relative)
    assert slower.reductions == [4]
    slower, _, _ = play(keras.optimizers.SGD(0.5), course, patience=2, min_delta=0.05)
    assert slower.reductions == []


def test_stops_reducing_a_schedule_that_the_minimum_holds():
    decay = kdt.schedules.Constant(0.5)
    slower, _, history = play(
        kdt.optimizers.SGD(decay), [1.0] * 7, patience=1, minimum_learning_rate=0.125
    )
    assert slower.reductions == [1, 2]
    assert history["learning_rate"] == [0.5, 0.5, 0.25, 0.125, 0.125, 0.125, 0.125]
    assert slower.factor_applied == 0.25


def test_bad_mode():
    with pytest.raises(ValueError, match="min_delta_mode"):
        kdt.callbacks.PerformanceScheduling(min_delta_mode="rel")
