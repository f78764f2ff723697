"""The `trainable` flags come back as they were, whatever happened to them meanwhile."""

import keras
import numpy as np
import pytest
from small_models import dense_model

from keras_deeptricks.utils.trainable_flags import (
    TrainableFlags,
    all_trainable,
    trainable_if_unfrozen,
)


def flags(model):
    """The flag of every layer and variable, by path or name."""
    kept = TrainableFlags(model)
    return [(x.name, flag) for x, flag in kept.layers], [
        (v.path, flag) for v, flag in kept.variables
    ]


def nested_model():
    body = keras.Sequential(
        [
            keras.layers.Dense(3, name="low"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(3, name="high"),
        ],
        name="body",
    )
    return keras.Sequential([keras.Input((2,)), body, keras.layers.Dense(1, name="head")])


def freeze_nothing(model):
    pass


def freeze_one(model):
    model.get_layer("body").get_layer("low").trainable = False


def freeze_the_body(model):
    model.get_layer("body").trainable = False


def thaw_one_in_a_frozen_body(model):
    model.get_layer("body").trainable = False
    model.get_layer("body").get_layer("high").trainable = True


def freeze_the_model(model):
    model.trainable = False


def freeze_one_variable(model):
    model.get_layer("head").bias.trainable = False


STATES = [
    freeze_nothing,
    freeze_one,
    freeze_the_body,
    thaw_one_in_a_frozen_body,
    freeze_the_model,
    freeze_one_variable,
]


@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
def test_flags_come_back(before, after):
    model = nested_model()
    before(model)
    expected, trainable = flags(model), [v.path for v in model.trainable_variables]
    kept = TrainableFlags(model)
    after(model)
    kept.restore()
    assert flags(model) == expected
    assert [v.path for v in model.trainable_variables] == trainable


@pytest.mark.parametrize("before", STATES)
def test_a_block_sees_nothing_frozen_and_the_flags_come_back(before):
    model = nested_model()
    everything = [v.path for v in model.trainable_variables]
    before(model)
    expected = flags(model)
    with all_trainable(model):
        seen = [v.path for v in model.trainable_variables]
        layers = [flag for _, flag in flags(model)[0]]
    # A variable that was frozen alone stays so: that is not the layers' doing.
    frozen_alone = {model.get_layer("head").bias.path} if before is freeze_one_variable else set()
    assert seen == [path for path in everything if path not in frozen_alone]
    assert all(layers)
    assert flags(model) == expected
    assert [v.path for v in trainable_if_unfrozen(model)] == seen
    assert flags(model) == expected


def test_moving_statistics_are_never_trainable():
    model = nested_model()
    freeze_the_body(model)
    with all_trainable(model):
        norm = model.get_layer("body").get_layer("norm")
        assert [v.path.split("/")[-1] for v in norm.non_trainable_variables] == [
            "moving_mean",
            "moving_variance",
        ]
    assert len(trainable_if_unfrozen(model)) == 8  # two kernels and biases, γ and β, the head


def test_flags_come_back_after_an_exception():
    model = nested_model()
    freeze_the_body(model)
    expected = flags(model)

    def interrupted():
        with all_trainable(model):
            assert len(model.trainable_variables) == 8
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert flags(model) == expected


@pytest.mark.parametrize("kind", ["sequential", "functional", "subclassed"])
def test_every_kind_of_model(kind):
    model = dense_model(kind=kind)
    model(np.ones((2, 4), "float32"))
    everything = [v.path for v in model.trainable_variables]
    hidden = next(x for x, _ in TrainableFlags(model).layers if x.name == "hidden")
    hidden.trainable = False
    expected = flags(model)
    assert [v.path for v in trainable_if_unfrozen(model)] == everything
    assert flags(model) == expected
    assert len(model.trainable_variables) == len(everything) - 2
