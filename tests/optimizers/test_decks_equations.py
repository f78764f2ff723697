"""Keras' optimizers against their own rules and the textbooks', 20 steps of each in NumPy.

Each rule is `rule(θ, g, slots, t)` with the 1-based step t, elementwise, in double precision.
"""

import keras
import numpy as np
import pytest
from small_models import BACKEND

import keras_deeptricks as kdt

STEPS = 20
RATE = 0.1
# Twenty steps of ten or so single-precision roundings, 6e-8 each.
ROUNDING = 1e-5
# In single precision 1 − 0.999ᵗ keeps four to five digits at the first steps: 6e-8 of 1e-3.
CANCELLATION = 1e-4


def gradients(steps=STEPS, size=6):
    """Gradients of several sizes and both signs, exact in single precision."""
    scale = np.array([1.0, 3.0, 0.1, 0.01, 1.0, 1e-3])[:size]
    drawn = scale * (0.5 + np.random.default_rng(1).normal(size=(steps, size)))
    return drawn.astype("float32").astype("float64")


def as_written(rule, sequence=None, first=1):
    """The parameters after each step of a rule, from 0."""
    sequence = gradients() if sequence is None else sequence
    theta, slots, path = np.zeros(np.shape(sequence[0])), {}, []
    for t, gradient in enumerate(sequence, start=first):
        theta = rule(theta, gradient, slots, t)
        path.append(theta)
    return np.stack(path)


def as_keras(optimizer, sequence=None, rates=None, prepare=None):
    """The same with an optimizer; `rates` are those of the single steps."""
    sequence = gradients() if sequence is None else sequence
    variable = keras.Variable(np.zeros(np.shape(sequence[0]), dtype="float32"))
    optimizer.build([variable])
    if prepare is not None:
        prepare(optimizer)
    path = []
    for t, gradient in enumerate(sequence):
        if rates is not None:
            optimizer.learning_rate = rates[t]
        optimizer.apply([keras.ops.convert_to_tensor(gradient, dtype="float32")], [variable])
        path.append(np.array(keras.ops.convert_to_numpy(variable), dtype="float64"))
    return np.stack(path)


def distance(path, other):
    """The largest difference of each parameter's path, as a part of its largest value."""
    return np.abs(path - other).max(axis=0) / np.abs(other).max(axis=0)


def assert_equal(path, other, tolerance=ROUNDING):
    assert np.all(np.isfinite(path))
    assert distance(path, other).max() < tolerance


def assert_apart(path, other, at_least):
    """Some parameter's paths differ by that part of their length."""
    assert distance(path, other).max() > at_least


# The rules. `inside` and `outside` are the ε under the root and the one added to it.


def sgd(momentum=0.0, nesterov=False):
    def rule(theta, g, slots, t):
        v = slots["v"] = momentum * slots.get("v", 0.0) - RATE * g
        return theta + (momentum * v - RATE * g if nesterov else v)

    return rule


def sgd_rate_outside(momentum, rates):
    def rule(theta, g, slots, t):
        v = slots["v"] = momentum * slots.get("v", 0.0) + g
        return theta - rates[t - 1] * v

    return rule


def adagrad(start=0.0, inside=0.0, outside=0.0):
    def rule(theta, g, slots, t):
        r = slots["r"] = slots.get("r", start) + g**2
        return theta - RATE * g / (np.sqrt(r + inside) + outside)

    return rule


def rmsprop(rho, inside=0.0, outside=0.0, momentum=0.0, nesterov=False):
    def rule(theta, g, slots, t):
        r = slots["r"] = rho * slots.get("r", 0.0) + (1 - rho) * g**2
        change = RATE * g / (np.sqrt(r + inside) + outside)
        v = slots["v"] = momentum * slots.get("v", 0.0) + change
        return theta - (momentum * v + change if nesterov else v)

    return rule


def moments(g, slots, beta_1, beta_2):
    m = slots["m"] = beta_1 * slots.get("m", 0.0) + (1 - beta_1) * g
    s = slots["s"] = beta_2 * slots.get("s", 0.0) + (1 - beta_2) * g**2
    return m, s


def adam_of_keras(epsilon, amsgrad=False, beta_1=0.9, beta_2=0.999):
    """Kingma & Ba's form with "epsilon hat", just before their section 2.1."""

    def rule(theta, g, slots, t):
        m, s = moments(g, slots, beta_1, beta_2)
        if amsgrad:
            s = slots["top"] = np.maximum(slots.get("top", 0.0), s)
        alpha = RATE * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        return theta - alpha * m / (np.sqrt(s) + epsilon)

    return rule


def adam(outside=0.0, corrected=True, inside=0.0, amsgrad=False, beta_1=0.9, beta_2=0.999):
    """Kingma & Ba's algorithm 1, Goodfellow's 8.7; `outside` may depend on the step."""

    def rule(theta, g, slots, t):
        m, s = moments(g, slots, beta_1, beta_2)
        if amsgrad:
            s = slots["top"] = np.maximum(slots.get("top", 0.0), s)
        if corrected:
            m, s = m / (1 - beta_1**t), s / (1 - beta_2**t)
        delta = outside(t) if callable(outside) else outside
        return theta - RATE * m / (np.sqrt(s + inside) + delta)

    return rule


def adamw(weight_decay, epsilon):
    adam_step = adam_of_keras(epsilon)

    def rule(theta, g, slots, t):
        return adam_step(theta * (1 - RATE * weight_decay), g, slots, t)

    return rule


def adamax(epsilon=0.0, beta_1=0.9, beta_2=0.999):
    def rule(theta, g, slots, t):
        m = slots["m"] = beta_1 * slots.get("m", 0.0) + (1 - beta_1) * g
        u = slots["u"] = np.maximum(beta_2 * slots.get("u", 0.0), np.abs(g))
        return theta - RATE / (1 - beta_1**t) * m / (u + epsilon)

    return rule


def nadam(epsilon=0.0, decay=1.0, average="beta_1", beta_1=0.9, beta_2=0.999):
    """Dozat's has decay 1/250 and averages with μ(t), Keras' has 1 and β₁."""

    def mu(t):
        return beta_1 * (1 - 0.5 * 0.96 ** (decay * t))

    def rule(theta, g, slots, t):
        weight = {"beta_1": beta_1, "mu": mu(t)}[average]
        m, s = moments(g, slots, weight, beta_2)
        product = slots["product"] = slots.get("product", 1.0) * mu(t)
        ahead = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        return theta - RATE * ahead / (np.sqrt(s / (1 - beta_2**t)) + epsilon)

    return rule


def simple_nadam(epsilon=0.0, beta_1=0.9, beta_2=0.999):
    """Adam with β₁·m + (1 − β₁)·g in the place of m."""

    def rule(theta, g, slots, t):
        m, s = moments(g, slots, beta_1, beta_2)
        ahead = (beta_1 * m + (1 - beta_1) * g) / (1 - beta_1**t)
        return theta - RATE * ahead / (np.sqrt(s / (1 - beta_2**t)) + epsilon)

    return rule


# What Keras documents, with its defaults where they matter. Where a textbook prints the same
# equation (SGD, momentum, Goodfellow's 8.1, 8.2), this is the test of the textbook's too.
K = keras.optimizers
DOCUMENTED = {
    "sgd": (lambda: K.SGD(RATE), sgd(), ROUNDING),
    "momentum": (lambda: K.SGD(RATE, momentum=0.9), sgd(0.9), ROUNDING),
    "nesterov": (lambda: K.SGD(RATE, momentum=0.9, nesterov=True), sgd(0.9, True), ROUNDING),
    "adagrad": (lambda: K.Adagrad(RATE), adagrad(start=0.1, inside=1e-7), ROUNDING),
    "rmsprop": (lambda: K.RMSprop(RATE), rmsprop(0.9, inside=1e-7), ROUNDING),
    "rmsprop momentum": (
        lambda: K.RMSprop(RATE, momentum=0.9),
        rmsprop(0.9, inside=1e-7, momentum=0.9),
        ROUNDING,
    ),
    "rmsprop nesterov": (
        lambda: kdt.optimizers.RMSprop(RATE, momentum=0.9, nesterov=True),
        rmsprop(0.9, inside=1e-7, momentum=0.9, nesterov=True),
        ROUNDING,
    ),
    "adam": (lambda: K.Adam(RATE), adam_of_keras(1e-7), CANCELLATION),
    "amsgrad": (
        lambda: K.Adam(RATE, beta_2=0.9, amsgrad=True),  # at 0.999 s hardly falls in 20 steps
        adam_of_keras(1e-7, amsgrad=True, beta_2=0.9),
        CANCELLATION,
    ),
    "adamax": (lambda: K.Adamax(RATE), adamax(1e-7), ROUNDING),
    "nadam": (lambda: K.Nadam(RATE), nadam(1e-7), CANCELLATION),
    "adamw": (lambda: K.AdamW(RATE, weight_decay=0.5), adamw(0.5, 1e-7), CANCELLATION),
    # A larger ε, so that its place matters.
    "adagrad, large epsilon": (
        lambda: K.Adagrad(RATE, epsilon=0.1),
        adagrad(start=0.1, inside=0.1),
        ROUNDING,
    ),
    "rmsprop, large epsilon": (
        lambda: K.RMSprop(RATE, epsilon=0.1),
        rmsprop(0.9, inside=0.1),
        ROUNDING,
    ),
    "adam, large epsilon": (lambda: K.Adam(RATE, epsilon=0.1), adam_of_keras(0.1), CANCELLATION),
    "adamax, large epsilon": (lambda: K.Adamax(RATE, epsilon=0.1), adamax(0.1), ROUNDING),
    "nadam, large epsilon": (lambda: K.Nadam(RATE, epsilon=0.1), nadam(0.1), CANCELLATION),
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_rule(name):
    optimizer, rule, tolerance = DOCUMENTED[name]
    assert_equal(as_keras(optimizer()), as_written(rule), tolerance)


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if "large" not in name])
def test_documented_rule_in_a_compiled_step(name):
    # Mean squares of a linear model are a quadratic in its kernel, with gradient 2xᵀ(xθ − y)/n.
    optimizer, rule, tolerance = DOCUMENTED[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3)).astype("float32")
    y = (x @ [[1.0], [-2.0], [0.5]] + rng.normal(size=(8, 1))).astype("float32")
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )
    model.compile(optimizer(), "mse")
    batches = np.tile(x, (STEPS, 1)), np.tile(y, (STEPS, 1))
    model.fit(*batches, batch_size=8, shuffle=False, verbose=0)
    theta, slots = np.zeros((3, 1)), {}
    for t in range(1, STEPS + 1):
        theta = rule(theta, 2 * x.T @ (x @ theta - y) / 8, slots, t)
    # The kernel is of order 1.
    np.testing.assert_allclose(model.get_weights()[0], theta, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "optimizer, defaults",
    [
        (K.SGD, {"momentum": 0.0, "nesterov": False}),
        (K.Adagrad, {"initial_accumulator_value": 0.1, "epsilon": 1e-7}),
        (K.RMSprop, {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7}),
        (kdt.optimizers.RMSprop, {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7}),
        (K.Adam, {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}),
        (K.Adamax, {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}),
        (K.Nadam, {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}),
    ],
)
def test_defaults(optimizer, defaults):
    config = optimizer().get_config()
    assert {name: config[name] for name in defaults} == defaults


# Equations that Keras computes as printed, given the textbook's constants.
AGREEING = {
    "Duchi's AdaGrad with ε 1e-6 inside": (
        lambda: K.Adagrad(RATE, initial_accumulator_value=0.0, epsilon=1e-6),
        adagrad(inside=1e-6),
        ROUNDING,
    ),
    "Duchi's AdaGrad without ε": (
        lambda: K.Adagrad(RATE, initial_accumulator_value=0.0, epsilon=0.0),
        adagrad(),
        ROUNDING,
    ),
    "Goodfellow's RMSProp, 8.5": (
        lambda: K.RMSprop(RATE, epsilon=1e-6),
        rmsprop(0.9, inside=1e-6),
        ROUNDING,
    ),
    "RMSProp with decay 0.99": (
        lambda: K.RMSprop(RATE, rho=0.99, epsilon=1e-6),
        rmsprop(0.99, inside=1e-6),
        ROUNDING,
    ),
    "Tieleman & Hinton's RMSProp, without ε": (
        lambda: K.RMSprop(RATE, epsilon=0.0),
        rmsprop(0.9),
        ROUNDING,
    ),
    "Kingma & Ba's Adam without ε": (lambda: K.Adam(RATE, epsilon=0.0), adam(), CANCELLATION),
    "Kingma & Ba's AdaMax": (lambda: K.Adamax(RATE, epsilon=0.0), adamax(), ROUNDING),
}


@pytest.mark.parametrize("name", AGREEING)
def test_agrees_with_the_textbook(name):
    optimizer, rule, tolerance = AGREEING[name]
    assert_equal(as_keras(optimizer()), as_written(rule), tolerance)


# The first step from a gradient g, as a multiple of the rate: Keras' and the textbook's.
FIRST_STEPS = {
    # √0.1 is 32 times this gradient.
    "AdaGrad": (lambda: K.Adagrad(RATE), adagrad(outside=1e-7), 0.01, 0.0316, 1.0),
    # No bias correction: 1/√(1 − ρ), in the textbooks too.
    "RMSProp": (lambda: K.RMSprop(RATE), rmsprop(0.9, 1e-6), 1.0, 3.162, 3.162),
    "RMSProp .99": (lambda: K.RMSprop(RATE, rho=0.99), rmsprop(0.99, 1e-6), 1.0, 10, 10),
    "Adam": (lambda: K.Adam(RATE), adam(outside=1e-8), 1.0, 1.0, 1.0),
    # 1e-7 counts as 1e-7/√0.001 = 3.16e-6 at the first step.
    "Adam, tiny g": (lambda: K.Adam(RATE), adam(outside=1e-8), 1e-6, 0.240, 0.990),
    "Adam, uncorrected": (lambda: K.Adam(RATE), adam(corrected=False), 1.0, 1.0, 3.162),
    "AMSGrad": (
        lambda: K.Adam(RATE, amsgrad=True),
        adam(corrected=False, amsgrad=True),
        1.0,
        1.0,
        3.162,
    ),
    "AdaMax": (lambda: K.Adamax(RATE), adamax(), 1.0, 1.0, 1.0),
    "Nadam, Dozat": (lambda: K.Nadam(RATE), nadam(decay=1 / 250, average="mu"), 1.0, 1.063, 1.310),
    "Nadam, simple": (lambda: K.Nadam(RATE), simple_nadam(), 1.0, 1.063, 1.9),
}


@pytest.mark.parametrize("name", FIRST_STEPS)
def test_first_step(name):
    optimizer, rule, gradient, of_keras, of_textbook = FIRST_STEPS[name]
    gradient = np.array([[gradient]])
    # To the digits printed above.
    assert -as_keras(optimizer(), gradient)[0, 0] / RATE == pytest.approx(of_keras, rel=2e-3)
    assert -as_written(rule, gradient)[0, 0] / RATE == pytest.approx(of_textbook, rel=2e-3)


QUADRATIC = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


def slope(theta):
    """The gradient of a quadratic, in single precision as Keras would have it."""
    return (QUADRATIC @ theta - [1.0, -2.0, 0.5]).astype("float32").astype("float64")


def interim_sgd(theta, v, slots, momentum):
    """Goodfellow's 8.3: the gradient at θ + αv."""
    v = momentum * v - RATE * slope(theta + momentum * v)
    return theta + v, v


def interim_rmsprop(theta, v, slots, momentum):
    """Goodfellow's 8.6, which has no ε."""
    g = slope(theta + momentum * v)
    r = slots["r"] = 0.9 * slots.get("r", 0.0) + 0.1 * g**2
    v = momentum * v - RATE * g / np.sqrt(r)
    return theta + v, v


@pytest.mark.parametrize(
    "optimizer, textbook, sign",
    [
        (lambda m: K.SGD(RATE, momentum=m, nesterov=True), interim_sgd, 1),
        (
            lambda m: kdt.optimizers.RMSprop(RATE, momentum=m, epsilon=0.0, nesterov=True),
            interim_rmsprop,
            -1,  # Keras' RMSprop keeps the velocity with the opposite sign
        ),
    ],
    ids=["sgd", "rmsprop"],
)
def test_nesterov_in_shifted_parameters(optimizer, textbook, sign):
    momentum = 0.9
    optimizer = optimizer(momentum)
    variable = keras.Variable(np.zeros(3, dtype="float32"))
    optimizer.build([variable])
    theta, v, slots = np.zeros(3), np.zeros(3), {}
    shifted, unshifted, thetas, aheads = [], [], [], []
    for _ in range(STEPS):
        here = np.array(keras.ops.convert_to_numpy(variable), dtype="float64")
        optimizer.apply([keras.ops.convert_to_tensor(slope(here), dtype="float32")], [variable])
        theta, v = textbook(theta, v, slots, momentum)
        velocity = sign * keras.ops.convert_to_numpy(optimizer.variables[-1]).astype("float64")
        shifted.append(keras.ops.convert_to_numpy(variable).astype("float64"))
        unshifted.append(shifted[-1] - momentum * velocity)
        thetas.append(theta)
        aheads.append(theta + momentum * v)
    # Keras keeps φ = θ + αv, and θ = φ − αv is the textbook's.
    assert_equal(np.stack(shifted), np.stack(aheads), CANCELLATION)
    assert_equal(np.stack(unshifted), np.stack(thetas), CANCELLATION)
    assert_apart(np.stack(shifted), np.stack(thetas), 0.1)
    # The first step is 1 + α times the textbook's.
    np.testing.assert_allclose(shifted[0], (1 + momentum) * thetas[0], rtol=ROUNDING)


def test_the_rate_is_inside_the_velocity():
    halved = RATE * 0.5 ** np.arange(STEPS)
    constant = np.full(STEPS, RATE)
    outside = sgd_rate_outside(0.45, constant)
    assert_equal(as_keras(K.SGD(RATE, momentum=0.45)), as_written(outside))
    # Old gradients keep the rate they were taken with: under a rate that halves at each step
    # this is a momentum of a half where the newest rate multiplies all of them.
    inside = as_keras(K.SGD(RATE, momentum=0.45), rates=halved)
    assert_equal(inside, as_written(sgd_rate_outside(0.9, halved)))
    assert_apart(inside, as_written(sgd_rate_outside(0.45, halved)), 0.1)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: K.SGD(RATE, momentum=0.5),
        lambda: K.RMSprop(RATE, momentum=0.5),
        lambda: kdt.optimizers.RMSprop(RATE, momentum=0.5, nesterov=True),
    ],
    ids=["sgd", "rmsprop", "rmsprop nesterov"],
)
def test_a_gradient_keeps_the_rate_it_was_taken_with(optimizer):
    # One gradient, then none: the velocity shrinks by the momentum, whatever the rate does.
    once = np.zeros((6, 1))
    once[0] = 1.0
    path = as_keras(optimizer(), once, rates=[RATE, 1.0, 0.0, 7.0, 0.1, 0.0])
    assert_equal(path, as_keras(optimizer(), once))
    changes = np.diff(path[:, 0])
    np.testing.assert_allclose(changes[1:] / changes[:-1], 0.5, rtol=1e-4)


def test_adagrad_start_is_an_epsilon():
    # The accumulator starts at 0.1, so Keras' defaults are the textbook's rule with ε = 0.1.
    path = as_keras(K.Adagrad(RATE))
    assert_equal(path, as_written(adagrad(inside=0.1 + 1e-7)))
    assert_apart(path, as_written(adagrad(outside=1e-7)), 0.9)
    # Started at 0, gradients well above δ leave nothing of its place.
    path = as_keras(K.Adagrad(RATE, initial_accumulator_value=0.0))
    at_least_a_tenth = [0, 1, 2, 4]
    assert_equal(
        path[:, at_least_a_tenth], as_written(adagrad(outside=1e-7))[:, at_least_a_tenth], 1e-4
    )


@pytest.mark.parametrize("kind", ["adagrad", "rmsprop"])
def test_epsilon_inside_the_root_is_its_root_outside(kind):
    # √(r + ε) ≤ √r + √ε ≤ √2·√(r + ε): with δ = √ε each change is 1/√2 to 1 of Keras'.
    epsilon = 1e-2
    if kind == "adagrad":
        optimizer = K.Adagrad(RATE, initial_accumulator_value=0.0, epsilon=epsilon)
        rule = adagrad
    else:
        optimizer = K.RMSprop(RATE, epsilon=epsilon)

        def rule(**where):
            return rmsprop(0.9, **where)

    of_keras = np.diff(as_keras(optimizer), axis=0, prepend=0.0)
    of_root = np.diff(as_written(rule(outside=np.sqrt(epsilon))), axis=0, prepend=0.0)
    ratio = of_root / of_keras
    # A difference of two nearly equal parameters has lost some digits.
    assert ratio.min() > np.sqrt(0.5) - 1e-3
    assert ratio.max() < 1 + 1e-3
    # Both ends occur: r near ε, and r far from it.
    assert ratio.min() < 0.75
    assert ratio.max() > 0.95
    # The same number outside is a far smaller ε.
    of_same = np.diff(as_written(rule(outside=epsilon)), axis=0, prepend=0.0)
    assert (of_same / of_keras).max() > 3


def test_adam_epsilon_is_epsilon_hat():
    # Added to √s before its correction, ε counts as ε/√(1 − β₂ᵗ) in algorithm 1.
    path = as_keras(K.Adam(RATE, epsilon=0.1))
    assert_equal(path, as_written(adam(lambda t: 0.1 / np.sqrt(1 - 0.999**t))), CANCELLATION)
    assert_apart(path, as_written(adam(0.1)), 0.5)


def test_adam_epsilon_does_not_matter_to_ordinary_gradients():
    ordinary = gradients(size=3)
    assert_equal(
        as_keras(K.Adam(RATE), ordinary), as_written(adam(1e-8), ordinary), 2 * CANCELLATION
    )


def correction(beta_1=0.9, beta_2=0.999):
    """What Adam's two corrections multiply the rate with, step by step."""
    t = np.arange(1, STEPS + 1)
    return np.sqrt(1 - beta_2**t) / (1 - beta_1**t)


def test_adam_without_correction():
    # Some textbooks print θ ← θ − η·m/√(s + ε): Keras', its correction undone by the rate.
    undone = RATE / correction()
    path = as_keras(K.Adam(RATE, epsilon=0.0), rates=undone)
    assert_equal(path, as_written(adam(corrected=False)), CANCELLATION)
    assert_apart(as_keras(K.Adam(RATE, epsilon=0.0)), as_written(adam(corrected=False)), 0.5)
    # ε inside the root: 1e-8 leaves no trace on ordinary gradients, 0.01 does.
    printed = as_written(adam(corrected=False, inside=1e-8))
    assert_equal(path[:, :2], printed[:, :2], 1e-3)
    assert_apart(path, as_written(adam(corrected=False, inside=1e-2)), 0.5)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_amsgrad(epsilon):
    # Reddi et al. correct nothing; Keras corrects both moments, after the maximum. With a β₂ of
    # 0.9 rather than 0.999 the maximum is at work within 20 steps.
    def of_keras(rates=None):
        optimizer = K.Adam(RATE, beta_2=0.9, epsilon=epsilon, amsgrad=True)
        return as_keras(optimizer, rates=rates)

    reddi = as_written(adam(epsilon, corrected=False, amsgrad=True, beta_2=0.9))
    path = of_keras(RATE / correction(beta_2=0.9))
    assert_equal(path, reddi)
    assert_apart(of_keras(), reddi, 0.3)
    assert_apart(path, as_written(adam(epsilon, corrected=False, beta_2=0.9)), 0.03)


def test_amsgrad_correction_lets_the_rate_rise():
    # After one gradient and then none the maximum of s stays and m shrinks by β₁, so the
    # changes show the rate: constant in Reddi's rule, but its correction first falls, then rises.
    once = np.zeros((STEPS, 1))
    once[0] = 1.0
    m = 0.1 * 0.9 ** np.arange(STEPS)
    path = as_keras(K.Adam(RATE, epsilon=0.0, amsgrad=True), once)
    rate = -np.diff(path[:, 0], prepend=0.0) / m * np.sqrt(0.001)
    # The last changes are some hundredths of the parameter that they are differences of.
    np.testing.assert_allclose(rate, RATE * correction(), rtol=1e-3)
    assert 11 <= np.argmin(rate) + 1 <= 13  # a flat minimum
    assert rate[-1] > 1.03 * rate.min()
    reddi = as_written(adam(corrected=False, amsgrad=True), once)
    np.testing.assert_allclose(
        -np.diff(reddi[:, 0], prepend=0.0) / m * np.sqrt(0.001), RATE, rtol=1e-9
    )


def test_adamw_decay_has_the_rate_in_it():
    # Loshchilov & Hutter: θ ← θ − a·(α·m̂/√ŝ + λθ) with the schedule a and the first rate α.
    # Keras multiplies its weight decay with a·α, so that λ is α times it.
    schedule = 0.9 ** np.arange(STEPS)
    step = adam()

    def printed(theta, g, slots, t):
        change = step(0.0, g, slots, t)
        return theta + schedule[t - 1] * (change - RATE * 0.5 * theta)

    path = as_keras(K.AdamW(RATE, weight_decay=0.5, epsilon=0.0), rates=RATE * schedule)
    assert_equal(path, as_written(printed), CANCELLATION)


def test_adamax_epsilon_keeps_untouched_parameters_finite():
    # Kingma & Ba's rule has no ε and divides 0 by 0 where no gradient has been.
    none = np.zeros((2, 1))
    assert np.all(as_keras(K.Adamax(RATE), none) == 0)
    with np.errstate(invalid="ignore"):
        assert np.all(np.isnan(as_written(adamax(), none)))


def test_nadam_epsilon_is_not_epsilon_hat():
    # Its docstring says "epsilon hat", but ε is added to the corrected root, which is 1 at the
    # first step from a gradient of 1. In Adam it counts there as ε/√0.001.
    def first_step(optimizer, epsilon):
        return as_keras(optimizer(RATE, epsilon=epsilon), np.ones((1, 1)))[0, 0]

    for optimizer, counts_as in ((K.Nadam, 0.1), (K.Adam, 0.1 / np.sqrt(0.001))):
        ratio = first_step(optimizer, 0.1) / first_step(optimizer, 0.0)
        assert ratio == pytest.approx(1 / (1 + counts_as), rel=CANCELLATION)


def test_nadam_against_dozat():
    path = as_keras(K.Nadam(RATE, epsilon=0.0))
    # Dozat's μ has 0.96^(t/250), Keras' 0.96ᵗ: 250 times as fast.
    assert_apart(path, as_written(nadam(decay=1 / 250, average="mu")), 0.05)
    assert_apart(path, as_written(nadam(decay=1 / 250)), 0.05)
    # Dozat averages the gradients with μ(t), for which the product of all μ is the correction.
    assert_apart(path, as_written(nadam(average="mu")), 0.05)
    # Under a constant gradient the corrected average is the gradient, Keras' is not.
    ones = np.ones((STEPS, 1))
    change = -np.diff(as_keras(K.Nadam(RATE, epsilon=0.0), ones)[:, 0], prepend=0.0) / RATE
    t = np.arange(1, STEPS + 2)
    mu = 0.9 * (1 - 0.5 * 0.96**t)
    product = np.cumprod(mu)
    now = (1 - mu[:-1]) / (1 - product[:-1])
    ahead = mu[1:] / (1 - product[1:])
    np.testing.assert_allclose(change, ahead * (1 - 0.9 ** t[:-1]) + now, rtol=CANCELLATION)
    dozat = -np.diff(as_written(nadam(average="mu"), ones)[:, 0], prepend=0.0) / RATE
    np.testing.assert_allclose(dozat, ahead * (1 - product[:-1]) + now, rtol=1e-9)


def test_nadam_becomes_the_simple_one():
    # Late in training 0.96ᵗ, Πμ and β₁ᵗ are 0.
    def late(optimizer):
        optimizer.iterations.assign(1000)
        product = optimizer.variables[-1]
        assert product.shape == ()
        product.assign(0.0)

    path = as_keras(K.Nadam(RATE), prepare=late)
    assert_equal(path, as_written(simple_nadam(1e-7), first=1001))
    assert_apart(as_keras(K.Nadam(RATE)), as_written(simple_nadam(1e-7)), 0.1)


def torch_optimizers():
    import torch

    halved = RATE * 0.5 ** np.arange(STEPS)
    optim = torch.optim
    return {
        "SGD": (lambda p: optim.SGD(p, RATE, momentum=0.9), sgd_rate_outside(0.9, halved), halved),
        "Adagrad": (lambda p: optim.Adagrad(p, RATE, eps=0.1), adagrad(outside=0.1), None),
        "RMSprop": (lambda p: optim.RMSprop(p, RATE, eps=0.1), rmsprop(0.99, outside=0.1), None),
        "Adam": (lambda p: optim.Adam(p, RATE, eps=0.1), adam(outside=0.1), None),
        "AMSGrad": (
            lambda p: optim.Adam(p, RATE, eps=0.1, amsgrad=True),
            adam(outside=0.1, amsgrad=True),
            None,
        ),
        "NAdam": (lambda p: optim.NAdam(p, RATE, eps=0.1), nadam(0.1, decay=1 / 250), None),
        "NAdam as Keras": (
            lambda p: optim.NAdam(p, RATE, eps=0.1, momentum_decay=1.0),
            nadam(0.1),
            None,
        ),
    }


@pytest.mark.skipif(BACKEND != "torch", reason="compares torch's optimizers")
@pytest.mark.parametrize(
    "name", ["SGD", "Adagrad", "RMSprop", "Adam", "AMSGrad", "NAdam", "NAdam as Keras"]
)
def test_what_is_said_of_torch(name):
    import torch

    make, rule, rates = torch_optimizers()[name]
    parameter = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = make([parameter])
    path = []
    for t, gradient in enumerate(gradients()):
        if rates is not None:
            optimizer.param_groups[0]["lr"] = rates[t]
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        path.append(parameter.detach().numpy().copy())
    # In double precision; NAdam's products are kept in single.
    assert_equal(np.stack(path), as_written(rule), 1e-6)
