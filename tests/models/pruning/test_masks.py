"""Masks put on in place: what becomes zero, what may not leap, what is told from zeros."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import assert_identical, regression_data, whole_state

from keras_deeptricks.constraints import FixedMask, MaxNorm
from keras_deeptricks.models.pruning import (
    apply_masks,
    masks_of,
    prune,
    set_masks,
    weight_magnitude,
)


def small_model(optimizer=None, **options):
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, name="hidden", **options),
            layers.Dense(1, name="out"),
        ]
    )
    model.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    return model


HALF = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)


def kernel(model):
    return model.get_weights()[0]


def train(model, epochs=1):
    model.fit(*regression_data(), epochs=epochs, shuffle=False, verbose=0)


def slots(model):
    """The momenta of the first kernel."""
    (found,) = [
        variable.numpy()
        for variable in model.optimizer.variables
        if "hidden_kernel" in variable.name.replace("/", "_")
    ]
    return found


def test_masks_of_a_trained_model_take_effect_in_the_next_step():
    model = small_model()
    train(model)
    before = kernel(model)
    set_masks(model, {"hidden/kernel": HALF})
    np.testing.assert_array_equal(kernel(model), np.where(HALF, before, 0))
    train(model, epochs=2)
    np.testing.assert_array_equal(kernel(model) != 0, HALF)
    # Another one, in the place of the first.
    set_masks(model, {"hidden/kernel": ~HALF})
    np.testing.assert_array_equal(kernel(model), 0)
    train(model)
    np.testing.assert_array_equal(kernel(model) != 0, ~HALF)
    assert list(masks_of(model)) == ["hidden/kernel"]


def test_what_is_free_again_begins_at_rest():
    model = small_model()
    set_masks(model, {"hidden/kernel": HALF})
    train(model, epochs=2)
    # Under the mask momentum has gathered, which would make a leap.
    assert (slots(model)[~HALF] != 0).all()
    others = slots(model)[HALF]
    free = HALF.copy()
    free[0, 1] = True
    set_masks(model, {"hidden/kernel": free})
    assert slots(model)[0, 1] == 0
    np.testing.assert_array_equal(slots(model)[HALF], others)
    set_masks(model, {"hidden/kernel": np.ones_like(HALF)})
    np.testing.assert_array_equal(slots(model)[~HALF], 0)
    assert masks_of(model) == {}
    train(model)
    assert (kernel(model) != 0).all()


def test_the_first_step_after_is_that_of_plain_gradient_descent():
    model, x, y = small_model(), *regression_data(rows=8)
    train(model, epochs=2)
    set_masks(model, {"hidden/kernel": HALF})
    train(model, epochs=2)
    set_masks(model, {"hidden/kernel": np.ones_like(HALF)})
    plain = small_model(keras.optimizers.SGD(0.05))
    plain.set_weights(model.get_weights())
    for each in (model, plain):
        each.train_on_batch(x, y)
    # Momentum is 0 there: one step of rate × gradient, in other operations.
    np.testing.assert_allclose(kernel(model)[~HALF], kernel(plain)[~HALF], rtol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_slots_of_layers_of_one_name_are_told_apart(frozen):
    inner = [
        keras.Sequential([keras.Input((4,)), layers.Dense(4, name="d")], name="same")
        for _ in range(2)
    ]
    models = [keras.Model(part.inputs, part.outputs) for part in inner]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, models[1](models[0](inputs)))
    # Of what is frozen there are no slots.
    models[0].trainable = not frozen
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(8, 4))
    model.fit(x, x, verbose=0)
    mask = np.eye(4, dtype=bool)
    set_masks(model, {"d/kernel#2": mask})
    kernels = [v.numpy() for v in model.optimizer.variables if tuple(v.shape) == (4, 4)]
    cleared = [(array[~mask] == 0).all() for array in kernels]
    assert sorted(cleared) == ([True, True] if frozen else [False, False, True, True])
    first, second = (v.numpy() for v in model.weights if tuple(v.shape) == (4, 4))
    np.testing.assert_array_equal(second != 0, mask)
    assert (first != 0).all()


def test_masks_are_told_from_the_zeros_of_loaded_weights(tmp_path):
    first = prune(small_model(), weight_magnitude, fraction=0.5)
    second = prune(small_model(), lambda m: {k: -v for k, v in weight_magnitude(m).items()}, 0.5)
    train(first)
    train(second)
    first.save_weights(tmp_path / "first.weights.h5")
    second.load_weights(tmp_path / "first.weights.h5")
    set_masks(second)
    assert_identical(list(masks_of(second).values()), list(masks_of(first).values()))
    assert_identical(second.get_weights(), first.get_weights())
    train(second)
    for path, mask in masks_of(first).items():
        place = {"hidden/kernel": 0, "out/kernel": 2}[path]
        np.testing.assert_array_equal(second.get_weights()[place] != 0, mask)
    # Biases are zero at first without being pruned.
    plain = small_model()
    set_masks(plain)
    assert masks_of(plain) == {}


def test_a_mask_of_a_bias_and_another_constraint():
    model = small_model(kernel_constraint=MaxNorm(0.3))
    set_masks(model, {"hidden/kernel": HALF, "hidden/bias": [1, 0, 1]})
    train(model, epochs=2)
    layer = model.get_layer("hidden")
    assert (layer.bias.numpy() != 0).tolist() == [True, False, True]
    assert isinstance(layer.kernel.constraint, FixedMask)
    assert layer.kernel.constraint.constraint is layer.kernel_constraint.constraint
    set_masks(model, {"hidden/kernel": np.ones((4, 3))})
    assert isinstance(layer.kernel_constraint, MaxNorm)
    assert layer.kernel.constraint is layer.kernel_constraint


def test_weights_put_in_are_masked_when_asked():
    model = small_model()
    set_masks(model, {"hidden/kernel": HALF})
    model.set_weights([np.ones(weight.shape) for weight in model.weights])
    assert (kernel(model) == 1).all()
    apply_masks(model)
    np.testing.assert_array_equal(kernel(model), HALF)
    assert all((weight == 1).all() for weight in model.get_weights()[1:])


@pytest.mark.parametrize("name", ["SGD", "RMSprop"])
def test_averages_of_weights_are_masked_with_them(name):
    # RMSprop has averages of gradients beside them, which stay.
    optimizer = getattr(keras.optimizers, name)(0.05, momentum=0.9, use_ema=True)
    model = small_model(optimizer)
    set_masks(model, {"hidden/kernel": HALF})
    train(model)
    found = [v for v in model.optimizer.variables if "hidden_kernel" in v.name.replace("/", "_")]
    before = {v.name: v.numpy() for v in found}
    assert len(before) == {"SGD": 2, "RMSprop": 3}[name]
    assert all((array[~HALF] != 0).all() for array in before.values())
    apply_masks(model)
    for variable in found:
        is_average = variable.name.endswith("_average")
        expected = np.where(HALF | (not is_average), before[variable.name], 0)
        np.testing.assert_array_equal(variable.numpy(), expected)


class MaskBetween(keras.callbacks.Callback):
    """Puts a mask on in the middle of an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            set_masks(self.model, {"hidden/kernel": HALF})


def test_masks_can_be_put_on_during_fit():
    model = small_model("adam")
    x, y = regression_data()
    model.fit(x, y, batch_size=8, epochs=2, callbacks=[MaskBetween()], verbose=0)
    np.testing.assert_array_equal(kernel(model) != 0, HALF)


@pytest.mark.parametrize(
    "masks, error, text",
    [
        (3, TypeError, "`masks`"),
        ({"nowhere": HALF}, ValueError, "`masks`.*'nowhere'"),
        ({"hidden/kernel": HALF.T}, ValueError, r"`masks`.*\(4, 3\).*\(3, 4\)"),
        ({"hidden/kernel": HALF + 1}, ValueError, "`mask`"),
        ({"out/kernel": np.zeros((3, 1)), "hidden/kernel": "x"}, TypeError, "`mask`"),
    ],
)
def test_bad_masks_are_refused_and_nothing_changes(masks, error, text):
    model = small_model()
    train(model)
    before = whole_state(model)
    with pytest.raises(error, match=text):
        set_masks(model, masks)
    assert_identical(whole_state(model), before)
    assert masks_of(model) == {}


@pytest.mark.parametrize("function", [masks_of, apply_masks, set_masks])
def test_what_is_no_built_model_is_refused(function):
    with pytest.raises(TypeError, match="`model`"):
        function(None)
    with pytest.raises(ValueError, match="built"):
        function(keras.Sequential([layers.Dense(2)]))
