"""The picture of a model that learns one batch by heart, or does not."""

import math

import numpy as np

from keras_deeptricks.visualization.axes import new_axes

_OWN, _OTHERS = "tab:blue", ("tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:pink")


def plot_batch_overfit(result, ax=None):
    """Draws the loss against the step, for each trial, down to the lowest loss there is.

    A loss is drawn as its distance from the lowest one on a logarithmic axis, where that is known.

    Args:
        result: A `keras_deeptricks.diagnostics.BatchOverfit`.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    losses = 2.3 * np.exp(-np.arange(100) / 20)
    result = kdt.diagnostics.BatchOverfit(
        reached=True,
        reason="It took 100 steps.",
        findings=[],
        losses=losses,
        scores=np.linspace(0.1, 1.0, 100),
        score_name="accuracy",
        final_loss=losses[-1],
        final_score=1.0,
        lowest_loss=0.0,
        guessing_loss=2.3,
        trials={"as it is": losses},
        rows=32,
        seconds=1.0,
    )
    kdt.visualization.plot_batch_overfit(result)
    ```
    """
    ax = new_axes() if ax is None else ax
    known = math.isfinite(result.lowest_loss)
    lowest = result.lowest_loss if known else 0.0
    guessing = result.guessing_loss - lowest
    curves = {name: np.asarray(values) - lowest for name, values in result.trials.items()}
    # Below a thousandth of guessing all is learned; a logarithm has no room for zero.
    floor = 1e-3 * guessing if known and guessing > 0 else 0.0
    for place, (name, values) in enumerate(curves.items()):
        own = place == 0
        values = np.where(np.isfinite(values), np.maximum(values, floor), np.nan)
        ax.plot(
            np.arange(1, len(values) + 1),
            values,
            ".-" if len(values) < 3 else "-",
            color=_OWN if own else _OTHERS[(place - 1) % len(_OTHERS)],
            linewidth=2 if own else 1,
            label=name,
        )
    if math.isfinite(guessing) and guessing > 0:
        ax.axhline(guessing, color="0.6", linestyle=":", label="guessing")
    if known and guessing > 0:
        ax.axhline(0.05 * guessing, color="0.3", linestyle="--", label="learned by heart")
        ax.set_yscale("log")
    ax.set_ylim(*_limits(curves, floor, guessing))
    ax.set_xlabel("step")
    plain = abs(lowest) <= 1e-3 * abs(guessing) if known else True
    ax.set_ylabel("loss" if plain else f"loss − {lowest:.3g} (the lowest possible)")
    ax.set_title(
        f"One batch of {result.rows} rows: {'learned' if result.reached else 'NOT learned'}"
    )
    if ax.lines:
        ax.legend(fontsize="small")
    return ax


def _limits(curves, floor, guessing):
    """From the floor to little above guessing and the first losses, whatever explodes."""
    first = [values[0] for values in curves.values() if len(values) and np.isfinite(values[0])]
    tops = [value for value in (*first, guessing) if math.isfinite(value) and value > 0]
    if not tops:
        return None, None
    return (floor or None), 3.0 * max(tops)
