"""Pictures of predictions with uncertainty, and of how far these can be trusted."""

import numpy as np

from keras_deeptricks.visualization.axes import new_axes

_DATA, _MODEL, _WHOLE = "tab:orange", "tab:blue", "0.35"
_BINS = 30
# The area in points² of a mark that stands for all rows.
_LARGEST_MARK = 900


def plot_monte_carlo_prediction(prediction, ax=None):
    """Draws how uncertain the predictions are, and why.

    Classification and binary: histograms of the expected entropy, the noise in the data, and of
    the mutual information, the doubt of the model; of the whole entropy alone if it was not split.
    Regression: all entries, sorted by their mean, with bands of two standard deviations, of the
    passes and, where τ is known, of a new observation.

    Args:
        prediction: A `keras_deeptricks.models.MonteCarloPrediction` of a single output.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Raises:
        TypeError: `prediction` is of several outputs.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    samples = np.random.default_rng(0).dirichlet([2.0, 1.0, 1.0], size=(20, 100))
    prediction = kdt.models.MonteCarloPrediction.from_samples(samples, "classification")
    kdt.visualization.plot_monte_carlo_prediction(prediction)
    ```

    Reference: Gal, Uncertainty in deep learning, 2016, section 3.3.
    """
    if not isinstance(prediction.task, str):
        raise TypeError(
            "One output can be drawn at a time: pass `prediction[...]` of one of "
            f"{list(prediction.task)}. Received: a prediction of {len(prediction.task)} outputs."
        )
    ax = new_axes() if ax is None else ax
    if prediction.task == "regression":
        _draw_bands(ax, prediction)
    else:
        _draw_entropies(ax, prediction)
    return ax


def plot_reliability(evaluation, ax=None):
    """Draws what was promised against what came true; on the diagonal both are the same.

    Below the diagonal a model is too sure of itself. The area of a mark shows the share of the
    rows in its bin. For a regression the coverage of central intervals is drawn.

    Args:
        evaluation: A `keras_deeptricks.models.MonteCarloEvaluation`.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt
    from keras_deeptricks.models.monte_carlo_evaluation import evaluate_prediction

    rng = np.random.default_rng(0)
    mean = rng.uniform(size=(500, 1))
    prediction = kdt.models.MonteCarloPrediction(mean, np.zeros((500, 1)), "binary", 1)
    evaluation = evaluate_prediction(rng.uniform(size=(500, 1)) < mean, prediction)
    kdt.visualization.plot_reliability(evaluation)
    ```

    Reference: Guo, Pleiss, Sun & Weinberger, On calibration of modern neural networks, 2017.
    """
    ax = new_axes() if ax is None else ax
    ax.plot([0, 1], [0, 1], "--", color="0.6", label="calibrated")
    level, observed = evaluation.reliability_level, evaluation.reliability_observed
    share = evaluation.reliability_share
    if share is None:
        ax.plot(level, observed, "o-", color=_MODEL, label="central intervals")
        words = "probability of the interval", "share of targets inside"
    else:
        filled = share > 0
        ax.plot(level[filled], observed[filled], color=_MODEL, linewidth=1)
        # At least the size of a point, or bins of few rows could not be seen.
        sizes = np.maximum(_LARGEST_MARK * share[filled], 9)
        marks = {"color": _MODEL, "alpha": 0.6, "linewidths": 0, "zorder": 3, "clip_on": False}
        ax.scatter(level[filled], observed[filled], sizes, label="bins, by their share", **marks)
        words = {
            "binary": ("predicted probability", "frequency"),
            "classification": ("probability of the predicted class", "accuracy"),
        }[evaluation.task]
    ax.set_xlabel(words[0])
    ax.set_ylabel(words[1])
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")
    error = evaluation.expected_calibration_error
    ax.set_title("Reliability" + ("" if error is None else f", mean gap {error:.3f}"))
    # A large mark in the legend would hide the words.
    for handle in ax.legend(fontsize="small", loc="upper left").legend_handles[1:]:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([30])
    return ax


def plot_rejection(evaluation, ax=None):
    """Draws the score of the most certain predictions against the share that is kept.

    Uncertainties that are worth something make the accuracy fall, or the error rise, from left to
    right. The value at the right end is that of all predictions.

    Args:
        evaluation: A `keras_deeptricks.models.MonteCarloEvaluation`.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt
    from keras_deeptricks.models.monte_carlo_evaluation import evaluate_prediction

    rng = np.random.default_rng(0)
    std = rng.uniform(0.1, 2.0, size=(500, 1))
    prediction = kdt.models.MonteCarloPrediction(np.zeros((500, 1)), std, "regression", 50)
    evaluation = evaluate_prediction(rng.normal(scale=std), prediction)
    kdt.visualization.plot_rejection(evaluation)
    ```

    Reference: Nadeem, Zucker & Hanczar, Accuracy-rejection curves, 2009.
    """
    ax = new_axes() if ax is None else ax
    fraction, score = evaluation.kept_fraction, evaluation.kept_score
    name = {"rmse": "RMSE"}.get(evaluation.kept_score_name, evaluation.kept_score_name)
    ax.plot(fraction, score, ".-", color=_MODEL, label="the most certain")
    ax.axhline(score[-1], color="0.6", linestyle="--", label=f"all: {score[-1]:.3g}")
    ax.set_xlabel("share of predictions kept, the most certain first")
    ax.set_ylabel(f"{name} of those kept")
    ax.set_title("Without the uncertain predictions")
    ax.set_xlim(0, 1.02)
    ax.legend(fontsize="small")
    return ax


def _draw_entropies(ax, prediction):
    parts = {"entropy": (prediction.predictive_entropy, _WHOLE)}
    if prediction.expected_entropy is not None:
        parts = {
            "noise in the data (expected entropy)": (prediction.expected_entropy, _DATA),
            "doubt of the model (mutual information)": (prediction.mutual_information, _MODEL),
        }
    highest = max(values.max() for values, _ in parts.values())
    edges = np.linspace(0, max(highest, 1e-6), _BINS + 1)
    for label, (values, color) in parts.items():
        label += f", mean {values.mean():.3g}"
        ax.hist(values.ravel(), edges, color=color, alpha=0.6, label=label)
    ax.set_xlabel("nats")
    ax.set_ylabel({1: "rows"}.get(prediction.predictive_entropy.ndim, "entries"))
    ax.set_title("Uncertainty of the predictions")
    # Above or beside the bars, of which the highest stand at the left as often as at the right.
    ax.set_ylim(top=1.25 * ax.get_ylim()[1])
    ax.legend(fontsize="small", loc="upper right")


def _draw_bands(ax, prediction):
    mean = prediction.mean.ravel()
    order = np.argsort(mean, kind="stable")
    at, mean = np.arange(len(mean)), mean[order]
    bands = [("a new observation, ±2 std", prediction.predictive_std, _DATA, 0.35)]
    if prediction.tau is None:
        bands = []
    for label, std, color, alpha in [*bands, ("the passes, ±2 std", prediction.std, _MODEL, 0.45)]:
        reach = 2 * std.ravel()[order]
        style = {"color": color, "alpha": alpha, "linewidth": 0, "step": "mid"}
        ax.fill_between(at, mean - reach, mean + reach, label=label, **style)
    ax.plot(at, mean, color="black", linewidth=1.2, label="mean")
    ax.set_xlabel(
        ("rows" if prediction.mean.size == len(prediction.mean) else "entries") + ", sorted"
    )
    ax.set_ylabel("prediction")
    ax.set_title("Predictions and their uncertainty")
    ax.legend(fontsize="small", loc="upper left")
