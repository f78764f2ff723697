"""Layers with learning rates of their own, against optimizers that have those rates."""

import functools

import keras
import numpy as np
import pytest
from keras import ops
from small_models import assert_identical, dense_model, regression_data, values
from step_probe import expected_weights, fit_probe, mean_prediction, probe_data, probe_model

import keras_deeptricks as kdt

# Keras' variables and NumPy 2: pytest.warns sends on what it did not look for.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

LAYERS = ("body_1", "body_2", "head")
# Twenty roundings of float32, for a rate m·η may be rounded before or within an update.
CLOSE = {"rtol": 2e-6, "atol": 1e-7}

KINDS = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Adam": {},
    "Nadam": {},
    "AdamW": {"weight_decay": 0.1},
    "RMSprop": {"momentum": 0.5},
    "Ftrl": {},
    "Lion": {},
    "Adamax": {},
    "Adagrad": {},
}


def layerwise(optimizer, *args, **options):
    return kdt.optimizers.LayerwiseLearningRates(optimizer, *args, **options)


def stack(names=LAYERS):
    """A model of small dense layers, always with the same weights."""
    keras.utils.set_random_seed(4)
    layers = [keras.layers.Dense(2, bias_initializer="ones", name=name) for name in names]
    return keras.Sequential([keras.Input((2,)), *layers])


def run(optimizer, steps=3, names=LAYERS, gradient=None):
    """The weights of each layer before and after some steps with the same random gradients."""
    model = stack(names)
    before = values(model.trainable_variables)
    rng = np.random.default_rng(1)
    for _ in range(steps):
        gradients = [rng.normal(size=v.shape).astype("float32") for v in before]
        if gradient is not None:
            gradients = [np.full(v.shape, gradient, "float32") for v in before]
        optimizer.apply([ops.convert_to_tensor(g) for g in gradients], model.trainable_variables)
    after = values(model.trainable_variables)
    return by_layer(before, names), by_layer(after, names)


def by_layer(arrays, names):
    return {name: arrays[2 * place : 2 * place + 2] for place, name in enumerate(names)}


def factors(optimizer, names=LAYERS):
    """How far each kernel and bias goes, in parts of the rate 1 and for the gradient 1."""
    before, after = run(optimizer, steps=1, names=names, gradient=1.0)
    return {
        name: [
            # The weights are about 1 in float32.
            pytest.approx(float((b - a).mean()), abs=1e-6)
            for b, a in zip(before[name], after[name], strict=True)
        ]
        for name in names
    }


def sgd():
    return keras.optimizers.SGD(1.0)


def each(**multipliers):
    return {name: [value, value] for name, value in multipliers.items()}


def test_gradient_descent_goes_multiples_of_the_way():
    plain_before, plain_after = run(keras.optimizers.SGD(0.5, momentum=0.9))
    multipliers = {"body_1": 0.25, "head": 2.0}
    before, after = run(layerwise(keras.optimizers.SGD(0.5, momentum=0.9), multipliers))
    for name in LAYERS:
        factor = multipliers.get(name, 1.0)
        for b, a, pb, pa in zip(
            before[name], after[name], plain_before[name], plain_after[name], strict=True
        ):
            # Some roundings of weights below 8.
            np.testing.assert_allclose(a - b, factor * (pa - pb), rtol=0, atol=4e-6)


@pytest.mark.parametrize(
    "source, kind",
    [
        (source, kind)
        for source in (keras.optimizers, kdt.optimizers)
        for kind in KINDS
        if hasattr(source, kind)
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_layer_is_trained_as_by_an_optimizer_of_its_rate(source, kind):
    make = getattr(source, kind)
    options = KINDS[kind]
    multipliers = {"body_1": 0.25, "head": 3.0}
    _, after = run(layerwise(make(0.01, **options), multipliers))
    for name in LAYERS:
        _, expected = run(make(0.01 * multipliers.get(name, 1.0), **options))
        for a, e in zip(after[name], expected[name], strict=True):
            np.testing.assert_allclose(a, e, **CLOSE)


def test_a_schedule_of_beta_1_is_the_same_in_all_layers():
    # Nadam and our Adam keep a product of all β₁ so far, once for all layers.
    beta_1 = kdt.schedules.OneCycle(0.01, 6).momentum(0.9, 0.5)
    for kind in ("Adam", "Nadam"):
        make = functools.partial(getattr(kdt.optimizers, kind), beta_1=beta_1)
        _, after = run(layerwise(make(0.01), {"body_1": 0.25, "head": 3.0}), steps=6)
        for name, rate in (("body_1", 0.0025), ("body_2", 0.01), ("head", 0.03)):
            _, expected = run(make(rate), steps=6)
            for a, e in zip(after[name], expected[name], strict=True):
                np.testing.assert_allclose(a, e, **CLOSE)


def test_the_counters_are_those_of_one_optimizer():
    grouped = layerwise(keras.optimizers.Nadam(0.01), {"body_1": 0.25, "head": 3.0})
    plain = keras.optimizers.Nadam(0.01)
    run(grouped)
    run(plain)
    # Moments do not depend on the rate. (XLA may fuse the two differently: one rounding.)
    for a, b in zip(values(grouped.variables), values(plain.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-7, atol=1e-9)


def test_multipliers_of_one_are_the_plain_optimizer_bit_for_bit():
    for make in (keras.optimizers.Nadam, kdt.optimizers.AdamW):
        neutral = layerwise(make(0.01), {".*": 1.0})
        _, expected = run(make(0.01))
        _, after = run(neutral)
        for name in LAYERS:
            assert_identical(after[name], expected[name])


def test_by_depth():
    got = factors(layerwise(sgd(), decay=0.5))
    assert got == each(body_1=0.25, body_2=0.5, head=1.0)
    # Multipliers come before the depth, and take no layer out of the count.
    got = factors(layerwise(sgd(), {"body_2": 4.0, "head/bias": 3.0}, decay=0.5))
    assert got == {**each(body_1=0.25, body_2=4.0), "head": [1.0, 3.0]}
    assert factors(layerwise(sgd(), decay=1.0)) == each(body_1=1.0, body_2=1.0, head=1.0)


def test_by_depth_counts_layers_not_variables():
    model = dense_model()
    optimizer = layerwise(sgd(), decay=0.5)
    before = values(model.trainable_variables)
    optimizer.apply([ops.ones(v.shape) for v in before], model.trainable_variables)
    after = values(model.trainable_variables)
    went = [float((b - a).mean()) for b, a in zip(before, after, strict=True)]
    # hidden, norm (γ and β) and out: the weights are about 1 in float32.
    assert went == pytest.approx([0.25, 0.25, 0.5, 0.5, 1.0, 1.0], abs=1e-6)


@pytest.mark.parametrize(
    "multipliers, expected",
    [
        ({"body_1": 0.5}, each(body_1=0.5, body_10=1.0, head=1.0)),
        ({"body_*": 0.5}, each(body_1=0.5, body_10=0.5, head=1.0)),
        ({"body_.*": 0.5}, each(body_1=0.5, body_10=0.5, head=1.0)),
        ({r"body_\d": 0.5}, each(body_1=0.5, body_10=1.0, head=1.0)),
        ({"head/kernel": 0.5}, {**each(body_1=1.0, body_10=1.0), "head": [0.5, 1.0]}),
        ({"bias": 2}, {name: [1.0, 2.0] for name in ("body_1", "body_10", "head")}),
        # The first one that matches counts.
        ({"body_10": 2.0, "body_.*": 0.5, ".*": 4.0}, each(body_1=0.5, body_10=2.0, head=4.0)),
        ({".*": 4.0, "body_10": 2.0}, each(body_1=4.0, body_10=4.0, head=4.0)),
        ({("body_1", "head"): 0.5}, each(body_1=0.5, body_10=1.0, head=0.5)),
    ],
)
def test_names_and_patterns(multipliers, expected):
    assert factors(layerwise(sgd(), multipliers), ("body_1", "body_10", "head")) == expected


def test_a_layer_itself_as_a_key():
    head = stack().layers[-1]
    got = factors(layerwise(sgd(), {head: 0.5}))
    assert got == each(body_1=1.0, body_2=1.0, head=0.5)


@pytest.mark.parametrize("make", [keras.optimizers.AdamW, kdt.optimizers.AdamW])
def test_a_multiplier_of_zero_leaves_weights_bit_for_bit(make):
    optimizer = layerwise(make(0.1, weight_decay=0.5), {"body_.*": 0, "head": 1.0})
    before, after = run(optimizer)
    for name in ("body_1", "body_2"):
        assert_identical(before[name], after[name])
    assert all((b != a).all() for b, a in zip(before["head"], after["head"], strict=True))


def test_a_multiplier_may_be_a_schedule():
    # Powers of two: 1, ½, ¼ for the body, 2 for the head.
    halving = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], [1.0, 0.5, 0.25])
    optimizer = layerwise(sgd(), {"body_.*": halving, "head": kdt.schedules.Constant(2.0)})
    before, after = run(optimizer, steps=3, gradient=1.0)
    for name, expected in (("body_1", 1.75), ("body_2", 1.75), ("head", 6.0)):
        for b, a in zip(before[name], after[name], strict=True):
            # Three roundings of weights below 8.
            np.testing.assert_allclose(b - a, expected, rtol=0, atol=2e-6)


def test_a_scheduled_multiplier_is_evaluated_once_per_step():
    class Counting(keras.optimizers.schedules.LearningRateSchedule):
        asked = 0

        def __call__(self, step):
            self.asked += 1
            return 0.5

    counting = Counting()
    run(layerwise(sgd(), {".*": counting}), steps=3)
    assert counting.asked == 3


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_schedules_as_the_base_rate(kind):
    make = getattr(kdt.optimizers, kind)
    cycle = kdt.schedules.OneCycle(0.1, 4)
    _, after = run(layerwise(make(cycle), {"head": 0.25}), steps=4)
    _, plain = run(make(cycle), steps=4)
    _, slower = run(make(kdt.schedules.Scaled(cycle, 0.25)), steps=4)
    for name, expected in (("body_1", plain), ("head", slower)):
        for a, e in zip(after[name], expected[name], strict=True):
            np.testing.assert_allclose(a, e, **CLOSE)


def test_the_callback_one_cycle_moves_all_layers_in_proportion():
    steps = 6
    optimizer = layerwise(kdt.optimizers.SGD(1.0, momentum=0.9), {"probe": 0.25})
    model = probe_model(steps, optimizer)
    change = fit_probe(model, callbacks=[kdt.callbacks.OneCycle(0.5)])
    cycle = kdt.schedules.OneCycle(0.5, steps)
    rates, momenta = cycle.numpy_values(range(steps)), cycle.momentum().numpy_values(range(steps))
    # Sums of a few numbers below 1 in float32, and the cosine of the schedule.
    np.testing.assert_allclose(change, 0.25 * expected_weights(rates, momenta), atol=5e-7)


def test_reduce_on_plateau_and_assigned_rates_move_all_layers_in_proportion():
    model = probe_model(2, layerwise(keras.optimizers.SGD(1.0), {"probe": 0.25}))
    changes = []
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e9)

    class Weights(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.before = values(self.model.weights)[0][0, 0]

        def on_epoch_end(self, epoch, logs=None):
            changes.append(float(self.before - values(self.model.weights)[0][0, 0]))

    fit_probe(model, epochs=3, callbacks=[Weights(), plateau])
    # The first loss is an improvement over none; each epoch after it halves the rate at its end.
    assert changes == [0.25, 0.25, 0.125]
    model.optimizer.learning_rate = 4.0
    assert float(ops.convert_to_numpy(model.optimizer.learning_rate)) == 4.0
    np.testing.assert_array_equal(fit_probe(model), [-1.0, -1.0])


def test_the_global_norm_stays_global():
    _, plain = run(keras.optimizers.SGD(1.0, global_clipnorm=0.5), steps=1)
    optimizer = layerwise(keras.optimizers.SGD(1.0, global_clipnorm=0.5), {"body_.*": 0.25})
    before, after = run(optimizer, steps=1)
    squares = 0.0
    for name, factor in (("body_1", 0.25), ("body_2", 0.25), ("head", 1.0)):
        for b, a, p in zip(before[name], after[name], plain[name], strict=True):
            # The weights are about 1 in float32.
            np.testing.assert_allclose(b - a, factor * (b - p), rtol=0, atol=4e-7)
            squares += float(np.sum(((b - a) / factor) ** 2))
    assert np.sqrt(squares) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("make", [keras.optimizers.AdamW, kdt.optimizers.AdamW])
def test_decoupled_weight_decay_goes_with_each_layers_rate(make):
    multipliers = {"body_1": 0.5, "body_2": 0.0}
    optimizer = layerwise(make(0.1, weight_decay=0.5), multipliers)
    before, after = run(optimizer, steps=1, gradient=0.0)
    for name in LAYERS:
        left = 1 - 0.1 * 0.5 * multipliers.get(name, 1.0)
        kernel, bias = after[name]
        np.testing.assert_allclose(kernel, left * before[name][0], rtol=3e-7)  # a few roundings
        # Keras decays biases, our optimizers do not.
        spared = make is kdt.optimizers.AdamW
        np.testing.assert_allclose(bias, before[name][1] * (1 if spared else left), rtol=3e-7)


def test_weight_decay_follows_the_schedules_of_rate_and_multiplier():
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.25])
    multiplier = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.5])
    optimizer = layerwise(
        kdt.optimizers.SGD(rate, weight_decay=0.5), {"head": multiplier, "body_1": 0.5}
    )
    before, after = run(optimizer, steps=2, gradient=0.0)
    for name, left in (
        ("body_1", (1 - 0.125) * (1 - 0.0625)),
        ("body_2", (1 - 0.25) * (1 - 0.125)),
        ("head", (1 - 0.25) * (1 - 0.0625)),
    ):
        np.testing.assert_allclose(after[name][0], left * before[name][0], rtol=3e-7)
        assert_identical(after[name][1:], before[name][1:])


@pytest.mark.parametrize("package", [keras.optimizers, kdt.optimizers])
def test_a_step_that_another_replica_is_in_does_not_count(package):
    # As under tf.distribute, where two replicas decay weights by turns: the other one has set the
    # rate of its first group of layers.
    optimizer = layerwise(package.SGD(0.5, weight_decay=0.5), {"body_.*": 0.5})
    _, expected = run(layerwise(package.SGD(0.5, weight_decay=0.5), {"body_.*": 0.5}), steps=1)
    object.__setattr__(optimizer, "step_values", {"learning_rate": 0.25})
    _, after = run(optimizer, steps=1)
    for name in LAYERS:
        assert_identical(after[name], expected[name])


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "Muon")
    or "_apply_weight_decay" not in vars(keras.optimizers.Muon),
    reason="the Muon of this Keras has one weight decay",
)
def test_muon_has_a_second_weight_decay():
    muon = keras.optimizers.Muon(0.5, weight_decay=None, adam_weight_decay=0.25)
    before, after = run(layerwise(muon, {"head": 0.5}), steps=1, gradient=0.0)
    # It is that of vectors.
    for name, left in (("body_1", 0.875), ("head", 0.9375)):
        assert_identical(after[name], [before[name][0], left * before[name][1]])


def test_in_a_model_where_nothing_decays():
    optimizer = layerwise(kdt.optimizers.SGD(1.0, weight_decay=0.5), {"norm": 0.5})
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(name="norm")])
    model.compile(optimizer, mean_prediction)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    model.fit(x, x, batch_size=8, verbose=0)
    # The gradient of β is 1/4, the multiplier ½; the batch's mean is 0 but for roundings.
    _, beta = values(model.trainable_variables)
    np.testing.assert_allclose(beta, -0.125, rtol=1e-6)


def test_it_trains_in_fit_as_by_single_steps():
    # The compiled step does what `apply` does.
    x, y = probe_data(3)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(1, kernel_initializer="zeros", name="probe"),
        ]
    )
    model.compile(layerwise(sgd(), {"bias": 0.125, "kernel": 0.5}), mean_prediction)
    model.fit(x, y, batch_size=1, shuffle=False, verbose=0)
    kernel, bias = values(model.weights)
    assert kernel.ravel().tolist() == [-0.5, -0.5, -0.5]
    assert bias.tolist() == [-0.375]


FACTORIES = {
    "no argument": lambda: keras.optimizers.SGD(1.0),
    "the multiplier": lambda multiplier: keras.optimizers.SGD(1.0 * multiplier),
    "a class": functools.partial(keras.optimizers.SGD, 1.0),
    "an optional argument": lambda rate=1.0: keras.optimizers.SGD(rate),
}


@pytest.mark.parametrize("form", FACTORIES)
def test_a_function_that_makes_the_optimizer(form):
    got = factors(layerwise(FACTORIES[form], {"head": 0.5}))
    assert got == each(body_1=1.0, body_2=1.0, head=0.5)


def test_a_class_is_called_without_arguments():
    optimizer = layerwise(keras.optimizers.SGD, {"head": 0.5})
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert factors(optimizer) == each(body_1=0.01, body_2=0.01, head=0.005)


def test_a_configuration_tells_multipliers_and_schedules():
    cycle = kdt.schedules.OneCycle(1.0, 10)
    optimizer = layerwise(sgd(), {"body_.*": 0.5, "head": cycle}, decay=0.9)
    config = optimizer.get_config()
    assert list(config["multipliers"]) == ["body_.*", "head"]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.get_config() == config
    _, expected = run(optimizer)
    _, after = run(again)
    for name in LAYERS:
        assert_identical(after[name], expected[name])


@pytest.mark.parametrize("multipliers", [None, {}])
def test_one_of_multipliers_and_decay_is_needed(multipliers):
    with pytest.raises(ValueError, match="`multipliers` or `decay` must be given"):
        layerwise(sgd(), multipliers)


@pytest.mark.parametrize(
    "wrong, error, name",
    [
        ({"decay": 0}, ValueError, "decay"),
        ({"decay": 1.5}, ValueError, "decay"),
        ({"decay": "0.9"}, TypeError, "decay"),
        ({"multipliers": [0.5, 1.0]}, TypeError, "multipliers"),
        ({"multipliers": {"head": -0.5}}, ValueError, "multipliers"),
        ({"multipliers": {"head": float("inf")}}, ValueError, "multipliers"),
        ({"multipliers": {"head": "low"}}, TypeError, "multipliers"),
        ({"multipliers": {3: 0.5}}, TypeError, "multipliers"),
        ({"multipliers": {"": 0.5}}, TypeError, "multipliers"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        layerwise(sgd(), **wrong)


@pytest.mark.parametrize("wrong", [None, "sgd", 0.1, lambda: None, lambda: 0.1])
def test_what_is_no_optimizer_is_refused(wrong):
    with pytest.raises(TypeError, match=r"`optimizer` must be a keras.optimizers.Optimizer"):
        layerwise(wrong, {"head": 0.5})


def test_a_name_that_is_nothing_warns():
    optimizer = layerwise(sgd(), {"haed": 0.5, "head": 0.25})
    with pytest.warns(UserWarning, match=r"LayerwiseLearningRates: 'haed' .*head/kernel"):
        got = factors(optimizer)
    assert got == each(body_1=1.0, body_2=1.0, head=0.25)


def test_frozen_layers_and_float16():
    keras.config.set_dtype_policy("mixed_float16")
    model = stack()
    model.get_layer("body_1").trainable = False
    optimizer = layerwise(kdt.optimizers.SGD(0.01), {"body_2": 0.0, "head": 0.5})
    # (From Keras' first scale on, float16 would overflow for some steps.)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0), "mse")
    before = model.get_weights()
    x, _ = regression_data(8, 2)
    model.fit(x, x, verbose=0)
    after = model.get_weights()
    assert_identical(after[:4], before[:4])
    assert not np.array_equal(after[4], before[4])
    assert optimizer.step_values is None


@pytest.mark.parametrize("kind", [keras.optimizers.Adam, keras.optimizers.Nadam])
def test_scalar_weights_keep_their_slots(kind):
    # On torch variables of one rate are updated together, and counters of all in between.
    def variables():
        return [
            keras.Variable(1.0, name="scalar"),
            keras.Variable([1.0, 2.0], name="vector"),
            keras.Variable(2.0, name="other"),
        ]

    gradients = [ops.convert_to_tensor(g) for g in (0.5, [0.25, -0.5], -0.75)]
    rates = {"scalar": 0.5, "vector": 0.25}
    mine, optimizer = variables(), kdt.optimizers.LayerwiseLearningRates(kind(0.1), rates)
    by_hand = variables()
    alone = [kind(0.1 * rate) for rate in (0.5, 0.25, 1.0)]
    for _ in range(4):
        optimizer.apply(gradients, mine)
        for one, variable, gradient in zip(alone, by_hand, gradients, strict=True):
            one.apply([gradient], [variable])
    for first, second in zip(mine, by_hand, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(first), ops.convert_to_numpy(second), rtol=1e-6
        )  # a few roundings in float32
