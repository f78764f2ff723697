"""Entropies, scores, calibration and densities, against hand-computed values and scikit-learn."""

import math
import statistics

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from keras_deeptricks.utils import probabilistic_scores as scores
from keras_deeptricks.utils.regression_density import (
    RegressionDensity,
    gaussian_cdf,
    gaussian_log_density,
)
from keras_deeptricks.utils.sample_summary import sample_summary

# Both sides are computed in double precision from the same numbers.
EXACT = {"rtol": 1e-12, "atol": 1e-14}


def probabilities(rows=200, classes=4, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), rows)


def test_entropy_by_hand():
    p = [[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]
    third = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    np.testing.assert_allclose(
        scores.entropy(p, "classification"), [math.log(2), 0, third], **EXACT
    )
    np.testing.assert_allclose(
        scores.entropy([[0.5, 1.0], [0.0, 0.25]], "binary"), [[math.log(2), 0], [0, third]], **EXACT
    )
    assert scores.entropy(p, "regression") is None


def test_entropy_of_rounding_errors_is_zero():
    np.testing.assert_array_equal(scores.entropy([[1 + 1e-7, -1e-7]], "classification"), [0])
    np.testing.assert_array_equal(scores.entropy([1 + 1e-7, -1e-7], "binary"), [0, 0])
    assert scores.entropy(np.zeros((2, 8, 8, 3)), "classification").shape == (2, 8, 8)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float32", "float64"])
def test_class_indices_of_every_form(dtype):
    mean, labels = probabilities(3, 4), np.array([2, 0, 3])
    for y in (labels, labels[:, None], np.eye(4)[labels]):
        found = scores.class_indices(y.astype(dtype), mean)
        np.testing.assert_array_equal(found, labels)
        assert found.dtype == np.int64
    dense = probabilities(3 * 25, 4).reshape(3, 5, 5, 4)
    pixels = np.random.default_rng(0).integers(0, 4, (3, 5, 5))
    for y in (pixels, pixels[..., None], np.eye(4)[pixels]):
        np.testing.assert_array_equal(scores.class_indices(y.astype(dtype), dense), pixels)
    np.testing.assert_array_equal(scores.class_indices([True, False], mean[:2]), [1, 0])


@pytest.mark.parametrize(
    "y, message",
    [
        ([0, 4], "whole numbers from 0 to 3.*from 0 to 4"),
        ([0, -1], "from -1 to 0"),
        ([0, 1.5], "whole numbers"),
        ([0, 1, 2], r"shape \(2,\).*\(3,\)"),
        (np.zeros((2, 4)), "sum to one.*from 0 to 0"),
        ([[1, 0, 0, 0], [-0.5, 1.5, 0, 0]], "at least 0"),
    ],
)
def test_what_are_no_class_indices(y, message):
    with pytest.raises(ValueError, match=message):
        scores.class_indices(y, probabilities(2, 4))


def test_scores_by_hand():
    p = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
    expected_log = [math.log(0.2), math.log(0.8)]
    expected_brier = [0.49 + 0.64 + 0.01, 0.01 + 0.01 + 0.04]
    for y in ([1, 2], np.eye(3)[[1, 2]]):
        found = scores.log_probability(y, np.array(p), "classification")
        np.testing.assert_allclose(found, expected_log, **EXACT)
        found = scores.brier_score(y, np.array(p), "classification")
        np.testing.assert_allclose(found, expected_brier, **EXACT)
    soft = [[0.5, 0.5, 0.0]]
    np.testing.assert_allclose(
        scores.log_probability(soft, np.array(p[:1]), "classification"),
        [0.5 * math.log(0.7) + 0.5 * math.log(0.2)],
        **EXACT,
    )
    binary = np.array([[0.9], [0.3]])
    for y in ([1, 0], [[1], [0]]):
        found = scores.log_probability(y, binary, "binary")
        np.testing.assert_allclose(found, [[math.log(0.9)], [math.log(0.7)]], **EXACT)
        found = scores.brier_score(y, binary, "binary")
        np.testing.assert_allclose(found, [[0.01], [0.09]], **EXACT)


def test_a_saturated_probability_costs_no_infinity():
    worst = math.log(scores.SMALLEST_PROBABILITY)
    found = scores.log_probability([1, 0], np.array([[1.0, 0.0]] * 2), "classification")
    np.testing.assert_allclose(found, [worst, 0], **EXACT)
    found = scores.log_probability([1, 0, 1, 0], np.array([0.0, 1.0, 1.0, 0.0]), "binary")
    np.testing.assert_allclose(found, [worst, worst, 0, 0], **EXACT)


@pytest.mark.parametrize("y", [[2, 0], [-1, 0], [0, 1, 1]])
def test_what_are_no_binary_targets(y):
    with pytest.raises(ValueError, match="`y`"):
        scores.log_probability(y, np.array([0.5, 0.5]), "binary")


def test_scores_of_scikit_learn():
    rng = np.random.default_rng(1)
    p, y = probabilities(), rng.integers(0, 4, 200)
    weights = rng.uniform(0, 3, 200)
    found = -np.average(scores.log_probability(y, p, "classification"), weights=weights)
    np.testing.assert_allclose(found, log_loss(y, p, sample_weight=weights), **EXACT)
    q, positive = rng.uniform(size=200), rng.integers(0, 2, 200)
    found = -scores.log_probability(positive, q, "binary").mean()
    np.testing.assert_allclose(found, log_loss(positive, q), **EXACT)
    found = np.average(scores.brier_score(positive, q, "binary"), weights=weights)
    expected = brier_score_loss(positive, q, sample_weight=weights)
    np.testing.assert_allclose(found, expected, **EXACT)
    both = scores.brier_score(positive, np.stack([1 - q, q], axis=1), "classification").mean()
    np.testing.assert_allclose(both, 2 * brier_score_loss(positive, q), **EXACT)


def test_reliability_by_hand():
    # Bins (0, 0.5] and (0.5, 1]: the edge belongs to the lower.
    confidence, correct = [0.2, 0.5, 0.8, 0.9], [0, 1, 1, 1]
    mean, frequency, share = scores.reliability(confidence, correct, bins=2)
    np.testing.assert_allclose(mean, [0.35, 0.85], **EXACT)
    np.testing.assert_allclose(frequency, [0.5, 1.0], **EXACT)
    np.testing.assert_allclose(share, [0.5, 0.5], **EXACT)
    error = scores.expected_calibration_error(confidence, correct, bins=2)
    assert error == pytest.approx(0.5 * 0.15 + 0.5 * 0.15, rel=1e-12)
    mean, frequency, share = scores.reliability([0.0, 1.0], [0, 1], [1, 3], bins=4)
    np.testing.assert_array_equal(mean, [0, np.nan, np.nan, 1])
    np.testing.assert_array_equal(frequency, [0, np.nan, np.nan, 1])
    np.testing.assert_array_equal(share, [0.25, 0, 0, 0.75])


def test_reliability_of_scikit_learn():
    rng = np.random.default_rng(2)
    confidence = np.append(rng.uniform(size=500), np.arange(11) / 10)
    correct = rng.uniform(size=511) < confidence
    mean, frequency, share = scores.reliability(confidence, correct, bins=10)
    expected = calibration_curve(correct, confidence, n_bins=10)
    np.testing.assert_allclose(frequency[share > 0], expected[0], **EXACT)
    np.testing.assert_allclose(mean[share > 0], expected[1], **EXACT)


def test_rejection_by_hand():
    shares, kept = scores.rejection_curve([0.3, 0.1, 0.2, 0.4], [0, 1, 1, 1], points=4)
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.75, 1], **EXACT)
    np.testing.assert_allclose(kept, [1, 1, 2 / 3, 3 / 4], **EXACT)
    _, kept = scores.rejection_curve([0.1, 0.2], [0, 1], [3, 1], points=4)
    np.testing.assert_allclose(kept, [0, 0, 0, 1 / 4], **EXACT)


def test_ties_are_the_mean_over_all_orders():
    _, kept = scores.rejection_curve([0, 1, 1, 1, 1], [1, 1, 0, 0, 0], points=5)
    # One row of four is right: of n of these n/4.
    expected = [(1 + n / 4) / (1 + n) for n in range(5)]
    np.testing.assert_allclose(kept, expected, **EXACT)


def test_order_and_weights():
    rng = np.random.default_rng(3)
    uncertainty, score = rng.integers(0, 9, 60) / 9, rng.uniform(size=60)
    weights = rng.integers(0, 4, 60)
    order, rows = rng.permutation(60), np.repeat(np.arange(60), weights)
    for measure in (scores.rejection_curve, scores.reliability):
        first = measure(uncertainty, score, weights)
        again = measure(uncertainty[order], score[order], weights[order])
        repeated = measure(uncertainty[rows], score[rows])
        for a, b, c in zip(first, again, repeated, strict=True):
            np.testing.assert_allclose(a, b, **EXACT)
            np.testing.assert_allclose(a, c, **EXACT)


def test_the_gaussian_is_that_of_the_standard_library():
    normal = statistics.NormalDist(1.5, 0.7)
    at = np.linspace(-2, 5, 9)
    expected = [math.log(normal.pdf(y)) for y in at]
    np.testing.assert_allclose(gaussian_log_density(at, 1.5, 0.49), expected, **EXACT)
    found = gaussian_cdf(at, 1.5, 0.7)
    np.testing.assert_allclose(found, [normal.cdf(y) for y in at], **EXACT)
    np.testing.assert_array_equal(gaussian_cdf([0, 1, 2], 1, 0), [0, 0.5, 1])
    assert np.isnan(gaussian_log_density(1, 1, 0))


@pytest.mark.parametrize("sizes", [(50,), (1,) * 50, (7, 40, 3)])
def test_density_of_a_mixture_in_blocks(sizes):
    rng = np.random.default_rng(4)
    y, samples, tau = rng.normal(size=(6, 2)), rng.normal(size=(50, 6, 2)), 3.0
    density = RegressionDensity(y, tau)
    for block in np.split(samples, np.cumsum(sizes)[:-1]):
        density.update(block)
    parts = np.sqrt(tau / (2 * np.pi)) * np.exp(-0.5 * tau * (y - samples) ** 2)
    # Sums of 50 terms, added in another order.
    np.testing.assert_allclose(density.log_likelihood(), np.log(parts.mean(axis=0)), rtol=1e-12)
    expected = gaussian_cdf(y, samples, 1 / np.sqrt(tau)).mean(axis=0)
    np.testing.assert_allclose(density.cdf(), expected, **EXACT)
    assert density.count == 50


def test_density_far_away_does_not_underflow():
    density = RegressionDensity([0.0], tau=1.0)
    density.update([[100.0], [1000.0]])
    density.update([[99.0]])
    # Of samples at 100, 1000 and 99 the last decides, and the first adds e^(−99.5).
    expected = -0.5 * 99**2 - math.log(3) - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(density.log_likelihood(), [expected], rtol=1e-15)


@pytest.mark.parametrize("sizes", [(40,), (1,) * 40, (13, 27)])
def test_density_without_tau_is_the_samples_own(sizes):
    rng = np.random.default_rng(5)
    y = 1e6 + rng.normal(size=8)
    samples = 1e6 + rng.normal(size=(40, 8))
    samples[3] = y  # a tie
    density = RegressionDensity(y)
    for block in np.split(samples, np.cumsum(sizes)[:-1]):
        density.update(block)
    expected = gaussian_log_density(y, samples.mean(axis=0), samples.var(axis=0))
    # Doubles near 1e6 are 1e-10 apart.
    np.testing.assert_allclose(density.log_likelihood(), expected, rtol=1e-8)
    expected = ((samples < y).sum(axis=0) + 0.5) / 40
    np.testing.assert_allclose(density.cdf(), expected, **EXACT)


def test_one_sample_without_tau_has_no_density():
    density = RegressionDensity(np.zeros(2))
    density.update(np.ones((1, 2)))
    assert np.isnan(density.log_likelihood()).all()
    np.testing.assert_array_equal(density.cdf(), [0, 0])


def test_errors_of_the_density():
    with pytest.raises(ValueError, match="`tau` must be a number > 0"):
        RegressionDensity(np.zeros(2), tau=0)
    density = RegressionDensity(np.zeros(2))
    with pytest.raises(ValueError, match="There are no samples"):
        density.cdf()
    with pytest.raises(ValueError, match=r"`block` must have the shape.*\(3,\)"):
        density.update(np.zeros(3))
    with pytest.raises(ValueError, match="`bins`"):
        scores.reliability([0.5], [1], bins=0)


def test_summary_keeps_small_spreads_of_large_numbers():
    # In single precision the numbers at 1e5 are 1/128 apart, and their squares 1024.
    samples = np.float32(1e5) + np.array([[0], [1], [1]], "float32") / 128
    found = sample_summary(samples, "regression", [0.0, 1.0])
    np.testing.assert_allclose(found["std"], [math.sqrt(2 / 9) / 128], rtol=1e-7)
    np.testing.assert_array_equal(found["quantiles"], [[1e5], [1e5 + 1 / 128]])
    assert {v.dtype for v in found.values() if v is not None} == {np.dtype("float32")}
