"""What holds for each optimizer that changes the gradients of another one."""

import inspect
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from small_models import (
    BACKEND,
    assert_identical,
    class_data,
    dense_model,
    regression_data,
    values,
    whole_state,
)
from step_probe import expected_weights, fit_probe, probe_model

import keras_deeptricks as kdt
from keras_deeptricks.utils.compiled_step import (
    clone_optimizer,
    given_learning_rate,
    given_momentum,
    momentum_name,
)

Clipping = kdt.optimizers.AdaptiveGradientClipping
Noise = kdt.optimizers.GradientNoise
Layerwise = kdt.optimizers.LayerwiseLearningRates
CYCLE = kdt.schedules.OneCycle(0.01, 12)

TRANSFORMS = {
    "Clipping": lambda optimizer: Clipping(optimizer, 0.05, scope="layer", exclude=["out"]),
    "Noise": lambda optimizer: Noise(optimizer, kdt.schedules.Constant(0.1), seed=3),
    "Layerwise": lambda optimizer: Layerwise(optimizer, {"hidden": 0.25, "norm": CYCLE}, decay=0.5),
}
KINDS = {"Clipping": Clipping, "Noise": Noise, "Layerwise": Layerwise}
# Each with arguments that change nothing.
NEUTRAL = {
    "Clipping": lambda optimizer: Clipping(optimizer, 1e30, exclude=()),
    "Noise": lambda optimizer: Noise(optimizer, 0.0, seed=3),
    "Layerwise": lambda optimizer: Layerwise(optimizer, {".*": 1.0}),
}
BASES = {
    "keras SGD": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, clipnorm=1.0),
    "keras Adam": lambda: keras.optimizers.Adam(CYCLE, amsgrad=True),
    "keras RMSprop": lambda: keras.optimizers.RMSprop(0.01, use_ema=True),
    "keras Nadam": lambda: keras.optimizers.Nadam(0.01),
    "keras Ftrl": lambda: keras.optimizers.Ftrl(0.01),
    "keras Lion": lambda: keras.optimizers.Lion(0.01, weight_decay=0.1),
    "our SGD": lambda: kdt.optimizers.SGD(CYCLE, momentum=CYCLE.momentum(), nesterov=True),
    "our AdamW": lambda: kdt.optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=1.0),
    "our Nadam": lambda: kdt.optimizers.Nadam(CYCLE, beta_1=CYCLE.momentum()),
}
EVERY_KERAS = [
    name
    for name, kind in vars(keras.optimizers).items()
    if inspect.isclass(kind)
    and issubclass(kind, keras.optimizers.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
]
every_transform = pytest.mark.parametrize("transform", TRANSFORMS)


def nested(optimizer):
    return TRANSFORMS["Layerwise"](TRANSFORMS["Clipping"](TRANSFORMS["Noise"](optimizer)))


def applied(optimizer, steps=2):
    """The weights of a small model, and the optimizer's variables, after steps at random."""
    variables = dense_model().trainable_variables
    rng = np.random.default_rng(0)
    for _ in range(steps):
        gradients = [rng.normal(size=v.shape).astype("float32") for v in variables]
        optimizer.apply([ops.convert_to_tensor(g) for g in gradients], variables)
    return values([*variables, *optimizer.variables])


def small_model(seed=0):
    """No dropout, whose seeds no file keeps."""
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Dense(6, activation="tanh", name="hidden"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dense(3, name="out"),
    ]
    return keras.Sequential([keras.Input((4,)), *layers])


def compiled(optimizer, **options):
    model = small_model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **options)
    return model


def fit(model, epochs=1):
    x, y = class_data(24)
    model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return model


def moved(optimizer, weights, *gradients):
    """How far descent goes down from one vector of weights, after each of the gradients."""
    variable = keras.Variable(np.array(weights, "float32"), name="weights")
    ways = []
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(np.array(gradient, "float32"))], [variable])
        ways.append(np.array(weights, "float32") - values([variable])[0])
    return ways


@pytest.mark.parametrize("base", BASES)
@every_transform
def test_every_base_is_changed_and_configured(transform, base):
    plain = BASES[base]()
    optimizer = TRANSFORMS[transform](plain)
    assert isinstance(optimizer, KINDS[transform])
    assert isinstance(optimizer, type(plain))
    config = optimizer.get_config()
    assert next(iter(config)) == "optimizer"
    assert config["optimizer"]["config"] == plain.get_config()
    serialized = keras.saving.serialize_keras_object(optimizer)
    assert serialized["registered_name"] == f"keras_deeptricks>{KINDS[transform].__name__}"
    again = keras.saving.deserialize_keras_object(serialized)
    assert type(again) is type(optimizer)
    assert again.get_config() == config
    assert KINDS[transform].from_config(config).get_config() == config
    changed = applied(optimizer)
    assert_identical(applied(again), changed)
    # Lion's weights do not, but its slots do depend on a gradient's length.
    pairs = zip(applied(plain), changed, strict=True)
    assert any(not np.allclose(a, b, rtol=0, atol=1e-4) for a, b in pairs)


@pytest.mark.parametrize("base", EVERY_KERAS)
def test_with_neutral_arguments_it_is_the_plain_optimizer_bit_for_bit(base):
    make = getattr(keras.optimizers, base)
    try:
        expected = applied(make())
    except AttributeError as error:  # Muon of Keras 3.12 on TensorFlow
        pytest.skip(f"this Keras' own {base} fails: {error}")
    for transform in NEUTRAL.values():
        assert_identical(applied(transform(make())), expected)


@pytest.mark.parametrize("base", ["our SGD", "our AdamW", "our Nadam", "keras RMSprop"])
def test_ours_and_moving_averages_with_neutral_arguments(base):
    expected = applied(BASES[base]())
    for transform in NEUTRAL.values():
        assert_identical(applied(transform(BASES[base]())), expected)


def test_the_outermost_comes_first():
    # W = [3, 4] and λ = 0.1 give the limit 0.5; the gradient [6, 8] is clipped to [0.3, 0.4].
    def clipping(optimizer):
        return Clipping(optimizer, 0.1, exclude=())

    def noise(optimizer):
        return Noise(optimizer, 0.01, seed=3)

    def sgd():
        return keras.optimizers.SGD(1.0)

    (drawn,) = moved(noise(sgd()), [0.0, 0.0], [0.0, 0.0])
    (clipped_first,) = moved(clipping(noise(sgd())), [3.0, 4.0], [6.0, 8.0])
    (noise_first,) = moved(noise(clipping(sgd())), [3.0, 4.0], [6.0, 8.0])
    # Roundings of weights below 4.
    close = {"rtol": 0, "atol": 1e-6}
    np.testing.assert_allclose(clipped_first, [0.3, 0.4] + drawn, **close)
    total = np.array([6.0, 8.0]) + drawn
    np.testing.assert_allclose(noise_first, 0.5 * total / np.linalg.norm(total), **close)


@pytest.mark.parametrize("base", ["keras Nadam", "our SGD"])
@pytest.mark.parametrize("order", [list(TRANSFORMS), list(TRANSFORMS)[::-1]], ids=lambda o: o[0])
def test_nested_ones_are_described_and_trained(order, base):
    def make():
        optimizer = BASES[base]()
        for name in order:
            optimizer = TRANSFORMS[name](optimizer)
        return optimizer

    optimizer = make()
    assert all(isinstance(optimizer, kind) for kind in KINDS.values())
    config = optimizer.get_config()
    kinds = []
    while "optimizer" in config:
        kinds.append(config["optimizer"]["class_name"])
        config = config["optimizer"]["config"]
    assert kinds[:2] == [KINDS[name].__name__ for name in order[1::-1]]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert_identical(applied(again, 3), applied(optimizer, 3))


SAVED = {
    "layerwise": lambda: TRANSFORMS["Layerwise"](BASES["keras Nadam"]()),
    "nested": lambda: nested(BASES["our AdamW"]()),
}
GOING_ON = """
import sys
import numpy as np
import keras
import keras_deeptricks

folder, *names = sys.argv[1:]
data = np.load(f"{folder}/data.npz")
for name in names:
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    for _ in range(2):
        model.train_on_batch(data["x"], data["y"])
    np.savez(f"{folder}/{name}.npz", *model.get_weights())
"""


def test_saved_and_loaded_here_and_in_a_fresh_process_it_goes_on_identically(tmp_path):
    x, y = class_data(16, seed=1)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    expected = {}
    for name, make in SAVED.items():
        model = fit(compiled(make()))
        model.save(tmp_path / f"{name}.keras")
        loaded = keras.saving.load_model(tmp_path / f"{name}.keras", safe_mode=True)
        assert type(loaded.optimizer) is type(model.optimizer)
        assert loaded.optimizer.get_config() == model.optimizer.get_config()
        assert_identical(whole_state(loaded)[:8], whole_state(model)[:8])
        assert_identical(values(loaded.optimizer.variables), values(model.optimizer.variables))
        for each in (model, loaded):
            for _ in range(2):
                each.train_on_batch(x, y)
        assert_identical(loaded.get_weights(), model.get_weights())
        assert_identical(values(loaded.optimizer.variables), values(model.optimizer.variables))
        expected[name] = model.get_weights()
    root = str(pathlib.Path(kdt.__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(
        [sys.executable, "-c", GOING_ON, str(tmp_path), *SAVED],
        env={**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": BACKEND},
        check=True,
        timeout=300,
    )
    for name, weights in expected.items():
        with np.load(tmp_path / f"{name}.npz") as there:
            assert_identical([there[f"arr_{i}"] for i in range(len(weights))], weights)


def test_scaled_losses_give_the_same_update():
    def trained(wrap):
        return fit(compiled(wrap(nested(kdt.optimizers.SGD(0.1))))).get_weights()

    plain = trained(lambda optimizer: optimizer)
    scaled = trained(lambda o: keras.optimizers.LossScaleOptimizer(o, initial_scale=1024.0))
    for a, b in zip(plain, scaled, strict=True):
        # A power of two only moves exponents, but XLA may order the sums another way.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_float16_is_scaled_around_it_and_trained():
    keras.config.set_dtype_policy("mixed_float16")
    model = compiled(nested(kdt.optimizers.SGD(0.1, momentum=0.9)))
    optimizer = model.optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(optimizer.inner_optimizer, Layerwise)
    before = model.get_weights()
    fit(model)
    updates = int(ops.convert_to_numpy(optimizer.inner_optimizer.iterations))
    assert updates > 0  # others were skipped for an overflow, and counted nowhere
    after = model.get_weights()
    assert not np.array_equal(before[0], after[0])
    assert all(np.isfinite(weights).all() for weights in after)


def test_it_acts_on_the_mean_of_accumulated_gradients():
    def sgd():
        return keras.optimizers.SGD(1.0, gradient_accumulation_steps=2)

    # The mean is [3, 4]: clipped to a tenth, for W = [3, 4] and λ = 0.1. Clipped one by one, the
    # two would give another direction.
    gradients = [8.0, 0.0], [-2.0, 8.0]
    (drawn,) = moved(Noise(keras.optimizers.SGD(1.0), 0.01, seed=3), [0.0, 0.0], [0.0, 0.0])
    for optimizer, expected in (
        (Clipping(sgd(), 0.1, exclude=()), [0.3, 0.4]),
        (Layerwise(sgd(), {"weights": 0.5}), [1.5, 2.0]),
        (Noise(sgd(), 0.01, seed=3), [3.0, 4.0] + drawn),
    ):
        first, second = moved(optimizer, [3.0, 4.0], *gradients)
        assert first.tolist() == [0.0, 0.0]
        np.testing.assert_allclose(second, expected, rtol=0, atol=1e-6)  # of weights below 4


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has no MultiOptimizer"
)
class TestInsideAMultiOptimizer:
    def make(self, transform):
        inside = transform(keras.optimizers.SGD(0.1, momentum=0.9))
        others = keras.optimizers.Adam(0.01)
        table = keras.optimizers.OptimizerMap(others, {".*(hidden|norm)/.*": inside})
        return keras.optimizers.MultiOptimizer(table)

    def test_it_changes_its_own_variables(self):
        def transform(optimizer):
            return Layerwise(Clipping(optimizer, 0.05, exclude=()), {"norm": 0.0})

        plain = fit(compiled(self.make(lambda optimizer: optimizer))).get_weights()
        before = small_model().get_weights()
        after = fit(compiled(self.make(transform))).get_weights()
        assert not np.allclose(plain[0], after[0])
        assert_identical(before[2:4], after[2:4])  # γ and β
        assert not np.allclose(before[6], after[6])

    def test_its_update_is_that_of_the_transform_alone(self):
        multiple = self.make(lambda o: Clipping(o, 0.05, scope="layer", exclude=()))
        alone = Clipping(keras.optimizers.SGD(0.1, momentum=0.9), 0.05, scope="layer", exclude=())
        # Hidden and norm come first among the weights.
        assert_identical(applied(multiple)[:4], applied(alone)[:4])

    def test_saved_and_loaded_it_goes_on(self, tmp_path):
        model = fit(compiled(self.make(lambda o: Noise(o, 0.1, seed=3))))
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert any(isinstance(inside, Noise) for inside in loaded.optimizer.optimizers)
        assert_identical(fit(loaded).get_weights(), fit(model).get_weights())

    @every_transform
    def test_it_is_refused_as_the_optimizer_inside(self, transform):
        with pytest.raises(ValueError, match="around each of those in the MultiOptimizer"):
            TRANSFORMS[transform](self.make(lambda optimizer: optimizer))


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on torch refuses steps_per_execution > 1")
def test_steps_per_execution_changes_nothing():
    one, three = (
        fit(compiled(nested(BASES["our Nadam"]()), steps_per_execution=steps)) for steps in (1, 3)
    )
    assert_identical(one.get_weights(), three.get_weights())
    assert_identical(values(one.optimizer.variables), values(three.optimizer.variables))


@pytest.mark.parametrize("transform", NEUTRAL)
def test_an_assigned_rate_is_used(transform):
    optimizer = NEUTRAL[transform](keras.optimizers.SGD(1.0))
    model = probe_model(2, optimizer)
    assert fit_probe(model).tolist() == [-1.0, -1.0]
    optimizer.learning_rate = 0.5
    assert fit_probe(model).tolist() == [-0.5, -0.5]
    assert given_learning_rate(optimizer) == 0.5


@pytest.mark.parametrize("transform", NEUTRAL)
def test_the_callback_one_cycle_cycles_rate_and_momentum(transform):
    model = probe_model(5, NEUTRAL[transform](kdt.optimizers.SGD(1.0, momentum=0.9)))
    change = fit_probe(model, callbacks=[kdt.callbacks.OneCycle(0.5)])
    cycle = kdt.schedules.OneCycle(0.5, 5)
    rates, momenta = cycle.numpy_values(range(5)), cycle.momentum().numpy_values(range(5))
    # Sums of a few numbers of about 1 in float32, and the schedule's cosine.
    np.testing.assert_allclose(change, expected_weights(rates, momenta), rtol=0, atol=2e-6)


@pytest.mark.filterwarnings("ignore:The loss hardly fell")
@pytest.mark.parametrize("trained", [False, True])
def test_a_search_for_the_rate_leaves_the_model_bit_for_bit(trained):
    model = compiled(nested(BASES["our AdamW"]()))
    if trained:
        fit(model)
    before, optimizer, config = whole_state(model), model.optimizer, model.optimizer.get_config()
    found = kdt.diagnostics.find_learning_rate(model, *class_data(32), batch_size=8, steps=12)
    assert len(found.losses) >= 10
    assert model.optimizer is optimizer
    assert optimizer.get_config() == config
    after = whole_state(model)
    assert_identical(before, after[: len(before)])


@every_transform
def test_the_given_optimizer_is_untouched(transform):
    given = kdt.optimizers.SGD(0.5, momentum=0.5)
    kind, config = type(given), given.get_config()
    made = TRANSFORMS[transform](given)
    assert made is not given
    applied(made)
    made.learning_rate = 0.25
    made.momentum = 0.75
    assert type(given) is kind
    assert not given.built
    assert given.get_config() == config
    assert_identical(applied(given), applied(kdt.optimizers.SGD(0.5, momentum=0.5)))


@every_transform
def test_what_cannot_be_transformed_is_refused(transform):
    make = TRANSFORMS[transform]
    built = keras.optimizers.SGD(0.1)
    built.build([keras.Variable(np.ones(2, "float32"))])
    with pytest.raises(ValueError, match=r"`optimizer` must not have been trained"):
        make(built)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match=r"LossScaleOptimizer\(\w+\(optimizer\)\)"):
        make(scaled)
    for wrong in (None, "adam", 0.1, [keras.optimizers.SGD(0.1)], object()):
        with pytest.raises(TypeError, match=r"`optimizer` must be a keras.optimizers.Optimizer"):
            make(wrong)
    name = KINDS[transform].__name__
    once = make(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match=f"`optimizer` is a {name} already"):
        make(once)
    between = TRANSFORMS["Noise" if transform != "Noise" else "Clipping"](once)
    with pytest.raises(ValueError, match=f"`optimizer` is a {name} already"):
        make(between)


def test_what_is_known_of_the_optimizer_inside():
    optimizer = nested(BASES["our SGD"]())
    assert momentum_name(optimizer) == "momentum"
    assert given_momentum(optimizer).get_config() == CYCLE.momentum().get_config()
    assert given_learning_rate(optimizer).get_config() == CYCLE.get_config()
    for rate in (0.125, kdt.schedules.Constant(0.125)):
        # A number over a schedule, within three transforms.
        clone = clone_optimizer(optimizer, learning_rate=rate)
        assert type(clone) is type(optimizer)
        given = given_learning_rate(clone)
        assert getattr(given, "constant", given) == 0.125
    assert momentum_name(nested(BASES["keras Nadam"]())) is None


def own_step(model, x, y):
    """One training step as each backend's users write it."""
    if BACKEND == "jax":
        import jax

        def loss_of(trainable, others):
            predictions, others = model.stateless_call(trainable, others, x, training=True)
            return ops.mean(model.loss(y, predictions)), others

        trainable = [v.value for v in model.trainable_variables]
        others = [v.value for v in model.non_trainable_variables]
        model.optimizer.build(model.trainable_variables)
        slots = [v.value for v in model.optimizer.variables]

        @jax.jit
        def step(trainable, others, slots):
            (_, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others)
            trainable, slots = model.optimizer.stateless_apply(slots, gradients, trainable)
            return trainable, others, slots

        trainable, others, slots = step(trainable, others, slots)
        for variables, arrays in (
            (model.trainable_variables, trainable),
            (model.non_trainable_variables, others),
            (model.optimizer.variables, slots),
        ):
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
    elif BACKEND == "torch":
        model.zero_grad()
        model.loss(y, model(x, training=True)).backward()
        gradients = [variable.value.grad for variable in model.trainable_variables]
        import torch

        with torch.no_grad():
            model.optimizer.apply(gradients, model.trainable_variables)
    else:
        import tensorflow as tf

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                loss = model.loss(y, model(x, training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        step()


def test_a_training_step_of_ones_own():
    x, y = class_data(16)
    ours, own = (compiled(nested(BASES["our SGD"]())) for _ in range(2))
    ours.train_on_batch(x, y)
    own_step(own, ops.convert_to_tensor(x), ops.convert_to_tensor(y))
    for a, b in zip(ours.get_weights(), own.get_weights(), strict=True):
        # The two are compiled apart: some roundings.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_loss_falls_under_all_of_them():
    x, y = regression_data()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="out")])
    optimizer = Layerwise(keras.optimizers.SGD(0.1, momentum=0.9), {"out": 0.5})
    model.compile(Noise(Clipping(optimizer, 0.2, exclude=()), 0.01, seed=1), "mse")
    losses = model.fit(x, y, batch_size=16, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]


def test_configuration_is_told_without_making_objects(monkeypatch):
    # While a model is saved, Keras takes objects of one id for one object. One made for the
    # configuration alone would leave its id to the next: a schedule came back as an optimizer.
    cycle = kdt.schedules.Power(0.1, 10)
    inner = kdt.optimizers.AdamW(cycle, beta_1=kdt.schedules.Constant(0.9))
    optimizer = kdt.optimizers.AdaptiveGradientClipping(
        kdt.optimizers.GradientNoise(inner, variance=kdt.schedules.Constant(0.01), seed=0),
        exclude=(),
    )
    before = optimizer.get_config()

    def refuse(*args, **kwargs):
        raise AssertionError("an object was made")

    monkeypatch.setattr(keras.saving, "deserialize_keras_object", refuse)
    monkeypatch.setattr(kdt.optimizers.AdamW, "from_config", refuse)
    assert optimizer.get_config() == before
