"""LSUV: unit variance layer by layer, of every kind of layer and model, and leaving no trace."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import BACKEND, Subclassed, assert_identical, dense_model, values, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.initializers import LSUVReport, lsuv

ROWS = np.random.default_rng(0).normal(2.0, 3.0, size=(128, 6)).astype("float32")
IMAGES = np.random.default_rng(1).uniform(0, 1, size=(16, 8, 8, 3)).astype("float32")


def sequential(shape, *inner):
    return keras.Sequential([keras.Input(shape), *inner])


def dense_stack(depth=4, width=16, activation="relu", **options):
    return sequential(
        (6,), *[layers.Dense(width, activation=activation, **options) for _ in range(depth)]
    )


def pre_activations(model, x):
    """Variances of the affine part of each layer of a dense Sequential model, in NumPy."""
    found, signal = [], x
    for layer in model.layers:
        kernel, bias = (ops.convert_to_numpy(w) for w in (layer.kernel, layer.bias))
        signal = signal @ kernel + bias
        found.append(signal.astype("float64").var())
        signal = ops.convert_to_numpy(layer.activation(ops.convert_to_tensor(signal)))
    return found


@pytest.mark.parametrize("activation", ["relu", "tanh", None])
def test_by_numpy(activation):
    model = dense_stack(activation=activation)
    before = pre_activations(model, ROWS)
    report = lsuv(model, ROWS, seed=1)
    after = pre_activations(model, ROWS)
    # Sums of 16 float32 products.
    np.testing.assert_allclose(report.variance_before, before, rtol=1e-4)
    np.testing.assert_allclose(report.variance_after, after, rtol=1e-4)
    assert report.converged.all()
    # Without a bias one division is exact, if it was necessary at all.
    assert report.iterations.max() == 1
    scaled = report.iterations > 0
    np.testing.assert_allclose(np.array(after)[scaled], 1, rtol=1e-4)
    np.testing.assert_allclose(after, 1, atol=0.1)


def test_kernels_are_scaled_orthonormal_matrices():
    model = dense_stack(width=12)
    report = lsuv(model, ROWS, seed=1)
    for layer, scale in zip(model.layers, report.scale, strict=True):
        q = ops.convert_to_numpy(layer.kernel).astype("float64") / scale
        smaller = q @ q.T if q.shape[0] < q.shape[1] else q.T @ q
        # QR in float32.
        np.testing.assert_allclose(smaller, np.eye(len(smaller)), atol=1e-5)


def test_without_orthogonal_the_kernels_are_only_scaled():
    model = dense_stack()
    before = [ops.convert_to_numpy(layer.kernel) for layer in model.layers]
    report = lsuv(model, ROWS, orthogonal=False)
    for layer, old, scale in zip(model.layers, before, report.scale, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(layer.kernel), old * scale, rtol=1e-5)
    assert report.converged.all()


def test_a_seed_repeats():
    first, second, third = dense_stack(), dense_stack(), dense_stack()
    for model, seed in ((first, 1), (second, 1), (third, 2)):
        lsuv(model, ROWS, seed=seed)
    assert_identical(first.get_weights(), second.get_weights())
    assert not np.array_equal(first.get_weights()[0], third.get_weights()[0])


def test_it_revives_a_deep_net_in_which_glorot_vanishes():
    options = {"kernel_initializer": keras.initializers.GlorotUniform(seed=1)}
    model = dense_stack(depth=30, width=32, **options)
    report = lsuv(model, ROWS, seed=1)
    # Behind a ReLU Glorot keeps half of the mean square a layer: 2⁻²⁹ = 2e-9 of it is left.
    assert report.variance_before[-1] < 1e-6 * report.variance_before[0]
    np.testing.assert_allclose(report.variance_after, 1, atol=0.1)
    assert report.converged.all()


CONVOLUTIONS = {
    "conv2d": lambda: layers.Conv2D(4, 3, activation="relu"),
    "strided": lambda: layers.Conv2D(4, 3, strides=2, padding="same"),
    "wide": lambda: layers.Conv2D(40, 2),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh"),
    "separable": lambda: layers.SeparableConv2D(4, 3, depth_multiplier=2, activation="relu"),
    "transposed": lambda: layers.Conv2DTranspose(4, 3, strides=2),
    "maxout": lambda: kdt.layers.MaxoutConv2D(4, 3),
    "activation layer": lambda: layers.Conv2D(4, 3, activation=layers.LeakyReLU()),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions(kind):
    model = sequential((8, 8, 3), CONVOLUTIONS[kind](), layers.Flatten(), layers.Dense(5))
    report = lsuv(model, IMAGES, seed=1)
    assert len(report.layers) == 2
    np.testing.assert_allclose(report.variance_after, 1, atol=0.1)
    layer = model.layers[0]
    if kind in ("conv2d", "wide", "strided", "activation layer"):
        q = ops.convert_to_numpy(layer.kernel).reshape(-1, layer.filters) / report.scale[0]
        smaller = q @ q.T if q.shape[0] < q.shape[1] else q.T @ q
        np.testing.assert_allclose(smaller, np.eye(len(smaller)), atol=1e-5)
    if kind == "depthwise":
        for channel in range(3):
            q = ops.convert_to_numpy(layer.kernel)[:, :, channel].reshape(9, 2) / report.scale[0]
            np.testing.assert_allclose(q.T @ q, np.eye(2), atol=1e-5)


@pytest.mark.parametrize(
    "shape, make",
    [
        ((12, 3), lambda: layers.Conv1D(4, 3, padding="causal")),
        ((12, 3), lambda: layers.SeparableConv1D(4, 3)),
        ((12, 3), lambda: layers.Conv1DTranspose(4, 3)),
        ((4, 4, 4, 2), lambda: layers.Conv3D(3, 2)),
    ],
    ids=["conv1d", "separable1d", "transposed1d", "conv3d"],
)
def test_other_ranks(shape, make):
    x = np.random.default_rng(2).normal(size=(8, *shape)).astype("float32")
    report = lsuv(sequential(shape, make()), x, seed=1)
    np.testing.assert_allclose(report.variance_after, 1, atol=0.1)


def test_groups_are_orthonormal_by_themselves():
    # (Convolutions of several groups run on a CPU on some backends only; their kernels do not.)
    from keras_deeptricks.initializers.lsuv_run import _orthonormal

    kernel = _orthonormal((3, 3, 2, 8), 2, keras.random.SeedGenerator(1)).reshape(18, 8)
    for part in (kernel[:, :4], kernel[:, 4:]):
        np.testing.assert_allclose(part.T @ part, np.eye(4), atol=1e-5)


def nested():
    inner = sequential((16,), layers.Dense(16, activation="relu"), layers.Dense(8))
    x = keras.Input((6,))
    hidden = layers.Dense(16, activation="tanh")(x)
    merged = layers.Concatenate()([inner(hidden), hidden])
    return keras.Model(x, layers.Dense(3, activation="softmax")(merged))


def subclassed():
    return Subclassed([layers.Dense(16, activation="relu"), layers.Dense(3)])


def unbuilt():
    return keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(3)])


@pytest.mark.parametrize("make, count", [(nested, 4), (subclassed, 2), (unbuilt, 2)])
def test_each_kind_of_model(make, count):
    model = make()
    report = lsuv(model, ROWS, seed=1)
    assert len(report.layers) == len(set(report.layers)) == count
    assert report.converged.all()
    # Measured again, with nothing in its way.
    again = lsuv(model, ROWS, orthogonal=False)
    np.testing.assert_allclose(again.variance_before, report.variance_after, rtol=1e-4)
    assert not again.iterations.any()


def test_a_model_whose_build_leaves_its_layers_unbuilt():
    class Lazy(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(8), layers.Dense(3)

        def build(self, input_shape):
            self.built = True

        def call(self, inputs):
            return self.two(self.one(inputs))

    model = Lazy()
    model.build((None, 6))
    report = lsuv(model, ROWS)
    assert len(report.layers) == 2
    assert report.converged.all()


def test_the_order_is_that_of_computation():
    last, first = layers.Dense(3, name="last"), layers.Dense(5, name="first")
    x = keras.Input((6,))
    report = lsuv(keras.Model(x, last(first(x))), ROWS)
    assert [path.split("/")[-1] for path in report.layers] == ["first", "last"]
    # A subclassed model that holds its layers the other way round.

    class Reversed(keras.Model):
        def __init__(self):
            super().__init__()
            self.last, self.first = layers.Dense(3, name="z"), layers.Dense(5, name="a")

        def call(self, inputs):
            return self.last(self.first(inputs))

    report = lsuv(Reversed(), ROWS)
    assert [path.split("/")[-1] for path in report.layers] == ["a", "z"]
    assert report.converged.all()


def test_a_shared_layer_is_measured_over_all_its_calls():
    shared = layers.Dense(6, activation="tanh", name="shared")
    x = keras.Input((6,))
    first = shared(x)
    second = shared(layers.Dense(6, name="between")(first))
    model = keras.Model(x, [first, second])
    report = lsuv(model, ROWS, seed=1)
    assert len(report.layers) == 2
    assert report.converged.all()
    kernel, bias = shared.get_weights()
    between = model.get_layer("between").get_weights()
    z1 = ROWS @ kernel + bias
    z2 = (np.tanh(z1) @ between[0] + between[1]) @ kernel + bias
    both = np.concatenate([z1.ravel(), z2.ravel()]).astype("float64")
    np.testing.assert_allclose(report.variance_after[0], both.var(), rtol=1e-4)


def test_batch_norm_and_dropout_are_as_in_inference():
    model = dense_model(features=6)
    model.compile("adam", "mse")
    kernels = {id(layer.kernel) for layer in model.layers if isinstance(layer, layers.Dense)}
    others = [variable for variable in model.variables if id(variable) not in kernels]
    before = values(others)
    report = lsuv(model, ROWS, seed=1)
    assert report.converged.all()
    assert_identical(values(others), before)
    model.fit(ROWS, ROWS[:, :1], epochs=1, verbose=0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_full_precision_in_the_kernels(policy):
    keras.config.set_dtype_policy(policy)
    model = dense_stack()
    report = lsuv(model, ROWS, seed=1)
    np.testing.assert_allclose(report.variance_after, 1, atol=0.1)
    kernel = model.get_weights()[2].astype("float64") / report.scale[1]
    # Rounded to half precision it would be off by 4e-4 or 4e-3.
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(16), atol=1e-5)


def warned(function):
    """The result and the text of the only warning for the user."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function()
    (message,) = [str(w.message) for w in caught if w.category is UserWarning]
    return result, message


def test_frozen_layers_are_left_alone():
    model = dense_stack()
    model.layers[1].trainable = False
    before = values(model.layers[1].variables)
    report = lsuv(model, ROWS, seed=1)
    assert len(report.layers) == 3
    assert_identical(values(model.layers[1].variables), before)


def test_a_layer_without_variance_is_left_alone_with_the_reason():
    one, two = layers.Dense(4, name="one"), layers.Dense(2, name="two")
    model = sequential((6,), one, layers.ReLU(), two)
    model.get_layer("one").bias.assign(np.full(4, -1e6))
    before = model.get_layer("two").get_weights()
    report, message = warned(lambda: lsuv(model, ROWS, seed=1))
    assert "1 of 2 layers" in message
    assert "two' (its output does not vary on the batch)" in message
    assert_identical(model.get_layer("two").get_weights(), before)
    assert report.reasons[1] == "its output does not vary on the batch"
    assert not report.converged[1]
    assert report.variance_after[1] == 0
    assert report.scale[1] == 1
    assert report.iterations[1] == 0


def test_a_layer_that_does_not_converge_is_named():
    # Its biases alone have a variance of 25, which no kernel takes away.
    model = sequential((6,), layers.Dense(2, name="stubborn"))
    model.layers[0].bias.assign([-5.0, 5.0])
    report, message = warned(lambda: lsuv(model, ROWS, max_iterations=3))
    assert "1 of 1 layers" in message
    assert "stubborn' (a variance of 2" in message
    assert not report.converged[0]
    assert report.iterations[0] == 3
    assert report.reasons[0].startswith("a variance of 2")


@pytest.mark.parametrize("form", ["list", "dict"])
def test_several_inputs(form):
    x, z = keras.Input((6,), name="x"), keras.Input((2,), name="z")
    merged = layers.Concatenate()([layers.Dense(8, activation="relu")(x), z])
    inputs = {"x": x, "z": z} if form == "dict" else [x, z]
    model = keras.Model(inputs, layers.Dense(3)(merged))
    data = {"x": ROWS, "z": ROWS[:, :2]}
    report = lsuv(model, data if form == "dict" else list(data.values()))
    assert report.converged.all()


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return ROWS[32 * index : 32 * index + 32], np.zeros(32)


def data_sets():
    yield "py_dataset", Batches()
    yield "tensor", ops.convert_to_tensor(ROWS[:32])
    yield "doubles", ROWS[:32].astype("float64")
    if BACKEND == "tensorflow":
        import tensorflow as tf

        yield "tf_data", tf.data.Dataset.from_tensor_slices((ROWS, ROWS)).batch(32)
    if BACKEND == "torch":
        import torch

        data = torch.utils.data.TensorDataset(torch.tensor(ROWS), torch.zeros(len(ROWS)))
        yield "data_loader", torch.utils.data.DataLoader(data, batch_size=32)


@pytest.mark.parametrize("name, data", list(data_sets()), ids=lambda value: str(value)[:12])
def test_every_form_of_data_gives_the_same(name, data):
    expected, model = dense_stack(), dense_stack()
    lsuv(expected, ROWS, seed=1, batch_size=32)
    lsuv(model, data, seed=1)
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize(
    "x, message",
    [
        (np.full((4, 6), np.nan), "NaN or infinite"),
        (np.full((4, 6), np.inf), "NaN or infinite"),
        (np.zeros((0, 6)), "empty"),
        ((row for row in [ROWS]), "generator"),
    ],
    ids=["nan", "inf", "empty", "generator"],
)
def test_bad_data_leaves_the_model_as_it_was(x, message):
    for model in (dense_stack(), unbuilt()):
        built, before = model.built, values(model.variables)
        with pytest.raises(ValueError, match=message):
            lsuv(model, x)
        assert model.built == built
        assert_identical(values(model.variables), before)


def test_a_failure_in_the_middle_restores_everything():
    class Failing(keras.Layer):
        calls = 0

        def call(self, inputs):
            if not isinstance(inputs, keras.KerasTensor):
                Failing.calls += 1
                if Failing.calls == 2:
                    raise KeyboardInterrupt
            return inputs

    failing = Failing()
    model = sequential(
        (6,), layers.Dense(8), kdt.layers.MCDropout(0.2, seed=1), failing, layers.Dense(2)
    )
    model.compile("adam", "mse")
    Failing.calls, before = 0, whole_state(model)
    with pytest.raises(KeyboardInterrupt):
        lsuv(model, ROWS)
    assert Failing.calls == 2  # the first pass measured, the second one scaled
    assert_identical(whole_state(model), before)
    assert all("call" not in vars(layer) for layer in model.layers)
    assert model.layers[0].activation is keras.activations.linear


def test_the_report(tmp_path):
    report = lsuv(dense_stack(), ROWS, seed=1)
    lines = str(report).splitlines()
    assert len(lines) == 5
    assert lines[0].split() == ["layer", "variance", "before", "after", "scale", "iterations"]
    assert lines[1].split()[0] == report.layers[0]
    for file in ("report.json", "report.npz"):
        report.save(tmp_path / file)
        again = LSUVReport.load(tmp_path / file)
        assert again.layers == report.layers
        np.testing.assert_array_equal(again.variance_after, report.variance_after)
    with pytest.raises(ValueError, match="read-only"):
        report.scale[0] = 2


@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"tolerance": 0}, ValueError, "tolerance"),
        ({"tolerance": "small"}, TypeError, "tolerance"),
        ({"max_iterations": 0}, ValueError, "max_iterations"),
        ({"orthogonal": 1}, TypeError, "orthogonal"),
        ({"seed": -1}, ValueError, "seed"),
        ({"batch_size": 0}, ValueError, "batch_size"),
    ],
)
def test_bad_arguments_are_refused(options, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        lsuv(dense_stack(), ROWS, **options)


def test_what_has_nothing_to_initialize_is_refused():
    with pytest.raises(TypeError, match="`model` must be"):
        lsuv(layers.Dense(3), ROWS)
    with pytest.raises(ValueError, match="no trainable layer"):
        lsuv(sequential((6,), layers.ReLU()), ROWS)
