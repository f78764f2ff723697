"""Training in one call: any data, what was chosen, saving, and clear errors for bad data."""

import json
import warnings

import keras
import numpy as np
import pytest
from small_models import BACKEND

import keras_deeptricks as kdt

RNG = np.random.default_rng(0)
X = RNG.normal([10, -5, 0, 3], [2, 1, 5, 1], size=(240, 4)).astype("float32")
CLASSES = ((X[:, 0] > 10).astype(int) + (X[:, 2] > 0)).astype("int64")
SMALL = {"epochs": 2, "hidden_units": (8,), "verbose": 0, "seed": 1}


@pytest.fixture(scope="module")
def run():
    return kdt.recipes.train_default(X, CLASSES, **SMALL)


TARGETS = {
    "integers": (CLASSES, "classification"),
    "any integers": (CLASSES * 7 - 3, "classification"),
    "strings": (np.array(["low", "mid", "high"])[CLASSES], "classification"),
    "one-hot": (np.eye(3)[CLASSES], "classification"),
    "binary": (X[:, 0] > 10, "binary"),
    "binary strings": (np.where(X[:, 0] > 10, "warm", "cold"), "binary"),
    "multi-label": (np.stack([X[:, 0] > 10, X[:, 2] > 0, X[:, 3] > 3], 1) * 1, "multilabel"),
    "regression": (X @ np.array([1.0, 2.0, 3.0, 4.0]) * 1000, "regression"),
    "two targets": (X @ np.array([[1.0, 0.0], [0, 1e-3], [1, 0], [0, 1e-3]]), "regression"),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_any_targets(kind):
    y, task = TARGETS[kind]
    run = kdt.recipes.train_default(X, y, **{**SMALL, "epochs": 6})
    assert run.settings["task"] == task
    assert run.history["loss"][-1] < run.history["loss"][0]
    labels = run.predict_labels(X)
    figures = run.evaluate(X, y)
    assert np.isfinite(list(figures.values())).all()
    if task == "regression":
        assert labels.shape == (y.shape if y.ndim == 2 else (240,))
        error = np.sqrt(np.mean((labels.reshape(240, -1) - y.reshape(240, -1)) ** 2))
        # The metric is in the units of the targets.
        assert figures["rmse"] == pytest.approx(error, rel=1e-3)
    elif kind == "one-hot":
        assert np.mean(labels == CLASSES) == pytest.approx(figures["accuracy"], abs=1e-6)
    else:
        assert set(np.unique(labels)) <= set(np.unique(y))
        assert np.mean(labels == y) == pytest.approx(figures["accuracy"], abs=1e-6)


def test_self_normalizing():
    run = kdt.recipes.train_self_normalizing(X, CLASSES, **{**SMALL, "epochs": 5})
    assert run.settings["recipe"] == "self-normalizing network"
    assert run.settings["alpha_dropout"] == 0.1
    assert run.evaluate(X, CLASSES)["accuracy"] > 0.6


def test_the_run_says_what_was_chosen(run):
    settings = run.settings
    assert settings["batch_size"] == 32
    assert settings["training_rows"] == 216
    assert settings["backend"] == BACKEND
    assert settings["parameters"] == run.model.count_params()
    assert settings["learning_rate"] == run.learning_rate_search.suggestion
    text = run.summary()
    for name in ("learning_rate", "normalization", "device", "precision", "found by the range"):
        assert name in text
    assert "epoch 2 of 2" in text or "epoch 1 of 2" in text


def test_the_rate_follows_one_cycle_over_all_steps(run):
    steps = 2 * 7
    cycle = kdt.schedules.OneCycle(run.settings["learning_rate"], steps)
    rates = np.concatenate(run.history["learning_rate_per_step"])
    momenta = np.concatenate(run.history["momentum_per_step"])
    np.testing.assert_allclose(rates, cycle.numpy_values(range(steps)), rtol=1e-9)
    np.testing.assert_allclose(momenta, cycle.momentum().numpy_values(range(steps)), rtol=1e-9)


def test_the_seed_fixes_everything():
    first, second = (kdt.recipes.train_default(X, CLASSES, **SMALL) for _ in range(2))
    other = kdt.recipes.train_default(X, CLASSES, **{**SMALL, "seed": 2})
    assert first.history["loss"] == second.history["loss"]
    assert first.settings["learning_rate"] == second.settings["learning_rate"]
    for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first.history["loss"] != other.history["loss"]


def test_a_given_learning_rate_is_taken():
    run = kdt.recipes.train_default(X, CLASSES, learning_rate=0.02, **SMALL)
    assert run.learning_rate_search is None
    assert max(np.concatenate(run.history["learning_rate_per_step"])) <= 0.02
    assert run.settings["learning_rate"] == 0.02


def test_validation_rows_are_drawn_at_random_and_not_trained_on():
    # Sorted by class: the last tenth would be of one class.
    order = np.argsort(CLASSES, kind="stable")
    run = kdt.recipes.train_default(
        X[order], CLASSES[order], learning_rate=0.05, **{**SMALL, "epochs": 8}
    )
    assert run.settings["training_rows"] == 216
    # Of the class that the last tenth holds alone, nothing would be left to learn from.
    assert run.history["val_accuracy"][-1] > 0.6


def test_without_validation_the_last_epoch_is_kept():
    run = kdt.recipes.train_default(X, CLASSES, validation_split=0, **SMALL)
    assert run.settings["training_rows"] == 240
    assert run.settings["best_epoch"] == 2
    assert "val_loss" not in run.history


def test_sample_and_class_weights():
    # Rows of weight 0, or of a class of weight 0, have no influence.
    keep = CLASSES > 0
    weights = keep.astype("float32")
    options = {**SMALL, "epochs": 4, "validation_split": 0, "learning_rate": 0.05}
    by_row = kdt.recipes.train_default(X, CLASSES, sample_weight=weights, **options)
    by_class = kdt.recipes.train_default(X, CLASSES, class_weight={0: 0, 1: 1, 2: 1}, **options)
    for a, b in zip(by_row.model.get_weights(), by_class.model.get_weights(), strict=True):
        # Two ways to the same weights, multiplied in another order.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert not np.any(by_row.predict_labels(X) == 0)


def test_images(tmp_path):
    images = RNG.integers(0, 256, size=(120, 6, 6, 3)).astype("uint8")
    y = (images.mean(axis=(1, 2, 3)) > 127.5).astype(int)
    run = kdt.recipes.train_default(images, y, **SMALL)
    assert run.settings["input_shape"] == [6, 6, 3]
    assert run.predict_labels(images).shape == (120,)


class Batches(keras.utils.PyDataset):
    """Rows 0–199 in batches of 20."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        part = slice(20 * index, 20 * (index + 1))
        return X[part], CLASSES[part]


def test_py_dataset():
    run = kdt.recipes.train_default(Batches(), validation_data=(X[200:], CLASSES[200:]), **SMALL)
    assert run.settings["training_rows"] == 200
    assert len(run.history["learning_rate_per_step"][0]) == 10
    assert "val_loss" in run.history


def test_tf_data():
    tf = pytest.importorskip("tensorflow", reason="tf.data is part of TensorFlow")
    data = tf.data.Dataset.from_tensor_slices((X, CLASSES)).batch(32)
    # A length that tf.data does not know.
    unknown = data.filter(lambda x, y: True)
    run = kdt.recipes.train_default(unknown, **SMALL)
    assert len(run.history["learning_rate_per_step"][0]) == 8
    with pytest.raises(ValueError, match="endless"):
        kdt.recipes.train_default(data.repeat(), **SMALL)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(precision):
    run = kdt.recipes.train_default(X, CLASSES, precision=precision, **{**SMALL, "epochs": 6})
    assert run.settings["precision"] == precision
    assert np.isfinite(run.history["loss"]).all()
    assert run.evaluate(X, CLASSES)["accuracy"] > 0.6


def test_saved_and_loaded(run, tmp_path):
    run.save(tmp_path / "run")
    again = kdt.recipes.TrainingRun.load(tmp_path / "run")
    np.testing.assert_array_equal(
        again.model.predict(X, verbose=0), run.model.predict(X, verbose=0)
    )
    assert again.history == run.history
    assert again.summary() == run.summary()
    np.testing.assert_array_equal(again.predict_labels(X), run.predict_labels(X))
    assert again.learning_rate_search.suggestion == run.learning_rate_search.suggestion
    # Settings are there for a reader, too.
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"]["batch_size"] == 32
    with pytest.raises(FileNotFoundError, match="no saved run"):
        kdt.recipes.TrainingRun.load(tmp_path / "nothing")


def test_string_labels_survive_saving(tmp_path):
    names = np.array(["low", "mid", "high"])[CLASSES]
    run = kdt.recipes.train_default(X, names, **SMALL)
    run.save(tmp_path)
    again = kdt.recipes.TrainingRun.load(tmp_path)
    assert again.predict_labels(X).tolist() == run.predict_labels(X).tolist()


def test_picture(run, tmp_path):
    figure = run.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert {"loss", "accuracy", "learning rate", "momentum"} <= set(labels)


def test_early_stopping_waits_for_the_rate_to_come_down():
    # Random targets: nothing improves for long.
    noise = np.random.default_rng(3).integers(0, 2, 240)
    run = kdt.recipes.train_default(
        X, noise, **{**SMALL, "epochs": 20, "hidden_units": (64,), "learning_rate": 0.1}
    )
    rates = np.concatenate(run.history["learning_rate_per_step"])
    assert rates[-1] < 0.1 * rates.max()
    best = run.settings["best_epoch"] - 1
    accuracies = run.history["val_accuracy"]
    assert accuracies[best] == max(accuracies)
    # Of equal epochs the last.
    assert max(accuracies) not in accuracies[best + 1 :]


def test_a_regression_keeps_the_epoch_of_the_lowest_loss():
    y = X[:, 0] + np.random.default_rng(3).normal(0, 5, 240)
    run = kdt.recipes.train_default(
        X, y, **{**SMALL, "epochs": 12, "hidden_units": (64, 64), "learning_rate": 0.05}
    )
    losses = run.history["val_loss"]
    assert run.settings["monitor"] == "val_loss"
    assert losses[run.settings["best_epoch"] - 1] == min(losses)


BAD_X = X.copy()
BAD_X[17, 2] = np.nan
BAD = {
    "nan in x": ({"x": BAD_X}, "row 17"),
    "infinity in x": ({"x": np.where(X > 12, np.inf, X)}, "infinite"),
    "lengths": ({"y": CLASSES[:-1]}, "240 and 239"),
    "empty": ({"x": X[:0], "y": CLASSES[:0]}, "empty"),
    "no columns": ({"x": X[:, :0]}, "empty"),
    "one class": ({"y": np.ones(240, int)}, "single class"),
    "object x": ({"x": X.astype(object)}, "object"),
    "object y": ({"y": np.array([*CLASSES[:-1], None], dtype=object)}, "object"),
    "string x": ({"x": X.astype(str)}, "numbers"),
    "rank 1": ({"x": X[:, 0]}, "reshape"),
    "rank 5": ({"x": X.reshape(240, 2, 2, 1, 1)}, "shape"),
    "rank of y": ({"y": CLASSES.reshape(60, 2, 2)}, "shape"),
    "no y": ({"y": None}, "`y`"),
    "nan in y": ({"y": np.where(CLASSES > 1, np.nan, 0.5)}, "NaN"),
    "unknown validation label": ({"validation_data": (X, CLASSES + 5)}, "lack"),
    "validation features": ({"validation_data": (X[:, :2], CLASSES)}, "validation_data"),
    "validation lengths": ({"validation_data": (X[:5], CLASSES)}, "validation_data"),
    "validation form": ({"validation_data": (X,)}, "validation_data"),
    "label above outputs": ({"outputs": 2, "task": "classification"}, "outputs"),
    "generator": ({"x": (batch for batch in [(X, CLASSES)]), "y": None}, "generator"),
    "two inputs": ({"x": (X, X)}, "one array"),
    "weights": ({"sample_weight": np.ones(3)}, "sample_weight"),
    "class weight": ({"class_weight": {9: 1.0}}, "class_weight"),
    "split": ({"validation_split": 1.5}, "validation_split"),
    "too small a split": ({"validation_split": 0.001}, "validation_split"),
    "epochs": ({"epochs": 0}, "epochs"),
    "batch size": ({"batch_size": -1}, "batch_size"),
    "rate": ({"learning_rate": 0.0}, "learning_rate"),
    "patience": ({"patience": 0}, "patience"),
    "seed": ({"seed": -1}, "seed"),
    "adapt_to": ({"adapt_to": X}, "adapt_to"),
    "unknown option": ({"hidden_layers": 3}, "hidden_layers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused_before_training(case, monkeypatch):
    arguments, message = BAD[case]

    def never(*args, **kwargs):
        raise AssertionError("training has begun")

    monkeypatch.setattr(keras.Model, "fit", never)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError), match=message):
            kdt.recipes.train_default(**{"x": X, "y": CLASSES, **SMALL, **arguments})
