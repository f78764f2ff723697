"""Max-norm: exact, on the axes of one unit of every kind of kernel."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_deeptricks.constraints import MaxNorm

RNG = np.random.default_rng(0)
# A scaled float32 vector of n entries misses its norm by some roundings, 6e-8 each.
FLOAT32 = 1e-6


def limited(w, *arguments, **options):
    return ops.convert_to_numpy(MaxNorm(*arguments, **options)(ops.convert_to_tensor(w)))


def norms(w, axis):
    return np.sqrt(np.square(np.asarray(w, "float64")).sum(axis=axis))


def test_by_hand():
    # Columns of norm 5, 0.5 and 0; the limit is 1.
    w = np.array([[3.0, 0.3, 0.0], [4.0, 0.4, 0.0]], "float32")
    np.testing.assert_allclose(
        limited(w, 1.0), [[0.6, 0.3, 0], [0.8, 0.4, 0]], rtol=FLOAT32, atol=0
    )


def test_inside_the_ball_weights_keep_every_bit():
    w = RNG.normal(size=(20, 30)).astype("float32")
    w *= (RNG.uniform(0.2, 1.8, 30) / norms(w, 0)).astype("float32")
    inside = norms(w, 0) < 1 - FLOAT32
    assert inside.any()
    assert not inside.all()
    out = limited(w, 1.0)
    assert out[:, inside].tobytes() == w[:, inside].tobytes()
    np.testing.assert_allclose(norms(out, 0)[~inside], 1.0, rtol=FLOAT32)
    # The direction is kept.
    np.testing.assert_allclose(
        out[:, ~inside] * norms(w, 0)[~inside], w[:, ~inside], rtol=1e-5, atol=1e-7
    )


def test_a_weight_exactly_on_the_limit_is_not_touched():
    w = np.array([[3.0], [4.0]], "float32")
    np.testing.assert_array_equal(limited(w, 5.0), w)


def test_zero_weights_stay_zero():
    np.testing.assert_array_equal(limited(np.zeros((3, 2), "float32"), 1.0), 0)


def test_applied_twice_is_applied_once():
    once = limited(RNG.normal(size=(50, 40)).astype("float32") * 3, 1.0)
    # Up to the rounding that may leave a norm a hair above the limit.
    np.testing.assert_allclose(limited(once, 1.0), once, rtol=FLOAT32)


# The axes that belong to one unit, found by what changes the unit's output alone.
AUTO = {
    "Dense": (lambda **o: layers.Dense(3, **o), (5,), (0,)),
    "Conv1D": (lambda **o: layers.Conv1D(3, 2, **o), (6, 4), (0, 1)),
    "Conv2D": (lambda **o: layers.Conv2D(3, 2, **o), (6, 6, 4), (0, 1, 2)),
    "Conv3D": (lambda **o: layers.Conv3D(3, 2, **o), (4, 4, 4, 2), (0, 1, 2, 3)),
    "SimpleRNN": (lambda **o: layers.SimpleRNN(3, **o), (4, 5), (0,)),
    "LSTM": (lambda **o: layers.LSTM(3, **o), (4, 5), (0,)),
    "GRU": (lambda **o: layers.GRU(3, **o), (4, 5), (0,)),
    "ConvLSTM2D": (lambda **o: layers.ConvLSTM2D(3, 2, **o), (3, 5, 5, 2), (0, 1, 2)),
}


@pytest.mark.parametrize("kind", AUTO)
def test_auto_is_one_unit_of_the_usual_kernels(kind):
    make, shape, axis = AUTO[kind]
    layer = make()
    layer.build((None, *shape))
    kernel = layer.cell.kernel if hasattr(layer, "cell") else layer.kernel
    w = RNG.normal(size=kernel.shape).astype("float32") * 5
    assert norms(w, axis).shape == (kernel.shape[-1],)
    for constraint in (MaxNorm(0.5), MaxNorm.for_layer(type(layer), 0.5)):
        out = ops.convert_to_numpy(constraint(w))
        np.testing.assert_allclose(norms(out, axis), 0.5, rtol=FLOAT32)


OTHERS = {
    "DepthwiseConv1D": (lambda **o: layers.DepthwiseConv1D(2, depth_multiplier=3, **o), (6, 4)),
    "DepthwiseConv2D": (lambda **o: layers.DepthwiseConv2D(2, depth_multiplier=3, **o), (6, 6, 4)),
    "Conv1DTranspose": (lambda **o: layers.Conv1DTranspose(3, 2, **o), (6, 4)),
    "Conv2DTranspose": (lambda **o: layers.Conv2DTranspose(3, 2, **o), (6, 6, 4)),
    "Conv3DTranspose": (lambda **o: layers.Conv3DTranspose(3, 2, **o), (3, 3, 3, 2)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_for_layer_finds_the_weights_of_one_output_channel(kind):
    make, shape = OTHERS[kind]
    layer = make(use_bias=False)
    layer.build((None, *shape))
    w = RNG.normal(size=layer.kernel.shape).astype("float32")
    constraint = MaxNorm.for_layer(type(layer), 0.5)
    out = ops.convert_to_numpy(constraint(100 * w))
    # Doubling one unit's weights must change that unit alone, which the layer itself shows: an
    # output channel depends on exactly the kernel entries that share a norm.
    kept = [a for a in range(w.ndim) if a not in constraint.axis]
    x = RNG.normal(size=(1, *shape)).astype("float32")

    def channels(kernel):
        layer.kernel.assign(kernel)
        return ops.convert_to_numpy(ops.stop_gradient(layer(x)))

    before = channels(w)
    units = [w.shape[a] for a in kept]
    assert int(np.prod(units)) == before.shape[-1]
    for unit in np.ndindex(*units):
        where = [slice(None)] * w.ndim
        for a, index in zip(kept, unit, strict=True):
            where[a] = index
        changed = w.copy()
        changed[tuple(where)] *= 2
        differs = np.abs(channels(changed) - before).reshape(-1, before.shape[-1]).max(axis=0)
        assert (differs > 1e-4).sum() == 1
    np.testing.assert_allclose(norms(out, constraint.axis), 0.5, rtol=FLOAT32)


def test_for_layer_limits_each_word_of_an_embedding():
    layer = layers.Embedding(7, 4, embeddings_constraint=MaxNorm.for_layer(layers.Embedding, 0.5))
    layer.build((None, 3))
    w = RNG.normal(size=(7, 4)).astype("float32") * 5
    out = ops.convert_to_numpy(layer.embeddings.constraint(w))
    np.testing.assert_allclose(norms(out, 1), 0.5, rtol=FLOAT32)


def test_for_layer_finds_the_depthwise_kernel_of_a_separable_convolution():
    layer = layers.SeparableConv2D(3, 2, depth_multiplier=2)
    layer.build((None, 6, 6, 4))
    constraint = MaxNorm.for_layer(layers.SeparableConv2D, 0.5)
    assert constraint.axis == MaxNorm.for_layer(layers.DepthwiseConv2D).axis
    w = RNG.normal(size=layer.depthwise_kernel.shape).astype("float32") * 5
    out = ops.convert_to_numpy(constraint(w))
    assert norms(out, (0, 1)).shape == (4, 2)
    np.testing.assert_allclose(norms(out, (0, 1)), 0.5, rtol=FLOAT32)


@pytest.mark.parametrize(
    "equation, shape, axes",
    [
        ("ab,bc->ac", (5, 3), (0,)),
        ("abc,cde->abde", (4, 2, 3), (0,)),  # the queries of attention
        ("abde,dec->abc", (2, 3, 4), (0, 1)),  # its output
        ("...x,yx->...y", (3, 5), (1,)),
    ],
)
def test_for_layer_sums_over_what_einsum_sums_over(equation, shape, axes):
    constraint = MaxNorm.for_layer(layers.EinsumDense, 0.5, equation=equation)
    assert constraint.axis == axes
    w = RNG.normal(size=shape).astype("float32") * 5
    np.testing.assert_allclose(norms(ops.convert_to_numpy(constraint(w)), axes), 0.5, rtol=FLOAT32)


@pytest.mark.parametrize("equation", [None, "", "ab->ba", "ab,ab->ab"])
def test_for_layer_refuses_an_equation_that_tells_nothing(equation):
    with pytest.raises(ValueError, match="`equation`"):
        MaxNorm.for_layer(layers.EinsumDense, equation=equation)


def test_for_layer_knows_subclasses():
    class Mine(layers.DepthwiseConv2D):
        pass

    assert MaxNorm.for_layer(Mine).axis == MaxNorm.for_layer(layers.DepthwiseConv2D).axis


@pytest.mark.parametrize("wrong", [layers.MultiHeadAttention, layers.Flatten, "Dense", None])
def test_for_layer_refuses_unknown_kernels_with_the_remedy(wrong):
    with pytest.raises(ValueError, match=r"`layer_class`.*axis=\(0, 1\)"):
        MaxNorm.for_layer(wrong)


@pytest.mark.parametrize("dtype, rounding", [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_half_precision(dtype, rounding):
    # The squares of 1e3 overflow float16, those of 1e-4 vanish.
    w = np.array([[1e3, 1e-4, 1.0], [1e3, 1e-4, 1.0]], "float32")
    tensor = ops.cast(w, dtype)
    out = MaxNorm(1.0)(tensor)
    assert keras.backend.standardize_dtype(out.dtype) == dtype
    exact = ops.convert_to_numpy(ops.cast(tensor, "float32"))[:, 1]
    out = ops.convert_to_numpy(ops.cast(out, "float32"))
    np.testing.assert_array_equal(out[:, 1], exact)
    # One rounding of the format: 2⁻¹¹ or 2⁻⁸.
    np.testing.assert_allclose(out[:, [0, 2]], 0.5**0.5, rtol=rounding)


@pytest.mark.skipif(keras.config.backend() == "jax", reason="JAX has float64 only where asked for")
def test_double_precision_stays_double():
    w = np.array([[3.0], [4.0]])
    out = limited(w, 1.0)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out, [[0.6], [0.8]], rtol=1e-15)


def test_axes_of_ones_own():
    w = RNG.normal(size=(3, 4, 5)).astype("float32") * 5
    for axis in (1, -1, (0, 2), [0, 1]):
        out = limited(w, 0.5, axis=axis)
        over = tuple(axis) if isinstance(axis, (tuple, list)) else axis
        np.testing.assert_allclose(norms(out, over), 0.5, rtol=FLOAT32)


def test_a_vector_is_one_unit():
    np.testing.assert_allclose(limited(np.array([3.0, 4.0], "float32"), 1.0), [0.6, 0.8], rtol=1e-6)


def test_training_keeps_the_limit(tmp_path):
    x = RNG.normal(size=(16, 4, 4, 2)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Conv2D(3, 2, kernel_constraint=MaxNorm(0.5)),
            layers.Flatten(),
            layers.Dense(2, kernel_constraint=MaxNorm(0.25)),
        ]
    )
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(x, 10 * np.ones((16, 2)), batch_size=8, verbose=0)
    conv, dense = (
        norms(ops.convert_to_numpy(layer.kernel), tuple(range(len(layer.kernel.shape) - 1)))
        for layer in (model.layers[0], model.layers[2])
    )
    assert (conv <= 0.5 * (1 + FLOAT32)).all()
    # A rate of 1 drives the weights against the limit.
    np.testing.assert_allclose(dense, 0.25, rtol=FLOAT32)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0].kernel_constraint
    assert type(loaded) is MaxNorm
    assert loaded.max_value == 0.5


@pytest.mark.parametrize("axis", ["auto", 0, (0, 1)])
def test_the_configuration_comes_back(axis):
    constraint = MaxNorm(3.0, axis=axis)
    again = keras.constraints.deserialize(keras.constraints.serialize(constraint))
    assert (again.max_value, again.axis) == (constraint.max_value, constraint.axis)


@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"max_value": 0}, ValueError, "max_value"),
        ({"max_value": -1.0}, ValueError, "max_value"),
        ({"max_value": float("inf")}, ValueError, "max_value"),
        ({"max_value": "2"}, TypeError, "max_value"),
        ({"axis": "last"}, TypeError, "axis"),
        ({"axis": 1.0}, TypeError, "axis"),
        ({"axis": ()}, TypeError, "axis"),
        ({"axis": None}, TypeError, "axis"),
        ({"axis": True}, TypeError, "axis"),
    ],
)
def test_bad_arguments_are_refused(options, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        MaxNorm(**options)
