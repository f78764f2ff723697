"""Self-normalization, measured in deep stacks, and what is found to break it."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import Subclassed, assert_identical, values, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics import check_self_normalization, self_normalization_problems

DEPTH, WIDTH = 64, 256
X = np.random.default_rng(0).normal(size=(200, 8)).astype("float32")


def after(depth, initializer, activation="selu", width=WIDTH, seed=0):
    """The mean and the variance of the activations behind each of `depth` layers, in Keras."""
    signal = np.random.default_rng(seed).normal(size=(500, width)).astype("float32")
    seeds = keras.random.SeedGenerator(seed)
    make = type(keras.initializers.get(initializer))(seed=seeds)
    function, moments = keras.activations.get(activation), []
    for _ in range(depth):
        signal = function(ops.matmul(signal, make((width, width))))
        array = ops.convert_to_numpy(signal)
        moments.append((array.mean(), array.var()))
    return np.array(moments).T


@pytest.mark.parametrize("seed", range(5))
def test_a_deep_stack_keeps_mean_and_variance(seed):
    means, variances = after(DEPTH, "lecun_normal", seed=seed)
    # Of a drawn matrix the column sums are off by 1/√256 = 6 % of a deviation and the squares of
    # a row's norm by √(2/256) = 9 %. Errors of one layer are damped by the next: the map of the
    # moments has a slope below 0.8. The domain of the theorem is ±0.1 and 0.8 … 1.5.
    assert np.abs(means).max() < 0.1
    assert variances.min() > 0.8
    assert variances.max() < 1.5
    # On the average over the layers the errors cancel: 64 layers, correlated over some four.
    assert abs(means.mean()) < 0.03
    assert variances.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "initializer, activation, low, high",
    [
        # Twice the variance of LeCun's has no such fixed point at 1.
        ("he_normal", "selu", 2, np.inf),
        # A ReLU halves the mean square of LeCun's or Glorot's signal: 2⁻⁶⁴.
        ("lecun_normal", "relu", 0, 1e-12),
        ("glorot_uniform", "relu", 0, 1e-12),
    ],
)
def test_the_control_breaks(initializer, activation, low, high):
    _, variances = after(DEPTH, initializer, activation)
    assert low <= variances[-1] <= high


def test_inputs_that_are_not_standardized_are_pulled_towards_it():
    # The fixed point attracts: after 64 layers a start of variance 1.44 is forgotten.
    signal = 1.2 * np.random.default_rng(0).normal(size=(500, WIDTH)).astype("float32")
    seeds = keras.random.SeedGenerator(0)
    make = keras.initializers.LecunNormal(seed=seeds)
    for _ in range(DEPTH):
        signal = keras.activations.selu(ops.matmul(signal, make((WIDTH, WIDTH))))
    assert ops.convert_to_numpy(signal).var() == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_alpha_dropout_keeps_it(rate):
    stack = [keras.Input((WIDTH,))]
    seeds = keras.random.SeedGenerator(0)
    for place in range(16):
        initializer = keras.initializers.LecunNormal(seed=seeds)
        stack.append(layers.Dense(WIDTH, activation="selu", kernel_initializer=initializer))
        stack.append(layers.AlphaDropout(rate, seed=place))
    x = np.random.default_rng(1).normal(size=(500, WIDTH)).astype("float32")
    out = ops.convert_to_numpy(keras.Sequential(stack)(x, training=True))
    assert abs(out.mean()) < 0.1
    assert 0.8 < out.var() < 1.5


def stack(*between, **dense):
    """Two SELU layers with something in between, and an output layer."""
    options = {"activation": "selu", "kernel_initializer": "lecun_normal", **dense}
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, name="first", **options),
            *between,
            layers.Dense(16, name="second", **options),
            layers.Dropout(0.5, name="behind"),
            layers.Dense(3, activation="softmax", name="out"),
        ]
    )


def skip():
    x = keras.Input((8,))
    dense = {"activation": "selu", "kernel_initializer": "lecun_normal"}
    first = layers.Dense(16, **dense)(x)
    second = layers.Dense(16, **dense)(first)
    merged = layers.Add(name="merge")([first, second])
    return keras.Model(x, layers.Dense(3)(layers.Dense(16, **dense)(merged)))


def skip_by_operation():
    x = keras.Input((8,))
    dense = {"activation": "selu", "kernel_initializer": "lecun_normal"}
    first = layers.Dense(16, **dense)(x)
    merged = first + layers.Dense(16, **dense)(first)
    return keras.Model(x, layers.Dense(3)(layers.Dense(16, **dense)(merged)))


def batch_norm_before_the_activation():
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, kernel_initializer="lecun_normal"),
            layers.BatchNormalization(name="norm"),
            layers.Activation("selu"),
            layers.Dense(3),
        ]
    )


def separate_activation():
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(16, name="first"), layers.Activation("selu")]
    )


def nested():
    inner = keras.Sequential([keras.Input((16,)), layers.Dropout(0.1, name="inside")])
    return stack(inner)


def of_layers(*inner):
    return Subclassed(list(inner))


PROBLEMS = {
    "glorot": (lambda: stack(kernel_initializer="glorot_uniform"), "'first', 'second'.*LeCun"),
    "glorot apart": (separate_activation, "'first' is GlorotUniform.*lecun_normal"),
    "dropout": (lambda: stack(layers.Dropout(0.1, name="drop")), "Dropout.*'drop'.*AlphaDropout"),
    "noise": (lambda: stack(layers.GaussianNoise(0.1, name="hiss")), "'hiss'.*AlphaDropout"),
    "mc dropout": (lambda: stack(kdt.layers.MCDropout(0.1)), "MCDropout.*AlphaDropout"),
    "nested dropout": (nested, "'inside'"),
    "batch norm": (lambda: stack(layers.BatchNormalization(name="norm")), "Normal.*'norm'"),
    "batch norm inside": (batch_norm_before_the_activation, "Normal.*'norm'"),
    "skip": (skip, "Skip connections.*'merge'"),
    "skip by operation": (skip_by_operation, "Skip connections"),
    "l2": (lambda: stack(kernel_regularizer="l2"), "'first', 'second'.*regularizer"),
    "max norm": (
        lambda: stack(kernel_constraint=kdt.constraints.MaxNorm(1.0)),
        "'first', 'second'.*constraint",
    ),
    "other activation": (
        lambda: stack(layers.Dense(16, activation="relu", name="odd")),
        "Other activations.*'odd'",
    ),
    "no selu": (lambda: stack(activation="relu"), "no layer with the activation SELU"),
    "subclassed": (
        lambda: of_layers(
            layers.Dense(16, activation="selu", kernel_initializer="lecun_normal"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(3, activation="softmax"),
        ),
        "Normal.*'norm'",
    ),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_each_problem_is_warned_of(kind):
    make, message = PROBLEMS[kind]
    model = make()
    with pytest.warns(UserWarning, match=message):
        problems = check_self_normalization(model)
    assert len(problems) == 1


def test_several_problems_are_several_warnings():
    model = stack(layers.Dropout(0.1), layers.BatchNormalization(), kernel_regularizer="l1")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        problems = check_self_normalization(model)
    assert [str(w.message) for w in caught if w.category is UserWarning] == problems
    assert len(problems) == 3
    assert all(w.filename == __file__ for w in caught if w.category is UserWarning)


@pytest.mark.parametrize(
    "model",
    [
        stack(layers.AlphaDropout(0.1)),
        stack(kdt.layers.MCAlphaDropout(0.1)),
        stack(layers.Dropout(0.0)),
        stack(kernel_initializer="lecun_uniform"),
        stack(kernel_initializer=kdt.initializers.for_activation("selu")),
        kdt.recipes.self_normalizing_network((8,), 3, hidden_units=(16,) * 4),
        of_layers(
            layers.Dense(4, activation="selu", kernel_initializer="lecun_normal"),
            layers.Dense(3, activation="softmax"),
        ),
    ],
)
def test_what_is_right_has_no_problems(model):
    # A warning would be an error here.
    assert check_self_normalization(model) == []


@pytest.mark.parametrize(
    "x, problem",
    [
        (X, None),
        (X + 3, "8 of 8 features"),
        (5 * X, "variances from 2"),
        (X * [1, 1, 1, 1, 1, 1, 1, 0.1], "1 of 8 features"),
        ({"rows": X}["rows"].tolist(), None),
    ],
    ids=["standardized", "shifted", "wide", "one narrow", "list"],
)
def test_inputs(x, problem):
    problems = self_normalization_problems(stack(), np.asarray(x))
    if problem is None:
        assert problems == []
    else:
        assert len(problems) == 1
        assert "not standardized" in problems[0]
        assert problem in problems[0]


def test_a_standardization_inside_the_model_counts():
    raw = 100 * X + 7
    standardization = kdt.layers.Standardization()
    standardization.adapt(raw)
    inner = stack()
    model = keras.Sequential([keras.Input((8,)), standardization, *inner.layers])
    assert self_normalization_problems(model, raw) == []
    assert "not standardized" in self_normalization_problems(inner, raw)[0]


def test_the_pixels_of_images_are_judged_together():
    # A dark border: by itself constant, as in many images.
    images = np.random.default_rng(0).normal(90, 60, size=(50, 8, 8)).astype("float32")
    images[:, :2] = 0
    model = kdt.recipes.self_normalizing_network((8, 8), 3, adapt_to=images)
    assert self_normalization_problems(model, images) == []
    assert "all pixels together" in self_normalization_problems(model, images / 255)[0]


def test_nothing_is_changed():
    model = stack(kdt.layers.MCAlphaDropout(0.1, seed=1))
    model.compile("adam", "mse")
    before = whole_state(model)
    assert self_normalization_problems(model, X) == []
    assert_identical(whole_state(model), before)
    assert all("call" not in vars(layer) for layer in model.layers)
    for bad in (np.full((3, 8), np.nan), np.zeros((0, 8))):
        with pytest.raises(ValueError, match="`x`"):
            self_normalization_problems(model, bad)
    assert_identical(values(model.variables), before[: len(model.variables)])


def test_a_model_that_is_not_built_yet():
    model = keras.Sequential(
        [layers.Dense(4, activation="selu", kernel_initializer="lecun_normal"), layers.Dense(2)]
    )
    assert self_normalization_problems(model) == []
    assert not model.built
    assert "not standardized" in self_normalization_problems(model, X + 5)[0]
    assert model.built


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="`model` must be"):
        check_self_normalization(layers.Dense(3))
