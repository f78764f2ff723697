"""Detects a first loss that is far from what guessing gives."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.objective import REGRESSION
from keras_deeptricks.diagnostics.doctor.scores import (
    class_probabilities,
    crossentropy,
    labels_of_output,
)

# A network with logits of variance σ² starts at ln C + σ²/2. Healthy ones have a σ² up to 2 or 3:
# SELU nets start at 2.96 for ten classes.
_FACTOR, _EXTRA = 2.0, 2.0
# Predictions of an amount that start so many times the targets' size away from them.
_FAR = 10.0


def first_loss(case):
    """Finds a first loss far above that of a network that knows nothing."""
    outputs = [output for output in case.outputs if output.loss is not None]
    if not outputs or case.finite.y is None:
        return
    if case.has("output_activation_mismatch", "from_logits_mismatch", severity="error"):
        return  # which makes any loss at the start
    training = case.training_outputs
    for output in outputs:
        prediction = training.get(output.name)
        if prediction is None or not np.isfinite(prediction).all():
            continue
        yield from _of_classes(case, output, prediction)
        yield from _of_amounts(output, prediction)


def _of_classes(case, output, prediction):
    labels = labels_of_output(output)
    if labels is None or "crossentropy" not in output.loss.name:
        return
    probabilities = class_probabilities(output, prediction)
    if probabilities is None:
        return
    loss = crossentropy(probabilities, labels)
    classes = probabilities.shape[-1]
    guessing = float(np.log(classes))
    case.facts.setdefault("initial_loss", loss)
    case.facts.setdefault("guessing_loss", guessing)
    spread = float(np.var(np.log(np.maximum(probabilities, 1e-30)), axis=-1).mean())
    if loss > _FACTOR * guessing + _EXTRA:
        yield Finding(
            "initial_loss",
            "warning",
            output.layer,
            f"The first loss is {loss:.3g}; guessing among {classes} classes gives "
            f"{guessing:.3g}, and logits of variance {spread:.2g} as here about "
            f"{guessing + spread / 2:.3g}.",
            "Before it learns anything the network is sure of nonsense, and spends its first "
            "epochs on unlearning it.",
            "Standardize the inputs, and take smaller weights for the last layer to begin with.",
        )


def _of_amounts(output, prediction):
    if output.loss.name not in REGRESSION or output.kind is None:
        return
    size = float(np.sqrt(output.kind.mean**2 + output.kind.deviation**2))
    start = float(np.sqrt(np.mean(np.square(prediction - output.kind.mean))))
    if size > 0 and start > _FAR * size:
        yield Finding(
            "initial_loss",
            "warning",
            output.layer,
            f"The first predictions are {start:.3g} away from the mean of the targets, whose size "
            f"is {size:.3g}.",
            "The network begins far beyond the targets, and the first gradients are enormous.",
            "Standardize the inputs, and take smaller weights to begin with.",
        )
