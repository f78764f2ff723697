"""Whitening: against NumPy and scikit-learn, of data without variance, and saved with the model."""

import keras
import numpy as np
import pytest
from keras import ops
from small_models import BACKEND

from keras_deeptricks.layers import Whitening

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(4, 4)) * [3.0, 1.0, 0.5, 2.0]
TABLE = (RNG.normal(size=(200, 4)) @ MIX + [5, -2, 100, 0]).astype("float32")
ROWS = len(TABLE)
# Matrix products of float32, of values up to about 100.
ROUNDING = {"rtol": 1e-4, "atol": 1e-4}
METHODS = ("pca", "zca", "decorrelation")


def adapted(method="pca", data=TABLE, **options):
    layer = Whitening(method, **options)
    layer.adapt(data)
    return layer


def called(layer, x=TABLE):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(x)))


def weights(layer):
    return [ops.convert_to_numpy(w) for w in (layer.mean, layer.rotation, layer.deviation)]


def covariance(x):
    centred = x.astype("float64") - x.mean(axis=0, dtype="float64")
    return centred.T @ centred / len(x)


def by_hand(method, x, epsilon=0.0, components=None):
    """The formulas, with the singular value decomposition instead of the eigenvalues."""
    centred = x.astype("float64") - x.mean(axis=0, dtype="float64")
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    variances = singular**2 / len(x)
    signs = [np.sign(v[np.abs(v).argmax()]) for v in directions]
    rotation = (directions * np.array(signs)[:, None]).T
    scale = np.sqrt(variances + epsilon * variances[0])
    if method == "zca":
        return centred @ rotation / scale @ rotation.T
    found = centred @ rotation / (scale if method == "pca" else 1.0)
    return found[:, :components]


def test_two_points_by_hand():
    # Along (1, 1)/√2 the variance is 2 and across it 0.
    layer = adapted("pca", np.array([[0.0, 0.0], [2.0, 2.0]]), epsilon=0)
    mean, rotation, deviation = weights(layer)
    np.testing.assert_allclose(mean, [1, 1])
    np.testing.assert_allclose(np.abs(rotation), np.sqrt([[0.5, 0.5], [0.5, 0.5]]), rtol=1e-6)
    # Without variance a direction has the scale of the largest.
    np.testing.assert_allclose(deviation, np.sqrt([2, 2]), rtol=1e-6)
    np.testing.assert_allclose(
        called(layer, np.array([[0.0, 0.0], [2.0, 2.0]], "float32")), [[-1, 0], [1, 0]], atol=1e-6
    )


@pytest.mark.parametrize("epsilon", [0, 1e-5, 0.1])
@pytest.mark.parametrize("method", METHODS)
def test_the_formulas(method, epsilon):
    layer = adapted(method, epsilon=epsilon)
    np.testing.assert_allclose(called(layer), by_hand(method, TABLE, epsilon), **ROUNDING)


@pytest.mark.parametrize("method", METHODS)
def test_the_covariance_is_the_identity_or_diagonal(method):
    found = covariance(called(adapted(method, epsilon=0)))
    if method == "decorrelation":
        expected = np.diag(np.sort(np.linalg.eigvalsh(covariance(TABLE)))[::-1])
    else:
        expected = np.eye(4)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_zca_is_the_root_of_the_inverse_covariance():
    # Which is symmetric: the formula without any choice of directions.
    variances, directions = np.linalg.eigh(covariance(TABLE))
    root = directions / np.sqrt(variances) @ directions.T
    expected = (TABLE - TABLE.mean(axis=0, dtype="float64")) @ root
    np.testing.assert_allclose(called(adapted("zca", epsilon=0)), expected, **ROUNDING)


@pytest.mark.parametrize("components", [None, 2])
@pytest.mark.parametrize("whiten", [True, False])
def test_equals_scikit_learn(whiten, components):
    decomposition = pytest.importorskip("sklearn.decomposition")
    # The solver whose signs do not depend on the version of scikit-learn.
    pca = decomposition.PCA(components, whiten=whiten, svd_solver="covariance_eigh")
    expected = pca.fit_transform(TABLE.astype("float64"))
    if whiten:
        expected *= np.sqrt(ROWS / (ROWS - 1))  # its variances are unbiased, ours are biased
    method = "pca" if whiten else "decorrelation"
    layer = adapted(method, components=components, epsilon=0)
    np.testing.assert_allclose(called(layer), expected, **ROUNDING)
    back = pca.inverse_transform(pca.transform(TABLE.astype("float64")))
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer.inverse(called(layer))), back, rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_inverse_goes_back(method):
    layer = adapted(method)
    back = ops.convert_to_numpy(layer.inverse(called(layer)))
    np.testing.assert_allclose(back, TABLE, **ROUNDING)


def test_before_adapt_it_passes_its_input_on():
    for method in METHODS:
        np.testing.assert_allclose(called(Whitening(method)), TABLE, rtol=1e-6)
    np.testing.assert_allclose(called(Whitening(components=2)), TABLE[:, :2], rtol=1e-6)


@pytest.mark.parametrize("epsilon", [0, 1e-5])
@pytest.mark.parametrize("method", ["pca", "zca"])
def test_a_constant_feature_that_moves_does_not_explode(method, epsilon):
    data = TABLE.copy()
    data[:, 1] = 7
    layer = adapted(method, data, epsilon=epsilon)
    moved = data.copy()
    moved[:, 1] = 8
    largest = np.sqrt(np.linalg.eigvalsh(covariance(data))[-1])
    shift = called(layer, moved) - called(layer, data)
    np.testing.assert_allclose(np.linalg.norm(shift, axis=1), 1 / largest, rtol=1e-3)


def test_a_dependent_feature_does_not_explode():
    # The sum of two others, but for the rounding of float32.
    data = np.column_stack([TABLE, TABLE[:, 0] + TABLE[:, 3]])
    for method in ("pca", "zca"):
        assert np.abs(called(adapted(method, data, epsilon=0), data)).max() < 10


def test_epsilon_bounds_what_noise_becomes():
    rng = np.random.default_rng(1)
    data = (rng.normal(size=(500, 3)) * [1.0, 1.0, 1e-5]).astype("float32")
    exact, bounded = (adapted("pca", data, epsilon=e) for e in (0, 1e-4))
    assert called(exact, data)[:, 2].std() == pytest.approx(1, rel=1e-3)
    # 1e-5 / √(1e-10 + 1e-4·λ₁), with a largest variance of about 1.
    assert called(bounded, data)[:, 2].std() == pytest.approx(1e-3, rel=0.1)


def test_it_does_not_depend_on_the_units():
    for method in ("pca", "zca"):
        small, large = adapted(method), adapted(method, 1000 * TABLE)
        np.testing.assert_allclose(called(large, 1000 * TABLE), called(small), rtol=1e-3, atol=1e-3)


def test_all_the_same_rows():
    data = np.full((5, 3), 2.0, "float32")
    for method in METHODS:
        np.testing.assert_array_equal(called(adapted(method, data), data), np.zeros((5, 3)))


def images(rows=300):
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(rows, 3, 2, 2)).cumsum(axis=1).cumsum(axis=2)
    return smooth.astype("float32")


@pytest.mark.parametrize("method", METHODS)
def test_images_are_whitened_by_rows(method):
    x = images()
    layer = adapted(method, x)
    out = called(layer, x)
    assert out.shape == (x.shape if method == "zca" else (300, 12))
    assert layer.compute_output_shape((None, 3, 2, 2)) == (None, *out.shape[1:])
    expected = by_hand(method, x.reshape(300, 12), epsilon=1e-5)
    np.testing.assert_allclose(out.reshape(300, 12), expected, rtol=1e-3, atol=1e-3)
    back = ops.convert_to_numpy(layer.inverse(out))
    np.testing.assert_allclose(back, x, **ROUNDING)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("method", METHODS)
def test_features_along_an_axis(method, axis):
    x = images()
    layer = adapted(method, x, axis=axis, components=None if method == "zca" else 2)
    moved = np.moveaxis(x, axis, -1)
    expected = by_hand(method, moved.reshape(-1, moved.shape[-1]), 1e-5, layer.components)
    expected = np.moveaxis(expected.reshape(*moved.shape[:-1], -1), -1, axis)
    out = called(layer, x)
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
    assert layer.compute_output_shape((None, 3, 2, 2)) == (None, *out.shape[1:])
    if layer.components is None or x.shape[axis] == 2:
        back = ops.convert_to_numpy(layer.inverse(out))
        np.testing.assert_allclose(back, x, **ROUNDING)


def test_sequences_of_any_length():
    model = keras.Sequential([keras.Input((None, 2)), Whitening("pca", axis=-1)])
    x = images().reshape(300, 6, 2)
    model.layers[0].adapt(x)
    assert model.output_shape == (None, None, 2)
    np.testing.assert_allclose(
        model.predict(x[:, :4], verbose=0), model.predict(x, verbose=0)[:, :4], **ROUNDING
    )


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return TABLE[100 * index : 100 * index + 100], np.zeros(100)


FORMS = {
    "small batches": lambda: {"data": TABLE, "batch_size": 7},
    "tensor": lambda: {"data": ops.convert_to_tensor(TABLE)},
    "list of batches": lambda: {"data": [TABLE[:1], TABLE[1:50], TABLE[50:]]},
    "generator": lambda: {"data": (part for part in (TABLE[:60], TABLE[60:60], TABLE[60:]))},
    "py_dataset": lambda: {"data": Batches()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same(form):
    layer = Whitening()
    layer.adapt(**FORMS[form]())
    for ours, expected in zip(weights(layer), weights(adapted()), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.data comes with TensorFlow")
def test_a_tf_dataset():
    import tensorflow as tf

    layer = adapted(data=tf.data.Dataset.from_tensor_slices((TABLE, np.zeros(ROWS))).batch(64))
    np.testing.assert_allclose(called(layer), called(adapted()), **ROUNDING)


def test_adapt_after_a_compiled_predict_has_an_effect():
    layer = Whitening("zca")
    model = keras.Sequential([keras.Input((4,)), layer])
    np.testing.assert_allclose(model.predict(TABLE, verbose=0), TABLE, rtol=1e-6)
    layer.adapt(TABLE)
    np.testing.assert_allclose(model.predict(TABLE, verbose=0), called(adapted("zca")), **ROUNDING)


@pytest.mark.parametrize("method", METHODS)
def test_weights_and_files_carry_the_statistics(method, tmp_path):
    model = keras.Sequential([keras.Input((3, 2, 2)), adapted(method, images())])
    assert model.trainable_weights == []
    expected = model.predict(images(), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images(), verbose=0), expected)
    back = ops.convert_to_numpy(loaded.layers[0].inverse(expected))
    np.testing.assert_allclose(back, images(), **ROUNDING)


BAD_DATA = {
    "NaN": (lambda: np.where(np.arange(4) == 2, np.nan, TABLE), "NaN or infinite"),
    "infinite": (lambda: [TABLE, np.full((1, 4), np.inf)], "NaN or infinite"),
    "one row": (lambda: TABLE[:1], "at least 2 rows"),
    "no rows": (lambda: TABLE[:0], "at least 2 rows"),
    "nothing": (lambda: iter([]), "at least 2 rows"),
    "features": (lambda: TABLE[:, :3], "same features|at most"),
    "other batches": (lambda: iter([TABLE, TABLE[:, :3]]), "same features|one shape|at most"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_leaves_the_layer_as_it_was(case):
    data, told = BAD_DATA[case]
    layer, fresh = adapted(), Whitening(components=4)
    before = weights(layer)
    for one in (layer, fresh):
        with pytest.raises(ValueError, match=told):
            one.adapt(data())
    assert not fresh.built
    for now, then in zip(weights(layer), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_batches_of_other_row_shapes_are_refused():
    with pytest.raises(ValueError, match="rows of one shape"):
        Whitening().adapt(iter([np.zeros((5, 2, 3)), np.zeros((5, 3, 2))]))


def test_shapes_that_cannot_be_whitened():
    with pytest.raises(ValueError, match="sizes of the features must be known"):
        Whitening().build((None, None, 3))
    with pytest.raises(ValueError, match="too large"):
        Whitening().build((None, 224, 224, 3))
    with pytest.raises(ValueError, match="`axis`=3 does not exist"):
        Whitening(axis=3).build((None, 2, 3))
    with pytest.raises(ValueError, match="the axis of rows"):
        Whitening(axis=-3).build((None, 2, 3))
    with pytest.raises(ValueError, match="`components` must be at most"):
        Whitening(components=5).build((None, 4))
    with pytest.raises(ValueError, match="not built"):
        Whitening().inverse(TABLE)


@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"method": "svd"}, ValueError, "method"),
        ({"components": 0}, ValueError, "components"),
        ({"components": 0.95}, TypeError, "components"),
        ({"method": "zca", "components": 2}, ValueError, "components"),
        ({"epsilon": -1e-5}, ValueError, "epsilon"),
        ({"epsilon": "small"}, TypeError, "epsilon"),
        ({"axis": 0}, ValueError, "axis"),
        ({"axis": 1.0}, TypeError, "axis"),
        ({"axis": True}, TypeError, "axis"),
    ],
)
def test_bad_arguments_are_refused(options, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        Whitening(**options)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_under_a_mixed_policy_it_computes_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    data = 1e5 * TABLE  # float16 ends at 65,504
    layer = adapted("zca", data)
    out = layer(ops.convert_to_tensor(data))
    assert keras.backend.standardize_dtype(out.dtype) == "float32"
    np.testing.assert_allclose(
        ops.convert_to_numpy(out), by_hand("zca", data, 1e-5), rtol=1e-3, atol=1e-3
    )
    assert Whitening.from_config(layer.get_config()).compute_dtype == "float32"


def test_the_configuration_comes_back():
    layer = Whitening("decorrelation", components=3, epsilon=0.5, axis=1, name="rotated")
    again = Whitening.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    found = (again.method, again.components, again.epsilon, again.axis)
    assert found == ("decorrelation", 3, 0.5, 1)
