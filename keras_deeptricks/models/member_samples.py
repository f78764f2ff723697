"""The predictions of an ensemble's members as samples: stacked in one pass, told as uncertainty."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.models.monte_carlo_evaluation import evaluate_prediction
from keras_deeptricks.models.monte_carlo_prediction import MonteCarloPrediction
from keras_deeptricks.models.prediction_task import prediction_task
from keras_deeptricks.utils.row_chunks import row_chunks

_CHUNK_ROWS = 4096


class StackedMembers(keras.Model):
    """Predicts what every member of an ensemble predicts, the members along axis 1.

    Rows come first, so that Keras' own `predict` can join the batches of whatever data it takes.

    Args:
        ensemble: A `keras_deeptricks.models.Ensemble`.
    """

    def __init__(self, ensemble):
        super().__init__(autocast=False)
        self.ensemble = ensemble
        self.run_eagerly = ensemble.run_eagerly

    def call(self, inputs, training=None):
        outputs = self.ensemble.member_outputs(inputs, training)
        return keras.tree.map_structure(lambda *each: ops.stack(each, axis=1), *outputs)


def member_samples(ensemble, x, batch_size, verbose, steps):
    """Samples of shape (members, rows, …), in the structure of the outputs.

    Args:
        ensemble: A `keras_deeptricks.models.Ensemble`.
        x: What `keras.Model.predict` takes.
        batch_size, verbose, steps: As in `predict`.
    """
    if hasattr(x, "__next__") and steps is None:
        # Of a generator that ends, `predict` would complain that it ends.
        return _in_chunks(ensemble, x, None, None, batch_size, verbose, steps)[0]
    stacked = StackedMembers(ensemble)
    return _members_first(stacked.predict(x, batch_size=batch_size, verbose=verbose, steps=steps))


def member_samples_and_targets(ensemble, x, y, sample_weight, batch_size, verbose, steps):
    """The samples, the targets and the weights (or None) of one pass over the data.

    Raises:
        ValueError: There are no targets, or the numbers of rows differ.
    """
    samples, targets, weights = _in_chunks(
        ensemble, x, y, sample_weight, batch_size, verbose, steps
    )
    if targets is None:
        raise ValueError(
            "`y` is missing: an evaluation compares predictions with targets. Pass `y`, or a data "
            "set that yields (inputs, targets)."
        )
    return samples, targets, weights


def _in_chunks(ensemble, x, y, sample_weight, batch_size, verbose, steps):
    stacked = StackedMembers(ensemble)
    bar = keras.utils.Progbar(None, verbose=1 if verbose == "auto" else verbose)
    parts = []
    for first, inputs, targets, weights in row_chunks(
        x, _CHUNK_ROWS, y, sample_weight, batch_size, steps
    ):
        predicted = stacked.predict(inputs, batch_size=batch_size, verbose=0)
        parts.append((predicted, targets, weights))
        bar.update(first + len(keras.tree.flatten(predicted)[0]))
    samples, targets, weights = (
        None if column[0] is None else _joined(column) for column in zip(*parts, strict=True)
    )
    return _members_first(samples), targets, weights


def told_task(ensemble, samples, task):
    """The task of each output, from what the members and the ensemble tell of themselves."""
    activation = ensemble.activation
    outputs = keras.tree.map_structure(lambda array: array[0], samples)
    found = prediction_task(ensemble.members[0], outputs, task, activation)
    if task != "auto" or not ensemble.compiled:
        return found
    # A member loaded from a file has no loss, the ensemble has one but no last layer.
    own = prediction_task(ensemble, outputs, task, activation)
    return keras.tree.map_structure(lambda a, b: b if a == "regression" else a, found, own)


def prediction_of(samples, task, tau=None, **options):
    """The `MonteCarloPrediction` of samples; one `tau` goes for every regression among outputs."""
    several = not isinstance(task, str)
    if several and isinstance(tau, (int, float)) and "regression" in keras.tree.flatten(task):
        tau = keras.tree.map_structure(lambda t: tau if t == "regression" else None, task)
    return MonteCarloPrediction.from_samples(samples, task, tau=tau, **options)


def evaluation_of(samples, task, y, sample_weight, tau, **options):
    """The `MonteCarloEvaluation` of samples; for several outputs one each, in their structure.

    Raises:
        ValueError: `y` has another structure than the outputs.
    """
    # With the samples kept, the density of a regression is that of their mixture.
    if isinstance(task, str):
        prediction = prediction_of(samples, task, tau, keep_samples=True)
        return evaluate_prediction(y, prediction, sample_weight=sample_weight, **options)
    keys = list(task) if isinstance(task, dict) else range(len(task))
    if isinstance(y, dict) != isinstance(task, dict) or len(y) != len(keys):
        raise ValueError(
            f"`y` must hold one array for each of the outputs, {list(keys)}, in their structure. "
            f"Received: y of type {type(y).__name__} with {len(y)} parts."
        )
    prediction = prediction_of(samples, task, tau, keep_samples=True)
    found = {
        key: evaluate_prediction(y[key], prediction[key], sample_weight=sample_weight, **options)
        for key in keys
    }
    return found if isinstance(task, dict) else list(found.values())


def _members_first(stacked):
    return keras.tree.map_structure(lambda array: np.moveaxis(array, 1, 0), stacked)


def _joined(parts):
    return keras.tree.map_structure(lambda *each: np.concatenate(each), *parts)
