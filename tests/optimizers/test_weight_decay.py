"""Weight decay that acts on kernels and embeddings, and on the rest only when asked to."""

import keras
import numpy as np
import pytest
from keras import ops
from small_models import BACKEND, assert_identical, values
from step_probe import mean_prediction

import keras_deeptricks as kdt
from keras_deeptricks.optimizers.weight_decay import spared
from keras_deeptricks.utils.compiled_step import clone_optimizer

KINDS = ("SGD", "RMSprop", "Adam", "AdamW", "Nadam")
# 1 − η·λ with η = 0.5 and λ = 0.25, exact in float32.
LEFT = 0.875


def make(kind, package=kdt.optimizers, **options):
    return getattr(package, kind)(0.5, weight_decay=0.25, **options)


def decayed(optimizer, layer, shape):
    """The names of the variables that an update without gradients decays, which it then checks."""
    layer.build(shape)
    variables = layer.trainable_variables
    for variable in variables:
        variable.assign(np.full(variable.shape, 2.0))
    optimizer.apply([ops.zeros(v.shape) for v in variables], variables)
    names = set()
    for variable in variables:
        (value,) = values([variable])
        assert np.unique(value).tolist() in ([2.0], [2.0 * LEFT])
        if value.flat[0] != 2.0:
            names.add(variable.path.partition("/")[2] or variable.name)
    return names


def last(names):
    return {name.split("/")[-1] for name in names}


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_decay_and_biases_do_not(kind):
    assert last(decayed(make(kind), keras.layers.Dense(3), (2, 4))) == {"kernel"}


@pytest.mark.parametrize(
    "layer, shape, expected",
    [
        (keras.layers.BatchNormalization, (2, 4), set()),
        (lambda: keras.layers.LayerNormalization(axis=(1, 2)), (2, 4, 3), set()),
        (keras.layers.GroupNormalization, (2, 4, 32), set()),
        (keras.layers.PReLU, (2, 4), set()),
        # Its bias has two rows.
        (lambda: keras.layers.GRU(3), (2, 5, 4), {"kernel", "recurrent_kernel"}),
        (lambda: keras.layers.Embedding(5, 3), (2, 4), {"embeddings"}),
        (lambda: keras.layers.Conv1D(3, 2), (2, 6, 4), {"kernel"}),
        (lambda: keras.layers.DepthwiseConv2D(2), (2, 6, 6, 3), {"kernel"}),
        (
            lambda: keras.layers.EinsumDense("abc,cde->abde", (5, 2, 3), bias_axes="de"),
            (2, 5, 4),
            {"kernel"},
        ),
        (
            lambda: keras.layers.SeparableConv1D(3, 2),
            (2, 6, 4),
            {"depthwise_kernel", "pointwise_kernel"},
        ),
    ],
)
def test_what_decays_in_other_layers(layer, shape, expected):
    assert last(decayed(make("SGD"), layer(), shape)) == expected


def test_which_variables_are_spared():
    def variable(name, shape):
        return keras.Variable(np.ones(shape, "float32"), name=name)

    for name in ("bias", "gamma", "beta", "scale"):
        assert spared(variable(name, (2, 3)))
    assert spared(variable("kernel", (3,)))
    assert spared(variable("temperature", ()))
    for name in ("kernel", "recurrent_kernel", "embeddings", "biased", "large_scale"):
        assert not spared(variable(name, (2, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_with_gradients_by_hand(kind):
    # The update without decay is that of the decayed weights: the gradient is given.
    def after(**options):
        variables = [
            keras.Variable(np.full((2, 2), 2.0, "float32"), name="kernel"),
            keras.Variable(np.full(2, 2.0, "float32"), name="bias"),
        ]
        optimizer = getattr(kdt.optimizers, kind)(0.5, **options)
        optimizer.apply([0.5 * ops.ones((2, 2)), 0.5 * ops.ones(2)], variables)
        return values(variables)

    plain, with_decay = after(weight_decay=0.0), after(weight_decay=0.25)
    # Decoupled: 2·(1 − LEFT) more than without. A rounding of weights below 2.
    np.testing.assert_allclose(plain[0] - with_decay[0], 2 * (1 - LEFT), rtol=0, atol=3e-7)
    assert_identical(plain[1:], with_decay[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_decay_biases_is_keras_bit_for_bit(kind):
    def run(optimizer):
        variables = [
            keras.Variable(np.linspace(-1, 1, 6).reshape(2, 3).astype("float32"), name="kernel"),
            keras.Variable(np.linspace(0, 1, 3).astype("float32"), name="bias"),
            keras.Variable(np.ones(3, "float32"), name="gamma"),
        ]
        for _ in range(3):
            gradients = [ops.convert_to_tensor(value * 0.5) for value in values(variables)]
            optimizer.apply(gradients, variables)
        return values(variables)

    ours = run(make(kind, decay_biases=True))
    assert_identical(ours, run(make(kind, keras.optimizers)))
    assert not np.array_equal(ours[1], run(make(kind))[1])


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("decay_biases", [False, True])
def test_what_the_user_excludes_is_spared_too_and_in_copies(kind, decay_biases):
    def names_of(optimizer):
        return last(decayed(optimizer, layer, (2, 5, 4)))

    rest = {"bias"} if decay_biases else set()
    layer = keras.layers.GRU(3)
    by_name = make(kind, decay_biases=decay_biases)
    by_name.exclude_from_weight_decay(var_names=["recurrent"])
    copy = clone_optimizer(clone_optimizer(by_name))
    transformed = kdt.optimizers.GradientNoise(by_name, 0.0)
    for optimizer in (by_name, copy, clone_optimizer(by_name), transformed):
        layer = keras.layers.GRU(3)
        assert names_of(optimizer) == {"kernel", *rest}
    layer = keras.layers.GRU(3)
    layer.build((2, 5, 4))
    by_object = make(kind, decay_biases=decay_biases)
    by_object.exclude_from_weight_decay(var_list=[layer.trainable_variables[0]])
    layer.build = lambda shape: None  # its variables are those excluded
    for optimizer in (clone_optimizer(by_object), by_object):
        assert names_of(optimizer) == {"recurrent_kernel", *rest}
    # Also of an optimizer that was trained with.
    assert names_of(clone_optimizer(by_object)) == {"recurrent_kernel", *rest}


def test_excluding_twice_forgets_the_first_as_in_keras():
    optimizer = make("SGD")
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    optimizer.exclude_from_weight_decay(var_names=["nothing"])
    assert last(decayed(optimizer, keras.layers.Dense(3), (2, 4))) == {"kernel"}


@pytest.mark.parametrize("kind", KINDS)
def test_configuration(kind):
    for given in (True, False):
        optimizer = make(kind, decay_biases=given)
        config = optimizer.get_config()
        assert config["decay_biases"] is given
        again = type(optimizer).from_config(config)
        assert again.decay_biases is given
        assert again.get_config() == config
    assert make(kind).get_config()["decay_biases"] is False
    with pytest.raises(TypeError, match="`decay_biases` must be True or False"):
        make(kind, decay_biases="no")


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_a_model_where_nothing_decays_trains(kind):
    model = keras.Sequential([keras.Input((4,)), keras.layers.LayerNormalization()])
    model.compile(make(kind), mean_prediction)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    model.fit(x, x, batch_size=8, verbose=0)
    _, beta = values(model.weights)
    # The gradient of β is 1/4. AdamW's first step is its sign, but for the rounding of √(1 − β₂).
    expected = -0.5 * (0.25 if kind == "SGD" else 1.0)
    np.testing.assert_allclose(beta, expected, rtol=5e-5)


def test_without_weight_decay_nothing_is_excluded():
    optimizer = kdt.optimizers.SGD(0.5)
    assert decayed(optimizer, keras.layers.Dense(3), (2, 4)) == set()
    assert optimizer.weight_decay is None


def test_saved_and_loaded_it_spares_the_same(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, bias_initializer="ones")])
    # Without gradients only the decay is left.
    model.compile(make("SGD"), lambda y_true, y_pred: 0 * y_pred)
    x, y = np.ones((4, 4), "float32"), np.ones((4, 1), "float32")
    model.fit(x, y, verbose=0)
    model.compile(model.optimizer, "mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.compile(loaded.optimizer, lambda y_true, y_pred: 0 * y_pred)
    kernel, bias = loaded.get_weights()
    loaded.fit(x, y, verbose=0)
    np.testing.assert_allclose(loaded.get_weights()[0], LEFT * kernel, rtol=1e-7)
    assert_identical(loaded.get_weights()[1:], [bias])
    assert bias.tolist() == [1.0]


@pytest.mark.skipif(BACKEND != "torch", reason="only torch has a fused decay")
def test_the_fused_decay_of_torch_stands_a_model_where_keras_own_fails():
    # What `_apply_weight_decay` guards against: Keras hands an empty list to one fused call.
    optimizer = keras.optimizers.SGD(0.5, weight_decay=0.25)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    variable = keras.Variable(np.ones(2, "float32"), name="bias")
    with pytest.raises(RuntimeError, match="at least one tensor"):
        optimizer.apply([ops.zeros(2)], [variable])
    ours = make("SGD")
    ours.apply([ops.zeros(2)], [variable])
    assert values([variable])[0].tolist() == [1.0, 1.0]
