"""What changes the gradients of any optimizer on their way to its update rule."""

import copy
import functools
import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils import backend
from keras_deeptricks.utils.compiled_step import clone_optimizer, is_multi_optimizer
from keras_deeptricks.utils.hyperparameters import (
    Schedulable,
    ScheduledHyperparameters,
    is_schedule,
)
from keras_deeptricks.utils.selection import matches


class GradientTransform(ScheduledHyperparameters):
    """Base of the optimizers that are made from an optimizer and change its gradients.

    `Transform(optimizer, …)` is a copy of the given, unbuilt optimizer whose class derives from
    the optimizer's own: everything Keras knows of it (assigning a learning rate, gradient
    accumulation, weight decay, loss scaling around it, `MultiOptimizer`) works as before. The
    gradients are changed where the update happens: after unscaling, accumulation and Keras'
    clipping. Transforms nest; the outermost comes first.

    A subclass has the arguments `(optimizer, …)`, keeps each under a name that no optimizer of
    Keras uses, tells them in `transform_config`, and overrides `transformed` and, if it needs
    to see the variables first, `prepare`.
    """

    transform = None

    def __new__(cls, optimizer, *args, **kwargs):
        transform = cls.transform or cls
        _check_optimizer(optimizer, transform)
        clone = clone_optimizer(optimizer)
        object.__setattr__(clone, "__class__", transformed_class(transform, type(clone)))
        return clone

    def transform_config(self):
        """The arguments but for the optimizer, by name."""
        raise NotImplementedError

    def prepare(self, variables):
        """Looks at the variables that are to be trained, when the optimizer is built."""

    def transformed(self, gradient, variable, index, learning_rate):
        """The gradient of a variable and its learning rate, changed.

        `variable` may be the backend's; `index` is its place among those given to `prepare`.
        """
        return gradient, learning_rate

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = {name: _revived(value, custom_objects) for name, value in config.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when it was made by hand
            return (cls.transform or cls)(**config)


@functools.cache
def transformed_class(transform, base):
    """The class of `base`, an optimizer's, whose gradients `transform` changes.

    It is registered under the name of `transform`, whose `from_config` finds the base.
    """

    # On torch Keras updates all variables by one call of this. (Ours have it on every backend.)
    fused = backend.runs_eagerly() and hasattr(base, "_parallel_update_step")

    class Transformed(transform, base):
        def build(self, variables):
            if self.built:
                return
            super().build(variables)
            transform.prepare(self, variables)

        def update_step(self, gradient, variable, learning_rate):
            index = self._get_variable_index(variable)
            if not fused:
                gradient, learning_rate = transform.transformed(
                    self, gradient, variable, index, learning_rate
                )
            super().update_step(gradient, variable, learning_rate)

        def get_config(self):
            config = super().get_config()
            if not issubclass(base, GradientTransform):
                for name in _names_of_transforms(type(self)):
                    config.pop(name, None)
            own = {
                name: keras.saving.serialize_keras_object(value) if is_schedule(value) else value
                for name, value in transform.transform_config(self).items()
            }
            return {"optimizer": _serialized(base, config), **own}

    if fused:

        def _parallel_update_step(self, grads, variables, learning_rate):
            groups = {}
            for gradient, variable in zip(grads, variables, strict=True):
                index = self._get_variable_index(variable)
                gradient, rate = transform.transformed(
                    self, gradient, variable, index, learning_rate
                )
                group = groups.setdefault(id(rate), (rate, [], []))
                group[1].append(gradient)
                group[2].append(variable)
            # Each group starts from the same counters: Nadam moves one of them here. What a group
            # has changed stays changed, the slot of a scalar weight for instance.
            scalars = [v for v in self.variables if not v.shape] if len(groups) > 1 else []
            before = _numbers(scalars)
            after = list(before)
            for rate, gradients, group in groups.values():
                _assign(scalars, before)
                super(Transformed, self)._parallel_update_step(gradients, group, rate)
                changed = zip(after, before, _numbers(scalars), strict=True)
                after = [now if now != then else last for last, then, now in changed]
            _assign(scalars, after)

        Transformed._parallel_update_step = _parallel_update_step
    Transformed.transform = transform
    Transformed.__name__ = Transformed.__qualname__ = transform.__name__
    Transformed.__module__ = transform.__module__
    Transformed.__doc__ = transform.__doc__
    register = keras.saving.register_keras_serializable("keras_deeptricks", transform.__name__)
    register(Transformed)
    register(transform)  # the name means this one, which makes the other
    return Transformed


# An instance of each class that was serialized, by the class.
_SAMPLES = {}


def _serialized(optimizer_class, config):
    """What Keras writes of an optimizer of the given class and configuration.

    Not of an instance made for it: while a model is saved Keras takes objects of one id for one
    object, and an instance that is gone leaves its id to others. The sample stays.
    """
    if optimizer_class not in _SAMPLES:
        sample = optimizer_class.from_config(copy.deepcopy(config))
        _SAMPLES[optimizer_class] = sample, keras.saving.serialize_keras_object(sample)
    _, written = _SAMPLES[optimizer_class]
    named = {name: value for name, value in written.items() if name != "shared_object_id"}
    return {**named, "config": config}


def _numbers(variables):
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def kept_variables(optimizer, kind, variables, exclude):
    """Which of `variables` no pattern of `exclude` names, as a tuple of booleans.

    Warns, in the name of `kind`, of a pattern that names nothing, and where nothing is left.
    """
    warn_of_unknown(optimizer, kind, "exclude", exclude, variables)
    kept = tuple(not any(matches(p, v.path) for p in exclude) for v in variables)
    if not any(kept):
        warnings.warn(f"{kind} changes nothing: `exclude` names every variable.", stacklevel=2)
    return kept


def warn_of_unknown(optimizer, kind, argument, patterns, variables):
    """Warns of patterns that name no variable of the model."""
    paths = {variable.path for variable in variables} | set(whole_model(optimizer, variables)[0])
    for pattern in patterns:
        if not any(matches(pattern, path) for path in paths):
            warnings.warn(
                f"{kind}: {pattern!r} in `{argument}` is no variable or layer that is trained. "
                f"There are: {', '.join(sorted(paths))}.",
                stacklevel=2,
            )


def whole_model(optimizer, variables):
    """The paths of all variables that can be trained, and the places of `variables` among them.

    Those are all there are, unless the optimizer is built while some are frozen and knows it.
    """
    part = getattr(optimizer, "part_of_model", None)
    return part or ([variable.path for variable in variables], list(range(len(variables))))


def _revived(value, custom_objects):
    """An argument from its configuration: objects, alone or as the values of a dictionary."""
    if not isinstance(value, dict):
        return value
    if "class_name" in value:
        # A copy: Keras' optimizers revive their schedule within the dictionary given.
        return keras.saving.deserialize_keras_object(_copied(value), custom_objects=custom_objects)
    return {name: _revived(item, custom_objects) for name, item in value.items()}


def _copied(value):
    return {k: _copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def _names_of_transforms(cls):
    """The scheduled attributes that are no business of the optimizer inside."""
    return [
        name
        for base in cls.__mro__
        if issubclass(base, GradientTransform)
        for name, attribute in vars(base).items()
        if isinstance(attribute, Schedulable)
    ]


def _check_optimizer(optimizer, transform):
    name = transform.__name__
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            f"`optimizer` must be a keras.optimizers.Optimizer. Received: optimizer={optimizer!r}."
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            f"`optimizer` must be the one inside the LossScaleOptimizer, whose gradients are not "
            f"scaled: LossScaleOptimizer({name}(optimizer)). Received: optimizer={optimizer!r}."
        )
    if is_multi_optimizer(optimizer):
        raise ValueError(
            f"`optimizer` must be a single optimizer: put {name} around each of those in the "
            f"MultiOptimizer. Received: optimizer={optimizer!r}."
        )
    if isinstance(optimizer, transform):
        raise ValueError(f"`optimizer` is a {name} already. Received: optimizer={optimizer!r}.")
    if optimizer.built:
        raise ValueError(
            f"`optimizer` must not have been trained with yet: {name} starts from a new one. "
            f"Received: optimizer={optimizer!r}."
        )
