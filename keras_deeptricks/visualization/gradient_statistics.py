"""The picture of the gradients of all layers."""

import numpy as np

from keras_deeptricks.visualization.axes import new_axes

_GRADIENT, _RATIO = "tab:blue", "tab:orange"
# More names than these would overlap.
_MOST_NAMES = 40


def plot_gradient_statistics(statistics, ax=None):
    """Draws the size of the gradients layer by layer, from the first to the last.

    On the logarithmic axis gradients that vanish or explode on their way back are a slope; a
    healthy network has a level line.

    Args:
        statistics: A `keras_deeptricks.diagnostics.GradientStatistics`.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes` drawn on.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    found = kdt.diagnostics.gradient_statistics(model, np.ones((4, 8)), np.zeros((4, 1)))
    ax = kdt.visualization.plot_gradient_statistics(found)
    ```

    Reference: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010, figure 7.
    """
    ax = new_axes() if ax is None else ax
    at = np.arange(1, len(statistics.layers) + 1)
    ax.plot(at, _drawable(statistics.layer_rms), "o-", color=_GRADIENT, label="RMS of the gradient")
    ratio = _drawable(statistics.layer_ratio)
    ax.plot(at, ratio, ".:", color=_RATIO, label="norm of gradient / norm of weights")
    missing = at[~np.isfinite(_drawable(statistics.layer_rms))]
    for place in missing:
        ax.axvline(place, color="tab:red", linewidth=1, linestyle="--")
    if len(missing) < len(at):
        ax.set_yscale("log")
    if len(missing):
        ax.plot([], [], "--", color="tab:red", label="zero or not finite")
    ax.set_xlim(0.5, len(at) + 0.5)
    if len(at) <= _MOST_NAMES:
        ax.set_xticks(at, statistics.layers, rotation=90, fontsize="x-small")
    ax.set_xlabel("layer, from the first to the last")
    ax.set_title(f"Gradients (first to last {statistics.first_to_last:.2g})")
    ax.legend(fontsize="small")
    return ax


def _drawable(values):
    """With NaN for what a logarithmic axis has no place for."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)
