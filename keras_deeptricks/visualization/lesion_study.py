"""The pictures of a lesion study."""

import numpy as np

from keras_deeptricks.visualization.axes import new_figure

_DELETED, _WHOLE, _PROJECTED = "tab:blue", "0.35", "tab:red"
# More names than these would overlap.
_MOST_NAMES = 40


def plot_lesion_study(study, ax=None):
    """Draws the error without each block, and against the number of deleted blocks.

    In a residual network the first curve is flat but for a few blocks, and the second rises
    smoothly. An accuracy is drawn as error, 1 − accuracy, any other score as it is.

    Args:
        study: A `keras_deeptricks.diagnostics.LesionStudy`.
        ax: Two Matplotlib `Axes`, for single and for several blocks, or one `Axes` for the single
            ones alone. By default those of a new figure: two, or one where the study is of single
            blocks only.

    Returns:
        What was drawn on: an array of two `Axes`, or one `Axes`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    study = kdt.diagnostics.LesionStudy(
        metric="accuracy",
        blocks=["block_1", "block_2", "block_3"],
        projected=np.array([False, True, False]),
        whole=0.93,
        single=np.array([0.90, 0.61, 0.92]),
        counts=np.array([1, 2]),
        several=np.array([[0.90, 0.92], [0.88, 0.55]]),
    )
    single, several = kdt.visualization.plot_lesion_study(study)
    ```

    Reference: Veit, Wilber & Belongie, Residual networks behave like ensembles of relatively
    shallow networks, 2016, figures 3 and 5a.
    """
    if ax is None:
        panels = 2 if len(study.counts) else 1
        ax = new_figure(1, panels, figsize=(5.5 * panels, 4.2))[1]
    axes = np.atleast_1d(ax).ravel()
    if len(axes) > 2:
        raise ValueError(f"`ax` must be one or two Axes. Received: {len(axes)} of them.")
    _draw_single(axes[0], study)
    if len(axes) == 2:
        _draw_several(axes[1], study)
    return ax


def _draw_single(ax, study):
    error, label = _error(study, study.single)
    at = np.arange(1, len(error) + 1)
    ax.plot(at, error, ".-", color=_DELETED, label="without the block")
    projected = np.asarray(study.projected, bool)
    if projected.any():
        marks = {"color": _PROJECTED, "zorder": 3, "label": "shortcut is projected"}
        ax.plot(at[projected], error[projected], "s", **marks)
    _draw_whole(ax, study)
    if len(at) <= _MOST_NAMES:
        ax.set_xticks(at, study.blocks, rotation=90, fontsize="x-small")
    ax.set_xlabel("deleted block")
    ax.set_ylabel(label)
    ax.set_title("One block deleted")
    ax.legend(fontsize="small")


def _draw_several(ax, study):
    _draw_whole(ax, study)
    error, label = _error(study, study.several)
    if len(error):
        low, high = error.min(axis=1), error.max(axis=1)
        spread = {"alpha": 0.25, "linewidth": 0, "color": _DELETED, "label": "lowest to highest"}
        ax.fill_between(study.counts, low, high, **spread)
        draws = error.shape[1]
        words = f"mean of {draws} random choices" if draws > 1 else "a random choice"
        ax.plot(study.counts, error.mean(axis=1), ".-", color=_DELETED, label=words)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("number of deleted blocks")
    ax.set_ylabel(label)
    ax.set_title("Several blocks deleted")
    ax.legend(fontsize="small")


def _draw_whole(ax, study):
    whole = _error(study, study.whole)[0]
    ax.axhline(whole, color=_WHOLE, linestyle="--", label=f"whole model: {whole:.3g}")


def _error(study, score):
    """The score as an error, and its name."""
    if "acc" in study.metric:
        return 1 - score, f"error (1 − {study.metric})"
    return score, study.metric
