"""The common course of the training recipes: data, network, rate, one cycle, early stopping."""

import inspect
import math
import time
import warnings

import keras

from keras_deeptricks.assembly.course_choices import (
    batch_size_for,
    early_stopping,
    image_batch_size,
    monitored,
)
from keras_deeptricks.assembly.dense_networks import (
    DEEP_ENOUGH_FOR_BATCH_NORM,
    self_normalizing_network,
)
from keras_deeptricks.assembly.densenet import densenet
from keras_deeptricks.assembly.residual_networks import plain_net, resnet, wide_resnet
from keras_deeptricks.assembly.training_data import prepare
from keras_deeptricks.assembly.training_run import TrainingRun, plain_history
from keras_deeptricks.callbacks import HyperparameterLog, OneCycle
from keras_deeptricks.diagnostics.learning_rate_search import find_learning_rate
from keras_deeptricks.utils import backend
from keras_deeptricks.utils.checks import check_integer, check_number

# The momentum of the cycle: at its ends, and at the peak of the rate.
MOMENTUM = (0.95, 0.85)
IMAGE_NETWORKS = {
    "resnet": resnet,
    "wide_resnet": wide_resnet,
    "densenet": densenet,
    "plain_net": plain_net,
}
# What is told elsewhere in the settings, or no choice.
_NO_SETTINGS = ("input_shape", "outputs", "augmentation", "momentum", "seed", "name", "skip")


def train(network, recipe, arguments):
    """Trains a network in the course that the recipes have in common.

    Args:
        network: A function that makes a model: one of the networks of the recipes.
        recipe: Its name, for the settings.
        arguments: Dictionary of the arguments of the recipe, by name.

    Returns:
        A `TrainingRun`.
    """
    epochs, batch_size, learning_rate, patience, seed = _checked(arguments)
    options = dict(arguments["network_options"])
    for name in ("adapt_to", "adapt_targets_to", "input_shape"):
        if name in options:
            raise TypeError(f"`{name}` is taken from the data: leave it out.")
    if "momentum" in options:
        high, low = MOMENTUM
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
        images = network in IMAGE_NETWORKS.values()
        batch_size = image_batch_size(data.rows) if images else batch_size_for(data.rows)
        reasons["batch_size"] = f"for {data.rows} training rows"
    steps = math.ceil(data.rows / batch_size) if is_array else data.batches
    options.setdefault("steps_per_execution", backend.steps_per_execution_for(steps))
    # The peak of the cycle is searched with the momentum that it has there.
    options["momentum"] = MOMENTUM[1]
    model = network(
        data.input_shape,
        data.targets.outputs,
        task=data.targets.task,
        adapt_to=data.inputs,
        adapt_targets_to=data.all_targets if data.targets.task == "regression" else None,
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
    cycle = OneCycle(learning_rate, momentum=MOMENTUM, total_steps=steps * epochs)
    monitor = monitored(data.targets.task, data.validation is not None)
    stopping = early_stopping(monitor, cycle.factory, epochs, patience)
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
        "momentum": list(MOMENTUM),
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


def _network_settings(network, options, reasons):
    if network in IMAGE_NETWORKS.values():
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
