"""FixedMask: exact zeros through training, files, copies; other constraints beside it."""

import base64

import keras
import numpy as np
import pytest
from keras import ops

from keras_deeptricks import constraints

MASK = np.array([[1, 0, 1], [0, 1, 1]], bool)


def constrained(w, *arguments, **options):
    constraint = constraints.FixedMask(*arguments, **options)
    return ops.convert_to_numpy(constraint(ops.convert_to_tensor(w)))


def small_model(constraint, optimizer="sgd"):
    layer = keras.layers.Dense(3, kernel_constraint=constraint, name="out")
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile(optimizer, "mse")
    return model


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, 2)).astype("float32"), rng.normal(size=(16, 3)).astype("float32")


def test_by_hand():
    w = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "float32")
    np.testing.assert_array_equal(constrained(w, MASK), [[1, 0, 3], [0, 5, 6]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_masked_is_zero_whatever_it_was(bad):
    w = np.full((2, 3), bad, "float32")
    out = constrained(w, MASK)
    np.testing.assert_array_equal(out[~MASK], 0)
    assert not np.isfinite(out[MASK]).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_type_stays_and_what_is_not_masked_keeps_every_bit(dtype):
    w = ops.cast(ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 3))), dtype)
    out = constraints.FixedMask(MASK)(w)
    assert keras.backend.standardize_dtype(out.dtype) == dtype
    wide, before = (ops.convert_to_numpy(ops.cast(t, "float32")) for t in (out, w))
    np.testing.assert_array_equal(wide[MASK], before[MASK])
    np.testing.assert_array_equal(wide[~MASK], 0)


@pytest.mark.parametrize(
    "mask", [MASK.astype(int), MASK.astype("float32"), MASK.tolist(), ops.convert_to_tensor(MASK)]
)
def test_forms_of_a_mask(mask):
    np.testing.assert_array_equal(constraints.FixedMask(mask).mask, MASK)


def test_the_mask_is_a_copy_that_cannot_be_written_to():
    mask = MASK.copy()
    constraint = constraints.FixedMask(mask)
    mask[:] = True
    np.testing.assert_array_equal(constraint.mask, MASK)
    with pytest.raises(ValueError, match="read-only"):
        constraint.mask[0, 0] = False


def test_the_norm_of_another_constraint_is_that_of_the_weights_left():
    w = np.array([[3.0, 4.0], [4.0, 0.0]], "float32")
    mask = [[1, 0], [1, 1]]
    out = constrained(w, mask, constraints.MaxNorm(1.0))
    # The first column is (3, 4) of norm 5, the second (0, 0).
    np.testing.assert_allclose(out, [[0.6, 0], [0.8, 0]], rtol=1e-6)


@keras.saving.register_keras_serializable(package="test_fixed_mask")
class PlusOne(keras.constraints.Constraint):
    def __call__(self, w):
        return w + 1


def test_another_constraint_cannot_bring_back_what_is_masked():
    out = constrained(np.zeros((2, 3), "float32"), MASK, PlusOne())
    np.testing.assert_array_equal(out, MASK)


def test_the_configuration_is_small_text_and_comes_back():
    mask = np.random.default_rng(0).uniform(size=(300, 100)) < 0.08
    constraint = constraints.FixedMask(mask, constraints.MaxNorm(3.0))
    config = constraint.get_config()
    # Half of a bit for an entry that is rarely 1, and a third more in base 64.
    assert len(config["mask"]["bits"]) < mask.size / 8
    again = constraints.FixedMask.from_config(config)
    np.testing.assert_array_equal(again.mask, mask)
    assert again.constraint.max_value == 3.0
    assert again.get_config() == config
    named = constraints.FixedMask(mask, "non_neg")
    assert isinstance(named.constraint, keras.constraints.NonNeg)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_zeros_stay_exact_through_training_files_and_copies(optimizer, tmp_path):
    model = small_model(constraints.FixedMask(MASK), optimizer)
    model.fit(*data(), epochs=2, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0] != 0, MASK)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.compile("sgd", "mse")
    for other in (loaded, clone):
        other.fit(*data(), verbose=0)
        np.testing.assert_array_equal(other.get_weights()[0] != 0, MASK)
    # An ordinary file: its weights fit a model without masks.
    model.save_weights(tmp_path / "plain.weights.h5")
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    plain.load_weights(tmp_path / "plain.weights.h5")
    np.testing.assert_array_equal(plain.get_weights()[0], model.get_weights()[0])


def test_mixed_precision_with_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    model = small_model(constraints.FixedMask(MASK), "adam")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    before = model.get_weights()[0]
    model.fit(*data(), epochs=2, verbose=0)
    kernel = model.get_weights()[0]
    np.testing.assert_array_equal(kernel != 0, MASK)
    assert (kernel != before).all()


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"`mask`.*\(2, 3\).*\(3, 2\)"):
        constrained(np.ones((3, 2), "float32"), MASK)


@pytest.mark.parametrize(
    "options, error",
    [
        ({"mask": None}, TypeError),
        ({"mask": "half"}, TypeError),
        ({"mask": [["a"]]}, TypeError),
        ({"mask": object()}, TypeError),
        ({"mask": [0.5, 1]}, ValueError),
        ({"mask": [np.nan]}, ValueError),
        ({"mask": []}, ValueError),
        ({"mask": 1}, ValueError),
        ({"mask": {"shape": [2], "bits": "no"}}, ValueError),
        ({"mask": {"shape": [2]}}, ValueError),
        ({"mask": [1], "constraint": "round"}, ValueError),
        ({"mask": [1], "constraint": 3}, ValueError),
        ({"mask": [1], "constraint": len}, TypeError),
    ],
)
def test_bad_arguments_are_refused(options, error):
    with pytest.raises(error, match=r"`mask`|`constraint`"):
        constraints.FixedMask(**options)


def test_damaged_text_is_refused():
    text = constraints.FixedMask(np.ones(100)).get_config()["mask"]
    for shape in ([10**12], [200], [50, 1, 1], [-100], [0]):
        with pytest.raises(ValueError, match="damaged"):
            constraints.FixedMask({**text, "shape": shape})
    with pytest.raises(ValueError, match="damaged"):
        constraints.FixedMask({**text, "bits": base64.b64encode(b"xyz").decode()})
