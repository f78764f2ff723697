"""Scores of a model with some residual branches switched off, without compiling it again."""

import keras
from keras import ops

from keras_deeptricks.diagnostics.gated_branches import gate_branches


class GatedScores:
    """Scores of a model by the set of its deleted blocks, from one compiled gated model.

    Args:
        model, blocks: As for `gate_branches`.
        metric: As for `keras_deeptricks.diagnostics.lesion_study`.
        data: Arguments of `evaluate`.

    Attributes:
        name: Name of the score; None until one was taken, if it is left to the model.
        known: Scores by the set of the places of deleted blocks.
    """

    def __init__(self, model, blocks, metric, data):
        self.network, self.gates = gate_branches(model, blocks)
        self.data, self.known = data, {}
        self.name = metric if isinstance(metric, str) else None
        _compile(self.network, model, metric)

    def take(self, sets, verbose):
        """Scores the model without each of `sets`, where that is not known yet."""
        sets = [one for one in dict.fromkeys(sets) if one not in self.known]
        bar = keras.utils.Progbar(len(sets), verbose=verbose, unit_name="score")
        for deleted in sets:
            for place, gate in enumerate(self.gates):
                gate.open.assign(0.0 if place in deleted else 1.0)
            logs = self.network.evaluate(**self.data, verbose=0, return_dict=True)
            self.known[deleted] = float(logs[self._metric_in(logs)])
            bar.add(1)

    def _metric_in(self, logs):
        if self.name is None:
            # The logs themselves are in alphabetical order.
            results = [(metric.name, metric.result()) for metric in self.network.metrics]
            names = [
                inner
                for name, result in results
                for inner in (result if isinstance(result, dict) else [name])
            ]
            self.name = next((name for name in names if not name.endswith("loss")), "loss")
        if self.name not in logs:
            known = ", ".join(repr(name) for name in logs)
            raise ValueError(
                f"`metric` must be one that the model is compiled with: {known}. "
                f"Received: metric={self.name!r}."
            )
        return self.name


def _compile(network, model, metric):
    """Compiles the gated model with losses and metrics of its own, as the given one has them."""
    if metric is None or isinstance(metric, str):
        if not model.compiled:
            raise ValueError(
                "`metric` must be a keras.metrics.Metric or a function of targets and "
                f"predictions, for '{model.name}' is not compiled. Received: metric={metric!r}."
            )
        _check_plain(model)
        network.compile(**_compile_options(model))
        return
    if not isinstance(metric, keras.metrics.Metric) and not callable(metric):
        raise TypeError(
            "`metric` must be the name of a metric that the model is compiled with, a "
            f"keras.metrics.Metric or a function. Received: metric={metric!r}."
        )
    if isinstance(metric, keras.metrics.Metric):
        # A new one: the given one keeps its state.
        metric = type(metric).from_config(metric.get_config())
    network.compile(loss=_no_loss, metrics=[metric])


def _check_plain(model):
    for name in ("test_step", "compute_loss", "compute_metrics"):
        if getattr(type(model), name) is not getattr(keras.Model, name):
            raise ValueError(
                "`metric` must be a keras.metrics.Metric or a function of targets and predictions, "
                f"for '{model.name}' scores itself by its own `{name}`, which a graph made of its "
                "layers does not have."
            )


def _compile_options(model):
    config = {**model.get_compile_config(), "optimizer": "sgd", "loss": None}
    try:
        options = keras.saving.deserialize_keras_object(config)
    except Exception as error:
        raise ValueError(
            f"The metrics of '{model.name}' cannot be copied: {error} Pass the one that counts as "
            "`metric`, a keras.metrics.Metric or a function of targets and predictions."
        ) from error
    return {**options, "loss": model.loss}


def _no_loss(targets, predictions):
    return 0.0 * ops.sum(ops.reshape(predictions, (ops.shape(predictions)[0], -1)), axis=-1)
