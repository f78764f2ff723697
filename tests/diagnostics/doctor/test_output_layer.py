"""Outputs against losses, targets and metrics: every fault beside its mended twin."""

import keras
import numpy as np
import pytest
from doctor_cases import case_of, normal
from keras import layers

from keras_deeptricks.diagnostics.doctor.output_layer import DETECTORS

# Keras warns of a softmax of one unit by itself when it is computed, not when it is compiled.
pytestmark = pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning")

ROWS = 60
X = normal(ROWS, 4)
LABELS = np.arange(ROWS) % 3
BINARY = np.arange(ROWS) % 2
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
TAGS = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1]])[LABELS]
AMOUNTS = normal(ROWS, seed=3)
SPARSE, CATEGORICAL = "sparse_categorical_crossentropy", "categorical_crossentropy"
BCE = "binary_crossentropy"


def logits(name, **options):
    return getattr(keras.losses, name)(from_logits=True, **options)


def examined(units, activation, loss, y, metrics=(), form="sequential"):
    """Codes by severity of what the detectors find at the output layer 'out'."""
    inputs = keras.Input((4,))
    hidden = layers.Dense(5, "relu")(inputs)
    if form == "split":
        # The activation in a layer of its own.
        hidden = layers.Dense(units, name="before")(hidden)
        model = keras.Model(inputs, layers.Activation(activation or "linear", name="out")(hidden))
    else:
        model = keras.Model(inputs, layers.Dense(units, activation, name="out")(hidden))
    model.compile("sgd", loss, metrics=list(metrics))
    case = case_of(model, X, y)
    return [finding for detector in DETECTORS for finding in detector(case)]


def complaints(findings):
    return {finding.code for finding in findings if finding.severity != "note"}


@pytest.mark.parametrize("form", ["sequential", "split"])
@pytest.mark.parametrize(
    "units, activation, loss, y",
    [
        (3, "softmax", SPARSE, LABELS),
        (3, "softmax", SPARSE, LABELS[:, None].astype("float32")),
        (3, None, logits("SparseCategoricalCrossentropy"), LABELS),
        (3, "softmax", CATEGORICAL, ONE_HOT),
        (3, "softmax", CATEGORICAL, 0.8 * ONE_HOT + 0.2 / 3),
        (1, "sigmoid", BCE, BINARY),
        (1, "sigmoid", BCE, BINARY[:, None].astype(bool)),
        (1, None, logits("BinaryCrossentropy"), BINARY),
        (3, "sigmoid", BCE, TAGS),
        (1, None, "mse", AMOUNTS),
        (1, None, "mae", AMOUNTS[:, None]),
        (2, None, "huber", normal(ROWS, 2)),
        (1, "sigmoid", "mse", np.clip(0.5 + 0.1 * AMOUNTS, 0, 1)),
        (1, "relu", "mse", np.abs(AMOUNTS)),
        (1, "exponential", "poisson", np.arange(ROWS) % 7),
        (1, "tanh", "hinge", 2 * BINARY - 1),
    ],
)
def test_sound_outputs_are_silent(units, activation, loss, y, form):
    if form == "split" and activation is None:
        form = "sequential"
    assert complaints(examined(units, activation, loss, y, form=form)) == set()


@pytest.mark.parametrize(
    "code, units, activation, loss, y",
    [
        ("output_activation_mismatch", 1, "softmax", BCE, BINARY),
        ("output_activation_mismatch", 1, "softmax", "mse", AMOUNTS),
        ("from_logits_mismatch", 3, None, SPARSE, LABELS),
        ("output_activation_mismatch", 3, None, SPARSE, LABELS),
        ("from_logits_mismatch", 3, "softmax", logits("SparseCategoricalCrossentropy"), LABELS),
        ("from_logits_mismatch", 1, None, BCE, BINARY),
        ("from_logits_mismatch", 1, "sigmoid", logits("BinaryCrossentropy"), BINARY),
        ("output_activation_mismatch", 3, "relu", SPARSE, LABELS),
        ("output_activation_mismatch", 3, "tanh", CATEGORICAL, ONE_HOT),
        ("output_activation_mismatch", 3, "relu", logits("CategoricalCrossentropy"), ONE_HOT),
        ("output_activation_mismatch", 3, "sigmoid", SPARSE, LABELS),
        ("output_activation_mismatch", 1, "relu", BCE, BINARY),
        ("output_activation_mismatch", 3, "softmax", BCE, TAGS),
        ("output_activation_mismatch", 1, "sigmoid", "hinge", 2 * BINARY - 1),
        ("output_activation_mismatch", 1, None, "poisson", np.arange(ROWS) % 7),
        ("label_shape", 3, "softmax", SPARSE, ONE_HOT),
        ("label_shape", 3, "softmax", CATEGORICAL, LABELS),
        ("label_shape", 3, "sigmoid", BCE, BINARY),
        ("label_shape", 3, None, "mse", AMOUNTS),
        ("label_range", 3, "softmax", SPARSE, LABELS + 1),
        ("label_range", 3, "softmax", SPARSE, LABELS - 1),
        ("label_range", 1, "sigmoid", BCE, 2 * BINARY - 1),
        ("label_range", 1, "exponential", "poisson", AMOUNTS),
        ("output_units", 2, "softmax", SPARSE, LABELS),
        ("output_units", 12, "softmax", SPARSE, LABELS),
        ("output_units", 1, "softmax", SPARSE, LABELS),
        ("output_units", 4, "softmax", CATEGORICAL, ONE_HOT),
        ("output_units", 3, None, "mse", normal(ROWS, 2)),
        ("loss_mismatch", 1, "sigmoid", SPARSE, BINARY),
        ("loss_mismatch", 3, "softmax", SPARSE, AMOUNTS),
        ("loss_mismatch", 3, "softmax", CATEGORICAL, TAGS),
        ("loss_mismatch", 1, "sigmoid", BCE, LABELS),
        ("loss_mismatch", 1, "sigmoid", BCE, 50 * AMOUNTS),
        ("loss_mismatch", 3, "softmax", BCE, ONE_HOT),
        ("loss_mismatch", 3, "sigmoid", BCE, ONE_HOT),
        ("loss_mismatch", 3, "softmax", "mse", ONE_HOT),
        ("loss_mismatch", 1, "sigmoid", "mae", BINARY),
        ("loss_mismatch", 1, None, "mape", np.maximum(AMOUNTS, 0)),
        ("output_range", 1, "sigmoid", "mse", 10 * AMOUNTS),
        ("output_range", 1, "relu", "mae", AMOUNTS),
        ("output_range", 1, "tanh", "mse", 5 + AMOUNTS),
        ("output_activation_mismatch", 3, "softmax", "mse", normal(ROWS, 3)),
        ("output_activation_mismatch", 3, "softmax", "mse", TAGS),
    ],
)
def test_a_fault_is_told(code, units, activation, loss, y):
    found = examined(units, activation, loss, y)
    assert code in complaints(found), [str(finding) for finding in found]
    told = next(f for f in found if f.code == code and f.severity != "note")
    assert told.layer in ("out", "loss")
    assert told.evidence
    assert told.explanation
    assert told.remedy


@pytest.mark.parametrize(
    "metric, units, activation, loss, y, silent",
    [
        ("accuracy", 1, None, "mse", AMOUNTS, False),
        ("mae", 1, None, "mse", AMOUNTS, True),
        ("mse", 3, "softmax", SPARSE, LABELS, False),
        ("accuracy", 3, "softmax", SPARSE, LABELS, True),
        ("categorical_accuracy", 3, "softmax", SPARSE, LABELS, False),
        ("sparse_categorical_accuracy", 3, "softmax", SPARSE, LABELS, True),
        ("sparse_categorical_accuracy", 3, "softmax", CATEGORICAL, ONE_HOT, False),
        ("binary_accuracy", 3, "softmax", CATEGORICAL, ONE_HOT, False),
        ("binary_accuracy", 1, "sigmoid", BCE, BINARY, True),
    ],
)
def test_metrics(metric, units, activation, loss, y, silent):
    found = complaints(examined(units, activation, loss, y, metrics=[metric]))
    assert found == (set() if silent else {"metric_mismatch"})


def test_each_output_is_judged_on_its_own():
    inputs = keras.Input((4,))
    hidden = layers.Dense(5, "relu")(inputs)
    outputs = {
        "kind": layers.Dense(3, "softmax", name="kind")(hidden),
        "amount": layers.Dense(1, "sigmoid", name="amount")(hidden),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"kind": SPARSE, "amount": "mse"})
    case = case_of(model, X, {"kind": LABELS, "amount": 10 * AMOUNTS})
    found = [finding for detector in DETECTORS for finding in detector(case)]
    assert {f.layer for f in found} == {"amount"}
    assert "output_range" in complaints(found)


def test_an_autoencoder_of_zeros_and_ones_is_no_classification():
    x = (normal(ROWS, 6) > 0).astype("float32")
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(3, "relu"), layers.Dense(6, "sigmoid")]
    )
    model.compile("sgd", "mse")
    case = case_of(model, x, x)
    assert complaints(f for detector in DETECTORS for f in detector(case)) == set()


def test_labels_of_every_pixel():
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Conv2D(3, 3, padding="same", activation="softmax")]
    )
    model.compile("sgd", SPARSE)
    y = np.random.default_rng(0).integers(0, 3, (ROWS, 4, 4))
    case = case_of(model, normal(ROWS, 4, 4, 1), y)
    assert complaints(f for detector in DETECTORS for f in detector(case)) == set()


def test_a_subclassed_model_is_judged_by_its_predictions():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3, name="dense")

        def call(self, inputs):
            return 2 * self.dense(inputs)

    model = Net()
    model.compile("sgd", SPARSE)
    case = case_of(model, X, LABELS)
    assert "from_logits_mismatch" in complaints(f for d in DETECTORS for f in d(case))


def mean_of_all_pairs(y_true, y_pred):
    flat = keras.ops.reshape(y_true, (-1,))
    return keras.ops.mean(keras.ops.square(flat - y_pred))  # (rows,) − (rows, 1)


def mean_of_rows(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


def of_the_output_alone(y_true, y_pred):
    return keras.ops.mean(y_pred)


class Squares(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.square(y_true - y_pred)


@pytest.mark.parametrize(
    "loss, y, silent",
    [
        (mean_of_all_pairs, AMOUNTS[:, None], False),
        (mean_of_rows, AMOUNTS[:, None], True),
        (mean_of_rows, AMOUNTS, True),  # Keras widens them for functions
        (of_the_output_alone, AMOUNTS, True),
        (Squares(), AMOUNTS, False),
        (Squares(), AMOUNTS[:, None], True),
    ],
)
def test_losses_of_ones_own(loss, y, silent):
    found = complaints(examined(1, None, loss, y))
    assert found == (set() if silent else {"label_shape"})


def test_an_activation_before_that_of_the_output():
    for activation, expected in (("relu", {"output_activation_mismatch"}), ("linear", set())):
        inputs = keras.Input((4,))
        hidden = layers.Dense(3, activation, name="cut")(inputs)
        model = keras.Model(inputs, layers.Softmax(name="out")(hidden))
        model.compile("sgd", SPARSE)
        case = case_of(model, X, LABELS)
        assert complaints(f for d in DETECTORS for f in d(case)) == expected
