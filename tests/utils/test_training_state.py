"""Capture and restore: after a detour a model goes on as if there had been none."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import (
    assert_identical,
    dense_model,
    regression_data,
    values,
    whole_state,
)

import keras_deeptricks as kdt
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.training_state import TrainingState, preserved

X, Y = regression_data(24)
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "ftrl": lambda: keras.optimizers.Ftrl(),
    "accumulating": lambda: keras.optimizers.Adam(amsgrad=True, gradient_accumulation_steps=2),
    "scaled_and_scheduled": lambda: keras.optimizers.LossScaleOptimizer(
        kdt.optimizers.Adam(
            kdt.schedules.OneCycle(0.01, 30), beta_1=kdt.schedules.OneCycle(0.01, 30).momentum()
        )
    ),
}


def compiled(kind="sequential", optimizer="sgd", **options):
    model = dense_model(kind=kind)
    model.compile(OPTIMIZERS[optimizer](), "mse", metrics=["mae"], **options)
    return model


def train(model, **options):
    options = {"batch_size": 8, "epochs": 1, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, **options).history["loss"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_everything_is_restored_bit_for_bit_and_training_repeats(optimizer):
    model, untouched = compiled(optimizer=optimizer), compiled(optimizer=optimizer)
    start = values(model.variables)
    unbuilt = TrainingState.capture(model)
    first_losses = train(model)
    first = whole_state(model)
    built = TrainingState.capture(model)
    second_losses = train(model)
    second = whole_state(model)
    # At least a weight, a moving statistic, a seed, a counter, a slot and a metric have changed.
    assert sum(not np.array_equal(a, b) for a, b in zip(first, second, strict=True)) >= 6

    built.restore()
    assert_identical(first, whole_state(model))
    assert train(model) == second_losses
    assert_identical(second, whole_state(model))

    # An optimizer that was built in the meantime becomes as one that never was.
    unbuilt.restore()
    assert_identical(start, values(model.variables))
    untouched.optimizer.build(untouched.trainable_variables)
    assert_identical(values(untouched.optimizer.variables), values(model.optimizer.variables))
    assert train(model) == first_losses
    assert_identical(first, whole_state(model))


@pytest.mark.parametrize("kind", ["functional", "subclassed"])
def test_every_kind_of_model(kind):
    model = compiled(kind)
    model(X[:2])  # the subclassed one is not built before
    train(model)
    before = whole_state(model)
    state = TrainingState.capture(model)
    for _ in range(2):  # it can be restored again and again
        train(model)
        state.restore()
        assert_identical(before, whole_state(model))


def test_an_optimizer_built_for_fewer_layers_is_fresh_too():
    model = compiled()
    with preserved(model):
        model.get_layer("hidden").trainable = False
        train(model)
    assert model.get_layer("hidden").trainable
    slots = [v for v in model.optimizer.variables if v.name != "learning_rate"]
    assert slots
    assert all((value == 0).all() for value in values(slots))


def test_a_model_that_is_not_compiled():
    model = dense_model()
    before = values(model.variables)
    state = TrainingState.capture(model)
    model(X, training=True)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    state.restore()
    assert_identical(before, values(model.variables))


def test_metrics_are_reset_if_new_and_else_keep_what_they_had():
    model = compiled()
    with preserved(model):
        train(model)
    assert model.metrics_variables
    assert not any(value.any() for value in values(model.metrics_variables))
    train(model)
    before = values(model.metrics_variables)
    assert all(value.any() for value in before)
    with preserved(model):
        model.reset_metrics()
    assert_identical(before, values(model.metrics_variables))


def nested_model():
    cells = [layers.LSTMCell(2), layers.GRUCell(2)]
    inner = keras.Sequential(
        [keras.Input((2,)), layers.Dense(2, name="frozen"), layers.Dense(2, name="free")]
    )
    inputs = keras.Input((3, 4))
    tensor = layers.RNN(cells, return_sequences=True)(inputs)
    tensor = layers.Bidirectional(layers.LSTM(1, return_sequences=True))(tensor)
    tensor = layers.TimeDistributed(inner)(tensor)
    model = keras.Model(inputs, tensor)
    inner.get_layer("frozen").trainable = False
    cells[0].trainable = False
    return model


@pytest.mark.parametrize("flag", [True, False])
def test_trainable_flags_of_nested_and_wrapped_layers(flag):
    model = nested_model()

    def flags():
        return (
            [layer.trainable for layer in walk_layers(model)],
            [variable.trainable for variable in model.variables],
            [id(variable) for variable in model.trainable_variables],
        )

    before = flags()
    assert len(set(before[0])) == 2
    with preserved(model):
        # TensorFlow takes no notice of a value that an attribute has already.
        model.trainable = not flag
        model.trainable = flag
        assert flags() != before
    assert flags() == before


@pytest.mark.parametrize("flag", [True, False])
def test_trainable_flags_of_single_layers(flag):
    model = nested_model()
    before = [layer.trainable for layer in walk_layers(model)]
    with preserved(model):
        for layer in walk_layers(model):
            layer.trainable = flag
    assert [layer.trainable for layer in walk_layers(model)] == before


def test_a_frozen_model_stays_frozen():
    model = dense_model()
    model.trainable = False
    with preserved(model):
        model.trainable = True
        assert model.trainable_variables
    assert not any(layer.trainable for layer in [model, *model.layers])
    assert model.trainable_variables == []


def test_stop_training_is_restored():
    model = compiled()
    with preserved(model):
        model.stop_training = True
    assert model.stop_training is False


class Interrupt(keras.callbacks.Callback):
    """Raises in the middle of an epoch, when the state is in the compiled step's hands."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            raise self.error


@pytest.mark.parametrize(
    "error, trained_before", [(RuntimeError("boom"), False), (KeyboardInterrupt(), True)]
)
def test_the_state_survives_an_interruption(error, trained_before):
    model = compiled()
    if trained_before:
        train(model)
    before = values(model.variables)
    with preserved(model):
        expected = train(model), whole_state(model)
    with pytest.raises(type(error)), preserved(model):
        train(model, callbacks=[Interrupt(error)])
    assert_identical(before, values(model.variables))
    assert train(model) == expected[0]
    assert_identical(whole_state(model), expected[1])


def test_an_error_inside_the_step_itself():
    model = compiled()
    train(model)
    before = whole_state(model)
    with preserved(model):
        expected = train(model)
    with pytest.raises(Exception, match=r"(?i)shape|dim|size|rank"), preserved(model):
        model.fit(np.ones((4, 7)), np.ones((4, 1)), verbose=0)
    assert_identical(before, whole_state(model))
    assert train(model) == expected


def test_capture_inside_a_callback_of_fit():
    model = compiled()

    class Detour(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            with preserved(self.model):
                self.model.set_weights([weight * 0 for weight in self.model.get_weights()])

    with preserved(model):
        expected = train(model), values(model.variables)
    # The training that the detour interrupts must not notice it.
    assert train(model, callbacks=[Detour()]) == expected[0]
    assert_identical(expected[1], values(model.variables))


def test_keras_normalization_computes_with_the_restored_statistics():
    norm = layers.Normalization()
    norm.adapt(X)
    model = keras.Sequential([keras.Input((4,)), norm])
    before = values([norm(X)])
    state = TrainingState.capture(model)
    norm.adapt(100 * X + 5)
    assert not np.allclose(values([norm(X)])[0], before[0])
    state.restore()
    assert_identical(before, values([norm(X)]))


def test_preserved_gives_the_state():
    model = compiled()
    with preserved(model) as state:
        assert state.model is model


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="`model` must be built"):
        TrainingState.capture(dense_model(kind="subclassed"))


@pytest.mark.parametrize("wrong", [None, "model", layers.Dense(1)])
def test_what_is_no_model_is_refused(wrong):
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model"):
        TrainingState.capture(wrong)
