"""Streamed means and variances against NumPy's in one go."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_deeptricks.utils.running_moments import RunningMoments, batches_of


def test_by_hand():
    moments = RunningMoments(axis=-1)
    moments.update([[1.0, 10.0], [3.0, 10.0]])
    moments.update([[5.0, 10.0]])
    mean, variance = moments.mean_and_variance()
    # Mean of 1, 3, 5 is 3; variance (4 + 0 + 4) / 3. The second column is constant.
    # A few roundings of float64.
    np.testing.assert_allclose(mean, [3, 10], rtol=1e-15)
    np.testing.assert_allclose(variance, [8 / 3, 0], rtol=1e-15)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_batches_of_any_size_give_the_whole(axis):
    data = np.random.default_rng(0).normal(3.0, 2.0, size=(4, 50, 3))
    moments = RunningMoments(axis)
    for part in np.split(data, [1, 2, 20, 45], axis=1):
        if axis == 1:
            part = data  # the kept axis cannot be split
        moments.update(part)
    axes = None if axis is None else tuple(a for a in range(3) if a != axis % 3)
    mean, variance = moments.mean_and_variance()
    # Both sum in float64, in another order.
    np.testing.assert_allclose(mean, data.mean(axis=axes), rtol=1e-12)
    np.testing.assert_allclose(variance, data.var(axis=axes), rtol=1e-12)


def test_a_small_variance_beside_a_large_mean_survives():
    data = 1e8 + np.array([-1.0, 1.0] * 500)[:, None]
    moments = RunningMoments(axis=-1)
    for start in range(0, 1000, 7):
        moments.update(data[start : start + 7])
    # The textbook E[x²] − E[x]² has no correct digit here. Each batch's mean carries 1e-8.
    np.testing.assert_allclose(moments.mean_and_variance()[1], [1.0], rtol=1e-6)


def test_empty_batches_do_not_count():
    moments = RunningMoments(axis=-1)
    moments.update(np.ones((0, 2)))
    with pytest.raises(ValueError, match="empty"):
        moments.mean_and_variance()
    moments.update([[2.0, 4.0]])
    moments.update(np.ones((0, 2)))
    np.testing.assert_array_equal(moments.mean_and_variance()[0], [2, 4])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_leave_the_moments_alone(bad):
    moments = RunningMoments(axis=-1)
    moments.update([[2.0]])
    with pytest.raises(ValueError, match="NaN or infinite"):
        moments.update([[bad]])
    assert moments.count == 1
    assert moments.mean_and_variance()[0] == [2.0]


def test_an_axis_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="`axis`=2"):
        RunningMoments(axis=2).update(np.ones((3, 2)))


def test_batches_of_another_width_are_refused():
    moments = RunningMoments(axis=-1)
    moments.update(np.ones((3, 2)))
    with pytest.raises(ValueError, match="same features"):
        moments.update(np.ones((3, 1)))


def test_an_array_is_cut_into_batches():
    parts = list(batches_of(np.arange(10).reshape(5, 2), batch_size=2))
    assert [len(part) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(10).reshape(5, 2))


def test_tensors_and_lists_of_numbers_are_arrays():
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    for data in (rows, ops.convert_to_tensor(rows)):
        parts = list(batches_of(data, batch_size=2))
        assert [part.shape for part in parts] == [(2, 2), (1, 2)]
        np.testing.assert_array_equal(np.concatenate(parts), rows)


def test_a_list_of_arrays_is_batches_even_if_they_are_alike():
    batches = [np.zeros((2, 3)), np.ones((2, 3))]
    assert [part.shape for part in batches_of(batches)] == [(2, 3), (2, 3)]
    ragged = [np.zeros((2, 3)), np.ones((1, 3))]
    assert [part.shape for part in batches_of(ragged)] == [(2, 3), (1, 3)]


def test_of_tuples_the_inputs_are_taken():
    pairs = [(np.zeros((2, 3)), np.ones((2, 3))), (np.zeros((2, 3)), np.ones((2, 3)))]
    for data in (pairs, iter(pairs), [list(pair) for pair in pairs]):
        assert all((part == 0).all() and part.shape == (2, 3) for part in batches_of(data))


class Numbers(keras.utils.PyDataset):
    """Three batches, or an unknown number of them."""

    def __init__(self, known=True):
        super().__init__()
        self.known = known

    @property
    def num_batches(self):
        return 3 if self.known else None

    def __getitem__(self, index):
        return np.full((2, 1), index), None


def test_a_py_dataset_is_read_once_by_its_indices():
    assert [part[0, 0] for part in batches_of(Numbers())] == [0, 1, 2]


def test_a_py_dataset_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="unknown length"):
        list(batches_of(Numbers(known=False)))
