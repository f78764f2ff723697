"""What the hypermodels share: training of a trial, its report, and Keras Tuner's own tuners."""

import copy
import types

import keras
import keras_tuner
import numpy as np
import pytest
from hypermodel_cases import X_VALID, Y_VALID, X, Y, not_on_jax

from keras_deeptricks.tuners import recipe_hypermodel
from keras_deeptricks.tuners.data_loss import penalty
from keras_deeptricks.tuners.default_config_hypermodel import DefaultConfigHyperModel

# The Gaussian process of Keras Tuner's Bayesian optimization, of as few trials as here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TINY = {
    "width": 8,
    "depth": 1,
    "rate": "searched",
    "batch_size": 64,
    "weight_limit": "none",
    "normalization": "none",
}


def hypermodel(epochs=2, seed=None, **space):
    return DefaultConfigHyperModel(
        (64,), 10, space={**TINY, **space}, adapt_to=X, epochs=epochs, seed=seed
    )


def search(model, tuner, directory, x=X, y=Y, **options):
    tuner = tuner(model, model.objective, directory=directory, seed=1, **options)
    tuner.search(x, y, validation_data=(X_VALID, Y_VALID), verbose=0)
    return tuner


def metric(trial, name):
    return trial.metrics.get_last_value(name)


@not_on_jax
@pytest.mark.parametrize("kind", ["RandomSearch", "BayesianOptimization", "GridSearch"])
def test_every_tuner_searches(kind, tmp_path):
    options = {"num_initial_points": 2} if kind == "BayesianOptimization" else {}
    model = hypermodel(epochs=1, width=[8, 16], activation=["elu", "relu"])
    trials = 3 if kind == "BayesianOptimization" else 2
    tuner = search(model, getattr(keras_tuner, kind), tmp_path, max_trials=trials, **options)
    assert len(tuner.oracle.trials) == trials
    for trial in tuner.oracle.trials.values():
        assert trial.status == "COMPLETED"
        values = trial.hyperparameters.values
        assert metric(trial, "peak_learning_rate") == pytest.approx(values["learning_rate"])
        assert 0 <= metric(trial, "learning_rate") <= values["learning_rate"] * 1.001
        assert metric(trial, "momentum") == pytest.approx(values["momentum"], rel=0.2)
        assert metric(trial, "epochs_run") == 1
        assert trial.message.startswith("ended after epoch 1 of 1; kept epoch 1; learning rate ")
        assert trial.message.endswith("(searched)")
        # Fixed choices stay fixed.
        assert (values["batch_size"], values["depth"]) == (64, 1)
        assert values["width"] in (8, 16)
        assert values["activation"] in ("elu", "relu")
    best = tuner.get_best_models()[0]
    accuracy = best.evaluate(X_VALID, Y_VALID, verbose=0, return_dict=True)["accuracy"]
    # The checkpoint is that of the trial's best epoch.
    assert accuracy == pytest.approx(tuner.oracle.get_best_trials()[0].score, abs=1e-6)


@not_on_jax
def test_hyperband_gives_the_epochs_and_goes_on_with_a_found_rate(tmp_path, monkeypatch):
    rates = iter(np.linspace(0.01, 0.1, 100))
    monkeypatch.setattr(
        recipe_hypermodel, "found_rate", lambda *arguments: (next(rates), "found by a test")
    )
    model = hypermodel(epochs=9, width=[8, 16], rate="found")
    tuner = search(model, keras_tuner.Hyperband, tmp_path, max_epochs=2, factor=2)
    trials = list(tuner.oracle.trials.values())
    assert all(trial.status == "COMPLETED" for trial in trials)
    for trial in trials:
        values = trial.hyperparameters.values
        assert metric(trial, "epochs_run") == values["tuner/epochs"]
        if "tuner/trial_id" in values:
            before = tuner.oracle.get_trial(values["tuner/trial_id"])
            assert metric(trial, "peak_learning_rate") == metric(before, "peak_learning_rate")
            assert f"(found in trial {before.trial_id})" in trial.message
        else:
            assert "(found by a test)" in trial.message
    assert any("tuner/trial_id" in trial.hyperparameters.values for trial in trials)


def test_a_line_for_each_execution(tmp_path):
    model = hypermodel(epochs=1, learning_rate=0.01)
    tuner = search(model, keras_tuner.RandomSearch, tmp_path, max_trials=1, executions_per_trial=2)
    lines = tuner.oracle.get_best_trials()[0].message.splitlines()
    assert len(lines) == 2
    assert all("learning rate 0.01 (searched)" in line for line in lines)


class Exploding(DefaultConfigHyperModel):
    """Networks whose loss is NaN from the first step on."""

    def network(self, settings, **options):
        model = super().network(settings, **options)
        nan = keras.layers.Lambda(lambda t: t * float("nan"), output_shape=(10,))
        broken = keras.Model(model.inputs, nan(model.outputs[0]))
        broken.compile(model.optimizer, model.loss, metrics=["accuracy"])
        return broken


@pytest.mark.parametrize("objective", ["val_accuracy", "val_loss"])
def test_trials_that_diverge_are_the_worst_and_end_no_search(objective, tmp_path):
    model = Exploding((64,), 10, space=TINY, adapt_to=X, epochs=3)
    tuner = keras_tuner.RandomSearch(model, objective, max_trials=4, directory=tmp_path, seed=1)
    tuner.search(X, Y, validation_data=(X_VALID, Y_VALID), verbose=0)
    trials = tuner.oracle.trials.values()
    assert [trial.status for trial in trials] == ["COMPLETED"] * 4
    worst = 0.0 if objective == "val_accuracy" else 10 * np.log(10)
    assert all(trial.score == pytest.approx(worst) for trial in trials)
    expected = "stopped after epoch 1 of 3: the loss was not finite; kept none"
    assert all(trial.message.startswith(expected) for trial in trials)


def test_a_range_test_that_fails_takes_the_default_rate():
    model = Exploding((64,), 10, space={**TINY, "rate": "found"}, adapt_to=X, epochs=1)
    hp = keras_tuner.HyperParameters()
    history = model.fit(hp, model.build(hp), X, Y, verbose=0).history
    assert history["peak_learning_rate"] == [0.02]


def test_bad_data_ends_the_search_at_once(tmp_path):
    model = hypermodel()
    with pytest.raises(keras_tuner.errors.FatalError, match="NaN"):
        search(model, keras_tuner.RandomSearch, tmp_path / "a", x=X * np.nan, max_trials=2)
    with pytest.raises(keras_tuner.errors.FatalError, match="`y`"):
        search(model, keras_tuner.RandomSearch, tmp_path / "b", y=None, max_trials=2)


def test_other_callbacks_and_arguments_pass_through():
    model = hypermodel(learning_rate=0.05)
    hp = keras_tuner.HyperParameters()
    seen = []
    counter = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    history = model.fit(
        hp,
        model.build(hp),
        X,
        Y,
        validation_split=0.25,
        sample_weight=np.ones(len(X)),
        batch_size=48,
        epochs=1,
        callbacks=[counter],
        verbose=0,
    ).history
    # 144 of the 192 rows are left to train on: three steps, in one call under TensorFlow.
    assert seen[-1] == 2
    assert "val_accuracy" in history
    assert history["epochs_run"] == [1.0]


def test_standardizes_by_its_training_data_where_none_was_given():
    model = DefaultConfigHyperModel((64,), 10, space={**TINY, "learning_rate": 0.01})
    hp = keras_tuner.HyperParameters()
    network = model.build(hp)
    model.fit(hp, network, X, Y, epochs=1, verbose=0)
    mean = keras.ops.convert_to_numpy(network.get_layer("standardization").mean)
    np.testing.assert_allclose(mean, X.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_data_sets(tmp_path):
    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            rows = slice(64 * index, 64 * index + 64)
            return X[rows], Y[rows]

    model = hypermodel(learning_rate=0.05)
    hp = keras_tuner.HyperParameters()
    history = model.fit(hp, model.build(hp), Rows(), validation_data=Rows(), verbose=0).history
    assert history["epochs_run"] == [2.0, 2.0]
    assert "val_accuracy" in history


def test_regression_in_standardized_units():
    y = 1000 + 50 * X[:, 20]
    model = DefaultConfigHyperModel(
        (64,), 1, "regression", space={**TINY, "learning_rate": 0.01}, adapt_to=X,
        adapt_targets_to=y, epochs=1,
    )  # fmt: skip
    hp = keras_tuner.HyperParameters()
    history = model.fit(hp, model.build(hp), X, y, verbose=0).history
    assert (model.objective.name, model.objective.direction) == ("val_data_loss", "min")
    # In raw units it would be of the order of 1e5.
    assert history["loss"][0] < 10


def test_a_seed_fixes_the_weights_of_each_combination():
    hp, other = keras_tuner.HyperParameters(), keras_tuner.HyperParameters()
    other.values["activation"] = "relu"
    model = hypermodel(seed=3)
    first, again, third = (model.build(each).get_weights() for each in (hp, hp, other))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, third, strict=True))
    free = hypermodel()
    a, b = free.build(hp).get_weights(), free.build(hp).get_weights()
    assert not all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def test_each_execution_of_a_trial_has_weights_of_its_own(tmp_path):
    built = []

    class Watched(DefaultConfigHyperModel):
        def build(self, hp):
            built.append(super().build(hp))
            return built[-1]

    model = Watched((64,), 10, space={**TINY, "learning_rate": 1e-9}, adapt_to=X, epochs=1, seed=2)
    tuner = search(model, keras_tuner.RandomSearch, tmp_path, max_trials=1, executions_per_trial=3)
    # With this rate they are still what they were; the first network only declared the space.
    sums = [float(np.abs(each.get_layer("scores").get_weights()[0]).sum()) for each in built[-3:]]
    assert len({round(value, 3) for value in sums}) == 3
    model.forget_executions()
    hp = tuner.get_best_hyperparameters()[0]
    first = np.abs(model.build(hp).get_layer("scores").get_weights()[0]).sum()
    assert first == pytest.approx(sums[0], rel=1e-4)


def test_penalties_have_no_part_in_the_objective():
    y = X[:, 20:21] * 3
    model = DefaultConfigHyperModel(
        (64,), 1, "regression", space={**TINY, "l2": 1.0, "learning_rate": 1e-3}, adapt_to=X,
        adapt_targets_to=y, epochs=1,
    )  # fmt: skip
    hp = keras_tuner.HyperParameters()
    network = model.build(hp)
    before = penalty(network)
    logs = model.fit(hp, network, X, y, validation_data=(X, y), verbose=0).history
    predictions = network.predict(X, verbose=0)
    error = np.mean(np.square(predictions - y)) / np.var(y)
    # The penalty is that of the weights at the end of the epoch.
    assert abs(penalty(network) - before) > 0.01 * before
    assert logs["val_loss"][0] > 1.1 * error
    # Single precision, of the difference of two figures of the same size.
    assert logs["val_data_loss"][0] == pytest.approx(error, rel=1e-4)


def test_the_message_tells_the_epoch_whose_weights_are_kept(tmp_path):
    # All epochs are equal: a rate of nothing.
    model = hypermodel(epochs=3, learning_rate=1e-12)
    tuner = search(model, keras_tuner.RandomSearch, tmp_path, max_trials=1)
    (trial,) = tuner.oracle.trials.values()
    assert "kept epoch 3" in trial.message
    assert trial.best_step == 2


def test_divergence_counts_in_the_units_of_targets_that_were_not_given():
    y = (1000 + 600 * X[:, 20]).astype("float32")

    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            rows = slice(64 * index, 64 * index + 64)
            return X[rows], y[rows]

    scores = {}
    for rate in (1e-4, 1e8):
        model = DefaultConfigHyperModel(
            (64,), 1, "regression", space={**TINY, "learning_rate": rate}, adapt_to=X, epochs=2
        )
        hp = keras_tuner.HyperParameters()
        logs = model.fit(hp, model.build(hp), Rows(), validation_data=Rows(), verbose=0).history
        scores[rate] = logs["val_data_loss"][-1]
        assert logs["diverged"][-1] == (rate == 1e8)
    assert scores[1e8] == pytest.approx(10 * np.var(y), rel=1e-4)
    assert scores[1e-4] < scores[1e8]


def test_copies_and_shows_itself():
    model = hypermodel()
    copied = copy.deepcopy(model)
    hp = keras_tuner.HyperParameters()
    copied.search_space.declare_all(hp)
    copied.build(hp)
    assert copied is not model
    assert repr(copied) == repr(model)
    assert repr(model).startswith("DefaultConfigHyperModel((64,), 10, task='classification'): ")
    assert "width = 8" in repr(model)


def test_messages_of_other_trials_are_not_gone_on_with(tmp_path):
    model = hypermodel()
    first = types.SimpleNamespace(trial_id="0", message=None)
    second = types.SimpleNamespace(trial_id="1", message="Traceback of a run before")
    tuner = types.SimpleNamespace(get_trial_dir=lambda trial_id: tmp_path)
    for trial in (first, first, second):
        model._tell(types.SimpleNamespace(trial=trial, tuner=tuner), "a line")
    assert first.message == "a line\na line"
    assert second.message == "a line"


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"outputs": 1}, "outputs"),
        ({"task": "clustering"}, "task"),
        ({"precision": "float16"}, "precision"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 3, "space": {"epochs": (2, 4)}}, "given twice"),
        ({"space": {"hight": 3}}, "'hight'.*depth"),
        ({"space": {"dropout": (0.5, 1.0)}}, "dropout.*< 1"),
        ({"space": {"activation": "nonsense"}}, "nonsense"),
        ({"adapt_to": X[:, :5]}, "statistics|features|shape"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, says):
    with pytest.raises((TypeError, ValueError), match=says):
        DefaultConfigHyperModel(**{"input_shape": (64,), "outputs": 10, **arguments})
