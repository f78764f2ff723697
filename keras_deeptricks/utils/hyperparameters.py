"""A hyperparameter of an optimizer is a number or a schedule, evaluated once per step."""

import contextlib
import functools

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils import backend
from keras_deeptricks.utils.checks import check_number


def is_schedule(value):
    """True if `value` is a `keras.optimizers.schedules.LearningRateSchedule`."""
    return isinstance(value, keras.optimizers.schedules.LearningRateSchedule)


def batch_counter(optimizer):
    """The variable in which `optimizer` counts batches, which is what Keras gives a schedule.

    `optimizer.iterations` is something else under gradient accumulation: the number of updates.
    """
    for variable in optimizer.variables:
        if variable.name == "iteration":
            return variable
    raise ValueError(
        f"{type(optimizer).__name__} has no variable named 'iteration', so the step that a "
        "schedule needs is unknown. Use an optimizer that derives from keras.optimizers.Optimizer."
    )


def value_at(value, step):
    """A number as it is; a schedule at `step`: a tensor in a compiled step, a float on torch."""
    if not is_schedule(value):
        return value
    if not backend.runs_eagerly():
        return value(step)
    # Keras' fused updates on torch take Python numbers.
    if hasattr(value, "float_value"):
        return value.float_value(ops.convert_to_numpy(step))
    return float(ops.convert_to_numpy(value(step)))


def values_at(value, steps):
    """The values of a number or a schedule at many steps, as a float64 array (outside a step)."""
    steps = np.asarray(steps)
    if not is_schedule(value):
        return np.full(steps.shape, float(ops.convert_to_numpy(value)))
    if hasattr(value, "numpy_values"):
        return value.numpy_values(steps)
    values = [float(ops.convert_to_numpy(value(int(step)))) for step in steps.ravel()]
    return np.asarray(values, "float64").reshape(steps.shape)


class Schedulable:
    """An attribute of an optimizer that holds a number or a schedule.

    Read outside a step it is what was assigned. Read while the optimizer applies gradients it is
    the value of that step, so that Keras' own update rules work on it unchanged.

    Args:
        argument: Name of the constructor's argument, for errors, where it is not the attribute's.
        **bounds: Those of `check_number`. By default from 0 to 1.
    """

    def __init__(self, argument=None, **bounds):
        self.argument = argument
        self.bounds = bounds or {"minimum": 0.0, "maximum": 1.0}

    def __set_name__(self, owner, name):
        self.name = name
        self.argument = self.argument or name
        self.storage = f"_given_{name}"

    def __get__(self, optimizer, owner=None):
        if optimizer is None:
            return self
        now = optimizer.step_values
        if now is not None and self.name in now:
            return now[self.name]
        return self.given(optimizer)

    def __set__(self, optimizer, value):
        if not is_schedule(value):
            if isinstance(value, str) or callable(value):
                raise TypeError(
                    f"`{self.argument}` must be a number or a "
                    "keras.optimizers.schedules.LearningRateSchedule. "
                    f"Received: {self.argument}={value!r}."
                )
            value = check_number(self.argument, value, **self.bounds)
        before = optimizer.__dict__.get(self.storage)
        # Past Keras' attribute tracking: a plain value, never a variable.
        object.__setattr__(optimizer, self.storage, value)
        if before is not None and optimizer.built:
            optimizer.hyperparameter_changed(self.name, before)

    def given(self, optimizer):
        """What was assigned: a float or a schedule."""
        try:
            return optimizer.__dict__[self.storage]
        except KeyError:
            raise AttributeError(f"`{self.name}` is not set yet.") from None


class ScheduledHyperparameters:
    """Mixin of an optimizer whose `Schedulable` attributes are evaluated once per step.

    Comes before Keras' optimizer class among the bases. While gradients are applied,
    `step_values` maps the learning rate and each scheduled attribute to its value.
    """

    step_values = None

    @classmethod
    def schedulable_names(cls):
        """The names of the attributes that may be a number or a schedule."""
        return _schedulable_names(cls)

    def given(self, name):
        """The number or schedule that `name` was set to, also while a step runs."""
        return getattr(type(self), name).given(self)

    def hyperparameter_changed(self, name, before):
        """Called when the attribute `name` of a built optimizer is set to something new."""

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                # Here, and not within the step, where a schedule has become a tensor.
                with keras.name_scope(self.name, caller=self):
                    self.build(trainable_variables)
        with self._evaluated_at_this_step():
            super().apply(grads, trainable_variables)

    @property
    def learning_rate(self):
        """The learning rate of the current step."""
        if self.step_values is not None:
            return self.step_values["learning_rate"]
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        keras.optimizers.Optimizer.learning_rate.fset(self, value)

    def _get_current_learning_rate(self):
        # Keras' weight decay on torch asks here, past `learning_rate`.
        if self.step_values is not None:
            return self.step_values["learning_rate"]
        return super()._get_current_learning_rate()

    def get_config(self):
        config = super().get_config()
        for name in self.schedulable_names():
            value = self.given(name)
            config[name] = (
                keras.saving.serialize_keras_object(value) if is_schedule(value) else value
            )
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in cls.schedulable_names():
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(
                    config[name], custom_objects=custom_objects
                )
        return super().from_config(config, custom_objects=custom_objects)

    def values_of_step(self, step):
        """The learning rate and all that is scheduled at `step`, by name."""
        values = {"learning_rate": super().learning_rate}
        for name in self.schedulable_names():
            if is_schedule(self.given(name)):
                values[name] = value_at(self.given(name), step)
        return values

    @contextlib.contextmanager
    def _evaluated_at_this_step(self):
        # Under tf.distribute another replica may wait in the middle of its step, with its values.
        object.__setattr__(self, "step_values", None)
        values = self.values_of_step(batch_counter(self))
        # Past Keras' attribute tracking, which would wrap the dictionary.
        object.__setattr__(self, "step_values", values)
        try:
            yield
        finally:
            object.__setattr__(self, "step_values", None)


@functools.cache
def _schedulable_names(cls):
    return tuple(
        name
        for base in reversed(cls.__mro__)
        for name, attribute in vars(base).items()
        if isinstance(attribute, Schedulable)
    )
