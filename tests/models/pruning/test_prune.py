"""Pruning: exact counts, units, masks that stay, and models that are left as they are."""

import random
import re
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from small_models import Subclassed, Unnamed, assert_identical, class_data, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.models.pruning import (
    active_share,
    incoming_weight_norm,
    masks_of,
    mean_activation,
    prune,
    set_masks,
    shrink,
    sparsity,
    weight_magnitude,
)
from keras_deeptricks.models.pruning.kernels import maskable_of


def small_model(optimizer="adam", **options):
    """Weights of two layers whose magnitudes are told apart easily."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="tanh", name="hidden", **options),
            layers.Dense(3, activation="softmax", name="out"),
        ]
    )
    rng = np.random.default_rng(0)
    # All magnitudes differ.
    numbers = rng.permutation(np.arange(1, 43)) * rng.choice([-1, 1], 42) / 40
    model.set_weights(
        [numbers[:24].reshape(4, 6), np.ones(6), numbers[24:].reshape(6, 3), np.ones(3)]
    )
    if optimizer is not None:
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def kernels(model):
    return [weight for weight in model.get_weights() if weight.ndim > 1]


def assert_still_pruned(model, masks):
    weights = maskable_of(model)
    for path, mask in masks.items():
        np.testing.assert_array_equal(weights[path].value()[~mask], 0)


def warnings_of(function):
    """The texts of the warnings; not by `pytest.warns`, which passes on those of the backends."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        result = function()
    return result, " ".join(str(w.message) for w in found if w.category is UserWarning)


# Weights.


def test_the_smallest_weights_of_all_layers_go():
    model = small_model()
    pruned = prune(model, weight_magnitude, fraction=0.5)
    weights = np.concatenate([kernel.ravel() for kernel in kernels(model)])
    left = np.concatenate([kernel.ravel() for kernel in kernels(pruned)])
    assert np.count_nonzero(left) == 21
    kept = left != 0
    np.testing.assert_array_equal(left[kept], weights[kept])
    assert np.abs(weights[~kept]).max() < np.abs(weights[kept]).min()
    # Biases stay.
    assert (pruned.get_weights()[1] == 1).all()


def test_a_share_of_each_layer():
    pruned = prune(small_model(), weight_magnitude(small_model()), fraction=0.25, scope="layer")
    assert [np.count_nonzero(kernel) for kernel in kernels(pruned)] == [18, 14]  # 4.5 to the even


def test_a_threshold():
    model = small_model()
    pruned = prune(model, weight_magnitude, threshold=0.3)
    for before, after in zip(kernels(model), kernels(pruned), strict=True):
        np.testing.assert_array_equal(after, np.where(np.abs(before) < np.float32(0.3), 0, before))


@pytest.mark.parametrize("form", ["name", "layer", "path", "list"])
def test_what_is_excluded_is_left_alone(form):
    model = small_model()
    path = list(weight_magnitude(model))[1]
    item = {"name": "out", "layer": model.layers[1], "path": path, "list": ["out"]}[form]
    pruned = prune(model, weight_magnitude, fraction=0.5, exclude=item)
    assert [np.count_nonzero(kernel) for kernel in kernels(pruned)] == [12, 18]
    assert len(masks_of(pruned)) == 1


def test_kernels_without_a_saliency_are_left_alone():
    model = small_model()
    saliency = weight_magnitude(model)
    saliency.pop("hidden/kernel")
    pruned = prune(model, saliency, fraction=0.5)
    assert [np.count_nonzero(kernel) for kernel in kernels(pruned)] == [24, 9]


def test_pruning_again_adds_to_the_masks():
    first = prune(small_model(), weight_magnitude, fraction=0.3)
    first.fit(*class_data(), verbose=0)
    second = prune(first, weight_magnitude, fraction=0.6)
    assert sum(np.count_nonzero(kernel) for kernel in kernels(second)) == 42 - 25
    for path, mask in masks_of(first).items():
        assert not (masks_of(second)[path] & ~mask).any()
    # A smaller share than there is already adds nothing.
    third = prune(second, weight_magnitude, fraction=0.1)
    assert_identical(third.get_weights(), second.get_weights())


def test_the_given_model_is_left_as_it_is():
    model = small_model()
    model.fit(*class_data(), verbose=0)
    before, config = whole_state(model), model.get_config()
    pruned = prune(model, weight_magnitude, fraction=0.5)
    pruned.fit(*class_data(), verbose=0)
    assert_identical(whole_state(model), before)
    assert model.get_config() == config
    assert masks_of(model) == {}


# Units.


def test_units_go_with_all_incoming_weights_and_the_bias():
    model = small_model()
    pruned = prune(model, incoming_weight_norm, fraction=0.5)
    norms = incoming_weight_norm(model)["hidden/kernel"]
    gone = norms < np.sort(norms)[3]
    kernel, bias, out, out_bias = pruned.get_weights()
    assert (kernel == 0).all(axis=0).tolist() == gone.tolist()
    np.testing.assert_array_equal(bias, ~gone)
    # Outputs of the model are left alone.
    np.testing.assert_array_equal(out, model.get_weights()[2])
    assert (out_bias == 1).all()
    pruned.fit(*class_data(), epochs=2, verbose=0)
    kernel, bias, *_ = pruned.get_weights()
    assert (kernel[:, gone] == 0).all()
    assert (bias[gone] == 0).all()
    assert (bias[~gone] != 0).all()


def images_model():
    inputs = keras.Input((6, 6, 2))
    tensor = layers.Conv2D(4, 3, name="first")(inputs)
    tensor = layers.ReLU()(layers.BatchNormalization(name="norm")(tensor))
    tensor = layers.SeparableConv2D(6, 2, name="second", activation="relu")(tensor)
    tensor = layers.DepthwiseConv2D(2, depth_multiplier=2, name="third", activation="elu")(tensor)
    tensor = layers.Conv2DTranspose(5, 2, name="fourth", activation="relu")(tensor)
    # Behind the last convolution there are outputs only.
    left = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 1, name="left")(tensor))
    right = layers.Dense(3, name="right")(layers.Flatten()(tensor))
    model = keras.Model(inputs, [layers.Softmax()(left), right])
    model.compile("sgd", ["mse", "mse"])
    return model


@pytest.mark.parametrize("saliency", ["norm", "activation", "share"])
def test_filters_of_every_kind_of_convolution(saliency):
    model = images_model()
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")
    functions = {
        "norm": incoming_weight_norm,
        "activation": lambda m: mean_activation(m, x),
        "share": lambda m: active_share(m, x),
    }
    pruned = prune(model, functions[saliency], fraction=0.5, scope="layer")
    assert masks_of(pruned).keys() >= {"second/bias", "second/pointwise_kernel"}
    masked = {path.split("/")[0] for path in masks_of(pruned)}
    assert masked == {"first", "norm", "second", "third", "fourth"}
    pruned.fit(x, [np.ones((8, 2)), np.ones((8, 3))], verbose=0)
    for name, units in (("second", 6), ("third", 12), ("fourth", 5)):
        layer = pruned.get_layer(name)
        out = keras.Model(pruned.inputs, layer.output).predict(x, verbose=0)
        # A unit that is pruned is act(0) = 0.
        zero = (out.reshape(-1, units) == 0).all(axis=0)
        assert zero.sum() >= round(units / 2)
        assert (layer.bias.numpy()[zero] == 0).all()


def test_units_of_a_subclassed_model_are_the_callers_business():
    model = Subclassed([layers.Dense(4, name="a"), layers.Dense(2, name="b")])
    model(np.ones((1, 3)))
    pruned = prune(model, incoming_weight_norm, fraction=0.5, scope="layer", exclude="b")
    assert len(masks_of(pruned)) == 2
    assert len(masks_of(prune(model, incoming_weight_norm, fraction=0.5, scope="layer"))) == 4


def test_it_is_compiled_alike_with_a_fresh_optimizer():
    model = small_model(kdt.optimizers.AdamW(0.02, weight_decay=0.3, beta_1=0.8))
    model.fit(*class_data(), verbose=0)
    pruned = prune(model, weight_magnitude, fraction=0.5)
    assert type(pruned.optimizer) is type(model.optimizer)
    assert pruned.optimizer.get_config() == model.optimizer.get_config()
    assert pruned.optimizer is not model.optimizer
    assert int(pruned.optimizer.iterations) == 0
    assert set(pruned.evaluate(*class_data(), verbose=0, return_dict=True)) == {"loss", "accuracy"}
    assert not prune(small_model(None), weight_magnitude, fraction=0.5).compiled


def test_functions_of_ones_own_are_taken_over():
    def own(y, outputs):
        return keras.ops.mean(outputs, axis=-1)

    model = small_model(None)
    model.compile("sgd", own)
    pruned = prune(model, weight_magnitude, fraction=0.0)
    assert pruned.evaluate(*class_data(), verbose=0) == model.evaluate(*class_data(), verbose=0)


def test_a_metric_that_has_no_configuration_is_told_of():
    def own(y, outputs):
        return keras.ops.mean(outputs, axis=-1)

    model = small_model(None)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[own])
    pruned, told = warnings_of(lambda: prune(model, weight_magnitude, fraction=0.5))
    assert re.search(r"not compiled.*compile\(\)", told, re.DOTALL)
    assert not pruned.compiled


def test_averages_that_pass_constraints_are_told_of():
    model = small_model(keras.optimizers.SGD(0.1, use_ema=True))
    _, told = warnings_of(lambda: prune(model, weight_magnitude, fraction=0.5))
    assert re.search("use_ema=True.*apply_masks", told)


def test_another_constraint_stays_beside_the_mask():
    model = small_model(kernel_constraint=kdt.constraints.MaxNorm(0.5), bias_constraint="non_neg")
    pruned = prune(prune(model, weight_magnitude, fraction=0.2), weight_magnitude, fraction=0.5)
    pruned.fit(*class_data(), epochs=2, verbose=0)
    kernel = pruned.get_weights()[0]
    # A norm of float32 entries, rounded.
    assert (np.sqrt((kernel**2).sum(axis=0)) < 0.5 * (1 + 1e-6)).all()
    assert_still_pruned(pruned, masks_of(pruned))
    constraint = pruned.get_layer("hidden").kernel_constraint
    assert isinstance(constraint, kdt.constraints.FixedMask)
    assert isinstance(constraint.constraint, kdt.constraints.MaxNorm)
    units = prune(model, incoming_weight_norm, fraction=0.5)
    assert isinstance(
        units.get_layer("hidden").bias_constraint.constraint, keras.constraints.NonNeg
    )


def test_nested_recurrent_and_wrapped_layers(tmp_path):
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="inner")
    inputs = keras.Input((5, 4))
    tensor = layers.TimeDistributed(layers.Dense(4))(inputs)
    tensor = layers.LSTM(4)(tensor)
    model = keras.Model(inputs, layers.Dense(1)(inner(tensor)))
    model.compile("adam", "mse")
    pruned, report = prune(model, weight_magnitude, fraction=0.5, scope="layer", report=True)
    assert len(masks_of(pruned)) == 5
    # Half of the odd number of weights of the last layer, rounded.
    np.testing.assert_allclose(report.sparsity, 0.5, atol=0.01)
    pruned.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.fit(np.ones((4, 5, 4)), np.ones((4, 1)), verbose=0)
    found = masks_of(loaded)
    assert_identical(list(found.values()), list(masks_of(pruned).values()))
    values = [v for v in loaded.get_weights() if v.ndim > 1]
    for value, mask in zip(values, found.values(), strict=True):
        np.testing.assert_array_equal(value[~mask], 0)


def block_model():
    inputs = keras.Input((6, 6, 3))
    tensor = kdt.layers.ResidualBlock(4, name="block")(inputs)
    tensor = layers.GlobalAveragePooling2D()(tensor)
    model = keras.Model(inputs, layers.Dense(2, name="out")(tensor))
    model.compile("sgd", "mse")
    return model, np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype("float32")


@pytest.mark.parametrize("saliency", [weight_magnitude, incoming_weight_norm])
def test_blocks_become_the_layers_they_are_made_of(saliency, tmp_path):
    model, x = block_model()
    assert prune(model, saliency, fraction=0.0).get_layer("block").count_params() > 0
    pruned = prune(model, saliency, fraction=0.3, scope="layer")
    assert len(masks_of(pruned)) >= 3
    assert pruned.count_params() == model.count_params()
    pruned.fit(x, np.ones((4, 2)), verbose=0)
    pruned.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_still_pruned(loaded, masks_of(pruned))


def test_blocks_compute_the_same_as_layers():
    model, x = block_model()
    pruned = prune(model, weight_magnitude, threshold=0.1)
    for kernel in maskable_of(model).values():
        if kernel.is_kernel:
            value = kernel.value()
            kernel.variable.assign(np.where(np.abs(value) < 0.1, 0, value))
    assert sparsity(model).sparsity == sparsity(pruned).sparsity > 0
    # The same operations on the same numbers.
    np.testing.assert_allclose(pruned.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5)


@keras.saving.register_keras_serializable(package="test_prune")
class Closed(layers.Layer):
    """Its configuration does not tell what its inner layer has."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(4)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        return self.dense(inputs)


def test_masks_that_a_file_would_lose_are_told_of(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Closed(name="closed"), layers.Dense(2)])
    model.compile("adam", "mse")
    before, x = model.get_weights(), np.ones((8, 4))
    pruned, told = warnings_of(lambda: prune(model, weight_magnitude, fraction=0.5))
    assert re.search(r"closed.*set_masks\(loaded\)", told)
    assert_identical(model.get_weights(), before)
    pruned.fit(x, np.ones((8, 2)), verbose=0)
    assert_still_pruned(pruned, masks_of(pruned))
    pruned.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    set_masks(loaded)
    assert_identical(list(masks_of(loaded).values()), list(masks_of(pruned).values()))
    assert len(masks_of(prune(model, weight_magnitude, fraction=0.5, exclude="closed"))) == 1


def test_a_subclassed_model_whose_layers_have_no_names():
    model = Unnamed()
    model(np.ones((1, 4)))
    model.compile("adam", "mse")
    pruned, told = warnings_of(lambda: prune(model, weight_magnitude, fraction=0.5))
    assert "set_masks(loaded)" in told
    assert masks_of(pruned).keys() == weight_magnitude(model).keys()
    pruned.fit(np.ones((8, 4)), np.ones((8, 3)), epochs=2, verbose=0)
    assert_still_pruned(pruned, masks_of(pruned))
    assert sum(np.count_nonzero(kernel) for kernel in kernels(pruned)) == 21
    # Masks that the model has go on in the copy, also where they are excluded.
    again, _ = warnings_of(lambda: prune(pruned, weight_magnitude, 0.8, exclude=pruned.layers[0]))
    assert_still_pruned(again, masks_of(pruned))


def test_kernels_of_which_nothing_is_left_are_told_of():
    model = small_model()
    _, told = warnings_of(lambda: prune(model, weight_magnitude, fraction=1.0, exclude="hidden"))
    assert re.search(r"Nothing is left of \['out/kernel'\]", told)
    assert warnings_of(lambda: prune(model, weight_magnitude, fraction=0.5))[1] == ""


def test_random_states_are_left_as_they_are():
    model = small_model()
    state = random.getstate()
    prune(model, incoming_weight_norm, fraction=0.5, report=True)
    assert random.getstate() == state


def test_a_pruned_unit_before_batch_norm_gives_nothing():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, use_bias=False, name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Dense(2, name="out"),
        ]
    )
    x, rng = np.random.default_rng(0).normal(size=(32, 4)), np.random.default_rng(1)
    values = [rng.uniform(0.5, 1.5, weight.shape) for weight in model.weights]
    # β and the mean of the first three: their activation is 0 on all rows.
    values[2][:3], values[3][:3] = -4.0, 6.0
    model.set_weights(values)
    expected = model.predict(x, verbose=0)
    saliency = mean_activation(model, x)
    assert (saliency["hidden/kernel"][:3] == 0).all()
    pruned = prune(model, saliency, fraction=0.5)
    np.testing.assert_array_equal(pruned.predict(x, verbose=0), expected)
    assert set(masks_of(pruned)) == {"hidden/kernel", "norm/gamma", "norm/beta"}
    pruned.compile("adam", "mse")
    pruned.fit(x, np.ones((32, 2)), verbose=0)
    assert_still_pruned(pruned, masks_of(pruned))
    small = shrink(pruned)
    assert small.get_layer("norm").gamma.shape == (3,)
    np.testing.assert_allclose(small.predict(x, verbose=0), pruned.predict(x, verbose=0), rtol=1e-5)
    small.compile("adam", "mse")
    small.fit(x, np.ones((32, 2)), verbose=0)


def test_a_batch_norm_that_others_feed_is_left_alone():
    inputs = keras.Input((4,))
    first, norm = layers.Dense(4, name="first"), layers.BatchNormalization(name="norm")
    outputs = layers.Dense(2)(layers.Add()([norm(first(inputs)), norm(inputs)]))
    model = keras.Model(inputs, outputs)
    assert set(masks_of(prune(model, incoming_weight_norm, fraction=0.5))) == {
        "first/kernel",
        "first/bias",
    }


def test_a_share_that_is_reached_prunes_no_bias():
    model = small_model()
    model.layers[0].kernel.assign(np.eye(4, 6) + 1)
    masks = {"hidden/kernel": np.ones((4, 6), bool)}
    masks["hidden/kernel"][:, 0] = False
    pruned = prune(model, weight_magnitude, fraction=0.0)
    set_masks(pruned, masks)
    again = prune(pruned, incoming_weight_norm, fraction=0.0)
    assert again.get_layer("hidden").get_weights()[1].tolist() == [1.0] * 6


@pytest.mark.parametrize(
    "change, error, name",
    [
        ({"fraction": None}, ValueError, "fraction"),
        ({"threshold": 1.0}, ValueError, "threshold"),
        ({"fraction": 1.1}, ValueError, "fraction"),
        ({"fraction": -0.1}, ValueError, "fraction"),
        ({"fraction": "half"}, TypeError, "fraction"),
        ({"fraction": None, "threshold": np.nan}, ValueError, "threshold"),
        ({"scope": "model"}, ValueError, "scope"),
        ({"report": 1}, TypeError, "report"),
        ({"exclude": ["nowhere"]}, ValueError, "exclude"),
        ({"exclude": 3}, TypeError, "exclude"),
        ({"exclude": [["hidden"]]}, TypeError, "exclude"),
        ({"exclude": ["hidden", "out"]}, ValueError, "exclude"),
        ({"saliency": "magnitude"}, ValueError, "saliency"),
        ({"saliency": mean_activation}, TypeError, r"mean_activation\(model, x\)"),
        ({"saliency": {"hidden/kernel": "a"}}, TypeError, "real numbers"),
        ({"saliency": {"hidden/kernel": np.full((4, 6), 1j)}}, TypeError, "real numbers"),
        ({"saliency": {}}, ValueError, "saliency"),
        ({"saliency": {"x/kernel": np.ones(3)}}, ValueError, "saliency"),
        ({"saliency": {"hidden/kernel": np.ones(5)}}, ValueError, "saliency"),
        ({"saliency": {"hidden/kernel": np.full((4, 6), np.nan)}}, ValueError, "NaN"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_changes(change, error, name):
    model = small_model()
    before = whole_state(model)
    arguments = {"saliency": weight_magnitude, "fraction": 0.5, **change}
    with pytest.raises(error, match=name):
        prune(model, **arguments)
    assert_identical(whole_state(model), before)


def test_weights_and_units_are_not_compared():
    model = small_model()
    weights, units = weight_magnitude(model), incoming_weight_norm(model)
    first, second = weights
    with pytest.raises(ValueError, match="of weights or of units"):
        prune(model, {first: weights[first], second: units[second]}, fraction=0.5)


def test_what_is_no_built_model_is_refused():
    with pytest.raises(TypeError, match="`model`"):
        prune("model", weight_magnitude, fraction=0.5)
    with pytest.raises(ValueError, match="built"):
        prune(keras.Sequential([layers.Dense(2)]), weight_magnitude, fraction=0.5)
