import json
import pathlib
import types

import keras
import keras_tuner
import numpy as np
import pytest
from hypermodel_cases import not_on_jax

from keras_deeptricks import tuners
from keras_deeptricks.tuners import SearchResult, cluster, hyperparameter_search, search
from keras_deeptricks.tuners.search_data import GivenData, RecipeData
from keras_deeptricks.tuners.search_outcome import _best

# Keras Tuner asks for the name of the thread in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:.*(currentThread|getName).*:DeprecationWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4)).astype("float32")
LABELS = np.where(X.sum(axis=1) > 0, "yes", "no")
AMOUNTS = 100 + 50 * X.sum(axis=1)
SMALL = {"depth": 1, "width": (4, 16), "optimizer": "momentum", "rate": "searched"}


def small(folder, x=X, y=LABELS, **options):
    options = {"space": SMALL, "trials": 2, "epochs": 2, "seed": 0, **options}
    return search(x, y, directory=folder, **options)


def function(hp):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-1, sampling="log")), "mse")
    return model


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("threading.currentThread", __import__("threading").current_thread)
        test = (X[:50], LABELS[:50])
        return small(tmp_path_factory.mktemp("found"), X[50:], LABELS[50:], test_data=test)


def test_result_of_classes(found):
    assert len(found.trials) == 2
    assert (found.objective, found.direction) == ("val_accuracy", "max")
    best = found.ranked()[0]
    assert best["score"] == max(trial["score"] for trial in found.trials)
    assert found.best_settings == best["settings"]
    assert 4 <= found.best_settings["width"] <= 16
    assert found.best_scores() == list(np.maximum.accumulate([t["score"] for t in found.trials]))
    assert best["metrics"]["learning_rate"] > 0
    assert "learning rate" in best["message"]
    # The figure on the test rows is that of the model trained anew.
    encoded = found.targets.encode(LABELS[:50])
    again = found.model.evaluate(X[:50], encoded, verbose=0, return_dict=True)
    assert again["accuracy"] == pytest.approx(found.test["accuracy"])
    assert found.search["hypermodel"] == "DefaultConfigHyperModel"


def test_the_best_model_scores_what_the_search_says(tmp_path):
    held = (X[:60], LABELS[:60])
    result = small(tmp_path, X[60:], LABELS[60:], validation_data=held, refit=False)
    assert result.model is None
    encoded = result.targets.encode(LABELS[:60])
    figures = result.best_model.evaluate(X[:60], encoded, verbose=0, return_dict=True)
    assert figures["accuracy"] == pytest.approx(result.ranked()[0]["score"])


def test_summary_and_table(found):
    text = found.summary()
    assert "best val_accuracy" in text
    assert "on the test rows" in text
    for name in found.best_settings:
        assert name in text


def test_saved_and_loaded(found, tmp_path):
    found.save(tmp_path / "kept")
    again = SearchResult.load(tmp_path / "kept")
    assert again.summary() == found.summary()
    assert again.trials == found.trials
    np.testing.assert_array_equal(
        again.model.predict(X[:5], verbose=0), found.model.predict(X[:5], verbose=0)
    )
    with pytest.raises(FileNotFoundError, match="no saved search"):
        SearchResult.load(tmp_path)


def test_called_again_it_trains_nothing_and_looks_at_no_test_row(tmp_path, monkeypatch):
    test = (X[:50], LABELS[:50])
    first = small(tmp_path, test_data=test)

    def run(*args, **options):
        pytest.fail("it trained or evaluated")

    monkeypatch.setattr(tuners.DefaultConfigHyperModel, "fit", run)
    monkeypatch.setattr(GivenData, "test", run)
    second = small(tmp_path, test_data=test)
    assert second.summary() == first.summary()
    np.testing.assert_array_equal(
        second.model.predict(X[:5], verbose=0), first.model.predict(X[:5], verbose=0)
    )


@pytest.mark.parametrize(
    "options, text",
    [
        ({"epochs": 1}, "epochs was 2 and is 1"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"x": X + 1}, "training data was"),
        ({"space": {**SMALL, "width": 8}}, "hypermodel was"),
        ({"objective": "val_loss"}, "objective was val_accuracy and is val_loss"),
    ],
)
def test_other_arguments_do_not_go_on_with_a_project(options, text, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "run", lambda tuner, *args, **options: None)
    monkeypatch.setattr(hyperparameter_search, "outcome", lambda *args: "searched")
    assert small(tmp_path) == "searched"
    with pytest.raises(ValueError, match=text):
        small(tmp_path, **options)
    assert small(tmp_path, **options, overwrite=True) == "searched"
    assert small(tmp_path, **options) == "searched"


def test_tensorboard_has_a_folder_for_each_training(tmp_path):
    pytest.importorskip("tensorflow", reason="Keras' TensorBoard callback writes with TensorFlow")
    board = keras.callbacks.TensorBoard(str(tmp_path / "logs"))
    small(tmp_path, X[:64], LABELS[:64], trials=1, executions_per_trial=2, callbacks=board)
    found = {
        str(path.parent.relative_to(tmp_path / "logs")) for path in tmp_path.rglob("*tfevents*")
    }
    wanted = {"0/execution0/train", "0/execution1/train", "0/execution1/validation", "refit/train"}
    assert wanted <= found
    # The table of hyperparameters is Keras Tuner's, on TensorFlow only.
    assert ("0/execution0" in found) == (keras.config.backend() == "tensorflow")
    assert board.log_dir == str(tmp_path / "logs")


def test_all_processes_validate_on_the_same_rows():
    def rows(seed=0):
        data = RecipeData(X, LABELS, None, None, 0.2, None, seed, None, None)
        return data.validation[0]

    np.testing.assert_array_equal(rows(), rows())
    assert not np.array_equal(rows(), rows(seed=1))


def test_more_trials_go_on_where_the_search_ended(tmp_path):
    first = small(tmp_path, refit=False, tuner="random")
    second = small(tmp_path, refit=False, tuner="random", trials=3)
    assert second.trials[:2] == first.trials
    assert len(second.trials) == 3
    assert second.search["trials"] == 3


def test_the_objective_of_the_caller(tmp_path):
    result = small(tmp_path, y=AMOUNTS, objective="val_rmse", refit=False, trials=1)
    assert (result.objective, result.direction) == ("val_rmse", "min")
    assert result.trials[0]["message"].count("kept epoch") == 1


def test_a_regression_is_searched_by_its_loss(tmp_path):
    result = small(tmp_path, y=AMOUNTS, tuner="random", test_data=(X[:50], AMOUNTS[:50]))
    assert (result.objective, result.direction) == ("val_data_loss", "min")
    assert result.ranked()[0]["score"] == min(t["score"] for t in result.trials)
    predictions = result.model.predict(X, verbose=0)
    assert 50 < predictions.mean() < 150  # in the units of the targets


@not_on_jax
@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband", "grid"])
def test_every_tuner(tuner, tmp_path):
    space = {**SMALL, "width": [4, 8], "batch_size": 64, "l2": 1e-4, "dropout": 0.1}
    options = {"factor": 2} if tuner == "hyperband" else {}
    result = small(tmp_path, tuner=tuner, space=space, refit=False, **options)
    assert 1 <= len(result.trials) <= 2
    assert result.ranked()
    assert all(not name.startswith("tuner/") for name in result.best_settings)


def test_a_function_as_hypermodel(tmp_path):
    y = X @ np.ones((4, 1), "float32")
    result = search(
        X, y, hypermodel=function, trials=2, epochs=2, directory=tmp_path, seed=0, test_data=(X, y)
    )
    assert result.objective == "val_loss"
    assert result.targets is None
    assert result.search["project"].endswith("function-coarse_to_fine")
    error = np.mean(np.square(result.model.predict(X, verbose=0) - y))
    assert result.test["loss"] == pytest.approx(error, rel=1e-5)
    assert list(result.best_settings) == ["rate"]


def test_a_tuner_class_and_an_oracle(tmp_path):
    y = X @ np.ones((4, 1), "float32")
    options = {"hypermodel": function, "refit": False, "directory": tmp_path}
    result = search(X, y, tuner=keras_tuner.RandomSearch, trials=1, **options)
    assert result.search["tuner"] == "RandomSearch"
    oracle = tuners.CoarseToFineOracle("val_loss", max_trials=1)
    assert len(search(X, y, tuner=oracle, **options).trials) == 1
    for name, value in (("trials", 2), ("seed", 1), ("objective", "loss")):
        with pytest.raises(ValueError, match=f"`{name}` is the oracle's own"):
            search(X, y, tuner=oracle, **{name: value}, **options)


class Watching(keras_tuner.HyperModel):
    """Notes what its networks are trained with; the second epoch is the best one."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def build(self, hp):
        return function(hp)

    def fit(self, hp, model, x, y, sample_weight=None, **options):
        self.seen.append({"x": x, "y": y, "sample_weight": sample_weight, **options})
        history = model.fit(x, y, sample_weight=sample_weight, **options)
        if options.get("validation_data") is not None:
            history.history["val_loss"] = [3.0, 1.0, 2.0, 4.0]
        self.seen[-1]["epochs_run"] = len(history.epoch)
        return history


def test_a_refit_with_weights_and_up_to_the_best_epoch(tmp_path):
    y = X @ np.ones((4, 1), "float32")
    watching = Watching()
    options = {"trials": 1, "epochs": 4, "directory": tmp_path}
    search(X, y, hypermodel=watching, sample_weight=np.full(200, 0.5), **options)
    trial, refit = watching.seen
    assert (len(trial["x"]), trial["sample_weight"].sum(), trial["epochs_run"]) == (160, 80, 4)
    assert (len(refit["x"]), refit["sample_weight"].sum(), refit["epochs_run"]) == (200, 100, 2)
    assert refit["epochs"] == 4  # what a schedule goes by


def test_weighted_test_rows_and_validation_rows(tmp_path):
    y = X @ np.ones((4, 1), "float32")
    watching = Watching()
    weights = np.linspace(0, 1, 50)
    result = search(
        X[50:],
        y[50:],
        hypermodel=watching,
        trials=1,
        epochs=4,
        validation_data=(X[:20], y[:20], np.zeros(20)),
        test_data=(X[:50], list(y[:50, 0]), weights),
        fit_arguments={"batch_size": 7},
        directory=tmp_path,
    )
    assert watching.seen[0]["batch_size"] == watching.seen[1]["batch_size"] == 7
    assert watching.seen[1]["sample_weight"].sum() == 150
    squares = np.square(result.model.predict(X[:50], verbose=0) - y[:50])[:, 0]
    # Keras divides by the number of rows, not by the sum of their weights.
    assert result.test["loss"] == pytest.approx(np.sum(squares * weights) / 50, rel=1e-4)


class Rows(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        rows = slice(index * 50, index * 50 + 50)
        return X[rows], AMOUNTS[rows]


def test_data_sets_are_searched_in_standardized_units(tmp_path):
    result = small(tmp_path, Rows(), None, validation_data=Rows(), test_data=Rows(), tuner="random")
    assert result.objective == "val_data_loss"
    assert result.ranked()[0]["score"] < 3  # in raw units some thousands
    assert "batch_size" not in result.best_settings
    assert result.test["loss"] < 3
    with pytest.raises(ValueError, match="has its own batches"):
        small(tmp_path, Rows(), None, validation_data=Rows(), space={"batch_size": 16})
    with pytest.raises(ValueError, match="yields the weights itself"):
        small(tmp_path, Rows(), None, validation_data=Rows(), sample_weight=np.ones(200))


def test_whole_numbers_as_amounts(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "run", lambda tuner, *args, **options: None)
    monkeypatch.setattr(hyperparameter_search, "outcome", lambda tuner, *args: tuner.hypermodel)
    assert small(tmp_path, y=np.arange(200), task="regression").task == "regression"
    labels = np.arange(200) % 3
    assert small(tmp_path, y=labels, outputs=4, project_name="four").outputs == 4


def test_a_search_whose_trials_all_diverge(tmp_path):
    space = {**SMALL, "learning_rate": 1e30, "schedule": "constant", "l2": 0.0}
    with pytest.raises(RuntimeError, match=r"Every trial .* has diverged"):
        small(tmp_path, y=AMOUNTS, space=space, tuner="random")


def test_a_search_without_a_score_says_why(tmp_path):
    def failing(hp):
        hp.Float("rate", 0.0, 1.0)
        model = function(hp)
        model.fit = lambda *args, **options: 1 / 0
        return model

    y = X @ np.ones((4, 1), "float32")
    with pytest.raises(RuntimeError, match="division by zero"):
        search(X, y, hypermodel=failing, trials=1, directory=tmp_path)


def test_the_best_of_equal_trials_is_the_first_with_a_finite_epoch():
    def row(name, score, **metrics):
        return {"trial": name, "score": score, "metrics": metrics, "message": ""}

    oracle = types.SimpleNamespace(
        objective=keras_tuner.Objective("val_loss", "min"), trials={name: name for name in "0123"}
    )
    rows = [row("0", 1.0, diverged=1.0), row("1", None), row("2", 1.0, diverged=0.5), row("3", 1.0)]
    assert _best(oracle, rows) == "2"
    assert _best(oracle, rows[3:] + rows[:3]) == "3"
    with pytest.raises(RuntimeError, match="has diverged"):
        _best(oracle, rows[:1])


def test_nothing_is_returned_in_a_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "role", lambda: "worker")
    monkeypatch.setattr(cluster, "run", lambda tuner, *args, **options: None)
    assert small(tmp_path) is None


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"hypermodel": "default"}, ValueError, "hypermodel"),
        ({"hypermodel": 3}, TypeError, "hypermodel"),
        ({"hypermodel": tuners.DefaultConfigHyperModel}, TypeError, "an object of a subclass"),
        ({"objective": "val_acc"}, ValueError, "one of val_loss, val_accuracy, val_data_loss"),
        ({"test_data": (X, np.full(200, "maybe"))}, ValueError, "maybe"),
        ({"test_data": (X,)}, ValueError, "test_data"),
        ({"class_weight": {"no": 2}, "sample_weight": np.ones(200)}, ValueError, "together"),
        ({"hypermodel": function, "space": None, "task": "binary"}, ValueError, "task"),
        ({"tuner": "annealing"}, ValueError, "tuner"),
        ({"tuner": dict}, TypeError, "tuner"),
        ({"trials": 0}, ValueError, "trials"),
        ({"executions_per_trial": 0}, ValueError, "executions_per_trial"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"validation_split": 0}, ValueError, "validation_split"),
        ({"space": {"widht": 3}}, ValueError, "widht"),
        ({"hypermodel": function, "space": {"width": 3}}, ValueError, "space"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_arguments_leave_no_files(options, error, text, tmp_path):
    with pytest.raises(error, match=text):
        small(tmp_path / "new", **options)
    assert not pathlib.Path(tmp_path / "new").exists()


def test_files_hold_no_code(found, tmp_path):
    found.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best_model.keras",
        "model.keras",
        "search.json",
    ]
    assert json.loads((tmp_path / "search.json").read_text())["objective"] == "val_accuracy"
