"""Gradient noise: its distribution, what it depends on, and what it does not."""

import math
import random

import keras
import numpy as np
import pytest
from keras import ops
from small_models import BACKEND, assert_identical, regression_data, values

import keras_deeptricks as kdt

# Keras' variables and NumPy 2: pytest.warns sends on what it did not look for.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

# Statistics of n normal numbers scatter, for σ = 1: the mean by √(1/n), the variance by √(2/n), the
# third and fourth moment by √(15/n) and √(96/n), correlations by √(1/n). Five such deviations
# never happen by chance, and the seeds here are fixed.
DEVIATIONS = 5
SIDE = 150


def noisy(optimizer=None, **options):
    options = {"seed": 7, **options}
    return kdt.optimizers.GradientNoise(optimizer or keras.optimizers.SGD(1.0), **options)


def noise_of(optimizer, steps=1, shapes=((3, 4), (5,))):
    """The noise of each step, a list of arrays: gradient descent at rate 1 on zero gradients."""
    variables = [
        keras.Variable(np.zeros(shape, "float32"), name=f"weights_{i}")
        for i, shape in enumerate(shapes)
    ]
    noise = []
    for _ in range(steps):
        optimizer.apply([ops.zeros(shape) for shape in shapes], variables)
        noise.append([-value for value in values(variables)])
        for variable in variables:
            variable.assign(np.zeros(variable.shape, "float32"))
    return noise


def flat(noise):
    return [array for step in noise for array in step]


@pytest.mark.parametrize("variance, decay", [(0.01, 0.55), (1.0, 2.0), (0.3, 0.0)])
def test_mean_variance_and_shape_of_the_noise(variance, decay):
    optimizer = noisy(variance=variance, decay=decay)
    for t, (noise,) in enumerate(noise_of(optimizer, 4, [(SIDE, SIDE)])):
        expected = variance / (1 + t) ** decay
        n, scaled = noise.size, noise.astype("float64") / math.sqrt(expected)
        assert abs(scaled.mean()) < DEVIATIONS / math.sqrt(n)
        assert abs(scaled.var() - 1) < DEVIATIONS * math.sqrt(2 / n)
        assert abs((scaled**3).mean()) < DEVIATIONS * math.sqrt(15 / n)
        assert abs((scaled**4).mean() - 3) < DEVIATIONS * math.sqrt(96 / n)
        # Of a normal distribution 68.27 % lie within σ.
        within = (np.abs(scaled) < 1).mean()
        assert abs(within - 0.682689) < DEVIATIONS * math.sqrt(0.6827 * 0.3173 / n)


def test_noise_of_steps_and_variables_is_uncorrelated():
    noise = flat(noise_of(noisy(variance=1.0, decay=0.0), 3, [(SIDE, SIDE)] * 3))
    correlations = np.corrcoef([array.ravel() for array in noise])
    np.fill_diagonal(correlations, 0)
    assert np.abs(correlations).max() < DEVIATIONS / SIDE
    # Nor do neighbours repeat what another variable or step has at another place.
    first = noise[0].ravel()
    for other in noise:
        for shift in (1, 2, SIDE):
            correlation = np.corrcoef(first[shift:], other.ravel()[:-shift])[0, 1]
            assert abs(correlation) < DEVIATIONS / math.sqrt(first.size - shift)


def test_a_seed_fixes_the_noise_and_another_one_changes_it():
    first, again = noise_of(noisy(seed=3), 3), noise_of(noisy(seed=3), 3)
    assert_identical(flat(first), flat(again))
    # No two of all seeds, steps and variables have the same noise, also for neighbouring seeds.
    shapes = [(2, 2)] * 3
    every = [
        noise.tobytes()
        for seed in range(8)
        for noise in flat(noise_of(noisy(seed=seed), 4, shapes))
    ]
    assert len(set(every)) == 8 * 4 * 3


def test_without_a_seed_keras_fixes_it():
    def unseeded():
        return flat(noise_of(noisy(seed=None)))

    first, second = unseeded(), unseeded()
    assert not np.array_equal(first[0], second[0])
    keras.utils.set_random_seed(0)  # as at the start of this test
    assert_identical(first, unseeded())


def test_noise_disturbs_no_other_random_numbers():
    def drawn(meanwhile):
        keras.backend.clear_session(free_memory=False)  # also of Keras' own generator
        keras.utils.set_random_seed(1)
        first = keras.random.normal((3,))
        meanwhile()
        others = [np.array(random.random()), np.random.random(3)]  # noqa: NPY002
        return values([first, keras.random.normal((3,))]) + others

    assert_identical(drawn(lambda: noise_of(noisy(), 2)), drawn(lambda: None))


def test_the_noise_does_not_depend_on_the_optimizer():
    # Adam's first step without ε is the sign of the gradient.
    signs = flat(noise_of(noisy(keras.optimizers.Adam(1.0, epsilon=0.0))))
    for sign, noise in zip(signs, flat(noise_of(noisy())), strict=True):
        # Some roundings of float32 in Adam's corrections, 1 − 0.999 among them.
        np.testing.assert_allclose(sign, np.sign(noise), rtol=1e-3)


def test_gradients_are_kept_below_the_noise():
    variable, other = (keras.Variable(np.zeros(4, "float32"), name="weights_0") for _ in range(2))
    gradient = np.array([1, -2, 3, -4], "float32")
    optimizer, plain = noisy(), noisy()
    optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    plain.apply([ops.zeros(4)], [other])
    difference = values([other])[0] - values([variable])[0]
    # One rounding of numbers below 8.
    np.testing.assert_allclose(difference, gradient, rtol=0, atol=5e-7)


def trained(optimizer, epochs=2, **options):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **options)
    return fit(model, epochs)


def fit(model, epochs):
    x, y = regression_data(32)
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return model


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on torch refuses steps_per_execution > 1")
def test_steps_per_execution_changes_nothing():
    one, four = (
        trained(noisy(keras.optimizers.Adam(0.01), variance=1.0), steps_per_execution=steps)
        for steps in (1, 4)
    )
    assert_identical(one.get_weights(), four.get_weights())


def test_it_goes_on_identically_after_saving_and_loading(tmp_path):
    def optimizer():
        keras.utils.set_random_seed(5)
        return noisy(kdt.optimizers.SGD(0.01, momentum=0.9), variance=1.0, seed=None)

    whole = trained(optimizer(), epochs=2)
    half = trained(optimizer(), epochs=1)
    half.save(tmp_path / "half.keras")
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    assert_identical(fit(resumed, 1).get_weights(), whole.get_weights())


def test_a_copy_by_configuration_has_the_same_noise():
    first = flat(noise_of(noisy(seed=11), 2))
    copy = type(noisy()).from_config(noisy(seed=11).get_config())
    assert_identical(first, flat(noise_of(copy, 2)))


def test_under_gradient_accumulation_it_comes_once_per_update():
    plain = noise_of(noisy(), 2)
    accumulating = noisy(keras.optimizers.SGD(1.0, gradient_accumulation_steps=3))
    got = noise_of(accumulating, 6)
    for step in (0, 1, 3, 4):
        assert not any(array.any() for array in got[step])
    assert_identical(got[2] + got[5], plain[0] + plain[1])


def test_the_variance_may_be_a_schedule():
    # σ doubles at the second step, by which float32 stays exact.
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 4.0])
    one, two = noise_of(noisy(variance=1.0), 2), noise_of(noisy(variance=schedule), 2)
    assert_identical(one[0], two[0])
    assert_identical([2 * array for array in one[1]], two[1])
    constant = noisy(variance=kdt.schedules.Constant(0.25))
    assert_identical(flat(noise_of(constant, 2)), flat(noise_of(noisy(variance=0.25), 2)))


@pytest.mark.parametrize("exclude", ["weights_1", ["*_1"], r"weights_[1-9]"])
def test_what_is_excluded_has_no_noise(exclude):
    noise = noise_of(noisy(exclude=exclude))
    assert noise[0][0].all()
    assert not noise[0][1].any()
    # The noise of the others does not depend on what is excluded.
    assert_identical(noise[0][:1], noise_of(noisy())[0][:1])


def test_a_name_that_is_nothing_warns():
    with pytest.warns(UserWarning, match=r"GradientNoise: 'nothing_\*' in `exclude`"):
        noise = noise_of(noisy(exclude=["nothing_*", "weights_0"]))
    assert [array.any() for array in noise[0]] == [False, True]


def test_excluding_everything_warns():
    with pytest.warns(UserWarning, match="GradientNoise changes nothing"):
        noise = noise_of(noisy(exclude="weights_*"))
    assert not any(array.any() for array in noise[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    variable = keras.Variable(np.zeros((SIDE, SIDE)), dtype=dtype, name="weights_0")
    noisy(variance=1.0).apply([ops.zeros((SIDE, SIDE), dtype=dtype)], [variable])
    got = values([ops.cast(variable, "float32")])[0]
    (expected,) = noise_of(noisy(variance=1.0), 1, [(SIDE, SIDE)])[0]
    # The same numbers, rounded once: to 2⁻⁹ in bfloat16, and 2⁻²⁵ of float16's smallest.
    np.testing.assert_allclose(-got, expected, rtol=2.0**-8, atol=2.0**-25)


def test_a_scalar_gets_noise():
    optimizer = noisy(variance=1.0)
    assert all(noise != 0 for (noise,) in noise_of(optimizer, 3, [()]))


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"variance": -1}, ValueError),
        ({"variance": None}, TypeError),
        ({"variance": "0.1"}, TypeError),
        ({"decay": -0.1}, ValueError),
        ({"decay": None}, TypeError),
        ({"seed": -1}, ValueError),
        ({"seed": 0.5}, TypeError),
        ({"exclude": None}, TypeError),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, error):
    (name,) = wrong
    with pytest.raises(error, match=f"`{name}`"):
        noisy(**wrong)
