"""A learning rate of its own for each layer, in one optimizer."""

import inspect

import keras
from keras import ops

from keras_deeptricks.optimizers.gradient_transform import (
    GradientTransform,
    warn_of_unknown,
    whole_model,
)
from keras_deeptricks.utils.checks import check_number
from keras_deeptricks.utils.hyperparameters import is_schedule, value_at
from keras_deeptricks.utils.selection import check_patterns, matches


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class LayerwiseLearningRates(GradientTransform):
    """Multiplies the learning rate by a factor of each layer's own.

    Use it to fine-tune a pretrained network: small rates for its lower layers, the full rate for
    the new head. It is one optimizer, not several: clipping by the global norm stays global,
    1cycle, `ReduceLROnPlateau` and an assigned rate act on all layers in proportion, and
    decoupled weight decay goes with each layer's own rate.

    Args:
        optimizer: A `keras.optimizers.Optimizer` that was not trained with yet (it is copied), or
            a function that makes one. A function with one argument is given the multiplier 1.
        multipliers: Dictionary from names or patterns of layers or variables to multipliers, each
            a number of at least 0 or a schedule of such numbers over the batches. Of several
            that match, the first one counts. What none matches has the full rate.
        decay: Factor per layer, above 0 and at most 1, or None: the last layer with weights
            has the multiplier 1, the one before it `decay`, then `decay`², and so on, in the
            order of the model's weights. `multipliers` come before it.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, neither `multipliers` nor `decay` is given,
            or `optimizer` is trained already, a `LossScaleOptimizer` or a `MultiOptimizer`.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    optimizer = kdt.optimizers.LayerwiseLearningRates(
        kdt.optimizers.SGD(0.1, momentum=0.9), {"body_.*": 0.1, "head": 1.0}
    )
    by_depth = kdt.optimizers.LayerwiseLearningRates(keras.optimizers.Adam(1e-3), decay=0.9)
    ```

    Reference: Howard & Ruder, Universal language model fine-tuning for text classification, 2018,
    section 3.2 ("discriminative fine-tuning").
    """

    def __new__(cls, optimizer, *args, **kwargs):
        return super().__new__(cls, _made(optimizer))

    def __init__(self, optimizer, multipliers=None, decay=None):
        if not multipliers and decay is None:
            raise ValueError(
                "`multipliers` or `decay` must be given. Received: "
                f"multipliers={multipliers!r}, decay={decay!r}."
            )
        if decay is not None:
            decay = check_number("decay", decay, above=0, maximum=1)
        object.__setattr__(self, "rate_multipliers", _check_multipliers(multipliers))
        self.rate_decay = decay

    def transform_config(self):
        multipliers = {
            pattern: keras.saving.serialize_keras_object(value) if is_schedule(value) else value
            for pattern, value in self.rate_multipliers
        }
        return {"multipliers": multipliers, "decay": self.rate_decay}

    def prepare(self, variables):
        paths = [variable.path for variable in variables]
        patterns = [pattern for pattern, _ in self.rate_multipliers]
        warn_of_unknown(self, "LayerwiseLearningRates", "multipliers", patterns, variables)
        by_depth = _by_depth(*whole_model(self, variables), self.rate_decay)
        multiplier_of = tuple(
            next(
                (value for pattern, value in self.rate_multipliers if matches(pattern, path)),
                default,
            )
            for path, default in zip(paths, by_depth, strict=True)
        )
        object.__setattr__(self, "_multiplier_of", multiplier_of)

    def values_of_step(self, step):
        # Evaluated once per step, however many variables share one.
        scheduled = {id(value): value for value in self._multiplier_of if is_schedule(value)}
        multipliers = {key: value_at(value, step) for key, value in scheduled.items()}
        return {**super().values_of_step(step), "multipliers": multipliers, "rates": {}}

    def transformed(self, gradient, variable, index, learning_rate):
        given = self._multiplier_of[index]
        if not is_schedule(given) and given == 1.0:
            return gradient, learning_rate
        # Variables of one multiplier share one rate, and are updated together where Keras can.
        rates = self.step_values["rates"]
        key = id(given) if is_schedule(given) else given
        if key not in rates:
            rates[key] = learning_rate * self._multiplier_now(given)
        return gradient, rates[key]

    def _multiplier_now(self, given):
        return self.step_values["multipliers"].get(id(given), given)

    def _apply_weight_decay(self, variables):
        # Also without `weight_decay`: Muon has a second one.
        full_rate = self.step_values["learning_rate"]
        groups = {}
        # (Keras' fused update on torch stands no empty list.)
        for variable in filter(self._use_weight_decay, variables):
            given = self._multiplier_of[self._get_variable_index(variable)]
            groups.setdefault(id(given) if is_schedule(given) else given, (given, []))[1].append(
                variable
            )
        try:
            for given, group in groups.values():
                rate = ops.convert_to_tensor(full_rate) * self._multiplier_now(given)
                self.step_values["learning_rate"] = rate
                super()._apply_weight_decay(group)
        finally:
            self.step_values["learning_rate"] = full_rate


def _made(optimizer):
    """The optimizer, or what the function makes."""
    if isinstance(optimizer, (keras.optimizers.Optimizer, keras.Layer)) or not callable(optimizer):
        return optimizer
    parameters = inspect.signature(optimizer).parameters.values()
    required = [
        p
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return optimizer(1.0) if len(required) == 1 else optimizer()


def _check_multipliers(multipliers):
    if multipliers is None:
        return ()
    if not isinstance(multipliers, dict):
        raise TypeError(
            "`multipliers` must be a dictionary from names or patterns of layers to numbers or "
            f"schedules. Received: multipliers={multipliers!r}."
        )
    checked = []
    for selection, value in multipliers.items():
        if not is_schedule(value):
            value = check_number("multipliers", value, minimum=0)
        checked += [(pattern, value) for pattern in check_patterns("multipliers", selection)]
    return tuple(checked)


def _by_depth(paths, places, decay):
    """The multipliers of the variables at `places` by the depths of their layers."""
    if decay is None:
        return [1.0] * len(places)
    layer_of = [path.rpartition("/")[0] for path in paths]
    layers = list(dict.fromkeys(layer_of))
    return [decay ** (len(layers) - 1 - layers.index(layer_of[place])) for place in places]
