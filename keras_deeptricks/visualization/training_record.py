"""The picture of what a training monitor has seen."""

import numpy as np

from keras_deeptricks.visualization.axes import new_figure

_PANELS = (
    ("activation_std", "standard deviation of activations", True),
    ("gradient_norm", "norm of gradients", True),
    ("update_ratio", "update / weights per step", True),
    ("dead_share", "share of dead units", False),
    ("saturated_share", "share of saturated outputs", False),
)
# More names than these would fill the picture.
_MOST_NAMES = 12


def plot_training_record(record, ax=None):
    """Draws the loss, and for every statistic a curve for each layer, against the steps.

    The colors go from the first layer (dark) to the last (light).

    Args:
        record: A `keras_deeptricks.callbacks.TrainingRecord`.
        ax: Six Matplotlib `Axes`, for the loss, the deviation of the activations, the gradients,
            the updates, the dead and the saturated share; or one `Axes` for the updates alone. By
            default those of a new figure.

    Returns:
        What was drawn on: an array of `Axes`, or one `Axes`.

    Raises:
        ValueError: `ax` holds another number of Axes.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    one = np.array([[0.5, 0.4], [0.6, 0.5]])
    names = ["activation_mean", "activation_std", "dead_share", "saturated_share"]
    record = kdt.callbacks.TrainingRecord(
        steps=np.array([0, 50]),
        epochs=np.array([0, 0]),
        losses=np.array([2.3, 1.1]),
        layers=["hidden", "out"],
        series={name: one for name in [*names, "gradient_norm", "update_ratio"]},
        first_not_finite={},
    )
    axes = kdt.visualization.plot_training_record(record)
    ```

    Reference: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010, figures 2 and 3.
    """
    if ax is None:
        ax = new_figure(2, 3, figsize=(12.5, 6.4))[1]
    panels = np.ravel(ax)
    if len(panels) == 1:
        _draw(panels[0], record, *_PANELS[2])
        _legend(panels[0], record)
        return ax
    if len(panels) != 1 + len(_PANELS):
        raise ValueError(f"`ax` must be one or six Axes. Received: {len(panels)} of them.")
    panels[0].plot(record.steps, record.losses, ".-", color="0.3")
    panels[0].set_ylabel("loss of the probe batch")
    panels[0].set_xlabel("step")
    for panel, (name, label, is_log) in zip(panels[1:], _PANELS, strict=True):
        _draw(panel, record, name, label, is_log)
    _legend(panels[2], record, loc="center left", bbox_to_anchor=(1.01, 0.5))
    if record.first_not_finite:
        place = record.first_not_finite
        for panel in panels:
            panel.axvline(place["step"], color="tab:red", linestyle="--")
        at = f" of {place['layer']}" if place["layer"] else ""
        panels[0].set_title(f"not finite first: {place['what']}{at}", size=9, color="tab:red")
    return ax


def _draw(ax, record, name, label, is_log):
    import matplotlib

    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(record.layers), 1)))
    drawn = False
    for layer, color in zip(record.layers, colors, strict=True):
        values = record.of(layer, name)
        values = np.where(np.isfinite(values) & ((values > 0) | (not is_log)), values, np.nan)
        if np.isfinite(values).any():
            ax.plot(record.steps, values, ".-", color=color, label=layer, linewidth=1)
            drawn = True
    if drawn and is_log:
        ax.set_yscale("log")
    if not is_log:
        ax.set_ylim(-0.03, 1.03)
    if not drawn:
        ax.text(0.5, 0.5, "no layer has any", transform=ax.transAxes, ha="center", color="0.5")
    ax.set_xlabel("step")
    ax.set_ylabel(label)


def _legend(ax, record, **place):
    if len(ax.lines) and len(record.layers) <= _MOST_NAMES:
        ax.legend(fontsize="x-small", **place)
