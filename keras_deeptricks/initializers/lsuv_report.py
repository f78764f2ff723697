"""What layer-sequential unit variance did to each layer."""

import dataclasses

import numpy as np

from keras_deeptricks.utils.results import Result


@dataclasses.dataclass(frozen=True, eq=False)
class LSUVReport(Result):
    """What `lsuv` did to each layer, in the order of computation.

    Attributes:
        layers: The paths of the layers.
        variance_before: Variance of each layer's output, before its activation, with the weights
            that the model had, of shape (layers,).
        variance_after: The same with the weights that it has now.
        scale: The factor on each kernel: on the orthonormal one, or on the old one with
            `orthogonal=False`.
        iterations: How many times each kernel was scaled.
        converged: Whether `variance_after` lies within `tolerance` of 1.
        reasons: Why a layer did not converge, `""` where it did.
        tolerance: The tolerance.
    """

    layers: list
    variance_before: np.ndarray
    variance_after: np.ndarray
    scale: np.ndarray
    iterations: np.ndarray
    converged: np.ndarray
    reasons: list
    tolerance: float

    def __str__(self):
        width = max([5, *map(len, self.layers)])
        lines = [f"{'layer':{width}}  variance before     after     scale  iterations"]
        for place, name in enumerate(self.layers):
            lines.append(
                f"{name:{width}}  {self.variance_before[place]:15.3g} "
                f"{self.variance_after[place]:9.3g} {self.scale[place]:9.3g}  "
                f"{self.iterations[place]:10d}  {self.reasons[place]}".rstrip()
            )
        return "\n".join(lines)


def report_of(run, before):
    """The report of an `LSUVRun`, with the variances before it."""
    converged = [abs(variance - 1) <= run.tolerance for variance in run.after]
    reasons = [
        "" if good else layer.reason or f"a variance of {variance:.3g}"
        for layer, variance, good in zip(run.order, run.after, converged, strict=True)
    ]
    return LSUVReport(
        layers=[layer.layer.path for layer in run.order],
        variance_before=np.array(before),
        variance_after=np.array(run.after),
        scale=np.array([layer.scale for layer in run.order]),
        iterations=np.array([layer.iterations for layer in run.order]),
        converged=np.array(converged),
        reasons=reasons,
        tolerance=run.tolerance,
    )
