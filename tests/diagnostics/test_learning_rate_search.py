"""The learning-rate range test: the true loss of every batch, and a model left as it was."""

import copy
import random
import tempfile

import keras
import numpy as np
import pytest
from keras import ops
from small_models import (
    BACKEND,
    STEPS_PER_EXECUTION,
    Subclassed,
    assert_identical,
    class_data,
    dense_model,
    regression_data,
    values,
    whole_state,
)

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics import find_learning_rate

# So low that float32 weights of order 1 do not change: every loss is that of the start.
FROZEN = {"low": 1e-12, "high": 1e-11}
nothing_learned = pytest.mark.filterwarnings("ignore:The loss hardly fell")


def line(optimizer=None, features=4, **compile_options):
    """A compiled linear regression."""
    model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.SGD(), "mse", **compile_options)
    return model


def noisy(optimizer, **compile_options):
    """A compiled model of one layer and a seeded dropout, quickly traced."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dropout(0.3, seed=1), keras.layers.Dense(1)]
    )
    model.compile(optimizer, "mse", **compile_options)
    return model


class Batches(keras.utils.PyDataset):
    """Batches of arrays, in order, with an error or NaN on demand."""

    def __init__(self, x, y, batch_size=8):
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size
        self.calls_left = None

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index):
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left <= 0:
                raise OSError("the disk is gone")
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.x[rows], self.y[rows]


def everything(model):
    """All that the search could change, in a form that can be compared."""
    names = ("optimizer", "train_function", "steps_per_execution", "history", "stop_training")
    history = getattr(model, "history", None)
    return {
        "state": whole_state(model),
        "same objects": {name: getattr(model, name, None) for name in names},
        "history": copy.deepcopy(history.history) if history is not None else None,
        "trainable": [layer.trainable for layer in model.layers],
        "optimizer": model.optimizer.get_config(),
        "optimizer variables": [v.path for v in model.optimizer.variables],
        "numpy": np.random.get_state()[1].copy(),  # noqa: NPY002 - the global state is meant
        "numpy position": np.random.get_state()[2],  # noqa: NPY002
        "python": random.getstate(),
    }


def assert_untouched(model, before):
    after = everything(model)
    assert_identical(before.pop("state"), after.pop("state"))
    assert_identical([before.pop("numpy")], [after.pop("numpy")])
    for name, value in before.pop("same objects").items():
        assert getattr(model, name, None) is value, name
    after.pop("same objects")
    assert before == after


# --- what it measures ---------------------------------------------------------------------------


def mean_squares(model, x, y, batch_size):
    """The loss of every batch of a linear model as it is, in float64."""
    kernel, bias = (w.astype("float64") for w in model.get_weights())
    errors = (x @ kernel + bias).ravel() - y
    return [
        np.mean(errors[start : start + batch_size] ** 2) for start in range(0, len(x), batch_size)
    ]


@nothing_learned
@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
def test_losses_are_those_of_each_batch_alone(steps_per_execution):
    x, y = regression_data(rows=20)  # 8, 8 and a ragged 4
    model = line(steps_per_execution=steps_per_execution)
    found = find_learning_rate(model, x, y, batch_size=8, steps=12, shuffle=False, **FROZEN)
    expected = mean_squares(model, x, y, 8) * 4
    np.testing.assert_allclose(found.losses, expected, rtol=1e-5)  # float32 sums of 8 squares


def test_hand_made_range_test():
    """The same losses as a loop of gradient descent written out in NumPy."""
    x, y = regression_data(rows=20)
    model = line()
    kernel, bias = (w.astype("float64") for w in model.get_weights())
    found = find_learning_rate(
        model, x, y, batch_size=8, steps=15, shuffle=False, low=1e-3, high=0.3
    )
    rates = 1e-3 * 300 ** (np.arange(15) / 14)
    np.testing.assert_allclose(found.learning_rates, rates, rtol=1e-12)  # float64
    expected = []
    for step, rate in enumerate(rates):
        rows = slice(8 * (step % 3), 8 * (step % 3) + 8)
        errors = (x[rows] @ kernel + bias).ravel() - y[rows]
        expected.append(np.mean(errors**2))
        kernel = kernel - rate * 2 * (x[rows] * errors[:, None]).mean(axis=0)[:, None]
        bias = bias - rate * 2 * errors.mean()
    assert found.stopping_reason == "completed"
    np.testing.assert_allclose(found.losses, expected, rtol=1e-4)  # fifteen float32 steps


@nothing_learned
def test_rows_are_drawn_in_the_order_of_the_seed():
    x, y = regression_data(rows=80)
    weight = np.linspace(0, 2, 80).astype("float32")
    model = line()
    found = find_learning_rate(
        model, x, y, batch_size=8, steps=10, seed=5, sample_weight=weight, **FROZEN
    )
    order = np.random.default_rng(5).permutation(80)
    kernel, bias = model.get_weights()
    squares = weight * ((x @ kernel + bias).ravel() - y) ** 2
    expected = squares[order].reshape(10, 8).mean(axis=1)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-5)  # float32 sums


@nothing_learned
def test_class_weight():
    x, y = class_data(rows=80)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(keras.optimizers.SGD(), "sparse_categorical_crossentropy")
    weights = {0: 1.0, 1: 2.0, 2: 0.5}
    found = find_learning_rate(
        model, x, y, batch_size=8, steps=10, class_weight=weights, shuffle=False, **FROZEN
    )
    kernel, bias = model.get_weights()
    logits = x @ kernel + bias
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    losses = -logs[np.arange(80), y] * np.array([weights[c] for c in y])
    expected = losses.reshape(10, 8).mean(axis=1)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-5)  # float32 sums


@nothing_learned
def test_momentum_and_slots_go_on_from_where_they_are():
    # A velocity that is already there moves the weights even at a rate of nearly zero.
    x, y = regression_data(rows=80)
    model = line(kdt.optimizers.SGD(0.01, momentum=0.9))
    model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    kernel, bias = (w.astype("float64") for w in model.get_weights())
    first, second = (np.asarray(v, "float64") for v in values(model.optimizer.momentums))
    found = find_learning_rate(
        model, x, y, batch_size=8, steps=10, shuffle=False, divergence_factor=1e9, **FROZEN
    )
    expected = []
    for step in range(10):
        rows = slice(8 * step, 8 * step + 8)
        expected.append(np.mean(((x[rows] @ kernel + bias).ravel() - y[rows]) ** 2))
        first, second = 0.9 * first, 0.9 * second
        kernel, bias = kernel + first, bias + second
    np.testing.assert_allclose(found.losses, expected, rtol=1e-4)  # ten float32 steps


def test_result_is_consistent():
    x, y = regression_data(rows=80)
    found = find_learning_rate(line(), x, y, batch_size=8, steps=60, smoothing=0.9)
    assert found.stopping_reason == "diverged"
    assert len(found.losses) == len(found.smoothed_losses) == len(found.learning_rates) < 60
    # β = 0.9 by the definition, entry by entry.
    for t in (0, 5, len(found.losses) - 1):
        weights = 0.9 ** (t - np.arange(t + 1.0))
        smoothed = (weights * found.losses[: t + 1]).sum() / weights.sum()
        assert found.smoothed_losses[t] == pytest.approx(smoothed, rel=1e-9)  # float64
    # It stopped at the first value above four times the lowest so far.
    lowest = np.minimum.accumulate(found.smoothed_losses)
    beyond = found.smoothed_losses > 4 * lowest
    assert beyond[-1]
    assert not beyond[:-1].any()
    assert set(found.suggestions) == {
        "midpoint",
        "valley",
        "steepest",
        "minimum_over_ten",
        "sliding_slope",
    }
    assert all(1e-7 <= rate <= 10 for rate in found.suggestions.values())
    assert found.suggestion == found.suggestions["midpoint"]
    assert "diverged" in str(found)


def test_suggested_rate_trains_and_a_thousandfold_explodes():
    x, y = regression_data(rows=80)
    start = line()
    rate = find_learning_rate(start, x, y, batch_size=8).suggestion
    losses = []
    for factor in (1, 1000):
        model = keras.models.clone_model(start)
        model.set_weights(start.get_weights())
        model.compile(keras.optimizers.SGD(factor * rate), "mse")
        history = model.fit(x, y, batch_size=8, epochs=20, verbose=0).history
        losses.append(history["loss"])
    assert losses[0][-1] < 0.1 * losses[0][0]
    assert not losses[1][-1] < losses[1][0]  # larger, or NaN


def test_method_chooses_the_suggestion():
    x, y = regression_data(rows=80)
    model = line()
    kinds = [
        find_learning_rate(model, x, y, batch_size=8, steps=40, method=method)
        for method in ("midpoint", "valley")
    ]
    # The same curve from the same model, order and rates.
    assert_identical([kinds[0].losses], [kinds[1].losses])
    assert [found.method for found in kinds] == ["midpoint", "valley"]
    assert kinds[1].suggestion == kinds[0].suggestions["valley"]


@nothing_learned
def test_same_seed_same_curve_other_seed_another():
    x, y = regression_data(rows=80)
    model = line()
    first, again, other = (
        find_learning_rate(model, x, y, batch_size=8, steps=12, seed=seed) for seed in (1, 1, 2)
    )
    assert_identical([first.losses], [again.losses])
    assert not np.array_equal(first.losses, other.losses)


def test_a_loss_below_zero_can_diverge_too():
    # The loss −prediction falls from 0 without bound until the noise of its sign flips it.
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )
    model.compile(keras.optimizers.SGD(), lambda y, p: ops.mean(y * p, axis=-1))
    x = np.ones((20, 1), "float32")
    y = np.r_[np.ones(12), -np.ones(8)].astype("float32")[:, None]
    found = find_learning_rate(
        model, x, y, batch_size=1, steps=20, low=0.01, high=0.02, shuffle=False, smoothing=0.0
    )
    # −Σ of the rates so far at first, at y = −1 plus that: from a descent d below zero the value
    # jumps to +d, twice the descent from the lowest, which the factor of 4 allows.
    assert found.losses[:12].max() <= 0
    assert found.losses[12] > 0
    assert found.stopping_reason == "completed"
    again = find_learning_rate(
        model,
        x,
        y,
        batch_size=1,
        steps=20,
        low=0.01,
        high=0.02,
        shuffle=False,
        smoothing=0.0,
        divergence_factor=1.5,
    )
    assert again.stopping_reason == "diverged"
    assert len(again.losses) == 13


@nothing_learned
def test_plot_returns_axes():
    matplotlib = pytest.importorskip("matplotlib")
    x, y = regression_data(rows=80)
    found = find_learning_rate(line(), x, y, batch_size=8, steps=12)
    axes = found.plot()
    assert isinstance(axes, matplotlib.axes.Axes)
    assert axes.get_xscale() == "log"
    assert found.plot(ax=axes) is axes


# --- what it leaves behind ----------------------------------------------------------------------


@nothing_learned
def test_leaves_everything_as_it_was():
    x, y = regression_data(rows=40)
    model = dense_model()
    model.compile(kdt.optimizers.SGD(momentum=0.9), "mse", metrics=["mae"])
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    model.stop_training = True
    before = everything(model)
    find_learning_rate(model, x, y, batch_size=8, steps=12)
    assert_untouched(model, before)


@nothing_learned
def test_compiled_but_never_trained():
    x, y = regression_data(rows=40)
    model, twin = (noisy(kdt.optimizers.SGD(momentum=0.9), metrics=["mae"]) for _ in range(2))
    before = values(model.variables)
    find_learning_rate(model, x, y, batch_size=8, steps=12, divergence_factor=1e9)
    assert_identical(before, values(model.variables))
    assert not model.optimizer.built
    for each in (model, twin):
        # In order: to build the metrics, the first `fit` draws one shuffled batch more.
        each.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert_identical(whole_state(model), whole_state(twin))


OPTIMIZERS = {
    "keras SGD": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "keras Adam": lambda: keras.optimizers.Adam(0.01),
    "keras SGD over a schedule": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.InverseTimeDecay(0.01, 1, 0.1), momentum=0.9
    ),
    "cycled RMSprop": lambda: kdt.optimizers.RMSprop(
        kdt.schedules.OneCycle(0.01, 30),
        momentum=kdt.schedules.OneCycle(0.01, 30).momentum(),
        centered=True,
    ),
    "cycled AdamW": lambda: kdt.optimizers.AdamW(
        kdt.schedules.OneCycle(0.01, 30), beta_1=kdt.schedules.OneCycle(0.01, 30).momentum()
    ),
    "accumulating": lambda: kdt.optimizers.SGD(0.01, momentum=0.9, gradient_accumulation_steps=2),
    "averaging": lambda: keras.optimizers.SGD(0.01, use_ema=True, ema_overwrite_frequency=2),
    "loss scaling": lambda: keras.optimizers.LossScaleOptimizer(
        kdt.optimizers.SGD(0.01, momentum=0.9), initial_scale=8.0, dynamic_growth_steps=3
    ),
}


if BACKEND == "jax":
    # There Keras' second `fit` with averaged weights fails, search or not: weights and averages
    # share their memory, which JAX refuses to give away twice.
    del OPTIMIZERS["averaging"]


@nothing_learned
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_as_if_nothing_had_happened(name):
    """Fit, search, fit is fit, fit: bit for bit, in the shuffled order of the second fit too."""
    x, y = regression_data(rows=40)
    model, twin = noisy(OPTIMIZERS[name]()), noisy(OPTIMIZERS[name]())
    for each in (model, twin):
        keras.utils.set_random_seed(7)
        each.fit(x, y, batch_size=8, verbose=0)
        if each is model:
            before = everything(model)
            find_learning_rate(model, x, y, batch_size=8, steps=12, divergence_factor=1e9)
            assert_untouched(model, before)
        each.fit(x, y, batch_size=8, verbose=0)
    assert_identical(whole_state(model), whole_state(twin))


def test_mixed_float16():
    keras.config.set_dtype_policy("mixed_float16")
    x, y = regression_data(rows=40)
    model = noisy(kdt.optimizers.SGD(momentum=0.9))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.fit(x, y, batch_size=8, verbose=0)
    before = everything(model)
    found = find_learning_rate(model, x, y, batch_size=8, steps=30)
    assert_untouched(model, before)
    assert 1e-6 <= found.suggestion <= 10


class Bomb:
    """Raises an error at a given call."""

    def __init__(self):
        self.calls_left = None
        self.error = None

    def set(self, calls, error):
        self.calls_left, self.error = calls, error

    def tick(self):
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left <= 0:
                self.calls_left = None
                raise self.error


class Explosive(keras.layers.Layer):
    """A layer that can raise while it is called."""

    def __init__(self, bomb, **kwargs):
        super().__init__(**kwargs)
        self.tick = bomb.tick

    def call(self, inputs):
        self.tick()
        return inputs


class Interruptible(keras.Sequential):
    """A model whose training step can be interrupted before or after it ran."""

    def make_train_function(self, force=False):
        before = self.train_function
        super().make_train_function(force=force)
        step = self.train_function
        if step is before:
            return

        def interruptible(*args, **kwargs):
            self.bombs["before"].tick()
            result = step(*args, **kwargs)
            self.bombs["after"].tick()
            return result

        self.train_function = interruptible


ERRORS = (RuntimeError("a test's error"), KeyboardInterrupt(), FloatingPointError("overflow"))


def explosive_model(**compile_options):
    """A trained model of every kind of state, with bombs at several places."""
    places = {name: Bomb() for name in ("layer", "loss", "before", "after")}
    keras.utils.set_random_seed(0)
    model = Interruptible(
        [
            keras.Input((4,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3, seed=1),
            Explosive(places["layer"]),
            keras.layers.Dense(1),
        ]
    )
    object.__setattr__(model, "bombs", places)

    def loss(y_true, y_pred):
        places["loss"].tick()
        return ops.square(y_true - y_pred)

    model.compile(kdt.optimizers.SGD(0.01, momentum=0.9), loss, metrics=["mae"], **compile_options)
    x, y = regression_data(rows=40)
    y = y[:, None]
    model.fit(x, y, batch_size=8, verbose=0)
    return model, places, x, y


def assert_survives(model, bomb, calls, error, x, y):
    before = everything(model)
    bomb.set(calls, error)
    with pytest.raises(type(error)):
        find_learning_rate(model, x, y, batch_size=8, steps=12, divergence_factor=1e9)
    bomb.set(None, None)
    assert_untouched(model, before)


def test_forty_errors_at_random_batches_leave_no_trace():
    # Eagerly, so that Python runs in every step, and nothing has to be traced forty times.
    model, places, x, y = explosive_model(run_eagerly=True)
    rng = np.random.default_rng(0)
    for _ in range(40):
        bomb = places[rng.choice(list(places))]
        error = ERRORS[rng.integers(len(ERRORS))]
        assert_survives(model, bomb, int(rng.integers(1, 13)), error, x, y)


class TouchesTheModel(keras.callbacks.Callback):
    """Looks at the model at every occasion, as many callbacks do."""

    def on_train_begin(self, logs=None):
        self.seen = [self.model.get_weights()]

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(self.model.get_weights())


@pytest.mark.parametrize("place, calls", [("before", 1), ("before", 4), ("after", 1), ("after", 7)])
def test_interrupted_compiled_step_leaves_no_trace(place, calls):
    model, places, x, y = explosive_model()
    twin = explosive_model()[0]
    assert_survives(model, places[place], calls, KeyboardInterrupt(), x, y)
    weights = model.get_weights()
    # Training and evaluation go on, with callbacks that look at the model's state.
    assert model.evaluate(x, y, verbose=0) == twin.evaluate(x, y, verbose=0)
    touches = TouchesTheModel()
    for each in (model, twin):
        keras.utils.set_random_seed(7)
        each.fit(x, y, batch_size=8, callbacks=[touches], verbose=0)
        assert_identical(touches.seen[0], weights)
        assert_identical(touches.seen[1], weights)
    assert_identical(whole_state(model), whole_state(twin))


@pytest.mark.parametrize("calls", [1, 2, 4, 9])
def test_error_of_the_data_leaves_no_trace(calls):
    x, y = regression_data(rows=40)
    data = Batches(x, y)
    model = noisy(kdt.optimizers.SGD(0.01, momentum=0.9))
    model.fit(data, shuffle=False, verbose=0)
    before = everything(model)
    data.calls_left = calls
    # TensorFlow wraps the error of a data set in one of its own.
    with pytest.raises(Exception, match="the disk is gone"):
        find_learning_rate(model, data, steps=12, divergence_factor=1e9)
    assert_untouched(model, before)


@nothing_learned
@pytest.mark.parametrize("bad_batch", [10, 13])
def test_nan_ends_the_test_and_leaves_no_trace(bad_batch):
    x, y = regression_data(rows=120)
    x[8 * bad_batch] = np.nan
    model = noisy(kdt.optimizers.SGD(0.01, momentum=0.9))
    model.fit(x[:40], y[:40], batch_size=8, verbose=0)
    before = everything(model)
    found = find_learning_rate(
        model, x, y, batch_size=8, steps=15, shuffle=False, divergence_factor=1e9
    )
    assert_untouched(model, before)
    assert found.stopping_reason == "not_finite"
    assert len(found.losses) == bad_batch
    assert np.isfinite(found.losses).all()


def test_nan_too_early_is_an_error_that_says_what_to_look_for():
    x, y = regression_data(rows=120)
    x[8 * 5] = np.nan
    model = noisy(kdt.optimizers.SGD(0.01, momentum=0.9))
    model.fit(x[:40], y[:40], batch_size=8, verbose=0)
    before = everything(model)
    with pytest.raises(ValueError, match=r"after 5 steps \(not_finite\).*NaN"):
        find_learning_rate(
            model, x, y, batch_size=8, steps=15, shuffle=False, divergence_factor=1e9
        )
    assert_untouched(model, before)


def test_diverging_too_early_is_an_error_too():
    x, y = regression_data(rows=80)
    with pytest.raises(ValueError, match=r"\((diverged|not_finite)\).*smaller `low`"):
        find_learning_rate(line(), x, y, batch_size=8, low=1e3, high=1e4)


def test_optimizer_that_cannot_be_copied():
    class Headstrong(keras.optimizers.SGD):
        def __init__(self, secret, **kwargs):
            super().__init__(**kwargs)

    x, y = regression_data(rows=40)
    model = noisy(Headstrong("secret"))
    model.fit(x, y, batch_size=8, verbose=0)
    before = everything(model)
    with pytest.raises(ValueError, match="Headstrong cannot be copied"):
        find_learning_rate(model, x, y, batch_size=8, steps=12)
    assert_untouched(model, before)


@nothing_learned
def test_writes_no_files(tmp_path, monkeypatch):
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    x, y = regression_data(rows=40)
    find_learning_rate(line(), x, y, batch_size=8, steps=12)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# --- models and data ----------------------------------------------------------------------------


@nothing_learned
@pytest.mark.parametrize("kind", ["sequential", "subclassed"])
def test_model_that_is_not_built_yet(kind):
    x, y = regression_data(rows=40)
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dropout(0.3, seed=1), keras.layers.Dense(1, name="out")]
        model = Subclassed(layers) if kind == "subclassed" else keras.Sequential(layers)
        model.compile(kdt.optimizers.SGD(momentum=0.9), "mse")
        models.append(model)
    model, twin = models
    found = find_learning_rate(model, x, y, batch_size=8, steps=12, divergence_factor=1e9)
    assert len(found.losses) == 12
    assert model.built
    for each in models:
        # In order: to build itself, a model draws one shuffled batch more.
        each.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert_identical(whole_state(model), whole_state(twin))


def dictionary_model():
    inputs = {name: keras.Input((2,), name=name) for name in ("left", "right")}
    outputs = keras.layers.Dense(1)(keras.layers.Concatenate()(list(inputs.values())))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(), "mse")
    return model


@nothing_learned
def test_dictionary_of_arrays():
    x, y = regression_data(rows=80)
    model = dictionary_model()
    parts = {"left": x[:, :2], "right": x[:, 2:]}
    found = find_learning_rate(model, parts, y, batch_size=8, steps=10, seed=3, **FROZEN)
    order = np.random.default_rng(3).permutation(80)
    expected = mean_squares(model, x[order], y[order], 8)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-5)  # float32 sums


@nothing_learned
@pytest.mark.parametrize("batches", [3, 10, 30])
@pytest.mark.parametrize("kind", ["arrays", "PyDataset", "tf.data"])
def test_more_and_fewer_steps_than_batches(kind, batches):
    x, y = regression_data(rows=2 * batches)
    model = line()
    if kind == "arrays":
        given = {"x": x, "y": y, "batch_size": 2}
    elif kind == "PyDataset":
        given = {"x": Batches(x, y, 2)}
    else:
        tf = pytest.importorskip("tensorflow")
        given = {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(2)}
    found = find_learning_rate(model, **given, steps=12, shuffle=False, **FROZEN)
    expected = (mean_squares(model, x, y, 2) * 4)[:12]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-4)  # float32, small losses
    assert found.stopping_reason == "completed"


def endless(x, y):
    while True:
        yield x[:8], y[:8]


@nothing_learned
def test_generator_of_a_built_model():
    x, y = regression_data(rows=40)
    model = line()
    found = find_learning_rate(model, endless(x, y), steps=12)
    assert len(found.losses) == 12
    start = np.mean(((x[:8] @ model.get_weights()[0]).ravel() - y[:8]) ** 2)
    assert found.losses[0] == pytest.approx(start, rel=1e-5)  # a float32 sum; the bias is 0


@nothing_learned
def test_generator_that_ends_early_gives_the_curve_so_far():
    x, y = regression_data(rows=88)
    data = ((x[t : t + 8], y[t : t + 8]) for t in range(0, 88, 8))
    found = find_learning_rate(line(), data, steps=20, **FROZEN)
    assert len(found.losses) == 11
    assert found.stopping_reason == "out_of_data"


def test_generator_that_is_too_short():
    x, y = regression_data(rows=40)
    data = ((x[t : t + 8], y[t : t + 8]) for t in range(0, 40, 8))
    with pytest.raises(ValueError, match="after 5 steps"):
        find_learning_rate(line(), data, steps=20)


def test_generator_needs_a_built_model():
    x, y = regression_data(rows=40)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"generator.*Build the model"):
        find_learning_rate(model, endless(x, y))


def test_loss_that_hardly_falls_is_pointed_out():
    x, y = regression_data(rows=80)
    with pytest.raises(UserWarning, match="hardly fell"):  # warnings are errors here
        find_learning_rate(line(), x, y, batch_size=8, steps=12, **FROZEN)


# --- bad values ---------------------------------------------------------------------------------


def test_bad_arguments():
    x, y = regression_data(rows=40)
    model = line()
    before = everything(model)
    for arguments, error, name in [
        ({"low": 0.0}, ValueError, "low"),
        ({"low": "1e-6"}, TypeError, "low"),
        ({"low": float("nan")}, ValueError, "low"),
        ({"low": 1.0, "high": 1.0}, ValueError, "high"),
        ({"high": float("inf")}, ValueError, "high"),
        ({"steps": 9}, ValueError, "steps"),
        ({"steps": 20.5}, TypeError, "steps"),
        ({"smoothing": 1.0}, ValueError, "smoothing"),
        ({"smoothing": -0.1}, ValueError, "smoothing"),
        ({"divergence_factor": 1.0}, ValueError, "divergence_factor"),
        ({"divergence_factor": None}, TypeError, "divergence_factor"),
        ({"method": "best"}, ValueError, "method"),
        ({"method": None}, ValueError, "method"),
        ({"shuffle": 1}, TypeError, "shuffle"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": "0"}, TypeError, "seed"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": 2.5}, TypeError, "batch_size"),
    ]:
        with pytest.raises(error, match=f"`{name}`"):
            find_learning_rate(model, x, y, **arguments)
    assert_untouched(model, before)


def test_bad_models():
    x, y = regression_data(rows=40)
    with pytest.raises(TypeError, match=r"`model` must be a keras\.Model"):
        find_learning_rate("model", x, y)
    with pytest.raises(ValueError, match="`model` must be compiled"):
        find_learning_rate(dense_model(), x, y)


def test_rows_that_do_not_match():
    x, y = regression_data(rows=40)
    model = line()
    before = everything(model)
    with pytest.raises(ValueError, match=r"40.*20|20.*40|cardinality"):
        find_learning_rate(model, x, y[:20], batch_size=8, shuffle=False)
    assert_untouched(model, before)


@pytest.mark.skipif(BACKEND != "torch", reason="a torch DataLoader is for torch")
@nothing_learned
def test_torch_data_loader():
    import torch

    x, y = regression_data(rows=40)
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    found = find_learning_rate(line(), torch.utils.data.DataLoader(data, batch_size=8), steps=12)
    assert len(found.losses) == 12
