"""The case under examination: what detectors look at, measured once, when first asked for."""

import functools
import math

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.codes import SEVERITIES
from keras_deeptricks.diagnostics.doctor.outputs import outputs_of, targets_of
from keras_deeptricks.diagnostics.doctor.rate_trials import rate_trials
from keras_deeptricks.diagnostics.doctor.run_look import look
from keras_deeptricks.diagnostics.doctor.short_runs import ShortRuns
from keras_deeptricks.diagnostics.doctor.structure import structure_of
from keras_deeptricks.utils.backend import random_order_preserved
from keras_deeptricks.utils.layer_probe import observed_gradients, observed_layers
from keras_deeptricks.utils.one_batch import as_tensors

# Rows that go through the model at once for its predictions and activations; fewer of large rows.
_PROBE_ROWS, _PROBE_ENTRIES = 256, 2_000_000
# The share of the rows that short runs do not train on.
_HELD_OUT = 0.2
# The one longer run: steps, and seconds by the level.
LONG_RUN_STEPS = 400
_LONG_RUN_SECONDS = {"quick": 5.0, "full": 30.0}


class Case:
    """A model and its data, and what was measured of them.

    Args:
        model: A compiled model.
        sample: The `Sample` of the training data.
        validation: The `Sample` of the validation data, or None.
        level: `"quick"` or `"full"`.
        rng: A NumPy `Generator`.
        class_weight: As for `model.fit`, or None.

    Attributes:
        finite: The rows of the sample without NaN and infinities.
        facts: What is worth drawing: arrays and numbers by name.
        findings: What was found so far.
        zero_layers: Hidden layers that start with zeros and may be meant to.
    """

    def __init__(self, model, sample, validation, level, rng, class_weight=None):
        self.model, self.sample, self.validation = model, sample, validation
        self.level, self.rng, self.class_weight = level, rng, class_weight
        self.finite = sample.take(_finite_rows(sample))
        self.facts = {}
        self.findings = []
        self.zero_layers = []

    @functools.cached_property
    def probe_rows(self):
        """Whole numbers: the rows of `finite` that go through the model."""
        entries = sum(int(np.prod(leaf.shape[1:])) for leaf in self.finite.inputs)
        count = int(np.clip(_PROBE_ENTRIES // max(1, entries), 16, _PROBE_ROWS))
        rows = self.finite.rows
        return np.sort(self.rng.permutation(rows)[: min(count, rows)])

    @functools.cached_property
    def probe(self):
        """The `Sample` of these rows."""
        return self.finite.take(self.probe_rows)

    @functools.cached_property
    def structure(self):
        """The `Structure` of the model."""
        return structure_of(self.model, self.finite.take(slice(0, 2)).x)

    @functools.cached_property
    def calls(self):
        """The `ObservedCall` of every layer at inference."""
        return observed_layers(self.model, self.probe.x, training=False)

    @functools.cached_property
    def prediction(self):
        """What the model predicts for the probe rows, in its structure."""
        return self.predict(self.probe.x)

    @functools.cached_property
    def outputs(self):
        """The list of `Output`."""
        return outputs_of(
            self.model, self.structure, self.prediction, self.finite.y, self.probe_rows
        )

    @functools.cached_property
    def training_outputs(self):
        """Predictions for the probe rows as in training, by the name of the output."""
        leaves = keras.tree.flatten(self.predict(self.probe.x, training=True))
        return dict(zip([output.name for output in self.outputs], leaves, strict=True))

    @functools.cached_property
    def gradients(self):
        """The loss of the probe rows in training, and (variable, gradient) pairs."""
        rows = slice(0, max(2, min(self.probe.rows, 128)))
        part = self.probe.take(rows)
        return observed_gradients(self.model, part.x, part.y, part.sample_weight, training=True)

    @property
    def trains_itself(self):
        """True if the model computes its training step in its own way."""
        kind = type(self.model)
        return any(
            getattr(kind, name, None) is not getattr(keras.Model, name, None)
            for name in ("train_step", "compute_loss")
        )

    @functools.cached_property
    def split(self):
        """(training rows, held-out rows) of `finite`, at random."""
        order = self.rng.permutation(self.finite.rows)
        held = math.floor(len(order) * _HELD_OUT) if len(order) >= 40 else 0
        return order[held:], order[:held]

    @functools.cached_property
    def trials(self):
        """The `RateTrials`: short runs at the given rate and around it."""
        return rate_trials(self)

    @functools.cached_property
    def long_run(self):
        """A run of up to `LONG_RUN_STEPS` at the rate that learned most in the trials."""
        rate = self.trials.runs[self.trials.best].rate
        with self.short_runs() as runner:
            return runner.run(rate, LONG_RUN_STEPS, self.look, _LONG_RUN_SECONDS[self.level])

    def look(self):
        """The `RunLook` of the model as it is now."""
        return look(self)

    def target_of(self, output, part):
        """The targets of an output in a sample, or None."""
        names = [one.name for one in self.outputs]
        return targets_of(part.y, self.prediction, names)[names.index(output.name)]

    def short_runs(self):
        """`ShortRuns` on the training part of the rows."""
        return ShortRuns(self.model, self.finite.take(self.split[0]), self.rng, self.class_weight)

    def has(self, *codes, severity="warning"):
        """Whether one of the codes was found, at least as severe as said."""
        rank = SEVERITIES.index(severity)
        return any(
            finding.code in codes and SEVERITIES.index(finding.severity) <= rank
            for finding in self.findings
        )

    def predict(self, x, training=False):
        """Predictions as NumPy arrays, in the structure of the outputs, changing nothing."""
        with random_order_preserved(), keras.StatelessScope():
            outputs = self.model(_as_tensors(x), training=training)
        return keras.tree.map_structure(
            lambda leaf: np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(leaf, "float32"))),
            outputs,
        )

    def layer_names(self, layers):
        """Names of layers, quoted and shortened."""
        names = list(dict.fromkeys(f"'{layer.name}'" for layer in layers))
        if len(names) > 4:
            names = [*names[:3], f"{len(names) - 3} others"]
        return ", ".join(names)


def _as_tensors(x):
    return keras.tree.map_structure(
        lambda leaf: leaf if leaf.dtype.kind in "US" else as_tensors(leaf), x
    )


def _finite_rows(sample):
    """Whole numbers: the rows whose inputs and targets are all finite."""
    fine = np.ones(sample.rows, bool)
    for leaf in (*sample.inputs, *sample.targets):
        if leaf.dtype.kind == "f":
            fine &= np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1)
    return np.flatnonzero(fine)
