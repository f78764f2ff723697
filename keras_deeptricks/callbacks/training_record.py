"""What a `TrainingMonitor` has seen."""

import dataclasses

import numpy as np

from keras_deeptricks.utils.results import Result

STATISTICS = (
    "activation_mean",
    "activation_std",
    "dead_share",
    "saturated_share",
    "gradient_norm",
    "update_ratio",
)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingRecord(Result):
    """Statistics of L layers at n steps of a training.

    Attributes:
        steps: The 0-based counts of the batches after which they were taken, int array (n,).
        epochs: The epoch of each, int array (n,).
        losses: The loss of the probe batch at each, float array (n,).
        layers: Names of the layers, in the order of computation.
        series: Dictionary of float arrays (n, L), NaN where a layer has no such value:
            `"activation_mean"` and `"activation_std"` of its outputs; `"dead_share"`, the share of
            its units that are zero for all rows; `"saturated_share"`, the share of its outputs
            where its activation is flat; `"gradient_norm"` of its trainable variables;
            `"update_ratio"`, the norm of their change in a step by their norm.
        first_not_finite: The first place where something was NaN or infinite: a dictionary of
            `"step"`, `"layer"` and `"what"` (`"activations"`, `"gradients"`, `"weights"` or
            `"loss"`); empty if all was finite.
    """

    steps: np.ndarray
    epochs: np.ndarray
    losses: np.ndarray
    layers: list
    series: dict
    first_not_finite: dict

    plot_function = "plot_training_record"

    def of(self, layer, statistic):
        """The values of one statistic of one layer, a float array (n,).

        Raises:
            KeyError: there is no such layer or statistic.
        """
        if layer not in self.layers:
            raise KeyError(f"No layer '{layer}'. The layers are: {', '.join(self.layers)}.")
        if statistic not in self.series:
            raise KeyError(f"No '{statistic}'. There is: {', '.join(self.series)}.")
        return self.series[statistic][:, self.layers.index(layer)]

    def __str__(self):
        if not len(self.steps):
            return "nothing recorded"
        width = max(map(len, [*self.layers, "layer"]))
        lines = [
            f"{len(self.steps)} records, the last after step {self.steps[-1]} "
            f"(loss {self.losses[-1]:.4g}):",
            f"{'layer':{width}}  mean       std        dead   saturated  gradient   update ratio",
        ]
        for i, name in enumerate(self.layers):
            mean, std, dead, saturated, gradient, update = (
                self.series[statistic][-1, i] for statistic in STATISTICS
            )
            lines.append(
                f"{name:{width}}  {_number(mean)}  {_number(std)}  {_share(dead, 5)}  "
                f"{_share(saturated, 9)}  {_number(gradient)}  {_number(update)}".rstrip()
            )
        if self.first_not_finite:
            place = self.first_not_finite
            at = f" of {place['layer']}" if place["layer"] else ""
            lines.append(f"not finite first: {place['what']}{at} after step {place['step']}")
        return "\n".join(lines)


def _number(value):
    return f"{'–' if np.isnan(value) else f'{value:.3g}':9}"


def _share(value, width):
    return f"{'–' if np.isnan(value) else f'{value:.1%}':{width}}"
