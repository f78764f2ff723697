"""Small cases for the detectors of the training doctor."""

import keras
import numpy as np
from keras import layers

from keras_deeptricks.diagnostics.doctor.case import Case
from keras_deeptricks.diagnostics.doctor.sample import read_sample


def case_of(model, x, y=None, validation=None, **options):
    """The `Case` of a compiled model, its data and validation data (x, y)."""
    class_weight = options.pop("class_weight", None)
    rng = np.random.default_rng(0)
    held = None if validation is None else read_sample(*validation)
    return Case(model, read_sample(x, y, rng=rng, **options), held, "quick", rng, class_weight)


def found(detector, case):
    """(code, severity) of each finding."""
    return [(finding.code, finding.severity) for finding in detector(case)]


def classifier(shape, classes=3, *first, metrics=("accuracy",), dtype=None):
    """A compiled classifier: the layers `first`, and a dense one for the classes."""
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *first])
    if len(model.layers[-1].output.shape if first else (None, *shape)) > 2:
        model.add(layers.Flatten())
    model.add(layers.Dense(classes, "softmax", name="out"))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=list(metrics))
    return model


def regressor(shape, *last, loss="mse"):
    """A compiled regression with one output, and the layers `last` behind it."""
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(1, name="out")])
    for layer in last:
        model.add(layer)
    model.compile("sgd", loss)
    return model


def normal(*shape, seed=0):
    """Normally distributed numbers in float32."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def labels(rows, classes=3, seed=1):
    """Random classes."""
    return np.random.default_rng(seed).integers(0, classes, rows)


class Batches(keras.utils.PyDataset):
    """Batches of arrays in their order."""

    def __init__(self, x, y, batch_size=20):
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size

    def __len__(self):
        return -(-len(self.y) // self.batch_size)

    def __getitem__(self, index):
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return keras.tree.map_structure(lambda leaf: leaf[rows], self.x), self.y[rows]
