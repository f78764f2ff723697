"""The pictures of a diagnosis."""

import math

import numpy as np

from keras_deeptricks.visualization.axes import new_figure

_GIVEN, _OTHER, _START = "tab:red", "tab:blue", "0.5"
# More layers than these are numbered instead of named.
_MOST_NAMES = 14


def plot_diagnosis(diagnosis, ax=None):
    """Draws what was measured: short runs at several rates, signals and gradients by layer, curves.

    Args:
        diagnosis: A `keras_deeptricks.diagnostics.Diagnosis`.
        ax: Matplotlib `Axes` for the first panel alone; by default a new figure with all.

    Returns:
        The `Axes` drawn on; a list of them for a whole figure.

    Raises:
        ValueError: Nothing was measured that could be drawn.

    Example:

    ```python
    import keras_deeptricks as kdt

    history = {"loss": [2.3, 1.1, 0.6, 0.4, 0.3], "val_loss": [2.2, 1.2, 0.8, 0.7, 0.7]}
    diagnosis = kdt.diagnostics.diagnose_history(history)
    (ax,) = kdt.visualization.plot_diagnosis(diagnosis)
    ```
    """
    panels = diagnosis_panels(diagnosis)
    if not panels:
        raise ValueError("Nothing was measured that could be drawn; print the diagnosis instead.")
    if ax is not None:
        panels[0](ax)
        return ax
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes = new_figure(rows, columns, figsize=(5.5 * columns, 3.8 * rows), squeeze=False)
    axes = list(axes.ravel())
    for panel, place in zip(panels, axes, strict=False):
        panel(place)
    for place in axes[len(panels) :]:
        place.set_axis_off()
    figure.suptitle(diagnosis.title)
    return axes[: len(panels)]


def diagnosis_panels(diagnosis):
    """The panels that can be drawn: functions of the `Axes` to draw on, the most telling first."""
    facts = diagnosis.facts
    panels = []
    curves = {name[6:]: values for name, values in facts.items() if name.startswith("curve/")}
    if curves:
        panels.append(lambda ax: _curves(ax, curves))
    if len(facts.get("trial_losses", ())):
        panels.append(lambda ax: _trials(ax, facts))
    if np.isfinite(facts.get("trial_rates", np.array([np.nan]))).sum() > 1:
        panels.append(lambda ax: _ends(ax, facts))
    if len(facts.get("range_test_rates", ())):
        panels.append(lambda ax: _range_test(ax, facts))
    if len(facts.get("signal_layers", ())):
        panels.append(lambda ax: _signals(ax, facts))
    if len(facts.get("gradient_layers", ())):
        panels.append(lambda ax: _gradients(ax, facts))
    return panels


def _trials(ax, facts):
    given = facts.get("learning_rate")
    start = facts["trial_start_loss"]
    highest = start
    for rate, losses in zip(facts["trial_rates"], facts["trial_losses"], strict=True):
        own = given is None or not np.isfinite(rate) or np.isclose(rate, given)
        finite = losses[np.isfinite(losses)]
        if not len(finite):
            continue
        label = f"{rate:.1e}" if np.isfinite(rate) else "own rates"
        smooth = _smoothed(finite)
        highest = max(highest, *smooth) if own else highest
        ax.plot(
            smooth,
            color=_GIVEN if own else None,
            linewidth=2.2 if own else 1,
            alpha=1 if own else 0.75,
            zorder=3 if own else 2,
            label=label + (" (given)" if own else ""),
        )
    ax.axhline(start, color=_START, linestyle=":", label="before training")
    _limit(ax, start, highest)
    ax.set(title="Short runs at several rates", xlabel="step", ylabel="loss, smoothed")
    ax.legend(fontsize=8)


def _ends(ax, facts):
    rates, ends = facts["trial_rates"], facts["trial_end_losses"]
    start = facts["trial_start_loss"]
    good = np.isfinite(ends)
    ax.semilogx(rates[good], ends[good], "o-", color=_OTHER, label="after the run")
    if (~good).any():
        ax.plot(rates[~good], [start] * int((~good).sum()), "x", color="black", label="not finite")
    ax.axvline(facts["learning_rate"], color=_GIVEN, label="given rate")
    ax.axhline(start, color=_START, linestyle=":", label="before training")
    near = ends[good & (ends < 3 * abs(start) + 1e-12)]
    _limit(ax, start, max(near, default=start))
    ax.set(title="Loss at the end against the rate", xlabel="learning rate", ylabel="loss")
    ax.legend(fontsize=8)


def _range_test(ax, facts):
    rates, losses = facts["range_test_rates"], facts["range_test_losses"]
    ax.semilogx(rates, losses, color=_OTHER)
    ax.axvline(facts["learning_rate"], color=_GIVEN, label="given rate")
    ax.axvline(facts["suggested_learning_rate"], color="tab:green", label="suggested rate")
    _limit(ax, losses[0], losses.max())
    ax.set(title="Range test", xlabel="learning rate", ylabel="loss, smoothed")
    ax.legend(fontsize=8)


def _signals(ax, facts):
    places = np.arange(len(facts["signal_layers"]))
    values = np.maximum(facts["signal_deviations"], 1e-12)
    ax.semilogy(places, values, "o-", color=_OTHER)
    ax.axhline(1, color=_START, linestyle=":")
    ax.set(title="Signal before training", ylabel="deviation over the rows")
    _names(ax, facts["signal_layers"])


def _gradients(ax, facts):
    places = np.arange(len(facts["gradient_layers"]))
    values = np.maximum(facts["relative_gradients"], 1e-12)
    ax.bar(places, values, color=_OTHER)
    ax.set_yscale("log")
    ax.set(title="First gradient relative to the weights", ylabel="‖gradient‖ / ‖weights‖")
    _names(ax, facts["gradient_layers"])


def _curves(ax, curves):
    for name, values in curves.items():
        epochs = np.arange(1, len(values) + 1)
        ax.plot(epochs, values, ".-", label=name)
    ax.set(title="Training curves", xlabel="epoch")
    ax.legend(fontsize=8)


def _names(ax, names):
    if len(names) > _MOST_NAMES:
        ax.set_xlabel("layer")
        return
    ax.set_xticks(np.arange(len(names)), names, rotation=45, ha="right", fontsize=8)


def _limit(ax, start, highest):
    # One run that explodes would flatten the others.
    if highest > 3 * abs(start) > 0:
        ax.set_ylim(top=3 * abs(start))


def _smoothed(values, width=5):
    width = min(width, len(values))
    summed = np.convolve(values, np.ones(width), mode="valid")
    return np.concatenate([values[: width - 1], summed / width])
