"""Control of a compiled model's training step: its optimizer, its schedules, its trace."""

import contextlib
import re

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.checks import check_number
from keras_deeptricks.utils.hyperparameters import ScheduledHyperparameters, is_schedule

# What Keras calls a variable without a name: numbered over all of the program.
_UNNAMED = re.compile(r"variable(_\d+)?")
_EXCLUSIONS = (
    "_exclude_from_weight_decay",
    "_exclude_from_weight_decay_pattern",
    "excluded_by_user",
)


def check_compiled(model):
    """Raises a clear error unless `model` is a compiled `keras.Model` with an optimizer."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}.")
    if not model.compiled or model.optimizer is None:
        raise ValueError(
            f"`model` must be compiled with an optimizer and a loss. '{model.name}' is not: call "
            "model.compile(optimizer, loss) first."
        )


def unwrap_optimizer(optimizer):
    """The optimizer that updates the weights, inside any `LossScaleOptimizer`."""
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer


def is_multi_optimizer(optimizer):
    """True for Keras' `MultiOptimizer`, which gives variables optimizers of their own."""
    return isinstance(optimizer, getattr(keras.optimizers, "MultiOptimizer", ()))


def single_optimizers(optimizer):
    """The optimizers that update weights: one, or those inside a `MultiOptimizer`."""
    optimizer = unwrap_optimizer(optimizer)
    return list(optimizer.optimizers) if is_multi_optimizer(optimizer) else [optimizer]


def momentum_name(optimizer):
    """The name of the momentum that a schedule can drive, or None where there is none.

    `"momentum"` for `keras_deeptricks.optimizers.SGD` and `RMSprop`, `"beta_1"` for the family of
    Adam, None for Keras' own optimizers, which freeze it into the compiled step.
    """
    optimizer = unwrap_optimizer(optimizer)
    if isinstance(optimizer, ScheduledHyperparameters):
        for name in ("momentum", "beta_1"):
            if name in optimizer.schedulable_names():
                return name
    return None


def given_momentum(optimizer):
    """The number or schedule that is the optimizer's momentum or β₁, or None if it has none."""
    optimizer = unwrap_optimizer(optimizer)
    name = momentum_name(optimizer)
    if name is not None:
        return optimizer.given(name)
    value = getattr(optimizer, "momentum", getattr(optimizer, "beta_1", None))
    return value if is_schedule(value) or isinstance(value, float) else None


def given_learning_rate(optimizer):
    """The schedule or the float that is the optimizer's learning rate."""
    optimizer = unwrap_optimizer(optimizer)
    rate = _config_of_rate(optimizer.get_config())["learning_rate"]
    if isinstance(rate, dict):
        # Keras has no public access to the schedule object; its config is exact.
        return keras.saving.deserialize_keras_object(rate)
    return rate


def has_schedule(optimizer):
    """True if the optimizer's learning rate is a schedule, not a number."""
    # A number is kept in a variable. The schedule itself may not be one that has a config.
    variables = unwrap_optimizer(optimizer).variables
    return all(variable.name != "learning_rate" for variable in variables)


def set_hyperparameters(model, *, learning_rate=None, momentum=None):
    """Puts a number or schedule on a live model so that its next training step uses it.

    Assigned to an optimizer alone, a schedule would not reach a step that TensorFlow has traced
    before. A float learning rate over a float one is assigned without a new trace.

    Args:
        model: A compiled model, trained before or not, inside or outside `fit`.
        learning_rate: A float or schedule, or None to leave it.
        momentum: A float or schedule for `momentum` or `beta_1`, or None to leave it.

    Raises:
        TypeError: A value is of the wrong type, or a float learning rate would go over a
            schedule, which Keras cannot do; nothing changed.
        ValueError: A value is out of its range, the optimizer's momentum cannot be changed, or
            it is a `MultiOptimizer`; nothing was.
    """
    check_compiled(model)
    optimizer = unwrap_optimizer(model.optimizer)
    if is_multi_optimizer(optimizer):
        raise ValueError(
            "A MultiOptimizer has no rate or momentum of its own: give each of its optimizers a "
            "schedule, or compile with keras_deeptricks.optimizers.LayerwiseLearningRates."
        )
    if assign_hyperparameters(optimizer, learning_rate=learning_rate, momentum=momentum):
        rebuild_train_function(model)


def assign_hyperparameters(optimizer, *, learning_rate=None, momentum=None):
    """Puts a number or schedule on one optimizer, as `set_hyperparameters` does on a model's.

    Returns:
        True if a step that was traced before has to be traced anew.
    """
    name = momentum_name(optimizer)
    if learning_rate is not None and not is_schedule(learning_rate):
        learning_rate = check_number("learning_rate", learning_rate, minimum=0)
        if has_schedule(optimizer):
            raise TypeError(
                "Keras cannot set a float learning rate over a schedule. Pass "
                f"keras_deeptricks.schedules.Constant({learning_rate!r}) instead."
            )
    if momentum is not None and name is None:
        raise ValueError(
            f"keras.optimizers.{type(optimizer).__name__} freezes its momentum into the compiled "
            "step. Compile with the optimizer of the same name in keras_deeptricks.optimizers."
        )
    retrace = momentum is not None
    if momentum is not None:
        setattr(optimizer, name, momentum)
    if learning_rate is not None:
        optimizer.learning_rate = learning_rate
        retrace = retrace or is_schedule(learning_rate)
    return retrace


def rebuild_train_function(model):
    """Makes the next training step trace anew."""
    model.make_train_function(force=True)


def clone_optimizer(optimizer, learning_rate=None):
    """A new optimizer with the configuration of `optimizer`, optionally another learning rate.

    Raises:
        ValueError: the optimizer cannot be made from its configuration.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        config = optimizer.get_config()
        config.pop("inner_optimizer")
        inner = clone_optimizer(optimizer.inner_optimizer, learning_rate)
        return type(optimizer)(inner, **config)
    try:
        config = optimizer.get_config()
        if learning_rate is not None:
            # Here, for a number cannot be assigned over a schedule.
            _config_of_rate(config)["learning_rate"] = learning_rate
        clone = type(optimizer).from_config(config)
    except Exception as error:
        raise ValueError(
            f"The optimizer {type(optimizer).__name__} cannot be copied through get_config() and "
            f"from_config() with another learning rate: {error}"
        ) from error
    # What `exclude_from_weight_decay` set is no part of the configuration.
    for name in _EXCLUSIONS:
        if hasattr(optimizer, name):
            object.__setattr__(clone, name, getattr(optimizer, name))
    return clone


def _config_of_rate(config):
    """The part of an optimizer's configuration that has its learning rate."""
    while "learning_rate" not in config and isinstance(config.get("optimizer"), dict):
        config = config["optimizer"]["config"]  # that of the optimizer whose gradients are changed
    return config


def copy_optimizer_state(source, target):
    """Gives `target` the slots and counters of `source`, an optimizer of the same configuration.

    The two may differ in the learning rate, which in one of them is a variable.
    """
    if not source.built:
        return
    if not target.built:
        # Those it was built for: other layers may have been trainable then.
        target.build(source._trainable_variables)
    values = _by_name(source)
    for name, variables in _by_name(target).items():
        for variable, value in zip(variables, values[name], strict=True):
            # A copy: on JAX the two would share a buffer, which a training step gives away.
            variable.assign(np.array(ops.convert_to_numpy(value)))


def _by_name(optimizer):
    """The state variables by their name, those of one name in their order."""
    named = {}
    for variable in state_variables(optimizer):
        # Layers of different sub-models may have the same name, and so may their slots. The path
        # depends on who built the optimizer.
        name = "variable" if _UNNAMED.fullmatch(variable.name) else variable.name
        named.setdefault(name, []).append(variable)
    return named


def state_variables(optimizer):
    """The variables of an optimizer but for a learning rate kept in one."""
    return [variable for variable in optimizer.variables if variable.name != "learning_rate"]


@contextlib.contextmanager
def borrowed_for_training(model, optimizer):
    """Lets a block train `model` with another optimizer, one step per call.

    Afterwards the model has its own optimizer, compiled step, history and flags again; its
    weights are the block's business (see `keras_deeptricks.utils.training_state`).
    """
    names = ("optimizer", "train_function", "steps_per_execution", "stop_training")
    kept = {name: getattr(model, name) for name in names if hasattr(model, name)}
    history = getattr(model, "history", None)
    try:
        model.optimizer = optimizer
        model.steps_per_execution = 1
        model.train_function = None
        yield
    finally:
        for name, value in kept.items():
            setattr(model, name, value)
        if history is not None or getattr(model, "history", None) is not None:
            model.history = history
