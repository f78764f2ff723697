"""Masks in place are those that `prune` gives a copy; what is gone stays first."""

import keras
import numpy as np
import pytest
from small_models import assert_identical

from keras_deeptricks.models.pruning import (
    incoming_weight_norm,
    masks_of,
    prune,
    set_masks,
    weight_magnitude,
)
from keras_deeptricks.models.pruning.prunable import Prunable


def network():
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, name="one", bias_initializer="ones"),
            keras.layers.Dense(5, name="two"),
            keras.layers.Dense(3, name="out"),
        ]
    )


@pytest.mark.parametrize("saliency", [weight_magnitude, incoming_weight_norm])
@pytest.mark.parametrize("amount", [{"fraction": 0.4}, {"threshold": 0.5}])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_masks_of_prune(saliency, amount, scope):
    model = network()
    expected = prune(model, saliency, scope=scope, exclude="two", **amount)
    masks = Prunable.of(model, saliency, ["two/kernel"]).masks(scope, **amount)
    set_masks(model, masks)
    assert masks_of(model).keys() == masks_of(expected).keys()
    assert_identical(model.get_weights(), expected.get_weights())


def test_masks_are_added_to_and_counted():
    model = network()
    set_masks(model, Prunable.of(model, weight_magnitude).masks("global", fraction=0.5))
    before = masks_of(model)
    assert Prunable.of(model, weight_magnitude).sparsity == 34 / 69  # 34.5, to the even number
    # Nothing comes back where less is asked for.
    assert_identical(
        list(Prunable.of(model, weight_magnitude).masks("global", fraction=0.1).values()),
        list(before.values()),
    )
    after = Prunable.of(model, weight_magnitude).masks("global", fraction=0.8)
    assert sum(int((~mask).sum()) for mask in after.values()) == 55
    assert all((~mask)[~before[path]].all() for path, mask in after.items())


def test_units_that_are_gone_are_counted_as_units():
    model = network()
    set_masks(model, Prunable.of(model, incoming_weight_norm).masks("layer", fraction=0.5))
    found = Prunable.of(model, incoming_weight_norm)
    assert set(found.kernels) == {"one/kernel", "two/kernel"}  # not those of the outputs
    assert found.sparsity == (3 + 2) / (6 + 5)


def test_what_is_to_go_first():
    model = network()
    first = {"two/kernel": np.zeros((6, 5), bool)}
    first["two/kernel"][:, 1] = True
    found = Prunable.of(model, weight_magnitude).with_first(first).masks("global", fraction=6 / 69)
    assert_identical([~found["two/kernel"]], [first["two/kernel"]])
    units = Prunable.of(model, incoming_weight_norm).with_first(first)
    found = units.masks("global", fraction=1 / 11)
    assert_identical([~found["two/kernel"]], [first["two/kernel"]])
    assert found["two/bias"].tolist() == [True, False, True, True, True]


def test_nothing_left():
    model = network()
    with pytest.raises(ValueError, match="Nothing is left to prune"):
        Prunable.of(model, incoming_weight_norm, ["one/kernel", "two/kernel"])
