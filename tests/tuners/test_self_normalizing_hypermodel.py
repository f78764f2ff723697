"""Self-normalizing networks of the search."""

import keras
import keras_tuner
from hypermodel_cases import X, check_draws

from keras_deeptricks.tuners.self_normalizing_hypermodel import SelfNormalizingHyperModel


def test_what_the_network_is_stays():
    hypermodel = SelfNormalizingHyperModel(
        (64,), 10, space={"depth": 3, "width": 12, "alpha_dropout": 0.05, "max_norm": 4.0}
    )
    assert "activation" not in hypermodel.search_space
    assert "normalization" not in hypermodel.search_space
    model = hypermodel.build(keras_tuner.HyperParameters())
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    # 12·(1/3)^(1/2) is 7, below the 10 outputs.
    assert [layer.units for layer in dense] == [12, 10, 10, 10]
    assert all(layer.activation is keras.activations.selu for layer in dense[:-1])
    assert dense[0].kernel_constraint.max_value == 4.0
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.AlphaDropout)]
    assert rates == [0.05] * 3


def test_random_draws_train():
    space = {"width": (8, 24), "depth": (1, 4)}
    check_draws(SelfNormalizingHyperModel((64,), 10, space=space, adapt_to=X), X, trained=3)
