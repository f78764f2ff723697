"""Detects penalties, decay and limits that hold the weights far too small."""

import keras

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.optimizer_settings import setting
from keras_deeptricks.diagnostics.doctor.short_runs import peak_rate
from keras_deeptricks.utils.compiled_step import single_optimizers
from keras_deeptricks.utils.layer_walk import walk_layers

# Shares of the weights that decay takes in a step: they halve in 70 steps, or in 700.
_DECAY, _STRONG_DECAY = 1e-2, 1e-3
# 1e-5 to 1e-3 are usual for l2. A penalty of ten times the loss at the start is alone no fault:
# it grows with the number of weights.
_L2, _L1, _TIMES = 1e-2, 1e-3, 10
_ABSURD, _SHARE = 1.0, 0.1
# Weights of a unit from He's initialization have a norm of 1.4, or more in deep and wide nets.
_NORM = 0.1
_REMEDY = "Divide it by a hundred or more and look at the training loss first."


def weight_decay(case):
    """Decay that shrinks the weights faster than gradients can grow them."""
    for optimizer in single_optimizers(case.model.optimizer):
        decay, rate = setting(optimizer, "weight_decay"), peak_rate(optimizer)
        if not decay or rate is None:
            continue
        share = decay * rate
        if share >= _DECAY or (decay >= 1 and share >= _STRONG_DECAY):
            severity = "warning"
        elif decay >= 1 and not isinstance(optimizer, keras.optimizers.Lion):
            severity = "note"
        else:
            continue
        yield Finding(
            "over_regularization",
            severity,
            "weight_decay",
            f"{type(optimizer).__name__} has weight_decay={decay:g} and a learning rate of "
            f"{rate:g}: each step takes {share:.2g} of every weight.",
            "Weights shrink to nothing before the gradients can make something of them.",
            "Pass a weight_decay of 1e-4 to 1e-2.",
        )


def decay_of_biases(case):
    """Decay that also reaches biases and the parameters of normalization."""
    for optimizer in single_optimizers(case.model.optimizer):
        if not setting(optimizer, "weight_decay") or _excludes(optimizer):
            continue
        reached = [v for v in case.model.trainable_variables if len(v.shape) == 1]
        if reached:
            yield Finding(
                "optimizer_setting",
                "note",
                "weight_decay",
                f"weight_decay={setting(optimizer, 'weight_decay'):g} also reaches "
                f"{len(reached)} biases and parameters of normalization.",
                "They do not overfit; decay only pulls them towards 0.",
                "Call optimizer.exclude_from_weight_decay(var_names=['bias', 'gamma', 'beta']) "
                "before training, or use keras_deeptricks.optimizers.AdamW.",
            )


def penalties(case):
    """Regularizers that outweigh the loss."""
    found = _penalties(case.model)
    total = sum(penalty for penalty, _, _ in found)
    if not total > 0:
        return
    _, layer, variable = max(found, key=lambda item: item[0])
    l1, l2 = _strengths(variable.regularizer)
    absurd = max(l1, l2) >= _ABSURD
    if not absurd and l2 < _L2 and l1 < _L1:
        return
    loss = case.gradients[0] - total
    if not (total > _TIMES * loss or (absurd and total > _SHARE * loss)):
        return
    name = layer.name
    yield Finding(
        "over_regularization",
        "warning",
        name,
        f"At the start the penalties on the weights are {total:.3g}, the loss without them "
        f"{loss:.3g}; most of it from '{name}' (l1={l1:g}, l2={l2:g}).",
        "Training first of all makes the weights small, and then cannot make them as large as the "
        "data ask for.",
        _REMEDY,
    )


def norm_limits(case):
    """Constraints that keep the weights next to zero."""
    for layer in walk_layers(case.model):
        for argument in ("kernel_constraint", "embeddings_constraint", "depthwise_constraint"):
            constraint = getattr(layer, argument, None)
            limit = getattr(constraint, "max_value", None)
            if isinstance(limit, (int, float)) and limit < _NORM:
                yield Finding(
                    "over_regularization",
                    "warning",
                    layer.name,
                    f"'{layer.name}' has {argument}={type(constraint).__name__}({limit:g}).",
                    "The incoming weights of a unit have a norm of 1 to 2 when they start; under "
                    "this limit the layer passes next to nothing on.",
                    "Use a limit of 2 to 4.",
                )


def _penalties(model):
    """A list of (penalty, layer, variable)."""
    owners = {}
    for layer in walk_layers(model):
        # Inner layers come after outer ones, but for the graph that a Sequential model keeps.
        if not isinstance(layer, keras.Model):
            owners.update({id(v): (layer, v) for v in layer.trainable_variables})
    return [
        (float(keras.ops.convert_to_numpy(variable.regularizer(variable))), layer, variable)
        for layer, variable in owners.values()
        if getattr(variable, "regularizer", None) is not None
    ]


def _strengths(regularizer):
    """[l1, l2], 0 where a regularizer of one's own does not tell; Keras' L1 keeps a tensor."""
    found = []
    for name in ("l1", "l2"):
        try:
            found.append(abs(float(keras.ops.convert_to_numpy(getattr(regularizer, name, 0.0)))))
        except (TypeError, ValueError):
            found.append(0.0)
    return found


def _excludes(optimizer):
    names = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
    return any(getattr(optimizer, name, None) for name in names) or not type(
        optimizer
    ).__module__.startswith("keras.")
