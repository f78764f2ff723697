"""The default configuration trick by trick: what each toggle changes, and what it leaves alone."""

import keras
import numpy as np
import pytest

from keras_deeptricks.callbacks import EarlyStopping, OneCycle
from keras_deeptricks.diagnostics import ablate
from keras_deeptricks.optimizers import SGD, Adam
from keras_deeptricks.recipes import DefaultConfiguration, default_network, default_toggles

RNG = np.random.default_rng(0)
X = RNG.normal(5, 3, size=(96, 4)).astype("float32")
Y = (X[:, 0] > 5).astype("int32") + (X[:, 1] > 5)
OFF = {name: off for name, (off, on) in default_toggles().items()}
ON = {name: on for name, (off, on) in default_toggles().items()}


def built(settings, x=X, y=Y, seed=3, **options):
    options = {"hidden_units": (8, 6), "epochs": 4, **options}
    return DefaultConfiguration(x, y, **options)(settings, seed)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_nothing_toggled_is_the_default_network():
    model, options = built({"one_cycle": False, "early_stopping": False})
    expected = default_network((4,), 3, hidden_units=(8, 6), normalization="batch", adapt_to=X)
    assert kinds(model) == kinds(expected)
    for mine, theirs in zip(model.layers, expected.layers, strict=True):
        names = ("units", "use_bias", "axis", "epsilon", "activation")
        assert [getattr(mine, n, 0) for n in names] == [getattr(theirs, n, 0) for n in names]
        if isinstance(mine, keras.layers.Dense):
            initializers = [type(one.kernel_initializer) for one in (mine, theirs)]
            assert initializers[0] is initializers[1]
    statistics = [one.get_layer("standardization").get_weights() for one in (model, expected)]
    np.testing.assert_array_equal(*statistics)
    assert isinstance(model.optimizer, SGD)
    assert model.optimizer.nesterov
    assert options == {"epochs": 4, "batch_size": 32, "callbacks": []}


def test_the_plain_baseline():
    model, options = built(OFF)
    assert kinds(model) == [
        "InputLayer",
        "Standardization",
        *["Dense", "Activation"] * 2,
        "Dense",
        "Activation",
    ]
    # Raw inputs: the layer is there, and changes nothing.
    np.testing.assert_array_equal(model.get_layer("standardization")(X), X)
    assert isinstance(model.optimizer, Adam)
    assert float(model.optimizer.learning_rate) == pytest.approx(3e-4)
    assert not model.losses
    assert isinstance(model.layers[2].kernel_initializer, keras.initializers.GlorotUniform)
    assert model.layers[3].activation is keras.activations.relu
    assert options["callbacks"] == []


def test_everything_on():
    own = (X[:8], Y[:8])
    model, options = built(ON, stopping_data=own)
    assert kinds(model).count("BatchNormalization") == kinds(model).count("Dropout") == 2
    assert len(model.losses) == 3
    cycle, stopping = options["callbacks"]
    assert isinstance(cycle, OneCycle)
    assert isinstance(stopping, EarlyStopping)
    assert stopping.monitor == "val_accuracy"
    # Not before the rate has come down: a cosine is at a tenth of its peak at four fifths of its
    # descent, which is 0.3 + 0.7 · 0.795 = 0.857 of four epochs.
    assert stopping.minimum_epochs == 4
    assert options["validation_data"][0] is own[0]
    # The range test has left the model untrained.
    twin = built({**ON, "one_cycle": False})[0]
    for mine, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def kernels(settings, seed=3):
    model = built({**settings, "one_cycle": False}, seed=seed)[0]
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    return [keras.ops.convert_to_numpy(layer.kernel) for layer in layers]


@pytest.mark.parametrize("name", [name for name in ON if name != "one_cycle"])
def test_a_trick_leaves_the_other_initial_weights_alone(name):
    found, expected = kernels({**ON, name: OFF[name]}), kernels(ON)
    same = [np.array_equal(a, b) for a, b in zip(found, expected, strict=True)]
    # The initializer is that of the hidden layers.
    assert same == ([False, False, True] if name == "initializer" else [True] * 3)
    assert not any(np.array_equal(a, b) for a, b in zip(expected, kernels(ON, 4), strict=True))


def test_a_regression_and_images():
    x = RNG.normal(size=(40, 5, 5))
    model, options = built({"one_cycle": False}, x, 100 + 10 * x.sum(axis=(1, 2)))
    assert model.output_shape == (None, 1)
    # In the units of the targets.
    assert abs(model.predict(x, verbose=0).mean() - 100) < 50
    assert options["callbacks"][0].monitor == "val_loss"


def test_an_ablation_of_it():
    found = ablate(
        DefaultConfiguration(X, Y, hidden_units=6, epochs=2),
        (X, Y, X, Y),
        {"one_cycle": (False, True)},
        seeds=1,
        monitor="val_loss",
    )
    assert not found.failures
    assert 0 < found.full[0] != found.plain[0] > 0


def test_errors():
    with pytest.raises(ValueError, match="`settings` must be one of"):
        built({"momentum": 0.9})
    with pytest.raises(ValueError, match="`optimizer` must be one of 'adam', 'momentum'"):
        built({"optimizer": "sgd"})
    with pytest.raises(ValueError, match="`y` must hold the classes 0, 1, 2"):
        built({}, y=Y + 1)
    with pytest.raises(ValueError, match="`y` is one-hot"):
        built({}, y=np.eye(3)[Y])
    with pytest.raises(TypeError, match="`stopping_data` must be a pair"):
        built({}, stopping_data=X)
    with pytest.raises(ValueError, match="`epochs`"):
        built({}, epochs=0)
    with pytest.raises(ValueError, match="`hidden_units`"):
        built({}, hidden_units=(0,))
    with pytest.raises(ValueError, match="`l2` must be a number > 0"):
        default_toggles(l2=0)
    with pytest.raises(ValueError, match="`dropout`"):
        default_toggles(dropout=1.0)
