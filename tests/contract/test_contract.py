"""What holds for every public class: it can be described, trained, saved, loaded and refused."""

import inspect
import pathlib
import sys

import keras
import numpy as np
import pytest
from small_models import (
    BACKEND,
    Subclassed,
    assert_identical,
    assert_near,
    regression_data,
    values,
)

import keras_deeptricks as kdt
from keras_deeptricks.utils.results import Result

# The registry lies beside this file, which the import mode of pytest does not put on the path.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from registry import MODULES, ROWS

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
# Callbacks are no part of a saved model and have no configuration.
every_configured_row = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.kind != "callback"], ids=lambda row: row.name
)


def build(row, form, **compile_options):
    """A compiled model of the given form with an instance of the row in its place.

    Returns the model and the callbacks to train it with.
    """
    keras.utils.set_random_seed(0)
    made = row.make()
    part = {row.kind: made}
    layers = [
        keras.layers.Dense(
            5,
            activation="tanh",
            kernel_initializer=part.get("initializer", "glorot_uniform"),
            kernel_constraint=part.get("constraint"),
            name="hidden",
        ),
        keras.layers.Dense(1, name="out"),
    ]
    if row.kind == "layer":
        layers[1:1] = {
            "rows": [made],
            # Images of 2×2 pixels with five channels.
            "images": [
                keras.layers.Reshape((1, 1, 5)),
                keras.layers.UpSampling2D(2),
                made,
                keras.layers.Flatten(),
            ],
            "pair": [Pair(), made],
        }["images" if getattr(made.input_spec, "ndim", None) == 4 else row.inputs]
    if form == "subclassed":
        model = Subclassed(layers)
    elif form == "sequential":
        model = keras.Sequential([keras.Input((4,)), *layers])
    else:
        inputs = tensor = keras.Input((4,))
        for layer in layers:
            tensor = layer(tensor)
        model = keras.Model(inputs, tensor)
    optimizer = part.get("optimizer") or kdt.optimizers.SGD(part.get("schedule", 0.01))
    model.compile(optimizer, part.get("loss", "mse"), **compile_options)
    return model, [made] if row.kind == "callback" else []


@keras.saving.register_keras_serializable(package="test_contract")
class Pair(keras.layers.Layer):
    """Two tensors of one."""

    def call(self, inputs):
        return [inputs, keras.ops.tanh(inputs)]

    def compute_output_shape(self, input_shape):
        return [input_shape, input_shape]


def train(model, callbacks, data=None):
    """Two epochs of four batches, in order."""
    x, y = regression_data(rows=16)
    given = {"x": x, "y": y, "batch_size": 4} if data is None else {"x": data}
    if not model.built:
        model(x[:2])
    before = model.get_weights()
    history = model.fit(**given, epochs=2, callbacks=callbacks, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(model.predict(x, verbose=0)).all()
    # The last layer was trained, whatever is in front of it.
    assert not np.array_equal(before[-1], model.get_weights()[-1])


def save_and_load(model, path):
    """The model after a file without custom objects, in safe mode, with the same predictions."""
    x, _ = regression_data(rows=16)
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert_identical(model.get_weights(), loaded.get_weights())
    # Seed states are no weights: a file has none.
    saved = {id(variable) for variable in model.weights}
    for old, new in zip(model.variables, loaded.variables, strict=True):
        if id(old) not in saved:
            # By value: on JAX two variables would share one array, which `predict` gives away.
            new.assign(values([old])[0])
    assert_near([model.predict(x, verbose=0)], [loaded.predict(x, verbose=0)])
    return loaded


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return tuple(part[rows] for part in regression_data(rows=16))


def data_set():
    """A `tf.data.Dataset` where TensorFlow is the backend, else a `PyDataset`."""
    if BACKEND != "tensorflow":
        return Batches()
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(regression_data(rows=16)).batch(4)


def test_every_public_class_has_a_row():
    public = {
        getattr(module, name)
        for module in MODULES
        for name in module.__all__
        if inspect.isclass(getattr(module, name))
        and getattr(module, name).__module__.startswith("keras_deeptricks.")
        and not inspect.isabstract(getattr(module, name))
        and not issubclass(getattr(module, name), Result)
    }
    assert public - {row.cls for row in ROWS} == set()
    assert len(public) > 15  # the search itself has found something


def test_rows_have_names_of_their_own():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


@every_configured_row
def test_configuration_round_trip(row):
    first = row.make()
    config = first.get_config()
    again = row.cls.from_config(config)
    assert type(again) is type(first)
    assert isinstance(again, row.cls)
    assert again.get_config() == config
    # Nothing of the object itself is shared through the configuration.
    assert first.get_config() == config
    serialized = keras.saving.serialize_keras_object(first)
    assert serialized["registered_name"] == f"keras_deeptricks>{row.cls.__name__}"
    revived = keras.saving.deserialize_keras_object(serialized)
    assert type(revived) is type(first)
    assert keras.saving.serialize_keras_object(revived) == serialized


@every_configured_row
def test_configuration_tells_every_argument(row):
    config = row.make().get_config()
    own = inspect.signature(row.cls.__init__).parameters.values()
    named = {p.name for p in own if p.kind is p.POSITIONAL_OR_KEYWORD} - {"self"}
    # Keras' losses never save their dtype.
    assert named - set(config) <= ({"dtype"} if row.kind == "loss" else set())


@every_row
def test_sequential_model_and_several_steps_per_execution(row, tmp_path):
    model, callbacks = build(row, "sequential")
    train(model, callbacks)
    loaded = save_and_load(model, tmp_path / "model.keras")
    several, callbacks = build(row, "sequential", steps_per_execution=4)
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="steps_per_execution"):
            train(several, callbacks)
    else:
        train(several, callbacks)
        assert_identical(model.get_weights(), several.get_weights())
        assert_identical(values(model.optimizer.variables), values(several.optimizer.variables))
    if row.kind in ("optimizer", "schedule"):
        # Training goes on from the file with the same slots, step and hyperparameters.
        for each in (model, loaded):
            each.train_on_batch(*regression_data(rows=4))
        assert_identical(model.get_weights(), loaded.get_weights())
        assert_identical(values(model.optimizer.variables), values(loaded.optimizer.variables))


@every_row
def test_functional_model_in_bfloat16_from_a_data_set(row, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model, callbacks = build(row, "functional")
    train(model, callbacks, data_set())
    assert all(weight.dtype == np.float32 for weight in model.get_weights())
    save_and_load(model, tmp_path / "model.keras")


@every_row
def test_subclassed_model_in_float16(row, tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    model, callbacks = build(row, "subclassed")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    train(model, callbacks)
    save_and_load(model, tmp_path / "model.keras")


@every_row
def test_bad_values_are_refused_by_name(row):
    row.make()  # the rest of the arguments is good
    for name, bad_values in row.bad.items():
        for value in bad_values:
            with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
                row.make(**{name: value})
