"""What a `TrainingMonitor` costs, against the same training without it.

    KERAS_BACKEND=jax python benchmarks/training_monitor.py

Two models with the same weights are trained in turn, chunk by chunk, one of them watched every 50
steps. Prints the median and the quartiles of the ratio of the paired times, and beside it, as a
measure of the noise, that of a second model that nobody watches. The chunks before the first
measured pair compile the steps and the probe: what that costs, once per `fit`, is printed too.
On a machine that others use, `--cpu` compares the CPU time of the process instead.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_deeptricks as kdt


def network(steps_per_execution):
    """784-300-100-10, compiled."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(300, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(100, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        "sparse_categorical_crossentropy",
        steps_per_execution=steps_per_execution,
    )
    return model


class Chunks(keras.callbacks.Callback):
    """Takes the time of every epoch."""

    def __init__(self, clock=time.perf_counter):
        super().__init__()
        self.clock = clock

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = self.clock()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(self.clock() - self.started)


def seconds(model, x, y, options, callbacks):
    """The median time of an epoch of one `fit`, and the time of its first one."""
    clock = Chunks(time.process_time if options.cpu else time.perf_counter)
    model.fit(
        x,
        y,
        batch_size=options.batch_size,
        epochs=1 + options.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, clock],
    )
    return np.median(clock.seconds[1:]), clock.seconds[0]


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--steps", type=int, default=300, help="steps per epoch")
    parser.add_argument("--epochs", type=int, default=3, help="measured epochs of a fit")
    parser.add_argument("--repeats", type=int, default=20, help="pairs of fits")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps-per-execution", type=int, default=1)
    parser.add_argument("--cpu", action="store_true", help="time of the CPU, not of the clock")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = options.steps * options.batch_size
    x = rng.normal(size=(rows, 784)).astype("float32")
    y = rng.integers(0, 10, rows)
    monitor = kdt.callbacks.TrainingMonitor(x, y, every=options.every)
    for name, watching in (("nobody", []), ("TrainingMonitor", [monitor])):
        plain, watched = (network(options.steps_per_execution) for _ in range(2))
        for model in (plain, watched):
            seconds(model, x, y, options, [])
        ratios, firsts, last = [], [], None
        for repeat in range(options.repeats):
            pair = [(plain, []), (watched, watching)]
            times = {
                id(model): seconds(model, x, y, options, callbacks)
                for model, callbacks in (pair if repeat % 2 == 0 else pair[::-1])
            }
            ratios.append(times[id(watched)][0] / times[id(plain)][0])
            firsts.append(times[id(watched)][1] - times[id(plain)][1])
            last = times[id(plain)][0]
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        print(
            f"{keras.config.backend():10} {name:16} median {median:.3f} (quartiles {low:.3f}–"
            f"{high:.3f}, {len(ratios)} pairs), {1e3 * last / options.steps:.2f} ms per step, "
            f"{np.median(firsts):+.2f} s once per fit",
            flush=True,
        )


if __name__ == "__main__":
    main()
