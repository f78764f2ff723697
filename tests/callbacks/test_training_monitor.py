"""The training monitor sees what is there and changes nothing."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import (
    STEPS_PER_EXECUTION,
    class_data,
    dense_model,
    regression_data,
    values,
    whole_state,
)

import keras_deeptricks as kdt
from keras_deeptricks.utils.layer_probe import observed_gradients, observed_layers

Monitor = kdt.callbacks.TrainingMonitor


def fitted(kind="sequential", callbacks=(), steps_per_execution=1, epochs=2, **arguments):
    """A model with dropout and batch norm after 2 epochs of 6 steps, the last one smaller."""
    model = dense_model(kind=kind)
    # Without a seed: on torch it draws from the global generator.
    unseeded = layers.Dropout(0.1)
    model = keras.Sequential([keras.Input((4,)), model, unseeded, layers.Dense(1, name="last")])
    model.compile("adam", "mse", steps_per_execution=steps_per_execution)
    x, y = regression_data(rows=44)
    keras.utils.set_random_seed(3)
    model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks), **arguments)
    return model


@pytest.mark.parametrize("kind", ["sequential", "subclassed"])
@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
def test_training_is_bit_for_bit_the_same(kind, steps_per_execution):
    x, y = regression_data(rows=44)
    monitor = Monitor(x, y, every=2, rows=16)
    watched = fitted(kind, [monitor], steps_per_execution)
    for a, b in zip(
        whole_state(fitted(kind, (), steps_per_execution)), whole_state(watched), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    expected = [0, 2, 4, 6, 8, 10] if steps_per_execution == 1 else [3, 5, 9, 11]
    assert monitor.record.steps.tolist() == expected


def test_values_are_those_of_the_model():
    x, y = regression_data(rows=32)
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(6, "relu", name="a"), layers.Dense(1, name="b")]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = values(model.trainable_variables)
    monitor = Monitor(x, y, rows=32)
    model.fit(x[:8], y[:8], batch_size=8, verbose=0, callbacks=[monitor])
    record = monitor.record
    after = values(model.trainable_variables)
    assert record.steps.tolist() == [0]
    assert record.layers == ["a", "b"]
    hidden, out = observed_layers(model, x)
    loss, gradients = observed_gradients(model, x, y)
    # The same in another order of summation.
    close = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(record.losses, [loss], **close)
    means = [hidden.outputs.mean(), out.outputs.mean()]
    np.testing.assert_allclose(record.series["activation_mean"], [means], **close)
    deviations = [hidden.outputs.std(), out.outputs.std()]
    np.testing.assert_allclose(record.series["activation_std"], [deviations], **close)
    dead = (hidden.outputs == 0).all(axis=0).mean()
    np.testing.assert_allclose(record.of("a", "dead_share"), [dead], **close)
    norms = [np.sqrt(sum((g**2).sum() for _, g in gradients[at : at + 2])) for at in (0, 2)]
    np.testing.assert_allclose(record.series["gradient_norm"], [norms], **close)
    change = np.sqrt(sum(((p - q) ** 2).sum() for p, q in zip(before[:2], after[:2], strict=True)))
    size = np.sqrt(sum((p**2).sum() for p in before[:2]))
    np.testing.assert_allclose(record.of("a", "update_ratio"), [change / size], rtol=1e-3)
    assert np.isnan(record.of("a", "saturated_share")).all()
    assert record.first_not_finite == {}


def test_history_has_the_epochs_last_values():
    x, y = regression_data(rows=44)
    monitor = Monitor(x, y, every=9, rows=16)
    history = fitted(callbacks=[monitor], epochs=3).history.history
    record = monitor.record
    assert record.steps.tolist() == [0, 9]
    assert record.epochs.tolist() == [0, 1]
    found = history["monitor/last/gradient_norm"]
    norms = record.of("last", "gradient_norm")
    np.testing.assert_array_equal(found, [norms[0], norms[1], norms[1]])
    assert "monitor/last/saturated_share" not in history
    saturated = [name for name in history if name.endswith("saturated_share")]
    assert saturated == ["monitor/hidden/saturated_share"]  # an ELU
    assert all(len(values) == 3 for values in history.values())


def test_steps_go_on_in_a_resumed_training():
    x, y = regression_data(rows=44)
    model = dense_model()
    model.compile("adam", "mse")
    monitor = Monitor(x, y, every=4, rows=16)
    model.fit(x, y, batch_size=8, epochs=1, verbose=0, callbacks=[monitor])
    assert monitor.record.steps.tolist() == [0, 4]
    model.fit(x, y, batch_size=8, initial_epoch=1, epochs=2, verbose=0, callbacks=[monitor])
    assert monitor.record.steps.tolist() == [8]
    assert monitor.record.epochs.tolist() == [1]


def test_the_update_of_an_execution_is_divided_by_its_steps():
    if STEPS_PER_EXECUTION == (1,):
        assert keras.config.backend() == "torch"
        return
    x = np.ones((8, 1))
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False, name="w")])
    # The loss is the output itself: every step takes away 0.1.
    model.compile(
        keras.optimizers.SGD(0.1), lambda y, p: ops.mean(p, axis=-1), steps_per_execution=4
    )
    model.set_weights([np.array([[2.0]])])
    monitor = Monitor(x, x, every=100)
    model.fit(x, x, batch_size=1, verbose=0, callbacks=[monitor])
    assert monitor.record.steps.tolist() == [3]
    np.testing.assert_allclose(monitor.record.of("w", "update_ratio"), [0.4 / 2 / 4], rtol=1e-5)


def test_saturated_and_dead_layers_are_seen():
    x, y = class_data(rows=32)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, "tanh", kernel_initializer="ones", bias_initializer="ones", name="sat"),
            layers.Dense(8, "relu", bias_initializer=keras.initializers.Constant(-50), name="dead"),
            layers.Dense(3, activation="softmax", name="out"),
        ]
    )
    model.layers[0].set_weights([100 * np.ones((4, 8)), np.zeros(8)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    monitor = Monitor(x, y)
    model.fit(x, y, verbose=0, callbacks=[monitor])
    record = monitor.record
    assert record.of("sat", "saturated_share")[0] > 0.95
    assert record.of("dead", "dead_share")[0] == 1.0
    assert record.of("dead", "gradient_norm")[0] == 0.0
    assert record.of("out", "gradient_norm")[0] > 0.0
    with pytest.raises(KeyError, match="sat, dead, out"):
        record.of("nothing", "dead_share")


def test_the_first_layer_that_is_not_finite():
    class Root(keras.Layer):
        def call(self, x):
            return ops.sqrt(x)

    x = np.full((8, 2), -1.0)
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(2, name="a"), Root(name="root"), layers.Dense(1, name="b")]
    )
    model.layers[0].set_weights([np.eye(2), np.zeros(2)])
    model.layers[0].trainable = False
    # At rate 0 weights stay what they are, but 0 · NaN.
    model.layers[2].trainable = False
    head = layers.Dense(1, name="c")
    model.add(head)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    monitor = Monitor(x, x[:, :1], every=1)
    model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0, callbacks=[monitor])
    place = monitor.record.first_not_finite
    assert place["step"] == 0
    # The head's weights broke in the very step.
    assert (place["layer"], place["what"]) in {("root", "activations"), ("c", "weights")}
    assert len(monitor.record.steps) == 2
    assert "not finite first" in str(monitor.record)


def test_several_outputs_data_set_and_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((4,), name="x")
    hidden = layers.Dense(5, activation="relu", name="h")(inputs)
    model = keras.Model(
        {"x": inputs},
        {
            "a": layers.Dense(1, name="a", dtype="float32")(hidden),
            "b": layers.Dense(3, activation="softmax", name="b", dtype="float32")(hidden),
        },
    )
    model.compile("adam", {"a": "mse", "b": "sparse_categorical_crossentropy"})
    x, y = regression_data(rows=32)
    labels = class_data(rows=32)[1]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            at = slice(8 * index, 8 * index + 8)
            return {"x": x[at]}, {"a": y[at, None], "b": labels[at]}

    monitor = Monitor(Batches(), every=3, rows=20)
    history = model.fit(Batches(), epochs=2, verbose=0, callbacks=[monitor]).history
    assert sorted(monitor.record.layers) == ["a", "b", "h"]
    assert monitor.record.steps.tolist() == [0, 3, 6]
    assert np.isfinite(monitor.record.series["gradient_norm"]).all()
    assert np.isfinite(history["monitor/h/activation_std"]).all()


def test_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    x, y = regression_data(rows=44)
    monitor = Monitor(x, y, every=5, log_dir=tmp_path)
    fitted(callbacks=[monitor])
    events = accumulator.EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    found = events.Tensors("monitor/last/update_ratio")
    assert [event.step for event in found] == monitor.record.steps.tolist()
    numbers = [event.tensor_proto.float_val[0] for event in found]
    # TensorBoard keeps float32.
    np.testing.assert_allclose(numbers, monitor.record.of("last", "update_ratio"), rtol=1e-6)


def test_an_empty_record_and_saving(tmp_path):
    x, y = regression_data(rows=8)
    monitor = Monitor(x, y)
    assert str(monitor.record) == "nothing recorded"
    fitted(callbacks=[monitor])
    monitor.record.save(tmp_path / "record.json")
    again = kdt.callbacks.TrainingRecord.load(tmp_path / "record.json")
    np.testing.assert_array_equal(again.losses, monitor.record.losses)


def test_errors():
    x, y = regression_data(rows=8)
    with pytest.raises(ValueError, match="every"):
        Monitor(x, y, every=0)
    with pytest.raises(ValueError, match="rows"):
        Monitor(x, y, rows=0)
    with pytest.raises(ValueError, match="generator"):
        Monitor(iter([(x, y)]))
    with pytest.raises(ValueError, match="no rows"):
        Monitor(x[:0], y[:0])
    with pytest.raises(TypeError, match="training"):
        Monitor(x, y, training=1)
