"""Training with a default configuration in one call."""

import inspect
import math
import time
import warnings

import keras
import numpy as np

from keras_deeptricks.callbacks import EarlyStopping, HyperparameterLog, OneCycle
from keras_deeptricks.diagnostics.learning_rate_search import find_learning_rate
from keras_deeptricks.recipes.densenet import densenet
from keras_deeptricks.recipes.networks import (
    DEEP_ENOUGH_FOR_BATCH_NORM,
    default_network,
    self_normalizing_network,
)
from keras_deeptricks.recipes.residual_networks import plain_net, resnet, wide_resnet
from keras_deeptricks.recipes.training_data import prepare
from keras_deeptricks.recipes.training_run import TrainingRun, plain_history
from keras_deeptricks.utils import backend
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number

# The rate counts as come down when it is a tenth of its peak.
_COME_DOWN = 0.1
_MOMENTUM = (0.95, 0.85)
_IMAGE_NETWORKS = {
    "resnet": resnet,
    "wide_resnet": wide_resnet,
    "densenet": densenet,
    "plain_net": plain_net,
}
_IMAGE_BATCH = 128
# What is told elsewhere in the settings, or no choice.
_NO_SETTINGS = ("input_shape", "outputs", "augmentation", "momentum", "seed", "name", "skip")


def train_default(
    x,
    y=None,
    *,
    validation_data=None,
    validation_split=0.1,
    epochs=20,
    batch_size=None,
    learning_rate=None,
    patience=None,
    class_weight=None,
    sample_weight=None,
    callbacks=(),
    seed=None,
    verbose="auto",
    **network_options,
):
    """Trains the default configuration: He, ELU, batch norm by depth, momentum, 1cycle.

    One call from data to a trained model. It looks at the targets to see what kind of task this
    is, standardizes the inputs inside the model, finds a learning rate, trains one cycle, and
    keeps the weights of the best epoch: of the highest validation accuracy for classes, of the
    lowest validation loss for other targets. Everything it chose, and why, is in the run's
    `summary()`. (The validation figure of an epoch chosen by it is a little flattering: judge the
    model by rows that had no part in training.)

    Args:
        x: Inputs, an array of shape (rows, features), (rows, height, width) or (rows, height,
            width, channels); or a data set that yields (inputs, targets) and can be read again: a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`.
        y: Targets: classes as whole numbers, strings or one-hot rows; 0 and 1 in several columns
            for multi-label; other numbers for a regression. None for a data set, whose classes
            must be 0, 1, 2, …
        validation_data: (x, y), (x, y, sample_weight) or a data set.
        validation_split: Share of the rows of arrays to validate on, drawn at random, where
            `validation_data` is not given. Defaults to `0.1`. 0 for none: then the last epoch's
            weights are kept.
        epochs: Number of epochs, which the cycle spans. Defaults to `20`.
        batch_size: Rows per step. By default 32, or more where an epoch would have over 2,000
            steps.
        learning_rate: The peak of the cycle. By default it is found by
            `keras_deeptricks.diagnostics.find_learning_rate`.
        patience: Epochs without a better validation figure before training stops, once the rate
            has come down to a tenth of its peak. By default a quarter of `epochs`.
        class_weight: Dictionary from classes, as they stand in `y`, to weights, or None.
        sample_weight: As in `model.fit`.
        callbacks: Further Keras callbacks.
        seed: Whole number that fixes everything random, by `keras.utils.set_random_seed`.
        verbose: As in `model.fit`.
        **network_options: Arguments of `default_network`, such as `hidden_units`, `task`,
            `normalization`, `l2`, `dropout`, `optimizer` or `precision`.

    Returns:
        A `TrainingRun`.

    Raises:
        TypeError: An argument or the data is of the wrong type.
        ValueError: An argument is out of its range, or the data is empty, of the wrong rank, of
            mismatched lengths, NaN or infinite, or of one class only. Nothing has been trained
            then.

    Example:

    ```python
    from sklearn.datasets import load_digits
    import keras_deeptricks as kdt

    x, y = load_digits(return_X_y=True)
    run = kdt.recipes.train_default(x.reshape(-1, 8, 8), y, epochs=5, seed=1, verbose=0)
    assert run.evaluate(x.reshape(-1, 8, 8), y)["accuracy"] > 0.9
    ```

    Reference: Géron, Hands-on machine learning, chapter 11; Smith, 2018, arXiv:1803.09820.
    """
    return _train(default_network, "default configuration", locals())


def train_self_normalizing(
    x,
    y=None,
    *,
    validation_data=None,
    validation_split=0.1,
    epochs=20,
    batch_size=None,
    learning_rate=None,
    patience=None,
    class_weight=None,
    sample_weight=None,
    callbacks=(),
    seed=None,
    verbose="auto",
    **network_options,
):
    """Trains a self-normalizing network: LeCun, SELU, alpha dropout, momentum, 1cycle.

    As `train_default`, with `self_normalizing_network` as the model. Prefer it where the net is a
    deep plain stack of dense layers.

    Args:
        x, y, validation_data, validation_split, epochs, batch_size, learning_rate, patience,
        class_weight, sample_weight, callbacks, seed, verbose: As in `train_default`.
        **network_options: Arguments of `self_normalizing_network`, such as `hidden_units`, `task`,
            `alpha_dropout`, `optimizer` or `precision`.

    Returns:
        A `TrainingRun`.

    Raises:
        TypeError: An argument or the data is of the wrong type.
        ValueError: As in `train_default`.

    Example:

    ```python
    from sklearn.datasets import load_breast_cancer
    import keras_deeptricks as kdt

    x, y = load_breast_cancer(return_X_y=True)
    run = kdt.recipes.train_self_normalizing(
        x, y, epochs=5, hidden_units=(32, 32, 32), seed=1, verbose=0
    )
    assert run.evaluate(x, y)["accuracy"] > 0.9
    ```

    Reference: Klambauer et al., Self-normalizing neural networks, 2017.
    """
    return _train(self_normalizing_network, "self-normalizing network", locals())


def train_residual(
    x,
    y=None,
    *,
    network="resnet",
    validation_data=None,
    validation_split=0.1,
    epochs=20,
    batch_size=None,
    learning_rate=None,
    patience=None,
    class_weight=None,
    sample_weight=None,
    callbacks=(),
    seed=None,
    verbose="auto",
    **network_options,
):
    """Trains a residual network on small images: batch norm, momentum, 1cycle.

    As `train_default`, with a convolutional network as the model; from some thousand images on.

    Args:
        network: `"resnet"`, `"wide_resnet"`, `"densenet"` or `"plain_net"`, the function of
            `keras_deeptricks.recipes` that makes the model.
        batch_size: Rows per step. By default 128, or less, but at least 8, where an epoch would
            have fewer than 20 steps.
        x, y, validation_data, validation_split, epochs, learning_rate, patience, class_weight,
        sample_weight, callbacks, seed, verbose: As in `train_default`; `x` holds images.
        **network_options: Arguments of that function, such as `depth`, `stochastic_depth`,
            `augmentation`, `l2` or `precision`. Layers of the augmentation draw as their own seeds
            say, not by `seed`.

    Returns:
        A `TrainingRun`.

    Raises:
        TypeError: An argument or the data is of the wrong type.
        ValueError: As in `train_default`.

    Example:

    ```python
    from sklearn.datasets import load_digits
    import keras_deeptricks as kdt

    x, y = load_digits(return_X_y=True)
    run = kdt.recipes.train_residual(
        x.reshape(-1, 8, 8), y, depth=8, filters=8, epochs=3, seed=1, verbose=0
    )
    assert run.evaluate(x.reshape(-1, 8, 8), y)["accuracy"] > 0.9
    ```

    Reference: He, Zhang, Ren & Sun, Deep residual learning, 2015; Smith, 2018, arXiv:1803.09820.
    """
    check_choice("network", network, tuple(_IMAGE_NETWORKS))
    return _train(_IMAGE_NETWORKS[network], network.replace("_", " "), locals())


def _train(network, recipe, arguments):
    """The common course of the recipes; `arguments` are those of the public function."""
    epochs, batch_size, learning_rate, patience, seed = _checked(arguments)
    options = dict(arguments["network_options"])
    for name in ("adapt_to", "adapt_targets_to", "input_shape"):
        if name in options:
            raise TypeError(f"`{name}` is taken from the data: leave it out.")
    if "momentum" in options:
        high, low = _MOMENTUM
        raise TypeError(
            f"`momentum` is cycled by the recipe, {high} to {low} and back: leave it out."
        )
    if isinstance(options.get("hidden_units"), int):
        options["hidden_units"] = (options["hidden_units"],)
    data = prepare(
        arguments["x"],
        arguments["y"],
        sample_weight=arguments["sample_weight"],
        validation_data=arguments["validation_data"],
        validation_split=arguments["validation_split"],
        task=options.pop("task", None),
        outputs=options.pop("outputs", None),
        seed=seed,
    )
    if seed is not None:
        keras.utils.set_random_seed(seed)
    reasons = {}
    is_array = data.y is not None
    if is_array and batch_size is None:
        images = network in _IMAGE_NETWORKS.values()
        batch_size = _image_batch_size(data.rows) if images else _batch_size(data.rows)
        reasons["batch_size"] = f"for {data.rows} training rows"
    steps = math.ceil(data.rows / batch_size) if is_array else data.batches
    options.setdefault("steps_per_execution", backend.steps_per_execution_for(steps))
    # The peak of the cycle is searched with the momentum that it has there.
    options["momentum"] = _MOMENTUM[1]
    model = network(
        data.input_shape,
        data.targets.outputs,
        task=data.targets.task,
        adapt_to=data.inputs,
        adapt_targets_to=data.y if is_array and data.targets.task == "regression" else None,
        seed=seed,
        **options,
    )
    fit_data = {
        "x": data.x,
        "y": data.y,
        "batch_size": batch_size,
        "sample_weight": data.sample_weight,
        "class_weight": data.targets.encode_class_weight(arguments["class_weight"]),
    }
    search = None
    if learning_rate is None:
        search = find_learning_rate(model, **fit_data, seed=0 if seed is None else seed)
        learning_rate = search.suggestion
        reasons["learning_rate"] = f"found by the range test, {search.method}"
    cycle = OneCycle(learning_rate, momentum=_MOMENTUM, total_steps=steps * epochs)
    stopping = _early_stopping(data, cycle, epochs, patience)
    started = time.perf_counter()
    with warnings.catch_warnings():
        # Keras warns at the end of an epoch whose length tf.data did not know; here it is known.
        warnings.filterwarnings("ignore", message=".*ran out of data.*")
        history = model.fit(
            **fit_data,
            epochs=epochs,
            validation_data=data.validation,
            # Keras warns where other data sets are to be shuffled: they shuffle themselves.
            shuffle=is_array or isinstance(data.x, keras.utils.PyDataset),
            callbacks=[cycle, HyperparameterLog(), stopping, *(arguments["callbacks"] or ())],
            verbose=arguments["verbose"],
        ).history
    seconds = time.perf_counter() - started
    settings = {
        "recipe": recipe,
        **_data_settings(data, model),
        **_network_settings(network, options, reasons),
        "batch_size": batch_size,
        "learning_rate": float(learning_rate),
        "momentum": list(_MOMENTUM),
        **_course_settings(epochs, len(history["loss"]), stopping),
        "steps_per_execution": options["steps_per_execution"],
        "precision": options.get("precision", "float32"),
        "backend": keras.config.backend(),
        "device": backend.device_name(),
        "seconds": round(seconds, 2),
        "seed": seed,
    }
    return TrainingRun(
        model=model,
        history=plain_history(history),
        learning_rate_search=search,
        settings=settings,
        reasons=reasons,
        targets=data.targets,
    )


def _checked(arguments):
    """The numbers among the arguments of a recipe, each of the right type and range."""

    def optional(name, check, **bounds):
        value = arguments[name]
        return None if value is None else check(name, value, **bounds)

    return (
        check_integer("epochs", arguments["epochs"], minimum=1),
        optional("batch_size", check_integer, minimum=1),
        optional("learning_rate", check_number, above=0),
        optional("patience", check_integer, minimum=1),
        optional("seed", check_integer, minimum=0),
    )


def _data_settings(data, model):
    return {
        "task": data.targets.task,
        "outputs": data.targets.outputs,
        "input_shape": list(data.input_shape),
        "training_rows": data.rows,
        "parameters": int(model.count_params()),
    }


def _course_settings(epochs, epochs_run, stopping):
    kept = epochs_run if stopping.monitor == "loss" else stopping.best_epoch + 1
    return {
        "epochs": epochs,
        "epochs_run": epochs_run,
        "best_epoch": kept,
        "monitor": stopping.monitor,
        "patience": stopping.patience,
        "stopping_reason": stopping.stopping_reason,
    }


def _batch_size(rows):
    """32, doubled until an epoch has no more than 2,000 steps."""
    size = 32
    while rows / size > 2000:
        size *= 2
    return size


def _image_batch_size(rows):
    """128, halved until an epoch has 20 steps; batch norm wants 8 rows."""
    size = _IMAGE_BATCH
    while size > 8 and rows / size < 20:
        size //= 2
    return size


def _early_stopping(data, cycle, epochs, patience):
    """Keeps the best weights; never stops a run before the rate has come down.

    The best epoch of a classifier is that of the highest validation accuracy: late in the cycle
    the loss often rises while the accuracy still does too. Of equal epochs, frequent with few
    rows, the one of the lower rate is kept.
    """
    if data.validation is None:
        monitor = "loss"
    elif data.targets.task in ("classification", "binary"):
        monitor = "val_accuracy"
    else:
        monitor = "val_loss"
    schedule, _ = cycle.factory(1000)
    rates = schedule.numpy_values(np.arange(1000))
    high = np.flatnonzero(rates > _COME_DOWN * rates.max()).max()
    return EarlyStopping(
        monitor=monitor,
        patience=patience or max(2, epochs // 4),
        mode="max" if monitor == "val_accuracy" else "min",
        restore_best_weights=monitor != "loss",
        keep_latest=True,
        minimum_epochs=math.ceil(epochs * (high + 1) / 1000),
    )


def _network_settings(network, options, reasons):
    if network in _IMAGE_NETWORKS.values():
        return _image_network_settings(network, options)
    hidden_units = list(options.get("hidden_units", (300, 100)))
    if network is self_normalizing_network:
        return {
            "hidden_units": hidden_units,
            "initializer": "LeCun normal",
            "activation": "selu",
            "alpha_dropout": options.get("alpha_dropout", 0.1),
            "optimizer": _optimizer_name(options),
        }
    normalization = options.get("normalization", "auto")
    if normalization == "auto":
        depth = len(hidden_units)
        deep = depth >= DEEP_ENOUGH_FOR_BATCH_NORM
        normalization = "batch" if deep else None
        reasons["normalization"] = (
            f"batch norm from {DEEP_ENOUGH_FOR_BATCH_NORM} hidden layers on; there are {depth}"
        )
    return {
        "hidden_units": hidden_units,
        "initializer": "chosen for the activation",
        "activation": options.get("activation", "elu"),
        "normalization": normalization,
        "optimizer": _optimizer_name(options),
    }


def _image_network_settings(network, options):
    """What was asked for, and the defaults of the network for the rest."""
    parameters = inspect.signature(network).parameters.values()
    settings = {
        parameter.name: options.get(parameter.name, parameter.default)
        for parameter in parameters
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name not in _NO_SETTINGS
    }
    augmentation = options.get("augmentation") or ()
    augmentation = [augmentation] if isinstance(augmentation, keras.Layer) else augmentation
    return {
        **settings,
        "augmentation": [type(layer).__name__ for layer in augmentation],
        "optimizer": _optimizer_name(options),
    }


def _optimizer_name(options):
    optimizer = options.get("optimizer", "momentum")
    return optimizer if isinstance(optimizer, str) else type(optimizer).__name__
