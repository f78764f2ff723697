"""The picture of a training run."""

import numpy as np

from keras_deeptricks.visualization.axes import new_figure
from keras_deeptricks.visualization.learning_rate_search import plot_learning_rate_search


def plot_training_run(run):
    """Draws losses, metrics, rate and momentum, and the rate finder's curve of a run.

    Args:
        run: A `keras_deeptricks.recipes.TrainingRun`.

    Returns:
        The Matplotlib `Figure`, of three panels, or four if a learning rate was searched.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(200, 3))
    run = kdt.recipes.train_default(
        x, x.sum(axis=1), epochs=2, hidden_units=(8,), learning_rate=0.01, verbose=0
    )
    figure = kdt.visualization.plot_training_run(run)
    ```
    """
    searched = run.learning_rate_search is not None
    figure, axes = new_figure(2, 2, figsize=(11, 8))
    axes = axes.ravel()
    metric = next(
        (
            n
            for n in run.history
            if n not in ("loss", "learning_rate", "momentum")
            and "val" not in n
            and not n.endswith("_per_step")
        ),
        None,
    )
    _plot_curves(axes[0], run, "loss")
    if metric is not None:
        _plot_curves(axes[1], run, metric)
    _plot_schedule(axes[2], run)
    if searched:
        plot_learning_rate_search(run.learning_rate_search, ax=axes[3])
    else:
        axes[3].set_axis_off()
    figure.suptitle(f"{run.settings['recipe']}, {run.settings['task']}")
    return figure


def _plot_curves(ax, run, name):
    epochs = np.arange(1, len(run.history[name]) + 1)
    ax.plot(epochs, run.history[name], ".-", label="training")
    if f"val_{name}" in run.history:
        ax.plot(epochs, run.history[f"val_{name}"], ".-", label="validation")
    best = run.settings["best_epoch"]
    ax.axvline(best, color="0.6", linestyle=":", label=f"kept: epoch {best}")
    ax.set_xlabel("epoch")
    ax.set_ylabel(name)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize="small")


def _plot_schedule(ax, run):
    rates = np.concatenate(run.history["learning_rate_per_step"])
    (line,) = ax.plot(rates, color="tab:blue", label="learning rate")
    ax.set_xlabel("step")
    ax.set_ylabel("learning rate")
    lines = [line]
    if "momentum_per_step" in run.history:
        other = ax.twinx()
        momenta = np.concatenate(run.history["momentum_per_step"])
        lines += other.plot(momenta, color="tab:orange", linestyle="--", label="momentum")
        other.set_ylabel("momentum")
    # Above the axes: two scales leave no corner free.
    ax.legend(
        handles=lines, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2
    )
