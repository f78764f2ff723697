"""The picture of the activations' distributions."""

import math

import numpy as np

from keras_deeptricks.visualization.axes import new_figure

_BARS, _BAD = "tab:blue", "tab:red"
_COLUMNS = 6
# More panels could not be read.
_MOST_PANELS = 24


def plot_activation_statistics(statistics, ax=None):
    """Draws the histogram of each layer's activations, layer by layer.

    A healthy network has histograms of about one width; saturated layers pile up at their limits,
    vanishing signals become a needle at 0. Layers with the same activation have the same axis.

    Args:
        statistics: A `keras_deeptricks.diagnostics.ActivationStatistics`.
        ax: A list or array of Matplotlib `Axes`, one for each layer; or one `Axes`, on which mean
            and deviation are drawn against depth. By default a new figure with a histogram for each
            layer (of more than 24, for 24 of them at even distances).

    Returns:
        What was drawn on: an array of `Axes`, or one `Axes`.

    Raises:
        ValueError: `ax` holds another number of Axes than there are layers.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "tanh")])
    found = kdt.diagnostics.activation_statistics(model, np.ones((32, 8)))
    axes = kdt.visualization.plot_activation_statistics(found)
    ```

    Reference: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010, figure 6.
    """
    count = len(statistics.layers)
    if ax is not None and not isinstance(ax, (list, tuple, np.ndarray)):
        return _draw_profile(ax, statistics)
    if ax is None:
        shown = np.unique(np.linspace(0, count - 1, min(count, _MOST_PANELS)).round().astype(int))
        columns = min(len(shown), _COLUMNS)
        lines = math.ceil(len(shown) / columns)
        size = (2.2 * columns + 0.6, 2.3 * lines)
        ax = new_figure(lines, columns, figsize=size, squeeze=False)[1]
        for unused in ax.ravel()[len(shown) :]:
            unused.set_visible(False)
    else:
        shown = range(count)
        if np.size(ax) != count:
            raise ValueError(
                f"`ax` must hold one Axes for each of the {count} layers. Received: {np.size(ax)}."
            )
    for panel, index in zip(np.ravel(ax), shown, strict=False):
        _draw_histogram(panel, statistics, index)
    return ax


def _draw_histogram(ax, statistics, index):
    counts, edges = statistics.counts[index], statistics.edges[index]
    shares = counts / max(counts.sum(), 1)
    saturated, dead = statistics.saturated_share[index], statistics.dead_share[index]
    is_bad = saturated > 0.5 or dead > 0.5 or statistics.nan_share[index] > 0
    color = _BAD if is_bad else _BARS
    # With an edge, a needle on the common axis can be seen.
    shape = {"align": "edge", "color": color, "edgecolor": color, "linewidth": 0.8}
    ax.bar(edges[:-1], shares, np.diff(edges), **shape)
    ax.set_xlim(*_limits(statistics, index))
    ax.set_title(f"{_short(statistics.layers[index])} ({statistics.activations[index]})", size=8)
    words = [f"std {statistics.std[index]:.2g}"]
    if saturated > 0.005:
        words.append(f"{saturated:.0%} saturated")
    if dead > 0.005:
        words.append(f"{dead:.0%} dead")
    if statistics.nan_share[index] > 0:
        words.append(f"{statistics.nan_share[index]:.0%} not finite")
    ax.set_xlabel("\n".join([words[0], ", ".join(words[1:])]), size=8)
    ax.set_yticks([])
    ax.tick_params(labelsize=7)
    ax.locator_params(axis="x", nbins=4)


def _limits(statistics, index):
    """One range for all layers with one activation, for their widths to be seen."""
    alike = [name == statistics.activations[index] for name in statistics.activations]
    low, high = statistics.edges[alike].min(), statistics.edges[alike].max()
    margin = 0.03 * (high - low)
    return low - margin, high + margin


def _draw_profile(ax, statistics):
    at = np.arange(1, len(statistics.layers) + 1)
    ax.plot(at, statistics.std, ".-", color=_BARS, label="standard deviation")
    ax.plot(at, np.abs(statistics.mean), ".:", color="0.5", label="|mean|")
    positive = [v for v in (*statistics.std, *np.abs(statistics.mean)) if v > 0 and np.isfinite(v)]
    if positive:
        ax.set_yscale("log")
    if len(at) <= _MOST_PANELS:
        ax.set_xticks(at, [_short(name) for name in statistics.layers], rotation=90, size=7)
    ax.set_xlabel("layer")
    ax.set_ylabel("activations")
    ax.legend(fontsize="small")
    return ax


def _short(name):
    return name if len(name) <= 20 else f"…{name[-19:]}"
