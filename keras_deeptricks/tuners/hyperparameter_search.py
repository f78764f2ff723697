"""A search in one call: space, tuner, refit, and one look at the test rows."""

import contextlib
import inspect
import io
import pathlib
import time

import keras
import keras_tuner

from keras_deeptricks.tuners import cluster
from keras_deeptricks.tuners.coarse_to_fine import CoarseToFine
from keras_deeptricks.tuners.data_loss import DATA_LOSS
from keras_deeptricks.tuners.default_config_hypermodel import DefaultConfigHyperModel
from keras_deeptricks.tuners.launcher import is_first_start
from keras_deeptricks.tuners.on_devices import OnDevices, inner
from keras_deeptricks.tuners.project_check import check_project
from keras_deeptricks.tuners.recipe_hypermodel import RecipeHyperModel
from keras_deeptricks.tuners.residual_hypermodel import ResidualHyperModel
from keras_deeptricks.tuners.search_data import GivenData, RecipeData
from keras_deeptricks.tuners.search_outcome import outcome
from keras_deeptricks.tuners.search_project import check_same_arguments, keep_arguments
from keras_deeptricks.tuners.self_normalizing_hypermodel import SelfNormalizingHyperModel
from keras_deeptricks.utils import backend
from keras_deeptricks.utils.checks import check_choice, check_flag, check_integer, check_number
from keras_deeptricks.utils.data_parallel import data_parallel

_HYPERMODELS = {
    "default_config": DefaultConfigHyperModel,
    "self_normalizing": SelfNormalizingHyperModel,
    "residual": ResidualHyperModel,
}
_TUNERS = {
    "coarse_to_fine": CoarseToFine,
    "random": keras_tuner.RandomSearch,
    "bayesian": keras_tuner.BayesianOptimization,
    "hyperband": keras_tuner.Hyperband,
    "grid": keras_tuner.GridSearch,
}
_TRIALS = 30


def search(
    x,
    y=None,
    *,
    hypermodel="default_config",
    tuner="coarse_to_fine",
    objective=None,
    trials=None,
    executions_per_trial=1,
    epochs=None,
    space=None,
    task=None,
    outputs=None,
    validation_data=None,
    validation_split=0.2,
    test_data=None,
    refit=True,
    class_weight=None,
    sample_weight=None,
    callbacks=None,
    fit_arguments=None,
    devices=1,
    directory="tuning",
    project_name=None,
    overwrite=False,
    seed=None,
    verbose=0,
    **tuner_options,
):
    """Searches for good settings of a recipe, and trains the best ones anew.

    Use it where a recipe with its default settings is not good enough. All trials are judged on
    the same validation rows. Results are kept in `directory`: called again with the same
    arguments, a search that was interrupted goes on, one that has ended is read, and with more
    `trials` it is continued.

    Args:
        x: Inputs, as for `keras_deeptricks.recipes.train_default`.
        y: Targets, or None for a data set.
        hypermodel: `"default_config"`, `"self_normalizing"`, `"residual"`; a
            `keras_tuner.HyperModel`, or a function from `HyperParameters` to a compiled model.
            One of your own gets the data as it is given.
        tuner: `"coarse_to_fine"`, `"random"`, `"bayesian"`, `"hyperband"`, `"grid"`; a subclass
            of `keras_tuner.Tuner`, or a `keras_tuner.Oracle`.
        objective: What to search by, as in `keras_tuner.Tuner`. By default the validation
            accuracy for classes, else `"val_data_loss"`, the validation loss without the penalties
            of the weights, whose strength is searched; `"val_loss"` for a hypermodel of your own.
        trials: Most trials. Defaults to 30; Hyperband and grid search end by themselves, too.
        executions_per_trial: Trainings per trial, from other initial weights, whose scores are
            averaged. Defaults to `1`.
        epochs: Most epochs of a trial. By default 20 for the recipes, 1 for a hypermodel of
            your own.
        space: Changes of a recipe's search space: see
            `keras_deeptricks.tuners.DefaultConfigHyperModel`.
        task, outputs: As in `keras_deeptricks.recipes.train_default`, for a recipe.
        validation_data: (x, y), (x, y, sample_weight) or a data set.
        validation_split: Share of the rows to validate on, drawn at random by `seed`, where
            `validation_data` is not given. Defaults to `0.2`.
        test_data: (x, y), (x, y, sample_weight) or a data set that has no part in the search; the
            final model is evaluated on it once. Defaults to None.
        refit: Whether the best settings are trained anew, arrays on training and validation rows
            together: a recipe through all its epochs, a hypermodel of your own up to the best
            epoch of the trial. Defaults to `True`.
        class_weight, sample_weight: As in `model.fit`.
        callbacks: A callback or a list of them for each trial. They are copied for each.
        fit_arguments: Dictionary of further arguments of the hypermodel's `fit`, such as
            `batch_size` of one of your own.
        devices: On how many devices each trial trains, or their names, as in
            `keras_deeptricks.utils.data_parallel.data_parallel`; rows of arrays that they cannot
            share evenly are left off. Defaults to `1`.
        directory: Folder of the search's files. Do not let others write there.
        project_name: Its folder in `directory`. By default the names of hypermodel and tuner.
        overwrite: Whether to begin anew where there is such a project. Defaults to `False`.
        seed: Whole number that fixes the choice of the trials and the initial weights, or None.
            The rows to validate on are drawn by it too, without one always the same.
        verbose: As in `model.fit`; above 0 Keras Tuner reports each trial. Defaults to `0`.
        **tuner_options: Further arguments of the tuner, such as `rounds` of
            `keras_deeptricks.tuners.CoarseToFine` or `max_retries_per_trial`.

    Returns:
        A `SearchResult`; None in a worker of a cluster.

    Raises:
        TypeError: An argument or the data is of the wrong type.
        ValueError: An argument is out of its range, the data cannot be trained on, or the project
            was searched with other arguments.
        RuntimeError: No trial has got a score, or all have diverged.

    Example:

    ```python
    import tempfile
    from sklearn.datasets import load_digits
    import keras_deeptricks as kdt

    x, y = load_digits(return_X_y=True)
    with tempfile.TemporaryDirectory() as folder:
        found = kdt.tuners.search(
            x[:600], y[:600], trials=2, epochs=2, space={"depth": 1, "width": 16},
            test_data=(x[600:], y[600:]), directory=folder, seed=0,
        )
    print(found.summary())
    ```

    Reference: Karpathy, CS231n, "Hyperparameter optimization", 2015: one validation set, log
    scales, random before grid, coarse to fine.
    """
    check_flag("refit", refit)
    check_flag("overwrite", overwrite)
    check_number("validation_split", validation_split, above=0, below=1)
    check_integer("executions_per_trial", executions_per_trial, minimum=1)
    trials, epochs, seed = (
        None if value is None else check_integer(name, value, minimum=minimum)
        for name, value, minimum in (
            ("trials", trials, 1),
            ("epochs", epochs, 1),
            ("seed", seed, 0),
        )
    )
    _check_kinds(hypermodel, tuner, objective, trials, seed)
    if backend.replicas() > 1:
        raise ValueError(
            "A search cannot run inside `data_parallel`, which Keras Tuner ends with each trial. "
            "Pass `devices` to `search` instead."
        )
    if class_weight is not None and sample_weight is not None:
        raise ValueError("`class_weight` and `sample_weight` cannot be given together.")
    is_recipe = isinstance(hypermodel, str)
    given = {"space": space, "task": task, "outputs": outputs}
    of_recipes = [name for name, value in given.items() if value is not None]
    if of_recipes and not is_recipe:
        raise ValueError(
            f"`{of_recipes[0]}` is for a recipe. A hypermodel of your own has its own."
        )
    name = hypermodel if is_recipe else _name_of_hypermodel(hypermodel)
    # Every process, also one that goes on later, has to draw the same rows to validate on.
    rows = (validation_data, validation_split, test_data, seed or 0)
    if is_recipe:
        data = RecipeData(x, y, sample_weight, *rows, task, outputs)
        hypermodel = _hypermodel(hypermodel, data, space, epochs, seed)
        objective = _check_objective(objective, hypermodel) or hypermodel.objective
    else:
        data = GivenData(x, y, sample_weight, *rows)
        objective = objective or getattr(hypermodel, "objective", None) or "val_loss"
    with data_parallel(devices) as shared:
        pass  # wrong ones are told before anything is written
    if shared.count > 1:
        data.shared_by(shared)
        hypermodel = OnDevices(hypermodel, devices)
    options = dict(fit_arguments or {})
    if not is_recipe and epochs is not None:
        options["epochs"] = epochs
    if class_weight is not None:
        options["class_weight"] = data.encode_class_weight(class_weight)
    callbacks = keras.tree.flatten(callbacks or [])
    project_name = project_name or f"{name}-{_name_of_tuner(tuner)}"
    folder = pathlib.Path(directory, project_name)
    kind = inner(hypermodel)
    arguments = {
        "hypermodel": str(kind) if isinstance(kind, RecipeHyperModel) else name,
        "tuner": _name_of_tuner(tuner),
        "objective": str(getattr(objective, "name", objective)),
        "epochs": epochs,
        "executions_per_trial": executions_per_trial,
        "seed": seed,
        "class_weight": None if class_weight is None else str(class_weight),
        **data.fingerprints(),
    }
    is_worker = cluster.role() == "worker"
    begins = overwrite and not is_worker and is_first_start()  # once, by the chief
    if not overwrite:
        check_same_arguments(folder, arguments)
    if not begins:
        check_project(folder)
    with contextlib.nullcontext() if verbose else contextlib.redirect_stdout(io.StringIO()):
        built = _tuner(
            tuner,
            hypermodel,
            objective,
            trials,
            epochs,
            seed,
            space,
            executions_per_trial=executions_per_trial,
            directory=str(directory),
            project_name=project_name,
            overwrite=begins,
            **tuner_options,
        )
    if not (overwrite and is_worker):
        keep_arguments(folder, arguments)
    if isinstance(built, keras_tuner.Hyperband):
        options.pop("epochs", None)  # it gives them itself
    started = time.perf_counter()
    cluster.run(
        built,
        **data.fit_arguments,
        **options,
        validation_data=data.validation,
        callbacks=callbacks,
        verbose=verbose,
    )
    if is_worker:
        return None
    about = {
        "tuner": type(built).__name__,
        "hypermodel": type(inner(built.hypermodel)).__name__,
        "executions_per_trial": executions_per_trial,
        "seconds": round(time.perf_counter() - started, 1),
        "seed": seed,
        "backend": keras.config.backend(),
    }
    return outcome(built, data, refit, callbacks, options, about)


def _check_kinds(hypermodel, tuner, objective, trials, seed):
    if isinstance(hypermodel, str):
        check_choice("hypermodel", hypermodel, tuple(_HYPERMODELS))
    elif isinstance(hypermodel, type) or not (
        callable(hypermodel) or isinstance(hypermodel, keras_tuner.HyperModel)
    ):
        raise TypeError(
            f"`hypermodel` must be one of {', '.join(_HYPERMODELS)}, an object of a subclass of "
            "keras_tuner.HyperModel or a function that builds a model. "
            f"Received: hypermodel={hypermodel!r}."
        )
    if isinstance(tuner, str):
        check_choice("tuner", tuner, tuple(_TUNERS))
    elif isinstance(tuner, keras_tuner.Oracle):
        given = {"trials": trials, "seed": seed, "objective": objective}
        for name in (name for name, value in given.items() if value is not None):
            raise ValueError(
                f"`{name}` is the oracle's own: give it there, where `tuner` is an oracle."
            )
    elif not isinstance(tuner, type) or not issubclass(tuner, keras_tuner.Tuner):
        raise TypeError(
            f"`tuner` must be one of {', '.join(_TUNERS)}, a subclass of keras_tuner.Tuner or a "
            f"keras_tuner.Oracle. Received: tuner={tuner!r}."
        )


def _hypermodel(hypermodel, data, space, epochs, seed):
    """The recipe's hypermodel of this name."""
    if data.is_dataset:
        if "batch_size" in (space or {}):
            raise ValueError("`space['batch_size']` is for arrays: a data set has its own batches.")
        space = {**(space or {}), "batch_size": 32}  # of no effect
    return _HYPERMODELS[hypermodel](
        data.input_shape,
        data.targets.outputs,
        data.targets.task,
        adapt_to=data.inputs,
        adapt_targets_to=data.regression_targets,
        space=space,
        epochs=epochs,
        seed=seed,
    )


def _check_objective(objective, hypermodel):
    """A misspelled objective would be told after the first training only."""
    if not isinstance(objective, str):
        return objective
    figures = ["accuracy"] if hypermodel.task != "regression" else ["rmse", "mae"]
    names = [f"val_{figure}" for figure in ("loss", *figures)] + [DATA_LOSS]
    if objective not in names:
        raise ValueError(
            f"`objective` must be one of {', '.join(names)} here. "
            f"Received: objective={objective!r}."
        )
    # The names of figures of one's own do not tell Keras Tuner which are the better ones.
    direction = "max" if objective.endswith("accuracy") else "min"
    return keras_tuner.Objective(objective, direction)


def _name_of_hypermodel(hypermodel):
    return getattr(hypermodel, "__name__", type(hypermodel).__name__)


def _name_of_tuner(tuner):
    if isinstance(tuner, str):
        return tuner
    return tuner.__name__ if isinstance(tuner, type) else type(tuner).__name__


def _tuner(tuner, hypermodel, objective, trials, epochs, seed, space, **options):
    """The Keras Tuner tuner that was asked for."""
    if isinstance(tuner, keras_tuner.Oracle):
        return keras_tuner.Tuner(oracle=tuner, hypermodel=hypermodel, **options)
    if isinstance(tuner, str):
        tuner = _TUNERS[tuner]
    if issubclass(tuner, keras_tuner.Hyperband):
        if epochs is not None:
            options.setdefault("max_epochs", epochs)
        elif isinstance(inner(hypermodel), RecipeHyperModel):
            options.setdefault("max_epochs", inner(hypermodel).search_space["epochs"].default)
        built = tuner(hypermodel, objective=objective, seed=seed, **options)
        if trials is not None:
            built.oracle.max_trials = trials
        return built
    if issubclass(tuner, CoarseToFine) and "learning_rate" in (space or {}):
        options.setdefault("extend", None)  # the caller's own range
    if trials is None and not issubclass(tuner, keras_tuner.GridSearch):
        trials = _TRIALS
    if seed is not None or "seed" in inspect.signature(tuner).parameters:
        options["seed"] = seed
    return tuner(hypermodel, objective=objective, max_trials=trials, **options)
