"""Standardization: by hand, of constant features, and as weights that travel with the model."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops
from small_models import BACKEND

from keras_deeptricks.layers import Standardization
from keras_deeptricks.utils.training_state import preserved

TABLE = np.array([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0], [5.0, 50.0, 5.0]], "float32")
# Column means 3, 30, 5; deviations √(8/3) and 10·√(8/3); the third is constant.
DEVIATION = np.sqrt(8 / 3)
# A few roundings of float32.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}


def adapted(data=TABLE, **options):
    layer = Standardization(**options)
    layer.adapt(data)
    return layer


def called(layer, x):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(x)))


def statistics(layer):
    return ops.convert_to_numpy(layer.mean), ops.convert_to_numpy(layer.deviation)


def test_by_hand():
    layer = adapted()
    mean, deviation = statistics(layer)
    np.testing.assert_allclose(mean, [3, 30, 5], **ROUNDING)
    np.testing.assert_allclose(deviation, [DEVIATION, 10 * DEVIATION, 1], **ROUNDING)
    z = 2 / DEVIATION
    expected = [[-z, -z, 0], [0, 0, 0], [z, z, 0]]
    np.testing.assert_allclose(called(layer, TABLE), expected, **ROUNDING)


def test_before_adapt_it_passes_its_input_on():
    np.testing.assert_array_equal(called(Standardization(), TABLE), TABLE)


def test_constant_features_are_only_centred():
    # Where Normalization would make 1e7 of a step of 1.
    np.testing.assert_allclose(
        called(adapted(), np.array([[3.0, 30.0, 6.0]], "float32")), [[0, 0, 1]], **ROUNDING
    )


@pytest.mark.parametrize(
    "column",
    [
        [0.0, 0.0, 0.0],
        [1e6, 1e6 + 0.1, 1e6],  # a deviation of 0.047, below a millionth of the mean
        [1e-7, -1e-7, 1e-7],  # rounding noise around zero
    ],
)
def test_near_constant_features_are_only_centred(column):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        layer = adapted(np.array(column)[:, None])
    assert statistics(layer)[1] == [1.0]


def test_small_units_are_warned_of_and_can_be_allowed():
    data = np.array([[1e-7], [3e-7]])
    with pytest.warns(UserWarning, match="`minimum_deviation`=1e-06.*rescale"):
        adapted(data)
    layer = adapted(data, minimum_deviation=0)  # a warning would be an error here
    np.testing.assert_allclose(called(layer, data.astype("float32")), [[-1], [1]], rtol=1e-4)


def test_images_per_channel():
    images = np.random.default_rng(0).uniform(0, 255, (10, 4, 5, 3)) * [1.0, 2.0, 3.0]
    layer = adapted(images.astype("float32"))
    assert statistics(layer)[0].shape == (3,)
    out = called(layer, images.astype("float32"))
    # 200 values a channel in float32.
    np.testing.assert_allclose(out.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=(0, 1, 2)), 1, rtol=1e-5)


def test_another_axis():
    images = np.random.default_rng(0).normal(size=(10, 3, 4, 5)).astype("float32")
    last = adapted(np.moveaxis(images, 1, -1))
    for axis in (1, -3):
        first = adapted(images, axis=axis)
        np.testing.assert_allclose(
            called(first, images),
            np.moveaxis(called(last, np.moveaxis(images, 1, -1)), -1, 1),
            **ROUNDING,
        )


def test_one_mean_for_all():
    layer = adapted(TABLE, axis=None)
    mean, deviation = statistics(layer)
    assert mean.shape == deviation.shape == ()
    np.testing.assert_allclose(mean, TABLE.mean(), **ROUNDING)
    np.testing.assert_allclose(deviation, TABLE.std(), **ROUNDING)
    # It does not depend on the shape.
    np.testing.assert_allclose(called(layer, TABLE[:, :1]), called(layer, TABLE)[:, :1])


def test_invert_goes_back():
    there, back = adapted(), adapted(invert=True)
    z = np.array([[-1.0, 2.0, 3.0]], "float32")
    expected = [[3 - DEVIATION, 30 + 20 * DEVIATION, 8]]
    np.testing.assert_allclose(called(back, z), expected, **ROUNDING)
    np.testing.assert_allclose(called(back, called(there, TABLE)), TABLE, **ROUNDING)


def test_whole_numbers_are_not_wrapped_around():
    data = np.array([[0, 255], [200, 1]], "uint8")
    layer = adapted(data)
    np.testing.assert_allclose(statistics(layer)[0], [100, 128], **ROUNDING)
    np.testing.assert_allclose(called(layer, data), [[-1, 1], [1, -1]], **ROUNDING)


class Batches(keras.utils.PyDataset):
    """The table in two batches, with targets."""

    def __init__(self):
        super().__init__()

    @property
    def num_batches(self):
        return 2

    def __getitem__(self, index):
        rows = slice(0, 2) if index == 0 else slice(2, 3)
        return TABLE[rows], np.zeros(3)[rows]


FORMS = {
    "small batches": lambda: {"data": TABLE, "batch_size": 1},
    "numbers": lambda: {"data": TABLE.tolist()},
    "tensor": lambda: {"data": ops.convert_to_tensor(TABLE)},
    "list of batches": lambda: {"data": [TABLE[:2], TABLE[2:]]},
    "list of equal batches": lambda: {"data": [TABLE[:1], TABLE[1:2], TABLE[2:]]},
    "list of pairs": lambda: {"data": [(TABLE, np.zeros_like(TABLE))]},
    "generator": lambda: {"data": (part for part in (TABLE[:2], TABLE[2:]))},
    "py_dataset": lambda: {"data": Batches()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same(form):
    layer = Standardization()
    layer.adapt(**FORMS[form]())
    for ours, expected in zip(statistics(layer), statistics(adapted()), strict=True):
        np.testing.assert_allclose(ours, expected, **ROUNDING)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.data comes with TensorFlow")
@pytest.mark.parametrize("targets", [True, False])
def test_a_tf_dataset(targets):
    import tensorflow as tf

    data = (TABLE, np.zeros(3)) if targets else TABLE
    layer = adapted(tf.data.Dataset.from_tensor_slices(data).batch(2))
    np.testing.assert_allclose(statistics(layer)[0], [3, 30, 5], **ROUNDING)


def test_adapt_after_a_compiled_predict_has_an_effect():
    layer = Standardization()
    model = keras.Sequential([keras.Input((3,)), layer])
    np.testing.assert_array_equal(model.predict(TABLE, verbose=0), TABLE)
    layer.adapt(TABLE)
    np.testing.assert_allclose(model.predict(TABLE, verbose=0)[1], [0, 0, 0], atol=1e-6)


def test_adapting_anew_forgets_the_old_data():
    layer = adapted(100 * TABLE + 7)
    layer.adapt(TABLE)
    for ours, expected in zip(statistics(layer), statistics(adapted()), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_weights_carry_the_statistics(tmp_path):
    model = keras.Sequential([keras.Input((3,)), adapted()])
    assert model.trainable_weights == []
    expected = model.predict(TABLE, verbose=0)
    copy = keras.Sequential([keras.Input((3,)), Standardization()])
    copy.predict(TABLE, verbose=0)
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy.predict(TABLE, verbose=0), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(TABLE, verbose=0), expected)


def test_the_training_state_carries_the_statistics():
    layer = adapted()
    model = keras.Sequential([keras.Input((3,)), layer])
    expected = model.predict(TABLE, verbose=0)
    with preserved(model):
        layer.adapt(5 * TABLE)
    np.testing.assert_array_equal(model.predict(TABLE, verbose=0), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_leave_the_layer_as_it_was(bad):
    layer, fresh = adapted(), Standardization()
    before = statistics(layer)
    for one in (layer, fresh):
        with pytest.raises(ValueError, match="NaN or infinite"):
            one.adapt([TABLE, np.array([[1.0, bad, 1.0]])])
    assert not fresh.built
    for now, then in zip(statistics(layer), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("empty", [np.zeros((0, 3)), [], iter([])])
def test_data_without_rows_is_refused(empty):
    with pytest.raises(ValueError, match="empty"):
        Standardization().adapt(empty)


def test_data_of_other_features_is_refused():
    layer = adapted()
    with pytest.raises(ValueError, match="same features"):
        layer.adapt(TABLE[:, :2])
    np.testing.assert_allclose(statistics(layer)[0], [3, 30, 5], **ROUNDING)


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_is_not_there_is_refused(axis):
    with pytest.raises(ValueError, match=f"`axis`={axis}"):
        Standardization(axis=axis).adapt(TABLE)
    with pytest.raises(ValueError, match=f"`axis`={axis}"):
        Standardization(axis=axis).build((None, 3))


def test_an_axis_of_unknown_size_is_refused():
    with pytest.raises(ValueError, match="size of `axis`=-1 must be known"):
        Standardization().build((None, None))


@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"axis": 1.0}, TypeError, "axis"),
        ({"axis": True}, TypeError, "axis"),
        ({"axis": (1, 2)}, TypeError, "axis"),
        ({"invert": 1}, TypeError, "invert"),
        ({"minimum_deviation": -1}, ValueError, "minimum_deviation"),
        ({"minimum_deviation": "small"}, TypeError, "minimum_deviation"),
    ],
)
def test_bad_arguments_are_refused(options, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        Standardization(**options)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_under_a_mixed_policy_raw_data_beyond_float16_survives(policy):
    keras.config.set_dtype_policy(policy)
    data = np.array([[1e5], [3e5]], "float32")  # float16 ends at 65,504
    layer = adapted(data)
    out = layer(ops.convert_to_tensor(data))
    assert keras.backend.standardize_dtype(out.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(out), [[-1], [1]], **ROUNDING)
    again = Standardization.from_config(layer.get_config())
    assert again.compute_dtype == "float32"


def test_a_dtype_of_ones_own():
    layer = adapted(dtype="mixed_bfloat16")
    out = layer(ops.convert_to_tensor(TABLE))
    assert keras.backend.standardize_dtype(out.dtype) == "bfloat16"
    # The statistics stay in float32.
    assert layer.mean.dtype == layer.deviation.dtype == "float32"


def test_the_configuration_comes_back():
    layer = Standardization(axis=1, invert=True, minimum_deviation=0.5, name="units")
    again = Standardization.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.axis, again.invert, again.minimum_deviation) == (1, True, 0.5)
    assert Standardization(axis=None).get_config()["axis"] is None
    assert layer.compute_output_shape((None, 3)) == (None, 3)
