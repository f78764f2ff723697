"""What a model looks like at the end of a short run."""

import dataclasses

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.idle_units import dead_share, hidden_activations
from keras_deeptricks.diagnostics.doctor.initialization_constant import alike_layers
from keras_deeptricks.diagnostics.doctor.scores import score
from keras_deeptricks.utils.layer_probe import observed_layers

_MOST_ROWS = 512


@dataclasses.dataclass(frozen=True, eq=False)
class RunLook:
    """Observations after a short run.

    Attributes:
        fitted, held_out: Dictionaries from the names of outputs to the `Score` on rows that were
            trained on, and on others; without what has no score.
        spread: Dictionary from the names of outputs to the largest standard deviation over rows
            of any of its units.
        dead: Dictionary from the names of layers with ReLU to their share of dead units.
        alike: Names of the hidden layers whose units are identical.
    """

    fitted: dict
    held_out: dict
    spread: dict
    dead: dict
    alike: list


def look(case):
    """The `RunLook` of the model as it is now."""
    train, held = (rows[:_MOST_ROWS] for rows in case.split)
    fitted, spread = _scores(case, train, with_spread=True)
    held_out, _ = _scores(case, held) if len(held) else ({}, {})
    calls = observed_layers(case.model, case.probe.x, training=False)
    rectified = hidden_activations(case.structure, calls, ("relu", "relu6"))
    dead = {name: dead_share(values) for name, values in rectified}
    return RunLook(fitted, held_out, spread, dead, [layer.name for layer in alike_layers(case)])


def _scores(case, rows, with_spread=False):
    part = case.finite.take(np.sort(rows))
    leaves = keras.tree.flatten(case.predict(part.x))
    found, spread = {}, {}
    for output, prediction in zip(case.outputs, leaves, strict=True):
        if with_spread:
            spread[output.name] = float(np.max(np.std(prediction, axis=0)))
        target = case.target_of(output, part)
        if target is None or not np.isfinite(prediction).all():
            continue
        one = score(output, prediction, target)
        if one is not None:
            found[output.name] = one
    return found, spread
