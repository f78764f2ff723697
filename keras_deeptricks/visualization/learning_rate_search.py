"""The picture of a learning-rate range test."""

from keras_deeptricks.visualization.axes import new_axes

_COLORS = {
    "valley": "tab:red",
    "steepest": "tab:orange",
    "minimum_over_ten": "tab:green",
    "sliding_slope": "tab:purple",
}


def plot_learning_rate_search(search, ax=None):
    """Draws loss against rate on a logarithmic axis, with the suggested rates.

    Args:
        search: A `keras_deeptricks.diagnostics.LearningRateSearch`.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    rates = np.geomspace(1e-5, 1.0, 50)
    losses = 2.0 - np.tanh(np.log10(rates) + 3) + 10 * rates
    search = kdt.diagnostics.LearningRateSearch(
        rates, losses, losses, {"valley": 1e-2}, "valley", "completed"
    )
    kdt.visualization.plot_learning_rate_search(search)
    ```
    """
    ax = new_axes() if ax is None else ax
    ax.plot(search.learning_rates, search.losses, ".", color="0.75", label="loss of a batch")
    ax.plot(search.learning_rates, search.smoothed_losses, color="tab:blue", label="smoothed")
    for name, rate in search.suggestions.items():
        chosen = name == search.method
        ax.axvline(
            rate,
            color=_COLORS.get(name, "0.5"),
            linewidth=2 if chosen else 1,
            linestyle="-" if chosen else ":",
            label=f"{name.replace('_', ' ')}: {rate:.2g}" + (" (chosen)" if chosen else ""),
        )
    ax.set_xscale("log")
    low, high = search.smoothed_losses.min(), search.smoothed_losses[0]
    margin = 0.6 * max(high - low, 0.05 * abs(high), 1e-12)
    ax.set_ylim(low - margin, high + margin)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    ax.set_title("Learning-rate range test")
    ax.legend(fontsize="small")
    return ax
