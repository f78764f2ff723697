"""From the trials of a search to its result: the best model, one trained anew, test figures."""

import copy
import json
import math
import pathlib
import types
import warnings

import keras
import keras_tuner
import numpy as np

from keras_deeptricks.tuners.on_devices import OnDevices, inner
from keras_deeptricks.tuners.recipe_hypermodel import RecipeHyperModel
from keras_deeptricks.tuners.search_result import SearchResult
from keras_deeptricks.tuners.trial_report import DIVERGED, kept_message, log_apart
from keras_deeptricks.utils.results import to_json

# Beside a trial's own number, as Keras Tuner keeps them.
_INTERNAL = "tuner/"
_FOLDER = "result"


def outcome(tuner, data, refit, callbacks, options, about):
    """The `SearchResult` of a tuner whose search has ended.

    It is kept in the project's directory. Where no trial has come since, it is read from there: a
    model is trained anew once, and the test rows are looked at once.

    Args:
        tuner: The `keras_tuner.Tuner`.
        data: The `GivenData`.
        refit: Whether to train the best settings anew.
        callbacks: List of those of each trial.
        options: Dictionary of the further arguments of each trial's `fit`.
        about: Dictionary of how it was searched.

    Raises:
        RuntimeError: No trial has got a score, or all have diverged.
    """
    oracle = tuner.oracle
    rows = [_row(tuner, oracle.trials[name], data) for name in oracle.start_order]
    best = _best(oracle, rows)
    about = {**about, "trials": len(rows), "test_data": data.test_fingerprint()}
    folder = _folder(tuner)
    kept = _kept(folder, rows, refit, about["test_data"])
    if kept is not None:
        return kept
    best_model = _loaded(tuner, best)
    model = _refitted(tuner, best, data, callbacks, options) if refit else None
    result = SearchResult(
        trials=rows,
        objective=oracle.objective.name,
        direction=oracle.objective.direction,
        best_settings=_settings(best, data),
        best_model=best_model,
        model=model,
        test=data.test(best_model if model is None else model),
        search={**about, "refit": refit, "project": str(tuner.project_dir)},
        targets=data.targets,
    )
    if folder is not None:
        _keep(folder, result)
    return result


def _best(oracle, rows):
    """The best trial that has a finite epoch; of equal ones the one that was begun first."""
    sign = -1 if oracle.objective.direction == "max" else 1
    scored = [row for row in rows if row["score"] is not None]
    if not scored:
        reasons = "; ".join(sorted({row["message"] or row["status"] for row in rows}))[-2000:]
        raise RuntimeError(f"No trial of the search has got a score: {reasons or 'none ran'}")
    # Less than 1 where only some of a trial's executions have diverged.
    finite = [row for row in scored if row["metrics"].get(DIVERGED) != 1]
    if not finite:
        raise RuntimeError(
            "Every trial of the search has diverged: its loss was not finite from the first epoch "
            "on. Search lower learning rates, or see what is wrong with "
            "keras_deeptricks.diagnostics.check."
        )
    return oracle.trials[min(finite, key=lambda row: sign * row["score"])["trial"]]


def _row(tuner, trial, data):
    metrics = {
        name: float(history[-1].value[0]) if (history := trial.metrics.get_history(name)) else None
        for name in trial.metrics.metrics
    }
    round_of = getattr(tuner.oracle, "round_of", None)
    return {
        "trial": trial.trial_id,
        "status": trial.status,
        "score": None if trial.status != "COMPLETED" else trial.score,
        "round": None if round_of is None else round_of(trial.trial_id),
        "settings": _settings(trial, data),
        "metrics": metrics,
        "message": trial.message or kept_message(tuner.get_trial_dir(trial.trial_id)),
    }


def _settings(trial, data):
    values = dict(trial.hyperparameters.values)
    if data.is_dataset and data.targets is not None:
        values.pop("batch_size", None)  # the data set has its own
    return {name: value for name, value in values.items() if not name.startswith(_INTERNAL)}


def _loaded(tuner, trial):
    """The model of a trial, with the weights of its best epoch and a fresh optimizer."""
    hypermodel = tuner.hypermodel
    with warnings.catch_warnings():
        # The file also holds the optimizer's state, for which a fresh one has no place.
        warnings.filterwarnings("ignore", message=".*variable loading for optimizer.*")
        try:
            if isinstance(hypermodel, OnDevices):
                # What is kept is a model like any other.
                tuner.hypermodel = types.SimpleNamespace(build=hypermodel.build_on_one)
            model = tuner.load_model(trial)
        finally:
            tuner.hypermodel = hypermodel
    # Of a model whose optimizer is not built Keras writes a file that it reads with a warning.
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return model


class StopAfter(keras.callbacks.Callback):
    """Ends a training after a number of epochs, whatever it was planned for.

    Args:
        epochs: Number of epochs.
    """

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 >= self.epochs:
            self.model.stop_training = True


def _refitted(tuner, trial, data, callbacks, options):
    """The best settings trained anew, with more rows; None where that has diverged.

    A recipe goes through all its epochs: stopped where the trial's best epoch was, in the middle of
    its schedule, networks are worse. Others stop there, as nothing else tells when to, without rows
    to validate on.
    """
    hypermodel = tuner.hypermodel
    hp = trial.hyperparameters.copy()
    internal = {name: hp.values.pop(name) for name in list(hp.values) if name.startswith(_INTERNAL)}
    arguments, validation = data.joined()
    arguments.update(options)
    if "tuner/epochs" in internal:
        arguments["epochs"] = internal["tuner/epochs"]
    callbacks = copy.deepcopy(callbacks)
    log_apart(callbacks, "refit")
    if (epochs := _best_epoch(hypermodel, trial, internal)) is not None:
        callbacks.append(StopAfter(epochs))
    if isinstance(inner(hypermodel), RecipeHyperModel):
        inner(hypermodel).forget_executions()
    # As Keras Tuner builds a trial's model, with the tuner's own loss, metrics and optimizer.
    model = tuner._try_build(hp)
    hypermodel.fit(
        hp, model, **arguments, validation_data=validation, callbacks=callbacks, verbose=0
    )
    weights = model.get_weights()
    if all(np.isfinite(weight).all() for weight in weights if weight.dtype.kind == "f"):
        if isinstance(hypermodel, OnDevices):
            model = hypermodel.build_on_one(hp)
            model.set_weights(weights)
        return model
    warnings.warn(
        "The best settings, trained anew on all rows, have diverged: `model` is None. The model "
        "of the best trial is `best_model`.",
        stacklevel=5,
    )
    return None


def _best_epoch(hypermodel, trial, internal):
    """The epoch to stop after, or None."""
    hypermodel = inner(hypermodel)
    if isinstance(hypermodel, RecipeHyperModel):
        return None
    fit = getattr(type(hypermodel), "fit", None)  # a function has none: Keras Tuner's is used
    returns_history = fit in (None, keras_tuner.HyperModel.fit)
    if trial.best_step is None or not (returns_history or trial.best_step > 0):
        return None
    return internal.get("tuner/initial_epoch", 0) + math.floor(trial.best_step) + 1


def _folder(tuner):
    is_url = "://" in str(tuner.project_dir)
    return None if is_url else pathlib.Path(tuner.project_dir, _FOLDER)


def _kept(folder, rows, refit, test_data):
    """The result in the folder, if it is that of these trials; else None."""
    if folder is None:
        return None
    try:
        kept = SearchResult.load(folder)
    except (FileNotFoundError, TypeError, ValueError, KeyError):
        return None  # none, or its models need classes that are not registered
    same = json.dumps(to_json(kept.trials)) == json.dumps(to_json(rows))
    same = same and kept.search["refit"] == refit and kept.search["test_data"] == test_data
    return kept if same else None


def _keep(folder, result):
    try:
        result.save(folder)
    except (NotImplementedError, TypeError, ValueError) as error:
        warnings.warn(
            f"The result of the search cannot be kept in '{folder}': {error} Called again, the "
            "search would train the best settings anew.",
            stacklevel=5,
        )
