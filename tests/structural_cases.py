"""Cases for the training doctor's detectors of structure: small models with a few rows of data."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.case import Case
from keras_deeptricks.diagnostics.doctor.sample import read_sample
from keras_deeptricks.utils.batches import ensure_built
from keras_deeptricks.utils.rewriting import has_graph


def numbers(*shape, seed=0):
    """Standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def labels(rows, classes, seed=0):
    """Labels, each of which occurs."""
    return np.random.default_rng(seed).permutation(np.arange(rows) % classes)


def case_of(model, x, y=None, optimizer="adam", batch_size=None, loss=None):
    """The `Case` of a model, compiled with the loss that suits the targets unless one is given."""
    y = labels(len(keras.tree.flatten(x)[0]), 3) if y is None else y
    if loss is None:
        is_classes = isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in "iu"
        loss = "sparse_categorical_crossentropy" if is_classes else "mse"
    model.compile(optimizer, loss)
    sample = read_sample(x, y, batch_size=batch_size)
    ensure_built(model, sample.x)  # as `check` does
    case = Case(model, sample, None, "quick", np.random.default_rng(0))
    if has_graph(model):
        # The structure says it all but for the shapes: predicting would only take time.
        rows = len(case.probe_rows)
        shapes = [(rows, *tensor.shape[1:]) for tensor in model.outputs]
        predictions = [numbers(*shape) for shape in shapes]
        case.prediction = predictions if len(predictions) > 1 else predictions[0]
    return case


def found(case, *detectors):
    """(code, severity, layer) of all findings of some detectors."""
    return [(f.code, f.severity, f.layer) for detector in detectors for f in detector(case)]


def tables(*layers, features=6):
    """A Sequential model over a table."""
    return keras.Sequential([keras.Input((features,)), *layers])


class Chain(keras.Model):
    """A subclassed model that calls functions and layers one after the other."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = [step for step in steps if isinstance(step, keras.Layer)]
        self.all = steps

    def call(self, inputs):
        for step in self.all:
            inputs = step(inputs)
        return inputs
