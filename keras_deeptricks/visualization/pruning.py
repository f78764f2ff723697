"""The pictures of pruning."""

import numpy as np

from keras_deeptricks.visualization.axes import new_axes, new_figure

_WHOLE, _ZERO, _LEFT, _KEPT = "0.35", "tab:blue", "0.85", "tab:green"


def plot_pruning_curves(curves, ax=None):
    """Draws the score against the share of weights, or units, that are pruned.

    A line of circles for each saliency without retraining, and a dashed one of squares, in the same
    colour, with it. Of several models the mean is drawn, and from the lowest to the highest.

    Args:
        curves: A `keras_deeptricks.diagnostics.PruningCurves`.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    curves = kdt.diagnostics.PruningCurves(
        metric="accuracy",
        units=False,
        saliencies=["random", "magnitude"],
        fractions=np.array([0.3, 0.6, 0.9]),
        scores=np.array([[[0.8], [0.5], [0.2]], [[0.95], [0.9], [0.4]]]),
        retrained=None,
        whole=np.array([0.95]),
    )
    kdt.visualization.plot_pruning_curves(curves)
    ```

    Reference: Han, Pool, Tran & Dally, Learning both weights and connections for efficient neural
    networks, 2015, figure 5.
    """
    ax = new_axes() if ax is None else ax
    shares = 100 * curves.fractions
    for place, name in enumerate(_words(curves.saliencies)):
        color = f"C{place}"
        _draw_scores(ax, shares, curves.scores[place], color, "o-", name)
        if curves.retrained is not None:
            words = f"{name}, retrained"
            _draw_scores(ax, shares, curves.retrained[place], color, "s--", words)
    whole = curves.whole.mean()
    ax.axhline(whole, color=_WHOLE, linestyle=":", label=f"whole model: {whole:.3g}")
    ax.set_xlabel(f"{'units' if curves.units else 'weights'} pruned (%)")
    ax.set_ylabel(curves.metric)
    models = len(curves.whole)
    ax.set_title("Pruning" + (f", {models} models" if models > 1 else ""))
    ax.legend(fontsize="small")
    return ax


def plot_loss_increase(increase, ax=None):
    """Draws the increase of the loss that optimal brain damage predicts, and the one measured.

    On the left both against the share of the weights that are pruned; on the right one against the
    other, with the diagonal on which they agree, the median ratio measured/predicted and the
    correlation. The scales are logarithmic, but linear around 0, below about a millionth of the
    largest value. Of several models the mean is drawn on the left,
    and from the lowest to the highest measurement; on the right each of them.

    Args:
        increase: A `keras_deeptricks.diagnostics.LossIncrease`.
        ax: Two Matplotlib `Axes`, or one `Axes` for the left picture alone. By default two of a new
            figure.

    Returns:
        What was drawn on: an array of two `Axes`, or one `Axes`.

    Raises:
        ValueError: There are more than two `Axes`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    increase = kdt.diagnostics.LossIncrease(
        orders=["optimal_brain_damage"],
        fractions=np.array([0.1, 0.2, 0.3]),
        predicted=np.array([[[0.001], [0.01], [0.03]]]),
        measured=np.array([[[0.001], [0.012], [0.05]]]),
        loss=np.array([0.02]),
    )
    left, right = kdt.visualization.plot_loss_increase(increase)
    ```

    Reference: LeCun, Denker & Solla, Optimal brain damage, 1990, figure 1.
    """
    if ax is None:
        ax = new_figure(1, 2, figsize=(11, 4.2))[1]
    axes = np.atleast_1d(ax).ravel()
    if len(axes) > 2:
        raise ValueError(f"`ax` must be one or two Axes. Received: {len(axes)} of them.")
    _draw_against_share(axes[0], increase)
    if len(axes) == 2:
        _draw_agreement(axes[1], increase)
    return ax


def plot_sparsity(report, ax=None):
    """Draws for each kernel the share of its weights that are zero.

    Layers whose matrices cannot be pruned have a bar as well, marked as left out.

    Args:
        report: A `keras_deeptricks.models.pruning.SparsityReport`.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt
    from keras_deeptricks.models.pruning import prune, weight_magnitude

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    _, report = prune(model, weight_magnitude, fraction=0.5, report=True)
    kdt.visualization.plot_sparsity(report)
    ```
    """
    rows = [(entry["path"], entry) for entry in report.kernels]
    rows += [(f"{entry['layer']} (left out)", entry) for entry in report.left_out]
    texts = [f"{e['nonzero']:,} of {e['parameters']:,} left" for _, e in rows]
    shares = [100 * (1 - e["nonzero"] / max(e["parameters"], 1)) for _, e in rows]
    ax = _draw_shares(ax, [name for name, _ in rows], shares, texts, _ZERO)
    if report.kernels:
        ax.axvline(100 * report.sparsity, color=_WHOLE, linestyle="--")
    ax.set_xlabel("weights that are zero (%); dashed: of all kernels")
    ax.set_title(
        f"Sparsity of '{report.model}': {100 * report.sparsity:.1f} % of kernels, "
        f"{100 * report.parameter_sparsity:.1f} % of all parameters",
        fontsize="medium",
    )
    return ax


def plot_pruning_rounds(rounds, ax=None, names=None):
    """Draws the figures of each round of iterative pruning against its sparsity.

    A line of circles for those after (re)training, and a dashed one of squares for those before it,
    right after pruning; dotted the figure of the trained model before anything was pruned. That of
    the untrained model is not drawn.

    Args:
        rounds: A `keras_deeptricks.models.pruning.PruningRounds` with figures.
        ax: Matplotlib `Axes` to draw on, one for each figure, or fewer for the first ones. By
            default those of a new figure.
        names: The name of a figure, or a list of them, such as `["accuracy"]`; all by default.

    Returns:
        What was drawn on: an array of `Axes`, or one `Axes`.

    Raises:
        ValueError: `rounds` has no figures, or none of a name; or there are more `Axes` than
            figures.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt
    from keras_deeptricks.models.pruning import iterative_pruning

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = np.ones((32, 4)), np.ones((32, 1))
    _, rounds = iterative_pruning(
        model, lambda each: each.fit(x, y, verbose=0), final_sparsity=0.75, rounds=2, scope="layer",
        evaluate=lambda each: each.evaluate(x, y, verbose=0),
    )
    kdt.visualization.plot_pruning_rounds(rounds)
    ```

    Reference: Han, Pool, Tran & Dally, Learning both weights and connections for efficient neural
    networks, 2015, figure 5.
    """
    names = _figure_names(rounds, names)
    if ax is None:
        ax = new_figure(1, len(names), figsize=(5.5 * len(names), 4.2))[1]
    axes = np.atleast_1d(ax).ravel()
    if len(axes) > len(names):
        raise ValueError(
            f"`ax` must be one Axes for each figure, of which there are {len(names)}: {names}. "
            f"Received: {len(axes)} of them."
        )
    for one, name in zip(axes, names, strict=False):
        _draw_rounds(one, rounds, name)
    return ax


def plot_shrink(report, ax=None):
    """Draws for each layer the share of its parameters that is left in the smaller model.

    Args:
        report: A `keras_deeptricks.models.pruning.ShrinkReport`.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt
    from keras_deeptricks.models.pruning import incoming_weight_norm, prune, shrink

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)])
    _, report = shrink(prune(model, incoming_weight_norm, fraction=0.5), report=True)
    kdt.visualization.plot_shrink(report)
    ```
    """
    parameters = [entry["parameters"] for entry in report.layers]
    texts = [f"{old:,} → {new:,}" if old != new else f"{old:,}" for old, new in parameters]
    shares = [100 * new / max(old, 1) for old, new in parameters]
    ax = _draw_shares(ax, [entry["layer"] for entry in report.layers], shares, texts, _KEPT)
    ax.set_xlabel("parameters that are left (%)")
    before, after = report.parameters
    ax.set_title(f"'{report.model}' made smaller: {before:,} → {after:,} parameters")
    return ax


def _figure_names(rounds, names):
    """The names of the figures to draw."""
    known = rounds.names
    if not known:
        raise ValueError(
            "`rounds` has no figures to draw. Pass `evaluate` to `iterative_pruning`, such as "
            "`lambda model: model.evaluate(x, y, return_dict=True)`."
        )
    found = known if names is None else [names] if isinstance(names, str) else list(names)
    if not found or not set(found) <= set(known):
        raise ValueError(f"`names` must be some of {known}. Received: names={names!r}.")
    return found


def _draw_rounds(ax, rounds, name):
    shares = 100 * rounds.sparsities
    after, before = rounds.figures(name), rounds.figures(name, "before")
    ax.plot(shares, after, "o-", color="C0", markersize=4, label="trained")
    # Of the first one that is the untrained model.
    if np.isfinite(before[1:]).any():
        style = {"color": "C1", "markersize": 4, "label": "before retraining"}
        ax.plot(shares[1:], before[1:], "s--", **style)
    if np.isfinite(after[0]):
        ax.axhline(after[0], color=_WHOLE, linestyle=":", label=f"not pruned: {after[0]:.3g}")
    ax.set_xlabel("weights pruned (%)")
    ax.set_ylabel(name)
    ax.set_title(f"'{rounds.model}', pruned in {len(rounds.rounds) - 1} rounds")
    ax.legend(fontsize="small")


def _draw_shares(ax, names, shares, texts, color):
    """A bar of 0 to 100 % for each name, with a text to its right."""
    if ax is None:
        ax = new_figure(1, 1, figsize=(6.4, 1.4 + 0.4 * max(len(names), 3)))[1]
    ax.barh(np.arange(len(names)), 100, color=_LEFT)
    ax.barh(np.arange(len(names)), shares, color=color)
    right = max([100, *shares])
    for place, text in enumerate(texts):
        ax.text(1.01 * right, place, text, va="center", fontsize="small")
    ax.set_yticks(np.arange(len(names)), names, fontsize="small")
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)
    ax.set_xlim(0, right)
    return ax


def _draw_scores(ax, shares, scores, color, style, label):
    """A line through the means over the last axis, and a band over all."""
    if scores.shape[-1] > 1:
        low, high = scores.min(axis=-1), scores.max(axis=-1)
        ax.fill_between(shares, low, high, color=color, alpha=0.15, linewidth=0)
    ax.plot(shares, scores.mean(axis=-1), style, color=color, label=label, markersize=4)


def _draw_against_share(ax, increase):
    shares = 100 * increase.fractions
    for place, name in enumerate(_words(increase.orders)):
        color = f"C{place}"
        _draw_scores(ax, shares, increase.measured[place], color, "o-", f"{name}, measured")
        ax.plot(shares, increase.predicted[place].mean(axis=-1), "x--", color=color, markersize=5)
    # Once for all, or the legend would hide the lines.
    ax.plot([], [], "x--", color=_WHOLE, markersize=5, label="predicted")
    ax.set_yscale("symlog", linthresh=_linear_below(increase))
    ax.set_xlabel("weights pruned (%)")
    ax.set_ylabel("increase of the loss")
    ax.set_title("Increase of the loss by pruning")
    ax.legend(fontsize="small")


def _draw_agreement(ax, increase):
    correlation, ratio = increase.correlation, increase.ratio
    for place, name in enumerate(increase.orders):
        points = increase.predicted[place].ravel(), increase.measured[place].ravel()
        words = f"ratio {ratio[name]:.3g}, correlation {correlation[name]:.3f}"
        label = f"{name.replace('_', ' ')}: {words}"
        ax.plot(*points, "o", color=f"C{place}", markersize=4, alpha=0.7, label=label)
    values = np.concatenate([increase.predicted.ravel(), increase.measured.ravel()])
    ends = [values.min(), values.max()]
    ax.plot(ends, ends, "--", color=_WHOLE, label="equal")
    for scale in (ax.set_xscale, ax.set_yscale):
        scale("symlog", linthresh=_linear_below(increase))
    ax.set_xlabel("predicted, ½Σh·w²")
    ax.set_ylabel("measured")
    ax.set_title("Prediction and measurement")
    ax.legend(fontsize="small")


def _linear_below(increase):
    """A power of ten about a millionth of the largest value, where the logarithmic scale ends."""
    largest = max(increase.predicted.max(), increase.measured.max())
    return 10.0 ** np.ceil(np.log10(largest) - 6) if largest > 0 else 1.0


def _words(names):
    return [name.replace("_", " ") for name in names]
