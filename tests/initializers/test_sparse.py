"""Sparse initialization: the number of weights, their distribution and places, and the seed."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_deeptricks.initializers import Sparse


def drawn(shape, **options):
    return ops.convert_to_numpy(Sparse(**options)(shape))


@pytest.mark.parametrize("shape", [(100, 50), (16, 7), (3, 3, 8, 20), (5, 4, 9)])
def test_every_unit_has_exactly_that_many_weights(shape):
    for nonzero in (1, 4, 15):
        kernel = drawn(shape, nonzero=nonzero, seed=1)
        assert kernel.shape == shape
        counts = np.count_nonzero(kernel.reshape(-1, shape[-1]), axis=0)
        np.testing.assert_array_equal(counts, nonzero)


@pytest.mark.parametrize("shape", [(15, 6), (4, 6), (2, 2, 1, 6)])
def test_units_of_few_inputs_have_all_weights(shape):
    assert np.count_nonzero(drawn(shape, seed=1)) == np.prod(shape)


def test_values_are_normal():
    kernel = drawn((1000, 500), nonzero=20, stddev=0.25, seed=1)
    values = kernel[kernel != 0].astype("float64")
    assert values.size == 10_000
    # Five standard errors of 10,000 draws: of the mean, the variance and the fourth moment.
    assert abs(values.mean()) < 5 * 0.25 / 100
    assert values.var() == pytest.approx(0.25**2, rel=5 * np.sqrt(2) / 100)
    assert np.mean((values / 0.25) ** 4) == pytest.approx(3, abs=5 * np.sqrt(96) / 100)


def test_places_are_uniform_and_differ_between_units():
    chosen = drawn((40, 4000), nonzero=10, seed=1) != 0
    # Each input is chosen by a quarter of 4,000 units; five standard errors.
    share = chosen.mean(axis=1)
    assert np.abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 4000)
    assert len(np.unique(chosen.T, axis=0)) > 3990


def test_values_do_not_depend_on_places():
    # Drawn from one seed, the chosen places would have the values of small random numbers.
    kernel = drawn((20, 5000), nonzero=5, seed=1)
    values = kernel[kernel != 0]
    assert abs(values.mean()) < 5 / np.sqrt(values.size)
    assert np.mean(values > 0) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(values.size))


def test_seeds_are_those_of_keras():
    np.testing.assert_array_equal(drawn((30, 5), seed=1), drawn((30, 5), seed=1))
    assert not np.array_equal(drawn((30, 5), seed=1), drawn((30, 5), seed=2))
    initializer = Sparse(seed=1)
    np.testing.assert_array_equal(initializer((30, 5)), initializer((30, 5)))
    generator = Sparse(seed=keras.random.SeedGenerator(1))
    assert not np.array_equal(generator((30, 5)), generator((30, 5)))
    keras.utils.set_random_seed(3)
    first = drawn((30, 5))
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(drawn((30, 5)), first)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_dtype_is_the_asked_one(dtype):
    kernel = Sparse(3, seed=1)((20, 4), dtype=dtype)
    assert keras.backend.standardize_dtype(kernel.dtype) == dtype
    assert np.count_nonzero(ops.convert_to_numpy(ops.cast(kernel, "float32"))) == 12


def test_in_a_layer():
    layer = keras.layers.Conv2D(8, 3, kernel_initializer=Sparse(5, seed=1))
    layer.build((None, 10, 10, 4))
    kernel = ops.convert_to_numpy(layer.kernel).reshape(-1, 8)
    np.testing.assert_array_equal(np.count_nonzero(kernel, axis=0), 5)


def test_the_configuration_comes_back():
    initializer = Sparse(4, stddev=0.5, seed=5)
    assert initializer.get_config() == {"nonzero": 4, "stddev": 0.5, "seed": 5}
    again = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    np.testing.assert_array_equal(again((9, 3)), initializer((9, 3)))


def test_what_has_no_units_is_refused():
    with pytest.raises(ValueError, match="at least two axes"):
        Sparse()((5,))
    with pytest.raises(ValueError, match="`nonzero`"):
        Sparse(0)
    with pytest.raises(ValueError, match="`stddev`"):
        Sparse(stddev=-1.0)
