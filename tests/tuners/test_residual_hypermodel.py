"""Residual and densely connected networks of the search."""

import copy

import keras
import keras_tuner
import pytest
from hypermodel_cases import X, check_draws

from keras_deeptricks.assembly.densenet import densenet
from keras_deeptricks.assembly.residual_networks import resnet, wide_resnet
from keras_deeptricks.tuners.residual_hypermodel import ResidualHyperModel

IMAGES = X.reshape(-1, 8, 8)
SMALL = {"blocks": 1, "filters": (2, 4), "widen": 1, "growth": (2, 4)}


def built(**space):
    return ResidualHyperModel((8, 8), 10, space=space).build(keras_tuner.HyperParameters())


@pytest.mark.parametrize(
    "space, expected",
    [
        ({"network": "resnet", "blocks": 1, "filters": 4}, (resnet, {"depth": 8, "filters": 4})),
        (
            {"network": "resnet", "blocks": 1, "filters": 4, "kind": "bottleneck"},
            (resnet, {"depth": 11, "filters": 4, "kind": "bottleneck"}),
        ),
        (
            {"network": "wide_resnet", "blocks": 1, "widen": 2},
            (wide_resnet, {"depth": 10, "widen": 2}),
        ),
        ({"network": "densenet", "blocks": 1, "growth": 4}, (densenet, {"depth": 10, "growth": 4})),
    ],
)
def test_the_networks_of_the_recipes(space, expected):
    model = built(**space)
    network, arguments = expected
    assert model.name == space["network"]
    assert model.count_params() == network((8, 8), 10, **arguments).count_params()


def test_the_hyperparameters_reach_the_blocks():
    model = built(
        network="resnet",
        blocks=2,
        filters=4,
        pre_activation=True,
        stochastic_depth=0.5,
        dropout=0.1,
    )
    blocks = [layer for layer in model.layers if type(layer).__name__ == "ResidualBlock"]
    # Falling linearly to the last of the six blocks.
    probabilities = [block.survival_probability for block in blocks]
    assert probabilities == pytest.approx([1 - i / 6 * 0.5 for i in range(1, 7)])
    configs = [block.get_config() for block in blocks]
    assert all(config["pre_activation"] and config["dropout"] == 0.1 for config in configs)


def test_augmentation_gives_each_network_its_own_layers():
    flip = keras.layers.RandomFlip("horizontal", seed=1)
    hypermodel = copy.deepcopy(
        ResidualHyperModel(
            (8, 8), 10, space={"network": "resnet", "blocks": 1}, augmentation=[flip]
        )
    )
    hp = keras_tuner.HyperParameters()
    layers = [
        [
            layer
            for layer in hypermodel.build(hp).layers
            if isinstance(layer, keras.layers.RandomFlip)
        ]
        for _ in range(2)
    ]
    (first,), (second,) = layers
    assert first.mode == "horizontal"
    assert len({first, second, flip}) == 3
    with pytest.raises(TypeError, match="augmentation"):
        ResidualHyperModel((8, 8), 10, augmentation=["flip"])


def test_random_draws_train():
    hypermodel = ResidualHyperModel((8, 8), 10, space=SMALL, adapt_to=IMAGES)
    check_draws(hypermodel, IMAGES, trained=2)
