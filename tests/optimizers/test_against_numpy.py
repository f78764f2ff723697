"""Each optimizer against its formula, written out in NumPy, with cycled rate and momentum."""

import keras
import numpy as np
import pytest
from small_models import STEPS_PER_EXECUTION

import keras_deeptricks as kdt

STEPS = 200


def data(steps=STEPS, rows=4, features=3, targets=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps * rows, features)).astype("float32")
    y = (x @ rng.normal(size=(features, targets)) + rng.normal(size=(len(x), targets))).astype(
        "float32"
    )
    return x, y


def compiled_weights(optimizer, steps_per_execution, x, y, rows=4):
    """Kernel and bias after one epoch of a linear regression."""
    model = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(y.shape[1])])
    model.set_weights([np.full((x.shape[1], y.shape[1]), 0.1), np.zeros(y.shape[1])])
    model.compile(optimizer, "mse", steps_per_execution=steps_per_execution)
    model.fit(x, y, batch_size=rows, shuffle=False, verbose=0)
    return model.get_weights()


def numpy_weights(update, x, y, rows=4, accumulation=1):
    """The same with `update(parameter, gradient, slots, batch, update_number)` in float64."""
    kernel, bias = np.full((x.shape[1], y.shape[1]), 0.1), np.zeros(y.shape[1])
    slots = {}, {}
    sums = [0.0, 0.0]
    for batch in range(len(x) // rows):
        part = slice(batch * rows, (batch + 1) * rows)
        error = 2 * (x[part] @ kernel + bias - y[part]) / (rows * y.shape[1])
        sums = [sums[0] + x[part].T @ error, sums[1] + error.sum(axis=0)]
        if (batch + 1) % accumulation:
            continue
        number = batch // accumulation
        kernel = update(kernel, sums[0] / accumulation, slots[0], batch, number)
        bias = update(bias, sums[1] / accumulation, slots[1], batch, number)
        sums = [0.0, 0.0]
    return [kernel, bias]


def cycle(peak, steps=STEPS):
    rate = kdt.schedules.OneCycle(peak, steps)
    momentum = rate.momentum(0.95, 0.6)
    return rate, momentum, rate.numpy_values(range(steps)), momentum.numpy_values(range(steps))


def assert_close(compiled, expected):
    # Single precision over 200 steps: some hundred roundings of 6e-8 relative.
    for a, b in zip(compiled, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(nesterov, steps_per_execution):
    rate, momentum, eta, m = cycle(0.1)

    def update(theta, gradient, slots, t, _):
        v = slots["v"] = m[t] * slots.get("v", 0.0) - eta[t] * gradient
        return theta + (m[t] * v - eta[t] * gradient if nesterov else v)

    x, y = data()
    optimizer = kdt.optimizers.SGD(rate, momentum=momentum, nesterov=nesterov)
    assert_close(
        compiled_weights(optimizer, steps_per_execution, x, y), numpy_weights(update, x, y)
    )


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop(centered, nesterov, steps_per_execution):
    rate, momentum, eta, m = cycle(0.01)
    rho, epsilon = 0.9, 1e-4

    def update(theta, gradient, slots, t, _):
        r = slots["r"] = rho * slots.get("r", 0.0) + (1 - rho) * gradient**2
        mean = slots["mean"] = rho * slots.get("mean", 0.0) + (1 - rho) * gradient
        change = eta[t] * gradient / np.sqrt(r - (mean**2 if centered else 0) + epsilon)
        v = slots["v"] = m[t] * slots.get("v", 0.0) + change
        return theta - (m[t] * v + change if nesterov else v)

    x, y = data()
    optimizer = kdt.optimizers.RMSprop(
        rate, rho, momentum, epsilon, centered=centered, nesterov=nesterov
    )
    assert_close(
        compiled_weights(optimizer, steps_per_execution, x, y), numpy_weights(update, x, y)
    )


def adam_rule(eta, betas, beta_2=0.999, epsilon=1e-4, weight_decay=0.0, amsgrad=False):
    def update(theta, gradient, slots, t, number):
        theta = theta * (1 - eta[t] * weight_decay)
        b = betas[t]
        m = slots["m"] = b * slots.get("m", 0.0) + (1 - b) * gradient
        s = slots["s"] = beta_2 * slots.get("s", 0.0) + (1 - beta_2) * gradient**2
        product = slots["product"] = slots.get("product", 1.0) * b
        if amsgrad:
            s = slots["top"] = np.maximum(slots.get("top", 0.0), s)
        alpha = eta[t] * np.sqrt(1 - beta_2 ** (number + 1)) / (1 - product)
        return theta - alpha * m / (np.sqrt(s) + epsilon)

    return update


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam(amsgrad, steps_per_execution):
    rate, momentum, eta, m = cycle(0.02)
    optimizer = kdt.optimizers.Adam(rate, beta_1=momentum, epsilon=1e-4, amsgrad=amsgrad)
    x, y = data()
    expected = numpy_weights(adam_rule(eta, m, amsgrad=amsgrad), x, y)
    assert_close(compiled_weights(optimizer, steps_per_execution, x, y), expected)


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
def test_adamw(steps_per_execution):
    rate, momentum, eta, m = cycle(0.02)
    optimizer = kdt.optimizers.AdamW(
        rate, weight_decay=0.1, beta_1=momentum, epsilon=1e-4, decay_biases=True
    )
    x, y = data()
    expected = numpy_weights(adam_rule(eta, m, weight_decay=0.1), x, y)
    assert_close(compiled_weights(optimizer, steps_per_execution, x, y), expected)


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
def test_nadam(steps_per_execution):
    rate, momentum, eta, m = cycle(0.02)
    beta_2, epsilon = 0.999, 1e-4

    def update(theta, gradient, slots, t, _):
        now = m[t] * (1 - 0.5 * 0.96 ** (t + 1))
        coming = m[t] * (1 - 0.5 * 0.96 ** (t + 2))
        product = slots["product"] = slots.get("product", 1.0) * now
        first = slots["m"] = m[t] * slots.get("m", 0.0) + (1 - m[t]) * gradient
        second = slots["s"] = beta_2 * slots.get("s", 0.0) + (1 - beta_2) * gradient**2
        ahead = coming * first / (1 - product * coming) + (1 - now) * gradient / (1 - product)
        return theta - eta[t] * ahead / (np.sqrt(second / (1 - beta_2 ** (t + 1))) + epsilon)

    x, y = data()
    optimizer = kdt.optimizers.Nadam(rate, beta_1=momentum, epsilon=epsilon)
    assert_close(
        compiled_weights(optimizer, steps_per_execution, x, y), numpy_weights(update, x, y)
    )


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_schedules_count_batches_under_gradient_accumulation(kind):
    rate, momentum, eta, m = cycle(0.05)
    x, y = data()
    if kind == "sgd":
        optimizer = kdt.optimizers.SGD(rate, momentum=momentum, gradient_accumulation_steps=4)

        def update(theta, gradient, slots, t, _):
            slots["v"] = m[t] * slots.get("v", 0.0) - eta[t] * gradient
            return theta + slots["v"]
    else:
        optimizer = kdt.optimizers.Adam(
            rate, beta_1=momentum, epsilon=1e-4, gradient_accumulation_steps=4
        )
        update = adam_rule(eta, m)
    # An update happens at the last of four batches, with that batch's rate and momentum.
    expected = numpy_weights(update, x, y, accumulation=4)
    assert_close(compiled_weights(optimizer, 1, x, y), expected)


def test_a_momentum_schedule_that_touches_zero_keeps_the_velocity_fresh():
    # Momentum 1, 0, 1, 0 …: at 0 the velocity must become −η·g, not stay what it was.
    class Alternating(kdt.schedules.Schedule):
        def value(self, step, xp):
            return 0.9 - 0.9 * (step - 2 * xp.floor(step / 2))

        def get_config(self):
            return {}

    def update(theta, gradient, slots, t, _):
        slots["v"] = (0.9 if t % 2 == 0 else 0.0) * slots.get("v", 0.0) - 0.05 * gradient
        return theta + slots["v"]

    x, y = data(steps=20)
    optimizer = kdt.optimizers.SGD(0.05, momentum=Alternating())
    assert_close(compiled_weights(optimizer, 1, x, y), numpy_weights(update, x, y))
