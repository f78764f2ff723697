"""How long the loss landscape of a small convolutional network takes.

    KERAS_BACKEND=jax python benchmarks/loss_landscape.py

Prints the seconds of a 25×25 surface, with the compilation, and the largest difference between the
loss at five points and that of `evaluate` with such weights.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics.landscape_directions import moved_weights, random_direction


def network():
    """A small convolutional network for 28×28 images, compiled."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def largest_difference(model, landscape, x, y):
    """The largest relative difference to `evaluate`, at five points."""
    moved, values = moved_weights(model), model.get_weights()
    generator = np.random.default_rng(0)
    kernels = [values[each.place] for each in moved], [each.axes for each in moved]
    steps = [random_direction(*kernels, generator) for _ in range(2)]
    last = len(landscape.grid_x) - 1
    differences = []
    for row, column in ((0, 0), (0, last), (last, 0), (last, last), (last // 2, last // 2)):
        weights = list(values)
        for number, each in enumerate(moved):
            weights[each.place] = (
                values[each.place]
                + landscape.grid_x[column] * steps[0][number]
                + landscape.grid_y[row] * steps[1][number]
            )
        model.set_weights(weights)
        expected = model.evaluate(x, y, verbose=0)
        differences.append(abs(landscape.losses[row, column] / expected - 1))
    model.set_weights(values)
    return max(differences)


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--points", type=int, default=25, help="in each direction")
    parser.add_argument("--batch-size", type=int, default=256)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.rows, 28, 28, 1)).astype("float32")
    y = rng.integers(0, 10, options.rows)
    model = network()
    start = time.perf_counter()
    landscape = kdt.diagnostics.loss_landscape(
        model, x, y, points=options.points, batch_size=options.batch_size
    )
    seconds = time.perf_counter() - start
    print(
        f"{keras.config.backend():10} {options.points}×{options.points} points, {options.rows} "
        f"rows: {seconds:.1f} s; largest relative difference to evaluate at five points "
        f"{largest_difference(model, landscape, x, y):.1e}"
    )


if __name__ == "__main__":
    main()
