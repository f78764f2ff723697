"""Detects models of which nothing, or nothing that matters, can be trained."""

import math

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.output_tail import tails

# Operations whose derivative is 0 wherever there is one.
_STEPS = ("Round", "Floor", "Ceil", "Trunc", "Sign", "Argmax", "Greater", "GreaterEqual", "Less")
_REMEDY = (
    "Set trainable = True for the layers to train, at least for the output layer, and compile "
    "again."
)


def nothing_trainable(case):
    """Models without trainable weights, or with scales and biases alone."""
    model = case.model
    trainable = model.trainable_variables
    everything = sum(math.prod(v.shape) for v in model.weights)
    if not trainable:
        yield Finding(
            "nothing_trainable",
            "error",
            None,
            f"None of the {len(model.weights)} weights ({everything:,} numbers) is trainable.",
            "Training cannot change anything.",
            _REMEDY,
        )
        return
    count = sum(math.prod(v.shape) for v in trainable)
    matrices = [v for v in model.weights if len(v.shape) > 1]
    if matrices and all(len(v.shape) < 2 for v in trainable):
        yield Finding(
            "nothing_trainable",
            "warning",
            None,
            f"Only {count:,} of {everything:,} numbers are trainable, all of them biases, scales "
            "or shifts: every kernel is frozen, that of the output layer too.",
            "Scales and biases alone cannot learn what the kernels do not offer already.",
            _REMEDY,
        )


def no_way_for_gradients(case):
    """Operations without a derivative between every weight and the output."""
    for output in case.outputs:
        for stage in paths.backwards(output.stage):
            if kinds.has_kernel(stage.layer) or kinds.is_recurrent(stage.layer):
                break
            if type(stage.layer).__name__ in _STEPS:
                yield Finding(
                    "nothing_trainable",
                    "error",
                    stage.name,
                    f"The output comes from '{stage.name}' ({type(stage.layer).__name__}).",
                    "Its derivative is 0 everywhere: no gradient gets to any weight before it.",
                    "Leave it out of the model, and apply it to the predictions.",
                )
                break


def frozen_output_layer(case):
    """An output layer that stays as it is, while layers before it are trained."""
    if all(len(v.shape) < 2 for v in case.model.trainable_variables):
        return  # told already
    for tail in tails(case):
        layer = tail.kernel.layer
        if kinds.has_kernel(layer) and layer.weights and not layer.trainable_variables:
            yield Finding(
                "nothing_trainable",
                "note",
                layer.name,
                f"The output layer '{layer.name}' is frozen, while layers before it are trained.",
                "Its weights stay as they are: if they are random, the network has to adapt to "
                "chance.",
                f"Set model.get_layer('{layer.name}').trainable = True and compile again.",
            )
