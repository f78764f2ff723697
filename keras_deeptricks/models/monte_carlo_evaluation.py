"""How good predictions and their uncertainties are, measured on targets."""

import dataclasses

import keras
import numpy as np

from keras_deeptricks.models.monte_carlo_prediction import MonteCarloPrediction
from keras_deeptricks.utils import probabilistic_scores as scores
from keras_deeptricks.utils.checks import check_integer, check_number
from keras_deeptricks.utils.regression_density import (
    RegressionDensity,
    gaussian_cdf,
    gaussian_log_density,
)
from keras_deeptricks.utils.results import Result

_METRICS = (
    "accuracy",
    "rmse",
    "negative_log_likelihood",
    "brier_score",
    "expected_calibration_error",
    "interval_coverage",
)
# The share of samples below a target is a multiple of 1/(2T), which may be meant to lie on the
# bound of an interval and miss it by rounding.
_ON_THE_BOUND = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class MonteCarloEvaluation(Result):
    """Accuracy, likelihood and calibration of a prediction; None where one has no meaning.

    `evaluation["accuracy"]` is the same as `evaluation.accuracy`. All are means over the rows, and
    over the pixels, labels or targets of each; NaN in a likelihood says that there is no density.

    Attributes:
        task: `"classification"`, `"binary"` or `"regression"`.
        rows: Number of rows.
        passes: Number of passes of the prediction.
        accuracy: Share of right labels, at a threshold of ½ for a binary task.
        rmse: Root of the mean squared error of a regression.
        negative_log_likelihood: −ln p(y) in nats; of a regression that of its density.
        brier_score: Σ_k (p_k − y_k)² over the classes, 0 to 2; (p − y)² for a binary task, 0 to 1.
        expected_calibration_error: Mean gap between confidence and frequency over the bins below.
        interval_coverage: Share of targets inside the central predictive interval.
        interval_level: Probability of that interval, which a calibrated coverage equals.
        reliability_level: For a classification the mean probability of the predicted class in
            each bin; for a binary task that of 1; for a regression probabilities of intervals.
        reliability_observed: The accuracy of each bin; the frequency of 1; the coverage.
        reliability_share: The share of the weight in each bin; None for a regression.
        kept_fraction: Shares of the most certain rows (pixels, entries).
        kept_score: The accuracy of these, or the RMSE.
        kept_score_name: `"accuracy"` or `"rmse"`.

    References: Guo, Pleiss, Sun & Weinberger, On calibration of modern neural networks, 2017
    (reliability, expected calibration error); Brier, Verification of forecasts expressed in terms
    of probability, 1950; Gneiting & Raftery, Strictly proper scoring rules, prediction, and
    estimation, 2007 (likelihood, coverage).
    """

    task: str
    rows: int
    passes: int
    accuracy: float | None
    rmse: float | None
    negative_log_likelihood: float
    brier_score: float | None
    expected_calibration_error: float | None
    interval_coverage: float | None
    interval_level: float | None
    reliability_level: np.ndarray
    reliability_observed: np.ndarray
    reliability_share: np.ndarray | None
    kept_fraction: np.ndarray
    kept_score: np.ndarray
    kept_score_name: str

    plot_function = "plot_reliability"

    def __getitem__(self, name):
        """The attribute of that name."""
        names = [field.name for field in dataclasses.fields(self)]
        if name not in names:
            raise KeyError(f"There is no {name!r}. There are {', '.join(names)}.")
        return getattr(self, name)

    def as_dict(self):
        """The metrics that are single numbers and have a meaning for the task, by name."""
        return {name: self[name] for name in _METRICS if self[name] is not None}

    def __str__(self):
        lines = [f"{self.task}, {self.rows} rows, {self.passes} passes"]
        for name, value in self.as_dict().items():
            note = f" (of {self.interval_level:.0%})" if name == "interval_coverage" else ""
            lines.append(f"  {name.replace('_', ' '):<26}  {value:.4f}{note}")
        return "\n".join(lines)


def evaluate_prediction(
    y,
    prediction,
    *,
    log_likelihood=None,
    cdf=None,
    sample_weight=None,
    interval_level=0.95,
    bins=15,
):
    """Measures a prediction on its targets.

    For a regression the density comes from `log_likelihood` and `cdf`; without these from the
    samples, if the prediction holds them (`RegressionDensity`), and else it is the Gaussian with
    the predictive mean and variance.

    Args:
        y: Class indices, one-hot or soft targets (classification); 0, 1 or probabilities (binary);
            or numbers (regression): one for each row, pixel or entry of the prediction.
        prediction: A `MonteCarloPrediction` of a single output.
        log_likelihood: The log density at each entry of `y`, for a regression.
        cdf: The predicted probability to lie below each entry of `y`, for a regression.
        sample_weight: A number for each row, at least 0, which stands for that many equal rows.
        interval_level: Probability of the central interval, between 0 and 1. Defaults to `0.95`.
        bins: Number of bins of the reliability, at least 2: of a regression that many less one
            intervals, of 1/bins, 2/bins, … Defaults to `15`.

    Returns:
        A `MonteCarloEvaluation`.

    Raises:
        TypeError: An argument is of the wrong type, or the prediction is of several outputs.
        ValueError: `y`, `sample_weight` or another argument does not fit or is out of range.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt
    from keras_deeptricks.models.monte_carlo_evaluation import evaluate_prediction

    mean = np.array([[0.9, 0.1], [0.4, 0.6]])
    prediction = kdt.models.MonteCarloPrediction(mean, np.zeros((2, 2)), "classification", 1)
    evaluation = evaluate_prediction(np.array([0, 0]), prediction)
    assert evaluation["accuracy"] == 0.5
    assert np.isclose(evaluation.negative_log_likelihood, -np.log([0.9, 0.4]).mean())
    ```
    """
    if not isinstance(prediction, MonteCarloPrediction) or not isinstance(prediction.task, str):
        raise TypeError(
            "`prediction` must be a MonteCarloPrediction of one output. Of several, take one after "
            f"the other: prediction[name]. Received: {type(prediction).__name__}."
        )
    level = check_number("interval_level", interval_level, above=0, below=1)
    bins = check_integer("bins", bins, minimum=2)
    y = _check_targets(y, prediction)
    shape = prediction.mean.shape
    shape = shape[:-1] if prediction.task == "classification" else shape
    weights = _entry_weights(sample_weight, shape)
    if prediction.task == "regression":
        y = scores.align(y, shape).astype("float64")
        log_likelihood, cdf = _density(y, prediction, log_likelihood, cdf)
        found = _regression(y, prediction, log_likelihood, cdf, weights, level, bins)
    else:
        if log_likelihood is not None or cdf is not None:
            raise ValueError(
                "`log_likelihood` and `cdf` are for a regression. A classification gives its own: "
                "leave them out."
            )
        found = _classes(y, prediction, weights, bins)
    absent = {field.name: None for field in dataclasses.fields(MonteCarloEvaluation)}
    record = {"task": prediction.task, "rows": shape[0], "passes": prediction.passes}
    return MonteCarloEvaluation(**{**absent, **record, **found})


def _classes(y, prediction, weights, bins):
    mean, task = prediction.mean.astype("float64"), prediction.task
    if task == "binary":
        observed = scores.binary_targets(y, mean.shape)
        level, right = mean, prediction.labels == (observed > 0.5)
    else:
        right = prediction.labels == scores.class_indices(y, mean)
        level, observed = mean.max(axis=-1), right
    log_probability = scores.log_probability(y, mean, task)
    brier = scores.brier_score(y, mean, task)
    diagram = scores.reliability(level, observed, weights, bins)
    kept = scores.rejection_curve(prediction.predictive_entropy, right, weights)
    return {
        "accuracy": _mean(right, weights),
        "negative_log_likelihood": -_mean(log_probability, weights),
        "brier_score": _mean(brier, weights),
        "expected_calibration_error": scores.calibration_gap(*diagram),
        "reliability_level": diagram[0],
        "reliability_observed": diagram[1],
        "reliability_share": diagram[2],
        "kept_fraction": kept[0],
        "kept_score": kept[1],
        "kept_score_name": "accuracy",
    }


def _regression(y, prediction, log_likelihood, cdf, weights, level, bins):
    squared = np.square(y - prediction.mean.astype("float64"))
    # The narrowest central interval that reaches the target.
    reaches = abs(2 * cdf - 1) - _ON_THE_BOUND
    levels = np.arange(1, bins) / bins
    kept = scores.rejection_curve(prediction.predictive_std, squared, weights)
    return {
        "rmse": float(np.sqrt(_mean(squared, weights))),
        "negative_log_likelihood": -_mean(log_likelihood, weights),
        "interval_coverage": _mean(reaches <= level, weights),
        "interval_level": level,
        "reliability_level": levels,
        "reliability_observed": np.array([_mean(reaches <= one, weights) for one in levels]),
        "kept_fraction": kept[0],
        "kept_score": np.sqrt(kept[1]),
        "kept_score_name": "rmse",
    }


def _density(y, prediction, log_likelihood, cdf):
    mean, std = prediction.mean, prediction.predictive_std
    if log_likelihood is None or cdf is None:
        if prediction.samples is not None:
            density = RegressionDensity(y, prediction.tau)
            density.update(prediction.samples)
            own = density.log_likelihood(), density.cdf()
        else:
            variance = np.square(std, dtype="float64")
            own = gaussian_log_density(y, mean, variance), gaussian_cdf(y, mean, std)
        log_likelihood = own[0] if log_likelihood is None else log_likelihood
        cdf = own[1] if cdf is None else cdf
    for name, value in (("log_likelihood", log_likelihood), ("cdf", cdf)):
        if np.shape(value) != y.shape:
            raise ValueError(
                f"`{name}` must have the shape {y.shape} of the predictions. Received: shape "
                f"{np.shape(value)}."
            )
    return np.asarray(log_likelihood, "float64"), np.asarray(cdf, "float64")


def _check_targets(y, prediction):
    y = np.asarray(keras.ops.convert_to_numpy(y) if keras.ops.is_tensor(y) else y)
    if y.dtype.kind not in "biuf":
        raise TypeError(
            "`y` must be numbers; encode labels of another kind as class indices. Received: y of "
            f"dtype {y.dtype}."
        )
    rows = len(prediction.mean)
    if y.ndim == 0 or len(y) != rows:
        raise ValueError(
            f"`y` must have as many rows as the prediction, {rows}. Received: y of shape {y.shape}."
        )
    if not rows:
        raise ValueError("`y` must have at least one row. Received: none.")
    if not np.isfinite(y).all():
        raise ValueError(
            "`y` must be finite: leave rows without a target out of data and prediction. Received: "
            "y with NaN or infinities."
        )
    return y


def _entry_weights(sample_weight, shape):
    """The weight of each entry: its row's."""
    if sample_weight is None:
        return np.ones(shape)
    weights = np.asarray(sample_weight, "float64")
    weights = weights[:, 0] if weights.shape == (shape[0], 1) else weights
    fits = weights.shape == shape[:1]
    if not fits or not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        raise ValueError(
            f"`sample_weight` must be a finite number ≥ 0 for each of the {shape[0]} rows, not all "
            f"0. Received: sample_weight of shape {weights.shape}"
            + (f" from {weights.min():.3g} to {weights.max():.3g}." if weights.size else ".")
        )
    return np.broadcast_to(weights.reshape(-1, *[1] * (len(shape) - 1)), shape)


def _mean(values, weights):
    # A row of weight 0 does not count, even where it has no density.
    return float(np.average(values[weights > 0], weights=weights[weights > 0]))
