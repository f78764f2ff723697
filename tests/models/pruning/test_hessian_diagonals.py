"""Second derivatives against finite differences of a NumPy network, and against each other."""

import keras
import numpy as np
import pytest
from small_models import BACKEND, assert_identical, whole_state

from keras_deeptricks.models.pruning import (
    exact_hessian_diagonal,
    gauss_newton_diagonal,
    hutchinson_diagonal,
    optimal_brain_damage,
)

ROWS, INPUTS, HIDDEN, CLASSES, PENALTY = 21, 3, 4, 3, 0.05
DIAGONALS = [exact_hessian_diagonal, gauss_newton_diagonal, hutchinson_diagonal]


@pytest.fixture
def in_double_precision():
    """float64 where a backend has it; JAX has it only if the whole program says so."""
    if BACKEND != "jax":
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
    yield 1e-4 if BACKEND != "jax" else 1e-3
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def network(**options):
    """tanh, softmax, cross-entropy and a penalty, compiled."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(
                HIDDEN,
                activation="tanh",
                kernel_regularizer=keras.regularizers.L2(PENALTY),
                name="hidden",
            ),
            keras.layers.Dense(CLASSES, activation="softmax", name="out", **options),
        ]
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.weights])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def data():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(ROWS, INPUTS)).astype("float32")
    return x, np.arange(ROWS) % CLASSES, rng.uniform(0, 2, ROWS).astype("float32")


def numpy_loss(weights, x, y, sample_weight):
    """The loss of `network`, in float64."""
    kernel, bias, out_kernel, out_bias = weights
    logits = np.tanh(x @ kernel + bias) @ out_kernel + out_bias
    logits = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
    return np.mean(sample_weight * losses) + PENALTY * np.sum(kernel**2)


def finite_differences(model):
    """Central second differences for each entry of both kernels."""
    weights = [np.asarray(weight, "float64") for weight in model.get_weights()]
    x, y, sample_weight = data()
    arrays = (x.astype("float64"), y, sample_weight.astype("float64"))
    # The truncation error is of the order h²; rounding leaves 1e-16/h².
    h, found = 1e-4, []
    for place in (0, 2):
        second = np.zeros(weights[place].shape)
        for index in np.ndindex(*second.shape):
            losses = []
            for step in (-h, 0, h):
                moved = [weight.copy() for weight in weights]
                moved[place][index] += step
                losses.append(numpy_loss(moved, *arrays))
            second[index] = (losses[0] - 2 * losses[1] + losses[2]) / h**2
        found.append(second)
    return found


def test_exact_is_what_finite_differences_find(in_double_precision):
    model = network()
    # Batches of unequal sizes.
    found = exact_hessian_diagonal(model, *data(), batch_size=8)
    assert list(found) == ["hidden/kernel", "out/kernel"]
    for ours, expected in zip(found.values(), finite_differences(model), strict=True):
        # float32, on JAX: 1e-7 of the largest for some hundred operations.
        atol = 0 if BACKEND != "jax" else 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, rtol=in_double_precision, atol=atol)


def test_gauss_newton_of_softmax_is_the_fisher_matrix(in_double_precision):
    model = network()
    x, y, sample_weight = data()
    kernel, bias, out_kernel, out_bias = (np.asarray(w, "float64") for w in model.get_weights())
    hidden = np.tanh(x @ kernel + bias)
    p = np.exp(hidden @ out_kernel + out_bias)
    p /= p.sum(axis=1, keepdims=True)
    # E over classes c of (∂ log p_c/∂w)², by hand: the error of the logits is δ_c = e_c − p.
    expected = [np.full(kernel.shape, 2 * PENALTY), np.zeros(out_kernel.shape)]
    for row in range(ROWS):
        for c in range(CLASSES):
            error = np.eye(CLASSES)[c] - p[row]
            share = sample_weight[row] * p[row, c] / ROWS
            expected[1] += share * np.outer(hidden[row], error) ** 2
            back = (out_kernel @ error) * (1 - hidden[row] ** 2)
            expected[0] += share * np.outer(x[row], back) ** 2
    found = gauss_newton_diagonal(model, x, y, sample_weight, batch_size=8)
    for ours, hand in zip(found.values(), expected, strict=True):
        atol = 0 if BACKEND != "jax" else 1e-5 * np.abs(hand).max()
        np.testing.assert_allclose(ours, hand, rtol=in_double_precision, atol=atol)
    # The last layer is linear in its kernel: there it is the Hessian.
    exact = exact_hessian_diagonal(model, x, y, sample_weight)
    np.testing.assert_allclose(list(found.values())[1], list(exact.values())[1], rtol=1e-3)


def test_the_mean_of_hutchinsons_estimates_is_the_diagonal():
    model = network()
    exact = np.concatenate([h.ravel() for h in exact_hessian_diagonal(model, *data()).values()])
    samples = 80

    def estimated(**options):
        found = hutchinson_diagonal(model, *data(), **options)
        return np.concatenate([h.ravel() for h in found.values()])

    estimates = estimated(samples=samples)
    # Off the diagonal the rows of this Hessian have norms below 0.4: five standard errors.
    assert np.abs(estimates - exact).max() < 5 * 0.4 / np.sqrt(samples)
    assert np.corrcoef(estimates, exact)[0, 1] > 0.9
    few = estimated(samples=2, seed=5)
    np.testing.assert_array_equal(few, estimated(samples=2, seed=5))
    assert not np.array_equal(few, estimated(samples=2, seed=6))


def test_dense_layers_find_in_a_batch_what_gradients_of_single_rows_are():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 6)).astype("float32"), np.arange(12) % 2

    def network_of(*start):
        model = keras.Sequential(
            [
                keras.Input((6,)),
                *start,
                keras.layers.Dense(5, activation="elu", use_bias=False),
                keras.layers.Flatten(),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    whole, single = network_of(), network_of(keras.layers.Reshape((1, 6)))
    single.set_weights(whole.get_weights())
    found, expected = (gauss_newton_diagonal(m, x, y, batch_size=5) for m in (whole, single))
    for ours, theirs in zip(found.values(), expected.values(), strict=True):
        # The same sums in float32, in another order.
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def images_model():
    """Two outputs behind a convolution; one activation a layer of its own."""
    inputs = keras.Input((4, 4, 2))
    tensor = keras.layers.Conv2D(2, 3, activation="tanh", name="conv")(inputs)
    tensor = keras.layers.Flatten()(tensor)
    chance = keras.layers.Dense(1, name="logit")(tensor)
    chance = keras.layers.Activation("sigmoid", dtype="float32", name="chance")(chance)
    value = keras.layers.Dense(2, name="value", dtype="float32")(tensor)
    model = keras.Model(inputs, {"chance": chance, "value": value})
    losses = {"chance": "binary_crossentropy", "value": "mse"}
    model.compile("adam", losses, loss_weights={"chance": 1.0, "value": 0.5})
    rng = np.random.default_rng(0)
    targets = {"chance": np.array([[0], [1], [1]]), "value": rng.normal(size=(3, 2))}
    return model, rng.normal(size=(3, 4, 4, 2)).astype("float32"), targets


def test_convolutions_two_outputs_and_mixed_precision_is_computed_in_full():
    model, x, y = images_model()
    weights = model.get_weights()
    keras.config.set_dtype_policy("mixed_float16")
    mixed, _, _ = images_model()
    mixed.set_weights(weights)
    for function in (exact_hessian_diagonal, gauss_newton_diagonal):
        first, second = function(model, x, y), function(mixed, x, y)
        for path in first:
            # The same operations in the same precision, perhaps in another order.
            np.testing.assert_allclose(second[path], first[path], rtol=1e-3, atol=1e-6)
    assert mixed.get_layer("conv").compute_dtype == "float16"
    exact, near = (f(model, x, y) for f in (exact_hessian_diagonal, gauss_newton_diagonal))
    for path in ("logit/kernel", "value/kernel"):
        np.testing.assert_allclose(near[path], exact[path], rtol=1e-3, atol=1e-6)
    assert min(h.min() for h in near.values()) >= 0 > exact["conv/kernel"].min()


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return tuple(part[7 * index : 7 * index + 7] for part in data())


@pytest.mark.parametrize("function", DIAGONALS)
def test_forms_of_data_and_the_model_is_left_as_it_is(function):
    model = network()
    model.fit(*data()[:2], verbose=0)
    before = whole_state(model)
    options = {"samples": 3} if function is hutchinson_diagonal else {}
    expected = function(model, *data(), batch_size=7, **options)
    found = function(model, Batches(), **options)
    for path, h in found.items():
        np.testing.assert_allclose(h, expected[path], rtol=1e-5, atol=1e-7)
    assert_identical(whole_state(model), before)


def test_generators_and_a_part_of_the_data():
    model = network()
    expected = exact_hessian_diagonal(model, *(part[:14] for part in data()), batch_size=7)
    for found in (
        exact_hessian_diagonal(model, *data(), batch_size=7, steps=2),
        exact_hessian_diagonal(model, (Batches()[n] for n in range(3)), steps=2),
    ):
        for path, h in found.items():
            np.testing.assert_allclose(h, expected[path], rtol=1e-5, atol=1e-7)


def test_optimal_brain_damage_is_half_h_w_squared():
    model = network()
    h = exact_hessian_diagonal(model, *data())
    expected = {path: 0.5 * h[path] * model.get_weights()[2 * n] ** 2 for n, path in enumerate(h)}
    for found in (
        optimal_brain_damage(model, *data(), diagonal="exact"),
        optimal_brain_damage(model, diagonal=h),
    ):
        for path in expected:
            np.testing.assert_allclose(found[path], expected[path], rtol=1e-5, atol=1e-9)
    near = optimal_brain_damage(model, *data(), batch_size=5)
    rough = optimal_brain_damage(model, *data(), diagonal="hutchinson", samples=2, seed=1)
    assert list(near) == list(rough) == list(h)


def test_the_loss_grows_as_predicted_where_weights_do_not_depend_on_each_other():
    # A linear network of orthogonal inputs, at its minimum: the quadratic is the loss itself.
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    x = np.diag([1.0, 2.0, 3.0, 4.0])
    w = np.array([[1.0], [-0.5], [2.0], [0.25]])
    model.set_weights([w])
    (saliency,) = optimal_brain_damage(model, x, x @ w).values()
    for gone in ([0], [1, 2], [0, 1, 2, 3]):
        less = w.copy()
        less[gone] = 0
        model.set_weights([less])
        measured = model.evaluate(x, x @ w, verbose=0)
        np.testing.assert_allclose(saliency[gone].sum(), measured, rtol=1e-5)


def test_too_many_outputs_are_refused_by_gauss_newton_alone():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1025)])
    model.compile("sgd", "mse")
    x, y = np.ones((2, 2)), np.ones((2, 1025))
    with pytest.raises(ValueError, match=r"at most 1024 outputs.*1025.*hutchinson"):
        gauss_newton_diagonal(model, x, y)
    assert len(hutchinson_diagonal(model, x, y, samples=1)) == 1


@pytest.mark.parametrize("function", DIAGONALS)
def test_bad_arguments_are_refused(function):
    model = network()
    x, y, _ = data()
    with pytest.raises(TypeError, match="`model`"):
        function("model", x, y)
    with pytest.raises(ValueError, match="compiled"):
        function(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), x, y)
    plain = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization()])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no weights that can be pruned"):
        function(plain, x, x)
    with pytest.raises(ValueError, match="`batch_size`"):
        function(model, Batches(), batch_size=3)
    with pytest.raises(ValueError, match="`y`"):
        function(model, Batches(), y)
    with pytest.raises(ValueError, match="same number of rows"):
        function(model, x, y[:3])
    with pytest.raises(ValueError, match="empty"):
        function(model, iter([]))
    with pytest.raises(ValueError, match="steps"):
        function(model, x, y, steps=0)


def test_bad_arguments_of_optimal_brain_damage_are_refused():
    model = network()
    with pytest.raises(ValueError, match="`x`"):
        optimal_brain_damage(model)
    with pytest.raises(ValueError, match="`diagonal`"):
        optimal_brain_damage(model, *data(), diagonal="full")
    with pytest.raises(ValueError, match="no data"):
        optimal_brain_damage(model, *data(), diagonal={})
    with pytest.raises(ValueError, match=r"`diagonal`.*kernels.*'x'"):
        optimal_brain_damage(model, diagonal={"x": np.ones(3)})
    with pytest.raises(ValueError, match="`samples`"):
        optimal_brain_damage(model, *data(), diagonal="hutchinson", samples=0)


def assert_gauss_newton_is_exact(model, x, y):
    """For a model that is linear in its kernels, or whose split into two is done right."""
    found, exact = gauss_newton_diagonal(model, x, y), exact_hessian_diagonal(model, x, y)
    for path, expected in exact.items():
        # float32 through two derivatives.
        atol = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(found[path], expected, rtol=1e-3, atol=atol)


def test_an_activation_that_an_operation_takes_is_no_part_of_the_loss():
    inputs = keras.Input((3,))
    p = keras.layers.Dense(2, activation="sigmoid", use_bias=False)(inputs)
    model = keras.Model(inputs, [p, keras.ops.square(p)])
    model.compile("sgd", ["mse", "mse"])
    x, _, _ = data()
    # Both outputs fit: the Hessian has no other part.
    assert_gauss_newton_is_exact(model, x, model.predict(x, verbose=0))


@keras.saving.register_keras_serializable(package="test_hessian_diagonals")
class Tied(keras.Model):
    """Its kernel is used twice, by the layer and by the model."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2, use_bias=False)

    def call(self, x):
        return keras.ops.matmul(self.dense(x), keras.ops.transpose(self.dense.kernel))


def test_a_kernel_that_is_used_twice():
    model = Tied()
    x, _, _ = data()
    y = keras.ops.convert_to_numpy(model(x))
    model.compile("sgd", "mse")
    assert_gauss_newton_is_exact(model, x, y)


def test_rows_that_are_spread_inside():
    inputs = keras.Input((4, 3))
    rows = keras.layers.Dense(2, use_bias=False)(keras.ops.reshape(inputs, (-1, 3)))
    model = keras.Model(inputs, keras.ops.reshape(rows, (-1, 4, 2)))
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype("float32")
    assert_gauss_newton_is_exact(model, x, np.zeros((6, 4, 2)))


def test_penalties_of_frozen_kernels_are_none():
    options = {"kernel_regularizer": keras.regularizers.L2(1.0), "use_bias": False}
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, **options)])
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    x, _, _ = data()
    assert_gauss_newton_is_exact(model, x, np.zeros((ROWS, 2)))


def masked_steps():
    inputs = keras.Input((4, 3))
    tensor = keras.layers.Dense(2, use_bias=False)(keras.layers.Masking()(inputs))
    x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype("float32")
    x[::2, 2:] = 0
    return keras.Model(inputs, tensor), x, np.ones((6, 4, 2))


def with_regularizer(**options):
    x, _, _ = data()
    layer = keras.layers.Dense(2, **options)
    return keras.Sequential([keras.Input((3,)), layer]), x, np.ones((ROWS, 2))


@pytest.mark.parametrize(
    "case",
    [
        masked_steps,
        lambda: with_regularizer(activity_regularizer="l2"),
        lambda: with_regularizer(kernel_regularizer=keras.regularizers.OrthogonalRegularizer()),
    ],
    ids=["masks", "activities", "orthogonal"],
)
def test_what_gauss_newton_does_not_know_is_refused(case):
    model, x, y = case()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="exact_hessian_diagonal"):
        gauss_newton_diagonal(model, x, y)
    assert all(np.isfinite(h).all() for h in exact_hessian_diagonal(model, x, y).values())


def test_missing_targets_are_told_of():
    with pytest.raises(ValueError, match="`y` is missing"):
        optimal_brain_damage(network(), data()[0])
