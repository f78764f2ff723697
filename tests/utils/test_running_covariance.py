"""Covariance of streamed data against NumPy, and the directions of its variances."""

import numpy as np
import pytest

from keras_deeptricks.utils.running_covariance import RunningCovariance, principal_directions

DATA = np.random.default_rng(0).normal(size=(50, 3)) @ np.diag([3.0, 1.0, 0.1]) + [1e4, 0, -5]


def collected(*batches):
    moments = RunningCovariance()
    for batch in batches:
        moments.update(batch)
    return moments


@pytest.mark.parametrize("cuts", [[], [1], [10, 10, 49]])
def test_batches_merge_to_numpys_covariance(cuts):
    mean, covariance = collected(*np.split(DATA, cuts)).mean_and_covariance()
    # Double precision, of values around 1e4.
    np.testing.assert_allclose(mean, DATA.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(DATA.T, bias=True), rtol=1e-9, atol=1e-10)


def test_directions_diagonalize_with_the_largest_entries_positive():
    _, covariance = collected(DATA).mean_and_covariance()
    variances, directions = principal_directions(covariance)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_allclose(
        directions.T @ covariance @ directions, np.diag(variances), atol=1e-9
    )
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    assert (directions[np.abs(directions).argmax(axis=0), range(3)] > 0).all()


def test_variances_are_not_negative():
    variances, _ = principal_directions(np.ones((3, 3)) - 1e-17)
    assert (variances >= 0).all()


@pytest.mark.parametrize(
    "batches, told",
    [
        ([[[np.nan, 1.0]]], "NaN or infinite"),
        ([DATA, DATA[:, :2]], "same features"),
        ([], "at least 2 rows"),
        ([DATA[:1]], "at least 2 rows"),
    ],
)
def test_what_has_no_covariance_is_refused(batches, told):
    with pytest.raises(ValueError, match=told):
        collected(*batches).mean_and_covariance()
