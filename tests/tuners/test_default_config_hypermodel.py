"""Dense networks of the search: widths, structure, random draws."""

import keras
import keras_tuner
import pytest
from hypermodel_cases import X, check_draws, draw

from keras_deeptricks.tuners.default_config_hypermodel import (
    DefaultConfigHyperModel,
    hidden_widths,
)

SMALL = {"width": (8, 24), "depth": (1, 3)}


def widths(**settings):
    defaults = {"depth": 3, "width": 300, "shape": "conic", "conic_ratio": 0.25}
    return hidden_widths({**defaults, **settings}, settings.pop("outputs", 10))


def test_widths():
    # 300, 300·√0.25, 300·0.25
    assert widths() == (300, 150, 75)
    assert widths(shape="rectangular") == (300, 300, 300)
    assert widths(depth=2, conic_ratio=1 / 3) == (300, 100)
    assert widths(depth=1) == (300,)
    # Not below the outputs, and not below 8, but never above the first width.
    assert widths(width=20) == (20, 10, 10)
    assert hidden_widths({"depth": 3, "width": 16, "shape": "conic", "conic_ratio": 0.1}, 2) == (
        16,
        8,
        8,
    )
    assert hidden_widths({"depth": 2, "width": 5, "shape": "conic", "conic_ratio": 0.1}, 10) == (
        5,
        5,
    )


def test_it_begins_with_the_recipe():
    model = DefaultConfigHyperModel((64,), 10).build(keras_tuner.HyperParameters())
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [300, 100, 10]
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    # The momentum is that of the peak of a cycle from 0.95.
    assert float(model.optimizer.get_config()["momentum"]) == pytest.approx(0.85)


def test_the_hyperparameters_reach_the_network():
    space = {
        "depth": 2,
        "width": 12,
        "shape": "rectangular",
        "activation": "relu",
        "normalization": "batch",
        "batch_norm_position": "after",
        "dropout": 0.25,
        "l2": 0.01,
        "max_norm": 2.0,
        "optimizer": "nadam",
        "momentum": 0.9,
        "learning_rate": 0.003,
        "schedule": "constant",
    }
    model = DefaultConfigHyperModel((64,), 10, space=space).build(keras_tuner.HyperParameters())
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [12, 12, 10]
    assert dense[0].use_bias
    assert float(dense[0].kernel_regularizer.l2) == pytest.approx(0.01)
    assert dense[0].kernel_constraint.max_value == 2.0
    names = [type(layer).__name__ for layer in model.layers]
    assert names[2:6] == ["Dense", "Activation", "BatchNormalization", "Dropout"]
    config = model.optimizer.get_config()
    assert type(model.optimizer).__name__ == "Nadam"
    assert config["learning_rate"]["config"]["constant"] == 0.003
    assert config["beta_1"] == pytest.approx(0.9)


def test_changed_ranges_hold_over_draws():
    space = {"width": (20, 40), "learning_rate": (0.01, 0.1), "activation": ["elu", "silu"]}
    hypermodel = DefaultConfigHyperModel((64,), 10, space=space)
    values = [draw(hypermodel, seed).values for seed in range(50)]
    assert all(20 <= v["width"] <= 40 and v["activation"] in ("elu", "silu") for v in values)
    # A range says nothing of whether the rate is found.
    rates = [v["learning_rate"] for v in values if v["rate"] == "searched"]
    assert rates
    assert all(0.01 <= rate <= 0.1 for rate in rates)
    assert all(("max_norm" in v) == (v["weight_limit"] == "max_norm") for v in values)
    assert all(("batch_norm_position" in v) == (v["normalization"] == "batch") for v in values)


def test_random_draws_train():
    check_draws(DefaultConfigHyperModel((64,), 10, space=SMALL, adapt_to=X), X, trained=5)
