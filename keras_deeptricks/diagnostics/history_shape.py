"""The shape of a training curve in a few robust numbers, as pure functions of arrays.

A curve is a loss, one value per epoch, that ought to fall. The features rest on medians, so that
a single bad epoch changes little.
"""

import dataclasses

import numpy as np

# A normal distribution's deviation is this times its median absolute deviation.
_DEVIATION_PER_MEDIAN = 1.4826
# Pairs of all points are taken up to here; longer curves are thinned out first.
_MOST_POINTS = 400
# The end of a curve: this share of its epochs, and at least so many.
_LATE_SHARE, _FEWEST_LATE = 0.2, 2


@dataclasses.dataclass(frozen=True)
class CurveShape:
    """What a curve looks like; epochs count from 0.

    Attributes:
        epochs: Number of epochs before the first value that is not finite.
        first, last: The first and the last of these values.
        best, best_epoch: The lowest value of the curve smoothed by running medians of three.
        late_level: Median of the last fifth of the epochs.
        descent: `first − best`.
        rise: `late_level − best`, how far the curve is above its best at the end.
        noise: Standard deviation of the jumps from epoch to epoch around the trend.
        late_noise: The same over the second half.
        early_slope, late_slope: Theil-Sen slopes per epoch of the first and second half.
        falling_share: Share of the epochs that are lower than the one before.
        flat_since: The first epoch from which on the curve stays within its noise, or within 2 %
            of its range, of its level at the end.
    """

    epochs: int
    first: float
    last: float
    best: float
    best_epoch: int
    late_level: float
    descent: float
    rise: float
    noise: float
    late_noise: float
    early_slope: float
    late_slope: float
    falling_share: float
    flat_since: int


def finite_part(values):
    """The values before the first NaN or infinity, as float64."""
    values = np.asarray(values, "float64").ravel()
    bad = np.flatnonzero(~np.isfinite(values))
    return values[: bad[0]] if bad.size else values


def first_not_finite(values):
    """The epoch, from 0, of the first NaN or infinity, or None."""
    bad = np.flatnonzero(~np.isfinite(np.asarray(values, "float64").ravel()))
    return int(bad[0]) if bad.size else None


def theil_sen_slope(values):
    """The median of the slopes between all pairs of points; 0 for fewer than two."""
    values = np.asarray(values, "float64")
    if len(values) < 2:
        return 0.0
    at = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_POINTS)).astype(int))
    i, j = np.triu_indices(len(at), 1)
    return float(np.median((values[at[j]] - values[at[i]]) / (at[j] - at[i])))


def jump_noise(values):
    """The deviation of independent noise on a smooth curve, from its second differences.

    The distance of a point from the middle of its neighbours has √1.5 times the noise's deviation,
    whatever the slope.
    """
    values = np.asarray(values, "float64")
    if len(values) < 3:
        return 0.0
    bend = values[1:-1] - (values[:-2] + values[2:]) / 2
    return float(_DEVIATION_PER_MEDIAN * np.median(np.abs(bend)) / np.sqrt(1.5))


def running_median(values, width=3):
    """Medians of `width` (odd) neighbours; at the ends of those there are."""
    values = np.asarray(values, "float64")
    half = width // 2
    return np.array(
        [np.median(values[max(i - half, 0) : i + half + 1]) for i in range(len(values))]
    )


def late_count(epochs):
    """How many epochs count as the end of a curve."""
    return min(epochs, max(_FEWEST_LATE, round(_LATE_SHARE * epochs)))


def curve_shape(values):
    """The `CurveShape` of the finite part of a curve of at least one value.

    Args:
        values: Losses by epoch. A score that ought to rise is passed with the opposite sign.

    Raises:
        ValueError: not even the first value is finite.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.diagnostics.history_shape import curve_shape

    shape = curve_shape(np.exp(-np.arange(20) / 4))
    assert shape.best_epoch == 19 and shape.falling_share == 1.0
    ```

    Reference: Theil, A rank-invariant method of linear and polynomial regression analysis, 1950;
    Sen, Estimates of the regression coefficient based on Kendall's tau, 1968.
    """
    values = finite_part(values)
    if not len(values):
        raise ValueError("`values` must begin with a finite value.")
    epochs = len(values)
    smooth = running_median(values)
    smooth[0], smooth[-1] = values[0], min(values[-1], smooth[-1])
    best_epoch = int(np.argmin(smooth))
    late_level = float(np.median(values[-late_count(epochs) :]))
    # Halves that share the epoch in the middle.
    middle = epochs // 2
    late = values[middle:] if epochs - middle >= 5 else values
    noise = jump_noise(values)
    reach = max(3 * noise, 0.02 * float(np.ptp(values)))
    away = np.flatnonzero(np.abs(smooth - late_level) > reach)
    return CurveShape(
        epochs=epochs,
        first=float(values[0]),
        last=float(values[-1]),
        best=float(smooth[best_epoch]),
        best_epoch=best_epoch,
        late_level=late_level,
        descent=float(values[0] - smooth[best_epoch]),
        rise=late_level - float(smooth[best_epoch]),
        noise=noise,
        late_noise=jump_noise(late),
        early_slope=theil_sen_slope(values[: middle + 1]),
        late_slope=theil_sen_slope(values[middle:]),
        falling_share=float(np.mean(np.diff(values) < 0)) if epochs > 1 else 0.0,
        flat_since=int(away[-1]) + 1 if away.size else 0,
    )
