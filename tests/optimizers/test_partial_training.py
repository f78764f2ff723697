"""Slots while layers are frozen and afterwards, against NumPy and against plain Keras."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import BACKEND, assert_identical, dense_model, regression_data, values

import keras_deeptricks as kdt
from keras_deeptricks.optimizers.partial_training import PartialTraining, enable_partial_training
from keras_deeptricks.utils.compiled_step import clone_optimizer, unwrap_optimizer

freeze, unfreeze = kdt.models.freeze, kdt.models.unfreeze
OURS, K = kdt.optimizers, keras.optimizers
X, Y = regression_data(32)
CYCLE = kdt.schedules.OneCycle(0.02, 24)
BODY = ["hidden", "norm"]
OPTIMIZERS = {
    "momentum": lambda: K.SGD(0.01, momentum=0.9),
    "adam": lambda: K.Adam(0.01, weight_decay=0.01),
    "rmsprop": lambda: K.RMSprop(0.01, momentum=0.5, centered=True),
    "adafactor": lambda: K.Adafactor(0.01),
    "accumulating": lambda: K.Adam(0.01, gradient_accumulation_steps=3),
    "scheduled": lambda: OURS.SGD(CYCLE, momentum=CYCLE.momentum(), nesterov=True),
    "clipped_noise": lambda: OURS.AdaptiveGradientClipping(
        OURS.GradientNoise(OURS.SGD(0.01, momentum=0.9), seed=1), 0.1, exclude=["out"]
    ),
    "layerwise": lambda: OURS.LayerwiseLearningRates(K.Adam(0.01), decay=0.5),
    "scaled": lambda: K.LossScaleOptimizer(OURS.SGD(0.01, momentum=0.9), initial_scale=8.0),
}


def compiled(optimizer, **options):
    model = dense_model()
    model.compile(optimizer, "mse", **options)
    return model


def train(model, epochs=1, **options):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    model.fit(X, Y, epochs=epochs, **options)


def slots(model):
    """The slots of the layers in `BODY`, as arrays."""
    optimizer = unwrap_optimizer(model.optimizer)
    mine = {place for place, v in enumerate(optimizer._trainable_variables) if in_body(v)}
    return values([v for v in optimizer.variables if optimizer.slot_owners.get(id(v)) in mine])


def in_body(variable):
    return variable.path.split("/")[-2] in BODY


def body(model):
    return values([v for v in model.weights if in_body(v)])


def like(model, optimizer):
    """A model that plain Keras trains, in the state of `model`."""
    other = compiled(optimizer)
    other.optimizer.build(other.trainable_variables)
    for old, new in zip(model.variables, other.variables, strict=True):
        new.assign(values([old])[0])
    for old, new in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        assert old.shape == new.shape
        new.assign(values([old])[0])
    return other


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_slots_are_kept_and_then_used_as_plain_keras_would(name):
    optimizer = OPTIMIZERS[name]()
    plain = clone_optimizer(optimizer)
    model = compiled(optimizer)
    train(model)  # 4 steps: in the middle of an accumulation of 3
    freeze(model, BODY)
    assert model.optimizer is optimizer
    kept, weights = slots(model), body(model)
    assert len(kept) >= 4
    train(model, 2)
    assert_identical(kept, slots(model))
    assert_identical(weights, body(model))
    unfreeze(model, BODY)
    assert_identical(kept, slots(model))
    other = like(model, plain)
    train(model)
    train(other)
    for a, b in zip(values(model.variables), values(other.variables), strict=True):
        # The order of sums inside a compiled step may differ by a rounding.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    for before, after in zip(kept, slots(model), strict=True):
        assert not np.array_equal(before, after) or before.size == 1


@pytest.mark.parametrize("built_frozen, scaled", [(False, False), (True, False), (True, True)])
def test_momentum_goes_on_from_where_it_was(built_frozen, scaled):
    # ŷ = xᵀ(a + b): both have the gradient 2/n · Xᵀ(ŷ − y).
    given = keras.Input((4,))
    parts = [layers.Dense(1, use_bias=False, name=name)(given) for name in "ab"]
    model = keras.Model(given, layers.Add()(parts))
    optimizer = K.SGD(0.02, momentum=0.9)
    if scaled:
        optimizer = K.LossScaleOptimizer(optimizer, initial_scale=4.0)
    model.compile(optimizer, "mse")
    weights = {name: values(model.get_layer(name).weights)[0].astype("float64") for name in "ab"}
    velocity = {name: np.zeros((4, 1)) for name in "ab"}
    rate = 0.02

    def steps(trained, count):
        for _ in range(count):
            error = X @ (weights["a"] + weights["b"]) - Y[:, None]
            gradient = 2 / len(X) * X.T @ error
            for name in trained:
                velocity[name] = 0.9 * velocity[name] - rate * gradient
                weights[name] = weights[name] + velocity[name]
            model.train_on_batch(X, Y)
        for name in "ab":
            found = values(model.get_layer(name).weights)[0]
            # A few dozen roundings in single precision.
            np.testing.assert_allclose(found, weights[name], rtol=1e-4, atol=1e-5)

    if built_frozen:
        model.get_layer("a").trainable = False
        steps("b", 3)
    else:
        steps("ab", 3)
        freeze(model, "a")
        steps("b", 3)
    unfreeze(model, "a")
    steps("ab", 3)
    assert model.optimizer is optimizer
    optimizer.learning_rate = rate = 0.005
    steps("ab", 2)
    assert int(ops.convert_to_numpy(optimizer.iterations)) == (8 if built_frozen else 11)


@pytest.mark.parametrize("name", ["adafactor", "clipped_noise", "layerwise"])
def test_an_optimizer_built_for_a_part_is_extended(name):
    optimizer = OPTIMIZERS[name]()
    plain = clone_optimizer(optimizer)
    model = compiled(optimizer)
    model.get_layer("hidden").trainable = False
    train(model)
    count = len(optimizer.variables)
    known = slots_by_name(optimizer)
    assert len(known) >= 4
    unfreeze(model, "hidden")
    assert model.optimizer is optimizer
    assert isinstance(optimizer, PartialTraining)
    assert len(optimizer.variables) > count
    now = slots_by_name(optimizer)
    assert set(now) > set(known)
    assert_identical(list(known.values()), [now[name] for name in known])
    other = like(model, plain)
    train(model)
    train(other)
    for a, b in zip(values(model.variables), values(other.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # as above


def slots_by_name(optimizer):
    # Adafactor's have the names of the weights, of which some are alike.
    slots = [v for v in optimizer.variables if v.name.endswith(("momentum", "velocity"))]
    return {v.name: value for v, value in zip(slots, values(slots), strict=True)}


def test_what_weight_decay_leaves_out_is_left_out_of_an_extended_optimizer():
    optimizer = K.SGD(0.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, name="a"), layers.Dense(1)])
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.compile(optimizer, "mse")
    model.get_layer("a").trainable = False
    model.train_on_batch(X, Y)
    unfreeze(model, "a")
    optimizer.learning_rate = 0.5  # decay alone would give 3/4
    before = model.get_weights()
    model.train_on_batch(np.zeros((1, 4)), model.predict(np.zeros((1, 4)), verbose=0))
    kernel, bias = model.get_layer("a").get_weights()
    np.testing.assert_allclose(kernel, 0.75 * before[0], rtol=1e-6)  # one rounding
    np.testing.assert_allclose(bias, before[1], rtol=1e-6)


@pytest.mark.parametrize("steps_per_execution", [1] if BACKEND == "torch" else [4])
def test_float16_with_accumulation_in_several_steps_per_execution(steps_per_execution):
    keras.config.set_dtype_policy("mixed_float16")
    optimizer = OURS.Adam(0.01, gradient_accumulation_steps=2)
    model = compiled(optimizer, steps_per_execution=steps_per_execution)
    train(model)
    assert isinstance(model.optimizer, K.LossScaleOptimizer)
    freeze(model, BODY)
    kept, weights = slots(model), body(model)
    train(model, 2)
    assert_identical(kept, slots(model))
    assert_identical(weights, body(model))
    unfreeze(model, BODY)
    train(model)
    assert all((a != b).any() for a, b in zip(weights, body(model), strict=True))
    assert unwrap_optimizer(model.optimizer) is optimizer


@pytest.mark.parametrize("when", ["before", "extended", "at the first epoch"])
def test_moving_averages_of_weights(when):
    # Without batch norm and dropout, for the averages to be checked by hand.
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a"), layers.Dense(1)])
    optimizer = K.SGD(0.01, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, "mse")
    if when == "before":
        freeze(model, "a")
    elif when == "extended":
        model.get_layer("a").trainable = False

    class Freeze(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if when == "at the first epoch":
                freeze(self.model, "a")

        def on_epoch_end(self, epoch, logs=None):
            unfreeze(self.model, "a")

    start = model.get_layer("a").get_weights()[0]
    weights = []
    each = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: weights.append(model.get_layer("a").get_weights()[0])
    )
    train(model, callbacks=[Freeze()])
    assert_identical([start], [model.get_layer("a").get_weights()[0]])
    if BACKEND == "jax":
        return  # Keras' averages stop a second `fit` with an error there
    train(model, callbacks=[each])
    average = start
    for weight in weights:
        average = 0.9 * average + 0.1 * weight
    assert not np.allclose(average, weights[-1], rtol=1e-3)
    # Not 0.1 of them or less: the average begins at the weights. A few roundings.
    np.testing.assert_allclose(model.get_layer("a").get_weights()[0], average, rtol=1e-5)


def test_arguments_and_refusals():
    optimizer = OURS.PartialTraining(K.Adam(0.01))
    model = compiled(optimizer)
    freeze(model, "hidden")
    assert type(optimizer) is type(model.optimizer)
    for wrong, error in (
        ("adam", TypeError),
        (optimizer, ValueError),
        (K.LossScaleOptimizer(K.Adam()), ValueError),
    ):
        with pytest.raises(error, match="`optimizer`"):
            OURS.PartialTraining(wrong)

    class Unlike(K.SGD):
        def get_config(self):
            raise NotImplementedError("no configuration")

    own = Unlike(0.01)
    other = compiled(own)
    train(other)
    with pytest.raises(ValueError, match="Unlike cannot be copied"):
        enable_partial_training(own, other.trainable_variables)
    with pytest.raises(ValueError, match="Unlike cannot be copied"):
        freeze(other, "hidden")
    assert type(own) is Unlike
    assert other.get_layer("hidden").trainable
