"""The outputs of a model, each with its layer, activation, loss, targets and first predictions."""

import dataclasses

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import roles
from keras_deeptricks.diagnostics.doctor.objective import LossInfo, losses_of, metrics_of
from keras_deeptricks.diagnostics.doctor.target_kind import TargetKind, target_kind


@dataclasses.dataclass(frozen=True, eq=False)
class Output:
    """One output of a model.

    Attributes:
        name: Its name as `compile` and dictionaries of targets know it.
        stage: The last stage, None where it is not known.
        acting: The stage whose activation the output has, None where it is not known.
        activation: The canonical name of that activation; None where it is not known.
        prediction: What the model predicts, rows first; may hold NaN.
        loss: A `LossInfo`, or None.
        metrics: Names of metrics.
        target: The targets of the same rows as the prediction, or None.
        kind: The `TargetKind` of all targets, or None.
    """

    name: str
    stage: object
    acting: object
    activation: str | None
    prediction: np.ndarray
    loss: LossInfo | None
    metrics: list
    target: np.ndarray | None
    kind: TargetKind | None

    @property
    def layer(self):
        """The name of the layer to blame: the one that applies the activation."""
        stage = self.acting or self.stage
        return self.name if stage is None else stage.name

    @property
    def units(self):
        """The size of the last axis of the prediction; 1 where there is none."""
        return int(self.prediction.shape[-1]) if self.prediction.ndim > 1 else 1


def outputs_of(model, structure, prediction, y, rows):
    """The outputs of a model as a list of `Output`.

    Args:
        model: A compiled model.
        structure: Its `Structure`.
        prediction: What it predicts for the rows `rows` of the sample, in its structure.
        y: All targets of the sample, or None.
        rows: Whole numbers.
    """
    predictions = [np.asarray(leaf) for leaf in keras.tree.flatten(prediction)]
    names = output_names(model, structure, prediction)
    targets = targets_of(y, prediction, names)
    losses, metrics = losses_of(model, names), metrics_of(model, names)
    stages = structure.outputs
    if len(stages) != len(predictions):
        stages = [None] * len(predictions)
    found = []
    for place, name in enumerate(names):
        stage = stages[place]
        acting, activation = _acting(stage)
        target = targets[place]
        found.append(
            Output(
                name=name,
                stage=stage,
                acting=acting,
                activation=activation,
                prediction=predictions[place],
                loss=losses[place],
                metrics=metrics[place],
                target=None if target is None else target[rows],
                kind=None if target is None else target_kind(target),
            )
        )
    return found


def output_names(model, structure, prediction):
    """The names of the outputs in the order of `keras.tree.flatten`."""
    count = len(keras.tree.flatten(prediction))
    if isinstance(prediction, dict):
        return sorted(prediction)
    names = getattr(model, "output_names", None)
    if names and len(names) == count:
        return list(names)
    stages = structure.outputs
    if len(stages) == count and all(stage is not None for stage in stages):
        return [stage.name for stage in stages]
    return [f"output_{number}" for number in range(count)] if count > 1 else ["output"]


def targets_of(y, prediction, names):
    """The targets of each output, None where there are none or they do not match."""
    if y is None:
        return [None] * len(names)
    if isinstance(y, dict):
        return [y.get(name) for name in names]
    leaves = keras.tree.flatten(y)
    if len(leaves) == len(names):
        return [np.asarray(leaf) for leaf in leaves]
    if len(names) == 1 and isinstance(y, (list, tuple)):
        return [np.asarray(y)]
    return [None] * len(names)


def _acting(stage):
    """The stage that decides on the range of what `stage` yields, and its activation."""
    while stage is not None:
        activation = roles.activation_of(stage.layer)
        if activation is not None and not roles.passes_values(stage.layer):
            return stage, activation
        if not roles.passes_values(stage.layer) or len(stage.sources) != 1:
            return None, None
        stage = stage.sources[0]
    return None, None
