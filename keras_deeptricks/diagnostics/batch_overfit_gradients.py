"""Why a model does not learn one batch by heart, as far as its gradients show it."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding

# The first layer's gradient beside the largest one's, per weight.
VANISHING_RATIO = 1e-5


def gradient_findings(model, gradients):
    """Gradients at the start that are zero, or vanish; none if they are sound.

    Args:
        model: The model.
        gradients: Pairs (variable, gradient).
    """
    return _dead_findings(model, gradients) or _vanishing(gradients)


def nothing_trainable(evidence):
    """The finding of a model that has no weights to train."""
    return Finding(
        "nothing_trainable",
        "error",
        None,
        evidence,
        "Training cannot change anything.",
        "Set layer.trainable = True where it should learn, compile again, and look for "
        "operations without a gradient (argmax, round, comparisons).",
    )


def _dead_findings(model, gradients):
    kernels = [(v, g) for v, g in gradients if len(v.shape) > 1]
    still = [v for v, g in kernels if not np.any(g)]
    if not kernels or not still:
        return []
    constant = [v for v, _ in kernels if np.ptp(keras.ops.convert_to_numpy(v)) == 0]
    if constant:
        return [
            Finding(
                "initialization_constant",
                "error",
                layer_of(model, constant[0]),
                f"{_paths(constant)}: all weights are equal.",
                "Equal units get equal gradients, or none, and never become different.",
                "Use a random initializer, such as he_normal or glorot_uniform.",
            )
        ]
    if not any(np.any(g) for _, g in gradients):
        return [nothing_trainable(f"The gradient of every kernel is zero: {_paths(still)}.")]
    return [
        Finding(
            "dead_units",
            "error",
            layer_of(model, still[-1]),
            f"The gradient is exactly zero for {_paths(still)}.",
            "Units that are zero for every row pass no gradient on and never learn.",
            "Begin with he_normal weights and zero biases, standardize the inputs, or use elu or "
            "leaky_relu.",
        )
    ]


def _vanishing(gradients):
    norms = [(v, _root_mean_square(g)) for v, g in gradients if len(v.shape) > 1]
    if len(norms) < 3:
        return []
    largest = max(norm for _, norm in norms)
    variable, norm = norms[0]
    if norm > VANISHING_RATIO * largest:
        return []
    return [
        Finding(
            "vanishing_gradient",
            "error",
            variable.path.split("/")[-2] if "/" in variable.path else variable.path,
            f"The gradient of {variable.path} is {norm:.2g} per weight, up to {largest:.2g} in "
            "other layers.",
            "The first layers get next to no gradient.",
            "Use relu, elu or selu with their initializers, add batch normalization or shortcuts, "
            "or take fewer layers.",
        )
    ]


def layer_of(model, variable):
    """The name of the layer that holds a weight."""
    parts = variable.path.split("/")
    return parts[-2] if len(parts) > 1 else model.name


def _paths(variables):
    names = [v.path for v in variables[:3]]
    more = f" and {len(variables) - 3} more" if len(variables) > 3 else ""
    return ", ".join(names) + more


def _root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(np.asarray(values, "float64")))))
