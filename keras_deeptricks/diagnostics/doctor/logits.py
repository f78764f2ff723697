"""Whether predictions are probabilities, and whether the loss takes them for such."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding

# A softmax in float16 sums to 1 within 1e-2.
_SUM_TOLERANCE = 2e-2


def looks_like_probabilities(prediction, exclusive):
    """Whether all values lie in [0, 1] and, if classes exclude each other, rows sum to 1."""
    values = prediction[np.isfinite(prediction)]
    if values.size == 0:
        return True
    if values.min() < 0 or values.max() > 1 + _SUM_TOLERANCE:
        return False
    if not exclusive:
        return True
    sums = prediction.sum(axis=-1)
    return bool(np.nanmax(np.abs(sums - 1)) < _SUM_TOLERANCE)


def wrong_logits(output, wanted):
    """Finds a loss that takes logits for probabilities, or probabilities for logits.

    Args:
        output: An `Output` with a cross-entropy as loss.
        wanted: The activation that makes probabilities of its kind: `"softmax"` or `"sigmoid"`.
    """
    exclusive = wanted == "softmax"
    activation, label = output.activation, output.loss.label
    probable = activation in ("softmax", "sigmoid", "hard_sigmoid", "sparsemax")
    if output.loss.from_logits:
        if probable:
            yield Finding(
                "from_logits_mismatch",
                "error",
                output.layer,
                f"The output has the activation {activation}, and {label} has from_logits=True.",
                f"The loss applies a {wanted} of its own to the probabilities: it can never get "
                "small, and its gradients are weak. On TensorFlow it may look behind the "
                "activation and train all the same, on JAX and torch it does not.",
                "Leave out from_logits=True, or the activation of the output layer.",
            )
        elif activation not in (None, "linear"):
            yield _cut_off(output, f"activation=None, as {label} has from_logits=True")
        return
    if activation == "linear" or (
        activation is None and not looks_like_probabilities(output.prediction, exclusive)
    ):
        low, high = np.nanmin(output.prediction), np.nanmax(output.prediction)
        yield Finding(
            "from_logits_mismatch",
            "error",
            output.layer,
            f"The output is not limited to probabilities (predictions from {low:.3g} to "
            f"{high:.3g}), and {label} has from_logits=False.",
            "The loss takes the outputs for probabilities, cuts them off at 0 and 1, and there "
            "the gradient is zero.",
            f"Pass from_logits=True to the loss, or give the last layer activation='{wanted}'.",
        )
        yield Finding(
            "output_activation_mismatch",
            "error",
            output.layer,
            f"The output layer has no activation, where {label} wants a {wanted}.",
            "Without it the outputs are no probabilities.",
            f"Pass activation='{wanted}' to the last layer, or from_logits=True to the loss.",
        )
    elif activation is not None and not probable:
        yield _cut_off(output, f"activation='{wanted}'")


def _cut_off(output, remedy):
    return Finding(
        "output_activation_mismatch",
        "error",
        output.layer,
        f"The output has the activation {output.activation} under {output.loss.label}.",
        f"A {output.activation} is neither a probability nor an unlimited logit: part of what the "
        "loss needs cannot be expressed, or has no gradient.",
        f"Use {remedy} on the last layer.",
    )
