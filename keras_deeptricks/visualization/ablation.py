"""The picture of an ablation."""

import numpy as np

from keras_deeptricks.visualization.axes import new_figure

_COLOURS = {"helps": "tab:blue", "hurts": "tab:red"}
_NOTHING = "0.45"
_TITLES = {
    "removed": "Removed from the full configuration",
    "added": "Added to the plain baseline",
}


def plot_ablation(ablation, ax=None):
    """Draws the effect of each trick with its confidence interval, in two panels.

    A filled blue dot helps and a red one hurts, a hollow one may (the interval excludes zero, but
    not after Holm's adjustment for all comparisons); grey shows no difference. The small marks are
    the single seeds. On both panels the effect is that of having the trick.

    Args:
        ablation: A `keras_deeptricks.diagnostics.Ablation`.
        ax: Two Matplotlib `Axes`, for tricks removed and tricks added. By default those of a new
            figure.

    Returns:
        An array of the two `Axes`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    ablation = kdt.diagnostics.Ablation(
        tricks=["batch norm", "dropout"],
        values={"batch norm": ["False", "True"], "dropout": ["0.0", "0.2"]},
        seeds=np.arange(3),
        full=np.array([0.95, 0.96, 0.95]),
        plain=np.array([0.90, 0.91, 0.90]),
        removed=np.array([[0.91, 0.93, 0.91], [0.95, 0.95, 0.96]]),
        added=np.array([[0.94, 0.94, 0.93], [0.90, 0.90, 0.89]]),
        failures=[],
        monitor="val_accuracy",
        epoch="kept",
        larger_is_better=True,
        confidence=0.95,
    )
    removed, added = kdt.visualization.plot_ablation(ablation)
    ```

    Reference: Cleveland & McGill, Graphical perception, 1984 (for dots on a common scale).
    """
    figure = None
    if ax is None:
        height = 1.9 + 0.34 * len(ablation.tricks)
        figure, ax = new_figure(1, 2, figsize=(11, max(2.8, height)), sharey=True)
    axes = np.ravel(ax)
    if len(axes) != 2:
        raise ValueError(f"`ax` must be two Axes. Received: {len(axes)} of them.")
    for panel, design, reference in zip(
        axes, ("removed", "added"), (ablation.full, ablation.plain), strict=True
    ):
        _draw(panel, ablation, design, reference)
    axes[0].set_yticks(np.arange(len(ablation.tricks)), ablation.tricks)
    # The first trick on top; shared axes are turned together.
    for panel in axes:
        panel.set_ylim(len(ablation.tricks) - 0.5, -0.5)
    if figure is not None:
        _explain(figure, axes[0], ablation.confidence)
    return axes


def _explain(figure, ax, confidence):
    """A legend of the marks below the panels."""
    looks = [
        ("helps", {"color": _COLOURS["helps"]}),
        ("hurts", {"color": _COLOURS["hurts"]}),
        ("may help or hurt", {"color": _COLOURS["helps"], "markerfacecolor": "white"}),
        ("no difference shown", {"color": _NOTHING, "markerfacecolor": "white"}),
    ]
    marks = [ax.plot([], [], "o-", label=label, **look)[0] for label, look in looks]
    marks += ax.plot([], [], "|", color=_NOTHING, label="single seeds")
    title = f"mean over seeds with its {100 * confidence:g} % interval"
    figure.legend(handles=marks, title=title, ncols=5, loc="outside lower center", fontsize="small")


def _draw(ax, ablation, design, reference):
    ax.axvline(0, color="0.7", linewidth=1, zorder=0)
    ax.grid(axis="y", color="0.93", zorder=0)
    ax.set_axisbelow(True)
    for place, effect in enumerate(ablation.effects[design].values()):
        colour = _NOTHING
        if effect.verdict.endswith(("help", "helps")):
            colour = _COLOURS["helps"]
        elif effect.verdict.endswith(("hurt", "hurts")):
            colour = _COLOURS["hurts"]
        seeds = {"color": colour, "alpha": 0.45, "markersize": 5, "zorder": 2}
        ax.plot(effect.values, np.full(len(effect.values), place + 0.22), "|", **seeds)
        if np.isfinite(effect.low):
            ax.plot([effect.low, effect.high], [place, place], color=colour, linewidth=2)
        face = colour if effect.verdict in _COLOURS else "white"
        marker = {"markerfacecolor": face, "markeredgecolor": colour, "zorder": 3}
        ax.plot([effect.mean], [place], "o", **marker)
        if effect.failed:
            at = effect.mean if np.isfinite(effect.mean) else 0
            words = f"{effect.failed} of {len(effect.values)} pairs failed"
            ax.annotate(
                words,
                (at, place),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize="x-small",
                color=_COLOURS["hurts"],
            )
    done = reference[np.isfinite(reference)]
    name = "full" if design == "removed" else "plain"
    mean = f"{done.mean():.4g}" if len(done) else "all runs failed"
    ax.set_title(f"{_TITLES[design]} ({name}: {mean})", fontsize="medium")
    arrow = "better →" if ablation.larger_is_better else "← better"
    ax.set_xlabel(f"{ablation.monitor} with the trick − without it   ({arrow})")
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=6)
