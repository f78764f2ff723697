"""Small digits, small spaces and random draws for the tests of the hypermodels."""

import os

import keras
import keras_tuner
import numpy as np
import pytest
from sklearn.datasets import load_digits

ALL_DRAWS = os.environ.get("ALL_DRAWS") == "1"
# On JAX every network is compiled anew, on torch every step is slow.
_BUILDS = 30 if keras.config.backend() == "tensorflow" else 6

not_on_jax = pytest.mark.skipif(
    keras.config.backend() == "jax", reason="nothing here depends on the backend; JAX compiles long"
)

_x, _y = load_digits(return_X_y=True)
X, Y = _x[:192].astype("float32"), _y[:192].astype("int32")
X_VALID, Y_VALID = _x[192:256].astype("float32"), _y[192:256].astype("int32")


def draw(hypermodel, seed):
    """Random values of all hyperparameters that apply, as a search draws them."""
    space = keras_tuner.HyperParameters()
    hypermodel.search_space.declare_all(space)
    hp = keras_tuner.HyperParameters()
    for number, parameter in enumerate(space.space):
        hp.merge([parameter])
        if hp.is_active(parameter):
            hp.values[parameter.name] = parameter.random_sample(1000 * seed + number)
    return hp


def check_draws(hypermodel, x, trained):
    """Builds 30 random draws and trains two steps of the first `trained` of them.

    With ALL_DRAWS=1 it trains all; else it builds fewer where that takes long.
    """
    builds = 30 if ALL_DRAWS else _BUILDS
    seen = set()
    for seed in range(builds):
        hp = draw(hypermodel, seed)
        model = hypermodel.build(hp)
        assert model.compiled
        assert model.output_shape == (None, 10)
        seen.add(tuple(sorted(hp.values.items())))
        if seed < (builds if ALL_DRAWS else trained):
            history = hypermodel.fit(
                hp, model, x, Y, steps_per_epoch=2, epochs=1, batch_size=16, verbose=0
            )
            assert np.isfinite(history.history["loss"][0])
            assert history.history["peak_learning_rate"][0] > 0
    assert len(seen) == builds
