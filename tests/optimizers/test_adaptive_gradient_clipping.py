"""Adaptive gradient clipping by hand, against equation 3 in NumPy and against optax."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops
from small_models import assert_identical, dense_model, regression_data, values, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.optimizers.adaptive_gradient_clipping import clipped
from keras_deeptricks.utils.compiled_step import clone_optimizer

# Shapes and the axes of one output unit.
SHAPES = {
    "dense": ((6, 5), (0,)),
    "conv1d": ((3, 4, 5), (0, 1)),
    "conv2d": ((3, 2, 4, 5), (0, 1, 2)),
    "vector": ((7,), (0,)),
    "scalar": ((), ()),
}
# Keras' variables and NumPy 2: pytest.warns sends on what it did not look for.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

# A few roundings of numbers below 4 in single precision.
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def agc(optimizer=None, exclude=(), **options):
    optimizer = optimizer or keras.optimizers.SGD(1.0)
    return kdt.optimizers.AdaptiveGradientClipping(optimizer, exclude=exclude, **options)


def used(optimizer, weights, gradients, steps=1):
    """What gradient descent at rate 1 takes off the weights, which is the clipped gradient."""
    variables = [
        keras.Variable(np.asarray(w, "float32"), name=f"weights_{i}") for i, w in enumerate(weights)
    ]
    gradients = [ops.convert_to_tensor(np.asarray(g, "float32")) for g in gradients]
    for _ in range(steps):
        optimizer.apply(gradients, variables)
    return [np.asarray(w, "float32") - v for w, v in zip(weights, values(variables), strict=True)]


def equation_3(gradient, weights, clip_factor, epsilon, axes):
    """Brock et al.'s rule in double precision."""
    gradient, weights = np.asarray(gradient, "float64"), np.asarray(weights, "float64")

    def norm(array):
        return np.sqrt(np.sum(array**2, axis=axes, keepdims=True)) if axes else np.abs(array)

    limit = clip_factor * np.maximum(norm(weights), epsilon)
    return np.where(norm(gradient) > limit, limit / norm(gradient) * gradient, gradient)


def random_tensors(shape, start="normal", seed=0):
    """Weights, some of them zero, and gradients with norms on both sides of the limit."""
    rng = np.random.default_rng(seed)
    weights = np.asarray(rng.normal(size=shape) if start == "normal" else np.zeros(shape))
    if shape:
        weights[..., -1] = 0
    scale = 10.0 ** rng.uniform(-3, 1, size=shape[-1:])
    gradient = scale * rng.normal(size=shape)
    return np.asarray(weights, "float32"), np.asarray(gradient, "float32")


def test_units_by_hand():
    # The columns of W have the norms 5 and 0, those of G 1 and 0.5. With λ = 0.1 and ε = 1 they
    # may have 0.5 and 0.1.
    weights, gradient = [[3.0, 0.0], [4.0, 0.0]], [[0.6, 0.3], [0.8, 0.4]]
    optimizer = agc(clip_factor=0.1, epsilon=1.0)
    expected = [[0.3, 0.06], [0.4, 0.08]]
    np.testing.assert_allclose(used(optimizer, [weights], [gradient])[0], expected, **CLOSE)


def test_vectors_by_hand():
    # ‖W‖ = 5 and ‖G‖ = 10: with λ = 0.5 a quarter of it is left.
    (change,) = used(agc(clip_factor=0.5), [[3.0, 4.0]], [[6.0, 8.0]])
    np.testing.assert_allclose(change, [1.5, 2.0], **CLOSE)


def test_layers_by_hand():
    # Both Frobenius norms are 5: λ is what is left.
    optimizer = agc(clip_factor=0.1, scope="layer")
    (change,) = used(optimizer, [[[3.0, 0.0], [4.0, 0.0]]], [[[3.0, 0.0], [0.0, 4.0]]])
    np.testing.assert_allclose(change, [[0.3, 0.0], [0.0, 0.4]], **CLOSE)


def test_elements_by_hand():
    # λ·max(|w|, ε) is 0.2, 0.05 and 0.4.
    optimizer = agc(clip_factor=0.1, epsilon=0.5, scope="element")
    (change,) = used(optimizer, [[-2.0, 0.0, 4.0]], [[1.0, -1.0, 0.3]])
    np.testing.assert_allclose(change, [0.2, -0.05, 0.3], **CLOSE)


def test_the_weights_count_after_weight_decay_and_the_gradient_after_keras_clipping():
    # 4 decays to 4·(1 − 0.5) = 2; 10 is clipped to 8 and then to 0.1·2.
    optimizer = agc(keras.optimizers.SGD(0.5, weight_decay=1.0, clipvalue=8.0), clip_factor=0.1)
    (change,) = used(optimizer, [[[4.0]]], [[[10.0]]])
    np.testing.assert_allclose(change, [[4 - (2 - 0.5 * 0.2)]], **CLOSE)
    # [3, 4] is clipped to [1, 1] before its norm is compared with 0.1·‖W‖ = 1/√2.
    optimizer = agc(keras.optimizers.SGD(1.0, clipvalue=1.0), clip_factor=0.1)
    (change,) = used(optimizer, [[5.0, 5.0]], [[3.0, 4.0]])
    np.testing.assert_allclose(change, [0.5, 0.5], **CLOSE)


@pytest.mark.parametrize("start", ["normal", "zeros"])
@pytest.mark.parametrize("scope", ["unit", "layer", "element"])
def test_random_tensors_against_equation_3(scope, start):
    weights, gradients, expected = [], [], []
    for seed, (shape, unit_axes) in enumerate(SHAPES.values()):
        axes = {"unit": unit_axes, "layer": tuple(range(len(shape))), "element": ()}[scope]
        w, g = random_tensors(shape, start, seed)
        weights.append(w)
        gradients.append(g)
        expected.append(equation_3(g, w, 0.05, 0.01, axes))
    optimizer = agc(clip_factor=0.05, epsilon=0.01, scope=scope)
    changes = used(optimizer, weights, gradients)
    for change, wanted in zip(changes, expected, strict=True):
        np.testing.assert_allclose(change, wanted, **CLOSE)
    # Something was clipped, and weights that start at zero move nevertheless.
    assert any(np.abs(g - c).max() > 0.1 for g, c in zip(gradients, changes, strict=True))
    assert all(np.abs(change).max() > 0 for change in changes)


@pytest.mark.parametrize("scope", ["unit", "layer", "element"])
@pytest.mark.parametrize("kind", SHAPES)
def test_random_tensors_against_optax(kind, scope):
    optax = pytest.importorskip("optax")
    shape, unit_axes = SHAPES[kind]
    weights, gradient = random_tensors(shape)
    if scope == "layer":
        axis = tuple(range(len(shape)))
    elif scope == "element":
        axis = ()
    else:
        # Optax takes three axes for those of attention heads.
        axis = unit_axes if kind == "conv1d" else None
    theirs = optax.adaptive_grad_clip(0.05, 0.01, axis=axis)
    expected, _ = theirs.update(gradient, theirs.init(weights), weights)
    axes = {"unit": unit_axes, "layer": axis, "element": ()}[scope]
    ours = clipped(
        ops.convert_to_tensor(gradient), ops.convert_to_tensor(weights), 0.05, 0.01, axes
    )
    np.testing.assert_allclose(ops.convert_to_numpy(ours), np.asarray(expected), **CLOSE)


@pytest.mark.parametrize("axes", [(0,), (0, 1), ()])
def test_what_is_small_enough_stays_bit_for_bit(axes):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(8, 9)).astype("float32")
    gradient = (10.0 ** rng.uniform(-4, 1, size=9) * rng.normal(size=(8, 9))).astype("float32")
    got = ops.convert_to_numpy(clipped(gradient, weights, 0.1, 1e-3, axes))
    small = np.broadcast_to(equation_3(gradient, weights, 0.1, 1e-3, axes) == gradient, (8, 9))
    assert_identical([got[small]], [gradient[small]])
    if axes != (0, 1):
        assert 0 < small.sum() < small.size
    np.testing.assert_array_equal(clipped(np.zeros_like(gradient), weights, 0.1, 1e-3, axes), 0)


@pytest.mark.parametrize("axes", [(0,), (0, 1), ()])
def test_twice_is_once(axes):
    weights, gradient = random_tensors((8, 9))
    once = clipped(gradient, weights, 0.1, 1e-3, axes)
    twice = clipped(once, weights, 0.1, 1e-3, axes)
    # What was clipped may lie a rounding above the limit.
    np.testing.assert_allclose(
        ops.convert_to_numpy(twice), ops.convert_to_numpy(once), rtol=1e-6, atol=0
    )


def test_a_huge_factor_is_the_plain_optimizer_bit_for_bit():
    def trained(transform):
        model = dense_model()
        model.compile(transform(kdt.optimizers.Adam(0.01)), "mse")
        x, y = regression_data(32)
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        return whole_state(model)

    assert_identical(
        trained(lambda optimizer: agc(optimizer, clip_factor=1e30, exclude=["out"])),
        trained(lambda optimizer: optimizer),
    )


def test_a_constant_schedule_is_the_number():
    weights, gradient = random_tensors((6, 5))
    number = used(agc(clip_factor=0.05), [weights], [gradient], steps=3)
    constant = agc(clip_factor=kdt.schedules.Constant(0.05))
    assert_identical(number, used(constant, [weights], [gradient], steps=3))


def test_a_schedule_of_the_factor_is_followed():
    # λ·ε is 0.5 at the first step and 0.125 at the second, all powers of two.
    factor = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.125])
    optimizer = agc(keras.optimizers.SGD(1.0), clip_factor=factor, epsilon=1.0)
    variable = keras.Variable(np.zeros(1, "float32"))
    for expected in (-0.5, -0.625):
        optimizer.apply([ops.ones(1)], [variable])
        assert values([variable])[0].tolist() == [expected]


@pytest.mark.parametrize("size", [1e4, 1e-4])
@pytest.mark.parametrize("dtype, precision", [("float16", 2.0**-11), ("bfloat16", 2.0**-8)])
def test_half_precision_neither_overflows_nor_vanishes(dtype, precision, size):
    # The squares of these are beyond float16.
    weights, gradient = np.full((4, 2), size), np.linspace(0.5, 2, 8).reshape(4, 2) * size
    variable = keras.Variable(weights, dtype=dtype, name="kernel")
    gradient = ops.cast(gradient, dtype)
    start = values([ops.cast(variable, "float32")])[0]
    exact = values([ops.cast(gradient, "float32")])[0]
    expected = equation_3(exact, start, 0.25, size / 2, (0,))
    got = clipped(gradient, variable, 0.25, size / 2, (0,))
    assert keras.backend.standardize_dtype(got.dtype) == dtype
    # The result is rounded once to half precision, in float16 to no less than 2⁻²⁴.
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(got, "float32")),
        expected,
        rtol=1.01 * precision,
        atol=2.0**-25,
    )
    agc(clip_factor=0.25, epsilon=size / 2).apply([gradient], [variable])
    assert keras.backend.standardize_dtype(variable.dtype) == dtype
    after = values([ops.cast(variable, "float32")])[0]
    # And once more as a weight.
    np.testing.assert_allclose(after, start - expected, rtol=0, atol=2 * precision * size)


def test_without_exclude_one_warning_says_so_and_not_again():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer = kdt.optimizers.AdaptiveGradientClipping(keras.optimizers.SGD(0.1))
    said = [str(warning.message) for warning in caught if warning.category is UserWarning]
    assert len(said) == 1
    assert "exclude=['its name']" in said[0]
    # Warnings are errors here.
    clone_optimizer(optimizer)
    keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    kdt.optimizers.GradientNoise(optimizer)
    assert used(optimizer, [[1.0]], [[1.0]])[0].shape == (1,)


def test_without_exclude_loading_does_not_warn(tmp_path):
    with pytest.warns(UserWarning, match="also the last"):
        optimizer = kdt.optimizers.AdaptiveGradientClipping(keras.optimizers.SGD(0.1))
    model = dense_model()
    model.compile(optimizer, "mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == optimizer.get_config()


def layers_model():
    layers = [keras.layers.Dense(2, name=name) for name in ("body_1", "body_10", "head")]
    return keras.Sequential([keras.Input((2,)), *layers])


def spared(exclude):
    """The paths of the variables that `exclude` saves from being clipped."""
    model = layers_model()
    exclude = exclude(model) if callable(exclude) else exclude
    optimizer = agc(clip_factor=1e-9, exclude=exclude)
    before = model.get_weights()
    optimizer.apply(
        [ops.ones(v.shape) for v in model.trainable_variables], model.trainable_variables
    )
    return {
        variable.path.partition("/")[2] if variable.path.startswith("sequential") else variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.abs(old - values([variable])[0]).min() > 0.5
    }


def both(*names):
    return {f"{name}/{weight}" for name in names for weight in ("kernel", "bias")}


@pytest.mark.parametrize(
    "exclude, expected",
    [
        ((), set()),
        ("head", both("head")),
        (["head", "body_10"], both("head", "body_10")),
        (("body_1",), both("body_1")),
        ("body_*", both("body_1", "body_10")),
        ("body_.*", both("body_1", "body_10")),
        (r"body_\d", both("body_1")),
        ("body_??", both("body_10")),
        ("head/bias", {"head/bias"}),
        ("bias", {"body_1/bias", "body_10/bias", "head/bias"}),
        (lambda model: model.layers[0], both("body_1")),
        (lambda model: [model.layers[-1], "body_10"], both("head", "body_10")),
        (lambda model: model.layers[0].kernel, {"body_1/kernel"}),
    ],
)
def test_what_is_excluded(exclude, expected):
    assert spared(exclude) == expected


def test_excluding_everything_and_naming_nothing_warn():
    with pytest.warns(UserWarning, match="changes nothing: `exclude` names every variable"):
        assert spared(".*") == both("body_1", "body_10", "head")
    with pytest.warns(UserWarning, match=r"'haed' in `exclude` is no variable.*body_10/kernel"):
        assert spared(["haed", "head"]) == both("head")


def test_axes_for_kernels_whose_outputs_are_not_last():
    weights, gradient = random_tensors((3, 3, 4, 2))
    for axes in ((0, 1), [0, 1], 1, (-1,)):
        optimizer = agc(clip_factor=0.05, axes={"weights_0": axes, "weights_*": (3,)})
        chosen = tuple(np.atleast_1d(axes).tolist())
        first, second = used(optimizer, [weights, weights], [gradient, gradient])
        # The first pattern that matches counts.
        expected = equation_3(gradient, weights, 0.05, 1e-3, chosen)
        np.testing.assert_allclose(first, expected, **CLOSE)
        np.testing.assert_allclose(second, equation_3(gradient, weights, 0.05, 1e-3, (3,)), **CLOSE)


def test_axes_as_documented_for_a_depthwise_convolution():
    model = keras.Sequential(
        [keras.Input((5, 5, 3)), keras.layers.DepthwiseConv2D(3, name="depthwise_1")]
    )
    kernel = model.layers[0].kernel
    before = values([kernel])[0]
    gradient = np.random.default_rng(0).normal(size=kernel.shape).astype("float32")
    optimizer = agc(clip_factor=0.05, exclude="bias", axes={"depthwise_.*/kernel": (0, 1)})
    optimizer.apply(
        [ops.convert_to_tensor(gradient), ops.zeros(3)], model.layers[0].trainable_variables
    )
    expected = equation_3(gradient, before, 0.05, 1e-3, (0, 1))
    np.testing.assert_allclose(before - values([kernel])[0], expected, **CLOSE)


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"clip_factor": 0}, ValueError),
        ({"clip_factor": float("nan")}, ValueError),
        ({"clip_factor": "0.1"}, TypeError),
        ({"epsilon": 0}, ValueError),
        ({"epsilon": None}, TypeError),
        ({"scope": "filter"}, ValueError),
        ({"exclude": 3}, TypeError),
        ({"exclude": [""]}, TypeError),
        ({"axes": [(0, 1)]}, TypeError),
        ({"axes": {"kernel": "0"}}, TypeError),
        ({"axes": {"kernel": (0, 0.5)}}, TypeError),
        ({"axes": {"kernel": True}}, TypeError),
        ({"axes": {3: (0,)}}, TypeError),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, error):
    (name,) = wrong
    with pytest.raises(error, match=f"`{name}`"):
        agc(**wrong)


def test_the_factor_can_be_changed_later():
    optimizer = agc(clip_factor=0.5, epsilon=1.0)
    variable = keras.Variable(np.zeros(1, "float32"))
    optimizer.apply([ops.ones(1)], [variable])
    optimizer.clip_factor = 0.25
    optimizer.apply([ops.ones(1)], [variable])
    assert values([variable])[0].tolist() == [-0.75]  # exact powers of two
    with pytest.raises(ValueError, match="`clip_factor`"):
        optimizer.clip_factor = -1.0
    assert optimizer.clip_factor == 0.25
