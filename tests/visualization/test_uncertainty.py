"""What the pictures of uncertainty show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import keras_deeptricks as kdt
from keras_deeptricks.models.monte_carlo_evaluation import evaluate_prediction
from keras_deeptricks.visualization import (
    plot_monte_carlo_prediction,
    plot_rejection,
    plot_reliability,
)

MonteCarloPrediction = kdt.models.MonteCarloPrediction


def classification():
    samples = np.random.default_rng(0).dirichlet([2, 1, 1], (20, 50))
    return MonteCarloPrediction.from_samples(samples, "classification")


def regression(tau=None):
    samples = np.random.default_rng(1).normal(size=(20, 50, 1)) + np.arange(50)[::-1, None]
    return MonteCarloPrediction.from_samples(samples, "regression", tau=tau)


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line(ax, label):
    """The only line of that label."""
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


def heights(bars):
    return [bar.get_height() for bar in bars]


def test_histograms_of_noise_and_doubt():
    prediction = classification()
    ax = prediction.plot()
    noise, doubt = ax.containers
    assert sum(heights(noise)) == sum(heights(doubt)) == 50
    middles = [[bar.get_x() + bar.get_width() / 2 for bar in bars] for bars in ax.containers]
    for bars, middle, values in zip(
        (noise, doubt),
        middles,
        (prediction.expected_entropy, prediction.mutual_information),
        strict=True,
    ):
        # To half the width of a bar.
        mean = np.average(middle, weights=heights(bars))
        assert mean == pytest.approx(values.mean(), abs=bars[0].get_width() / 2)
    assert labels(ax)[0].startswith("noise in the data (expected entropy)")
    assert labels(ax)[1].startswith("doubt of the model (mutual information)")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("nats", "rows")


def test_histogram_of_the_whole_entropy():
    prediction = MonteCarloPrediction(np.full((9, 2), 0.5), np.zeros((9, 2)), "binary", 4)
    ax = prediction.plot()
    (bars,) = ax.containers
    assert sum(heights(bars)) == 18
    assert ax.get_ylabel() == "entries"
    assert labels(ax) == ["entropy, mean 0.693"]


def test_certain_predictions_can_be_drawn():
    samples = np.tile([[[1.0, 0.0]]], (3, 4, 1))
    ax = MonteCarloPrediction.from_samples(samples, "classification").plot()
    ax.figure.canvas.draw()
    # Two histograms of four rows each, all in their bins of no entropy.
    assert [sum(heights(bars)) for bars in ax.containers] == [4, 4]


@pytest.mark.parametrize("tau", [None, 4.0])
def test_bands_around_sorted_means(tau):
    prediction = regression(tau)
    ax = prediction.plot()
    order = np.argsort(prediction.mean.ravel())
    mean = prediction.mean.ravel()[order]
    np.testing.assert_array_equal(line(ax, "mean").get_ydata(), mean)
    drawn = {band.get_label(): band.get_paths()[0].vertices[:, 1] for band in ax.collections}
    expected = {"the passes, ±2 std": prediction.std}
    if tau is not None:
        expected["a new observation, ±2 std"] = prediction.predictive_std
    assert drawn.keys() == expected.keys()
    for label, std in expected.items():
        reach = 2 * std.ravel()[order]
        np.testing.assert_allclose(drawn[label].min(), (mean - reach).min(), rtol=1e-6)
        np.testing.assert_allclose(drawn[label].max(), (mean + reach).max(), rtol=1e-6)
    assert ax.get_xlabel() == "rows, sorted"


def test_several_outputs_are_drawn_one_by_one():
    samples = {"a": np.ones((2, 3, 1)), "b": np.ones((2, 3, 1))}
    prediction = MonteCarloPrediction.from_samples(samples, {"a": "regression", "b": "regression"})
    with pytest.raises(TypeError, match=r"`prediction\[...\]` of one of \['a', 'b'\]"):
        plot_monte_carlo_prediction(prediction)
    assert prediction["a"].plot().lines


def test_reliability_of_bins():
    prediction = classification()
    evaluation = evaluate_prediction(np.zeros(50), prediction, bins=10)
    ax = evaluation.plot()
    filled = evaluation.reliability_share > 0
    (marks,) = ax.collections
    points = np.stack([evaluation.reliability_level, evaluation.reliability_observed], axis=1)
    np.testing.assert_allclose(marks.get_offsets(), points[filled])
    # The areas are as the shares.
    share = evaluation.reliability_share[filled]
    np.testing.assert_allclose(marks.get_sizes() / marks.get_sizes().sum(), share)
    np.testing.assert_array_equal(line(ax, "calibrated").get_xydata(), [[0, 0], [1, 1]])
    assert f"{evaluation.expected_calibration_error:.3f}" in ax.get_title()
    assert ax.get_ylabel() == "accuracy"


def test_reliability_of_a_binary_task():
    prediction = MonteCarloPrediction(np.full((9, 2), 0.5), np.zeros((9, 2)), "binary", 4)
    ax = plot_reliability(evaluate_prediction(np.zeros((9, 2)), prediction))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted probability", "frequency")


def test_reliability_of_intervals():
    evaluation = evaluate_prediction(np.arange(50.0)[::-1], regression())
    ax = evaluation.plot()
    drawn = line(ax, "central intervals")
    np.testing.assert_array_equal(drawn.get_xdata(), evaluation.reliability_level)
    np.testing.assert_array_equal(drawn.get_ydata(), evaluation.reliability_observed)
    assert ax.get_title() == "Reliability"


@pytest.mark.parametrize("make, name", [(classification, "accuracy"), (regression, "RMSE")])
def test_rejection(make, name):
    evaluation = evaluate_prediction(np.zeros(50), make())
    ax = plot_rejection(evaluation)
    drawn = line(ax, "the most certain")
    np.testing.assert_array_equal(drawn.get_xdata(), evaluation.kept_fraction)
    np.testing.assert_array_equal(drawn.get_ydata(), evaluation.kept_score)
    assert ax.get_ylabel() == f"{name} of those kept"
    assert labels(ax)[1] == f"all: {evaluation.kept_score[-1]:.3g}"


def test_draws_on_given_axes():
    evaluation = evaluate_prediction(np.zeros(50), classification())
    _, axes = plt.subplots(1, 4)
    assert classification().plot(ax=axes[0]) is axes[0]
    assert regression().plot(ax=axes[1]) is axes[1]
    assert evaluation.plot(ax=axes[2]) is axes[2]
    assert plot_rejection(evaluation, ax=axes[3]) is axes[3]
