"""The measures of a prediction on its targets, against hand-computed values and scikit-learn."""

import math
import statistics

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error

import keras_deeptricks as kdt
from keras_deeptricks.models.monte_carlo_evaluation import evaluate_prediction
from keras_deeptricks.utils.regression_density import RegressionDensity

MonteCarloPrediction = kdt.models.MonteCarloPrediction

# Both sides are computed in double precision from the same numbers, in another order.
EXACT = {"rtol": 1e-12, "atol": 1e-14}
FIELDS = (
    "accuracy",
    "rmse",
    "negative_log_likelihood",
    "brier_score",
    "expected_calibration_error",
    "interval_coverage",
    "interval_level",
    "reliability_level",
    "reliability_observed",
    "reliability_share",
    "kept_fraction",
    "kept_score",
)


def classification(rows=60, shape=(), count=3, seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.dirichlet(np.ones(count), (rows, *shape))
    y = rng.integers(0, count, (rows, *shape))
    return y, MonteCarloPrediction(mean, np.zeros_like(mean), "classification", 10)


def binary(rows=60, labels=2):
    rng = np.random.default_rng(1)
    mean = rng.uniform(size=(rows, labels))
    y = (rng.uniform(size=(rows, labels)) < mean).astype("int64")
    return y, MonteCarloPrediction(mean, np.zeros_like(mean), "binary", 10)


def regression(rows=60, tau=2.0, keep_samples=True):
    rng = np.random.default_rng(2)
    std = rng.uniform(0.2, 2, size=(rows, 1))
    mean = rng.normal(size=(rows, 1)) * 3
    samples = (mean + std * rng.normal(size=(30, rows, 1))).astype("float32")
    y = mean + std * rng.normal(size=(rows, 1))
    return y, MonteCarloPrediction.from_samples(
        samples, "regression", tau=tau, keep_samples=keep_samples
    )


MAKERS = [classification, lambda: classification(10, (4, 5)), binary, regression]
IDS = ["classification", "images", "binary", "regression"]


def rows_of(prediction, rows):
    """The prediction of some rows, also repeated."""
    samples = prediction.samples
    return MonteCarloPrediction(
        prediction.mean[rows],
        prediction.std[rows],
        prediction.task,
        prediction.passes,
        tau=prediction.tau,
        samples=None if samples is None else samples[:, rows],
    )


def assert_same(first, second):
    for name in FIELDS:
        a, b = first[name], second[name]
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, **EXACT, err_msg=name)


def test_classification_by_hand():
    mean = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    prediction = MonteCarloPrediction(mean, np.zeros((3, 2)), "classification", 5)
    found = evaluate_prediction([0, 1, 1], prediction, bins=2)
    assert found.accuracy == pytest.approx(2 / 3, rel=1e-12)
    expected = -(math.log(0.9) + math.log(0.4) + math.log(0.8)) / 3
    assert found.negative_log_likelihood == pytest.approx(expected, rel=1e-12)
    assert found.brier_score == pytest.approx((0.02 + 0.72 + 0.08) / 3, rel=1e-12)
    # All confidences are in the upper bin: 2.3 promised, 2 came true.
    assert found.expected_calibration_error == pytest.approx(0.1, rel=1e-12)
    np.testing.assert_allclose(found.reliability_level, [np.nan, 2.3 / 3], **EXACT)
    np.testing.assert_allclose(found.reliability_observed, [np.nan, 2 / 3], **EXACT)
    np.testing.assert_array_equal(found.reliability_share, [0, 1])
    assert (found.rmse, found.interval_coverage, found.interval_level) == (None, None, None)
    # Row 0 is the most certain, then row 2; both are right.
    at = [np.flatnonzero(np.isclose(found.kept_fraction, share))[0] for share in (0.3, 0.65, 1)]
    np.testing.assert_allclose(found.kept_score[at], [1, 1, 2 / 3], **EXACT)
    assert (found.rows, found.passes, found.kept_score_name) == (3, 5, "accuracy")


def test_binary_by_hand():
    prediction = MonteCarloPrediction([[0.9], [0.4], [0.3]], np.zeros((3, 1)), "binary", 5)
    # Lists of numbers become single precision.
    single = {"rel": 1e-6}
    for y in ([1, 1, 0], [[True], [True], [False]]):
        found = evaluate_prediction(y, prediction, bins=2)
        assert found.accuracy == pytest.approx(2 / 3)
        expected = -(math.log(0.9) + math.log(0.4) + math.log(0.7)) / 3
        assert found.negative_log_likelihood == pytest.approx(expected, **single)
        assert found.brier_score == pytest.approx((0.01 + 0.36 + 0.09) / 3, **single)
        np.testing.assert_allclose(found.reliability_level, [0.35, 0.9], rtol=1e-6)
        np.testing.assert_allclose(found.reliability_observed, [0.5, 1], **EXACT)
        expected = 2 / 3 * 0.15 + 1 / 3 * 0.1
        assert found.expected_calibration_error == pytest.approx(expected, **single)


def test_regression_of_a_gaussian_by_hand():
    mean, std = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    prediction = MonteCarloPrediction(mean, std, "regression", 5)
    found = evaluate_prediction([0.5, 6.0], prediction, interval_level=0.9, bins=4)
    assert found.rmse == pytest.approx(math.sqrt((0.25 + 25) / 2), rel=1e-12)
    normals = statistics.NormalDist(0, 1), statistics.NormalDist(1, 2)
    expected = -(math.log(normals[0].pdf(0.5)) + math.log(normals[1].pdf(6.0))) / 2
    assert found.negative_log_likelihood == pytest.approx(expected, rel=1e-12)
    # At 0.5 and 2.5 deviations, which intervals of 38 % and 98.8 % reach.
    assert (found.interval_coverage, found.interval_level) == (0.5, 0.9)
    np.testing.assert_allclose(found.reliability_level, [0.25, 0.5, 0.75], **EXACT)
    np.testing.assert_array_equal(found.reliability_observed, [0, 0.5, 0.5])
    assert found.reliability_share is None
    np.testing.assert_allclose(found.kept_score[[9, -1]], [0.5, found.rmse], **EXACT)
    assert found.as_dict().keys() == {"rmse", "negative_log_likelihood", "interval_coverage"}


def test_tau_is_noise_of_the_gaussian():
    prediction = MonteCarloPrediction(
        np.zeros((1, 1)), np.full((1, 1), 3.0), "regression", 5, tau=1 / 16
    )
    found = evaluate_prediction([2.0], prediction)
    expected = -math.log(statistics.NormalDist(0, 5).pdf(2.0))
    assert found.negative_log_likelihood == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tau", [None, 2.0])
def test_samples_and_what_was_streamed_give_the_same(tau):
    y, prediction = regression(tau=tau)
    density = RegressionDensity(y, tau)
    density.update(prediction.samples)
    bare = MonteCarloPrediction(prediction.mean, prediction.std, "regression", 30, tau=tau)
    streamed = evaluate_prediction(
        y, bare, log_likelihood=density.log_likelihood(), cdf=density.cdf()
    )
    assert_same(evaluate_prediction(y, prediction), streamed)
    gaussian = evaluate_prediction(y, bare).negative_log_likelihood
    # Without τ the density is that Gaussian, whose moments a prediction keeps in single precision;
    # with it a mixture, which has another shape.
    same = gaussian == pytest.approx(streamed.negative_log_likelihood, rel=1e-5)
    assert same == (tau is None)


def test_a_calibrated_regression_covers_what_it_promises():
    rng = np.random.default_rng(3)
    mean, std = rng.normal(size=(20_000, 1)), rng.uniform(0.5, 2, size=(20_000, 1))
    prediction = MonteCarloPrediction(mean, std, "regression", 50)
    found = evaluate_prediction(mean + std * rng.normal(size=mean.shape), prediction)
    # Four standard errors: 4·√(¼ / 20000) = 0.014.
    np.testing.assert_allclose(found.reliability_observed, found.reliability_level, atol=0.0142)
    assert found.interval_coverage == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 20_000))
    # The most certain are those of the smallest error.
    assert found.kept_score[0] < 0.5 * found.kept_score[-1]


@pytest.mark.parametrize("below, level", [(8, 0.6), (2, 0.6), (1, 0.8), (9, 0.8)])
def test_a_target_on_the_bound_of_an_interval_is_inside(below, level):
    # Of 10 samples 8 are smaller: the share 0.8 is the upper bound of the 60 % interval, which
    # 2 · 0.8 − 1 = 0.6000000000000001 would miss.
    samples = np.repeat([-1.0, 1.0], [below, 10 - below])[:, None, None]
    prediction = MonteCarloPrediction.from_samples(samples, "regression", keep_samples=True)
    found = evaluate_prediction([0.0], prediction, interval_level=level)
    assert found.interval_coverage == 1
    assert evaluate_prediction([0.0], prediction, interval_level=0.59).interval_coverage == 0


def test_measures_of_scikit_learn():
    y, prediction = classification()
    found = evaluate_prediction(y, prediction)
    labels = prediction.mean.argmax(axis=-1)
    assert found.accuracy == pytest.approx(accuracy_score(y, labels), rel=1e-12)
    assert found.negative_log_likelihood == pytest.approx(log_loss(y, prediction.mean), rel=1e-12)
    y, prediction = regression()
    expected = root_mean_squared_error(y, prediction.mean.astype("float64"))
    assert evaluate_prediction(y, prediction).rmse == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("make", MAKERS, ids=IDS)
def test_a_weight_is_that_many_rows(make):
    y, prediction = make()
    weights = np.random.default_rng(4).integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weights)
    weighted = evaluate_prediction(y, prediction, sample_weight=weights)
    assert_same(weighted, evaluate_prediction(y[rows], rows_of(prediction, rows)))
    column = evaluate_prediction(y, prediction, sample_weight=weights[:, None] / 7)
    assert_same(weighted, column)


@pytest.mark.parametrize("make", MAKERS, ids=IDS)
def test_the_order_of_rows_does_not_matter(make):
    y, prediction = make()
    order = np.random.default_rng(5).permutation(len(y))
    assert_same(
        evaluate_prediction(y, prediction),
        evaluate_prediction(y[order], rows_of(prediction, order)),
    )


@pytest.mark.parametrize("make", MAKERS, ids=IDS)
def test_the_last_point_of_rejection_is_the_whole(make):
    y, prediction = make()
    found = evaluate_prediction(y, prediction)
    assert found.kept_fraction[-1] == 1
    assert found.kept_score[-1] == pytest.approx(found[found.kept_score_name], rel=1e-12)


@pytest.mark.parametrize("shape", [(), (4, 5)], ids=["rows", "images"])
def test_every_form_of_class_targets(shape):
    y, prediction = classification(10, shape)
    expected = evaluate_prediction(y, prediction)
    for form in (y[..., None], np.eye(3)[y], y.astype("float32"), keras.ops.convert_to_tensor(y)):
        assert_same(expected, evaluate_prediction(form, prediction))


def test_pixels_count_like_rows():
    y, prediction = classification(6, (2, 3))
    flat = MonteCarloPrediction(
        prediction.mean.reshape(36, 3), np.zeros((36, 3)), "classification", 10
    )
    assert_same(evaluate_prediction(y, prediction), evaluate_prediction(y.ravel(), flat))


@pytest.mark.parametrize("ending", ["json", "npz"])
@pytest.mark.parametrize("make", MAKERS, ids=IDS)
def test_a_file_gives_back_everything(tmp_path, ending, make):
    before = evaluate_prediction(*make())
    before.save(tmp_path / f"evaluation.{ending}")
    after = kdt.models.MonteCarloEvaluation.load(tmp_path / f"evaluation.{ending}")
    for name in (*FIELDS, "task", "rows", "passes", "kept_score_name"):
        assert type(after[name]) is type(before[name])
        np.testing.assert_array_equal(after[name], before[name])


def test_names_and_words():
    found = evaluate_prediction(*regression())
    assert found["rmse"] == found.rmse
    assert found["accuracy"] is None
    with pytest.raises(KeyError, match=r"no 'f1'.*accuracy, rmse"):
        found["f1"]
    lines = str(found).splitlines()
    assert lines[0] == "regression, 60 rows, 30 passes"
    assert lines[-1].endswith("(of 95%)")
    assert "accuracy" not in str(found)
    assert "expected calibration error" in str(evaluate_prediction(*binary()))


def test_no_density_is_told_by_nan():
    prediction = MonteCarloPrediction(np.zeros((2, 1)), np.array([[0.0], [1.0]]), "regression", 1)
    found = evaluate_prediction([0.0, 1.0], prediction)
    assert math.isnan(found.negative_log_likelihood)
    # A row that does not count does not spoil it.
    found = evaluate_prediction([0.0, 1.0], prediction, sample_weight=[0, 1])
    assert math.isfinite(found.negative_log_likelihood)


@pytest.mark.parametrize(
    "y, options, error, message",
    [
        (np.zeros(59), {}, ValueError, "as many rows as the prediction, 60"),
        (0, {}, ValueError, "as many rows"),
        (np.full(60, np.nan), {}, ValueError, "must be finite"),
        (np.full(60, "cat"), {}, TypeError, "`y` must be numbers"),
        (None, {}, TypeError, "`y` must be numbers"),
        (np.full(60, 3), {}, ValueError, "whole numbers from 0 to 2"),
        (np.zeros((60, 2)), {}, ValueError, "`y` must have the shape"),
        (np.zeros(60), {"sample_weight": np.ones(3)}, ValueError, "`sample_weight`"),
        (np.zeros(60), {"sample_weight": -np.ones(60)}, ValueError, "`sample_weight`.*from -1"),
        (np.zeros(60), {"sample_weight": np.zeros(60)}, ValueError, "not all 0"),
        (np.zeros(60), {"interval_level": 1}, ValueError, "`interval_level`"),
        (np.zeros(60), {"bins": 1}, ValueError, "`bins`"),
        (np.zeros(60), {"cdf": np.zeros(60)}, ValueError, "for a regression"),
    ],
)
def test_bad_arguments(y, options, error, message):
    with pytest.raises(error, match=message):
        evaluate_prediction(y, classification()[1], **options)


def test_bad_arguments_of_a_regression():
    y, prediction = regression()
    with pytest.raises(ValueError, match="`cdf` must have the shape"):
        evaluate_prediction(y, prediction, cdf=np.zeros(60))
    with pytest.raises(ValueError, match="`y` must have the shape"):
        evaluate_prediction(np.zeros((60, 2)), prediction)
    several = MonteCarloPrediction.from_samples([prediction.samples], ["regression"])
    for wrong in (several, prediction.mean):
        with pytest.raises(TypeError, match="MonteCarloPrediction of one output"):
            evaluate_prediction(y, wrong)
