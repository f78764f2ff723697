"""Small models and data that many tests share."""

import keras
import numpy as np
from keras import ops

BACKEND = keras.config.backend()
# torch refuses more than one step per execution.
STEPS_PER_EXECUTION = (1,) if BACKEND == "torch" else (1, 4)


def regression_data(rows=64, features=4, seed=0):
    """Inputs and noisy linear targets, float32."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features)).astype("float32")
    y = (x @ np.arange(1, features + 1) + 0.1 * rng.normal(size=rows)).astype("float32")
    return x, y


def class_data(rows=64, features=4, classes=3, seed=0):
    """Inputs and integer classes that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features)).astype("float32")
    return x, np.argmax(x[:, :classes], axis=1).astype("int32")


def dense_model(features=4, outputs=1, kind="sequential", seed=0):
    """A small uncompiled model with batch norm and dropout.

    `kind` is `"sequential"`, `"functional"` or `"subclassed"` (which is not built yet).
    """
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Dense(8, activation="elu", name="hidden"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dropout(0.2, seed=1, name="drop"),
        keras.layers.Dense(outputs, name="out"),
    ]
    if kind == "subclassed":
        return Subclassed(layers)
    if kind == "sequential":
        return keras.Sequential([keras.Input((features,)), *layers])
    inputs = tensor = keras.Input((features,))
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(inputs, tensor)


@keras.saving.register_keras_serializable(package="small_models")
class Subclassed(keras.Model):
    """Calls its layers one after the other."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, inputs, training=False):
        for layer in self.inner:
            takes_training = isinstance(
                layer, (keras.layers.BatchNormalization, keras.layers.Dropout)
            )
            inputs = layer(inputs, training=training) if takes_training else layer(inputs)
        return inputs

    def get_config(self):
        return {"inner": [keras.saving.serialize_keras_object(layer) for layer in self.inner]}

    @classmethod
    def from_config(cls, config):
        return cls([keras.saving.deserialize_keras_object(layer) for layer in config["inner"]])


@keras.saving.register_keras_serializable(package="small_models")
class Unnamed(keras.Model):
    """A model of one's own as most are: its layers are made in it, without names."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(6, activation="tanh")
        self.scores = keras.layers.Dense(3)

    def call(self, inputs):
        return self.scores(self.hidden(inputs))


def values(variables):
    """Copies of variables as NumPy arrays."""
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def whole_state(model):
    """Everything a training step changes, as NumPy arrays."""
    optimizer = getattr(model, "optimizer", None)
    return values(
        [
            *model.variables,
            *model.metrics_variables,
            *(optimizer.variables if optimizer is not None else ()),
        ]
    )


def assert_identical(first, second):
    """Asserts that two lists of arrays are equal bit for bit, NaN included."""
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


def assert_near(first, second):
    """Asserts that two lists of predictions with the same weights are equal, but for rounding.

    The order in which a matrix product is summed up depends on where its operands lie in memory.
    """
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype
        # Half precision compares as what it stands for.
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
