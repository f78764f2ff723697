"""Fashion-MNIST and the arithmetic of repeated runs, for the benchmarks beside this file."""

import itertools
import math

import keras
import numpy as np

VALIDATION_ROWS = 5000
HALF_A_DECADE = math.sqrt(10)


def standardized(train, *others, floor=0.0):
    """Images whose pixels have mean 0 and deviation 1 in `train`.

    Pixels of a smaller deviation (of 255) than `floor` are divided by `floor`: in few rows the
    corners are almost constant, and a rare grey value there would be a huge input.
    """
    mean = train.mean(axis=0)
    deviation = np.maximum(train.std(axis=0), floor)
    return [((part - mean) / deviation).astype("float32") for part in (train, *others)]


def full():
    """Training, validation (the first 5,000 training images) and test arrays."""
    (x, y), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
    rows = VALIDATION_ROWS
    x_train, x_validation, x_test = standardized(x[rows:], x[:rows], x_test)
    return (x_train, y[rows:]), (x_validation, y[:rows]), (x_test, y_test)


def subset(rows, seed=0):
    """`rows` training images drawn at random, and 5,000 of the others for validation."""
    (x, y), _ = keras.datasets.fashion_mnist.load_data()
    drawn = np.random.default_rng(seed).permutation(len(x))[: rows + VALIDATION_ROWS]
    train, validation = np.split(drawn, [rows])
    x_train, x_validation = standardized(x[train], x[validation], floor=10.0)
    return (x_train, y[train]), (x_validation, y[validation])


def restart(model, state, seed, learning_rate):
    """Gives a compiled model new weights and a rate; its step need not be compiled again.

    `state` is the `TrainingState` from before its first training.
    """
    state.restore()
    keras.utils.set_random_seed(seed)
    model.set_weights(keras.models.clone_model(model).get_weights())
    model.optimizer.learning_rate = learning_rate


def best_rate(loss_at, rates, extensions=2):
    """The rate of the lowest loss. Where it is the grid's first or last, the grid grows there."""
    losses = {rate: _finite(loss_at(rate)) for rate in rates}
    for _ in range(extensions):
        best = min(losses, key=losses.get)
        if best == max(losses):
            further = best * HALF_A_DECADE
        elif best == min(losses):
            further = best / HALF_A_DECADE
        else:
            break
        losses[further] = _finite(loss_at(further))
    return min(losses, key=losses.get)


def _finite(loss):
    return loss if math.isfinite(loss) else math.inf


def error_of_mean(values):
    """The standard error of the mean; NaN of a single value."""
    return np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else float("nan")


def mean_and_error(values, digits=4):
    """The mean and its standard error, as text."""
    return f"{np.mean(values):.{digits}f} ± {error_of_mean(values):.{digits}f}"


def ranking(results):
    """The names of `results` (name to values) from the highest mean to the lowest, as text.

    Between neighbours ">" means that they are more than two standard errors of their difference
    apart, "≈" that they are not.
    """
    names = sorted(results, key=lambda name: -np.mean(results[name]))
    text = names[0]
    for better, worse in itertools.pairwise(names):
        error = math.hypot(error_of_mean(results[better]), error_of_mean(results[worse]))
        apart = np.mean(results[better]) - np.mean(results[worse]) > 2 * error
        text += f" {'>' if apart else '≈'} {worse}"
    return text
