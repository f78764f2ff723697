"""Five learning-rate schedules on Fashion-MNIST, each with the textbook's own settings.

    KERAS_BACKEND=jax python benchmarks/schedules.py --seeds 3

A 300-100 network of SELU layers, 25 epochs, the first 5,000 training images for validation, pixels
standardized one by one: the protocol of Géron, Hands-on machine learning, 2nd ed., chapter 11,
whose figures stand beside ours. Prints the accuracy after the last epoch, not the best one.
"""

import argparse
import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from fashion_mnist import full, mean_and_error

import keras_deeptricks as kdt


def power(steps, epochs):
    """SGD at 0.01 with a decay of 1e-4."""
    return kdt.optimizers.SGD(kdt.schedules.Power(0.01, decay_steps=1e4)), []


def exponential(steps, epochs):
    """Nadam, a tenth every 20 epochs."""
    rate = kdt.schedules.ExponentialDecay(0.01, decay_steps=20 * steps, decay_rate=0.1)
    return kdt.optimizers.Nadam(rate), []


def piecewise(steps, epochs):
    """Nadam, 5 epochs at 0.01, 10 at 0.005, the rest at 0.001."""
    boundaries = [5 * steps, 15 * steps]
    rate = kdt.schedules.PiecewiseConstantDecay(boundaries, [0.01, 0.005, 0.001])
    return kdt.optimizers.Nadam(rate), []


def performance(steps, epochs):
    """SGD at 0.02 with momentum, halved after 5 epochs without a better validation loss."""
    halving = kdt.callbacks.PerformanceScheduling("val_loss", factor=0.5, patience=5)
    return kdt.optimizers.SGD(0.02, momentum=0.9), [halving]


def one_cycle(steps, epochs):
    """SGD without momentum, linearly from 0.005 to 0.05 and back, the last tenth to 5e-6."""
    cycle = kdt.schedules.OneCycle(
        0.05,
        total_steps=steps * epochs,
        initial_divisor=10.0,
        final_divisor=1000.0,
        warmup_fraction=0.45,
        annealing="linear",
        three_phase=True,
    )
    return kdt.optimizers.SGD(cycle), []


SCHEDULES = {
    "power": (power, 32, 0.8924),
    "exponential": (exponential, 32, 0.8928),
    "piecewise": (piecewise, 32, 0.8868),
    "performance": (performance, 32, 0.8936),
    "1cycle": (one_cycle, 128, 0.8934),
}


def accuracies(name, seed, epochs, data):
    """Validation and test accuracy after the last epoch of one run."""
    make, batch_size, _ = SCHEDULES[name]
    (x, y), validation, test = data
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(300, activation="selu", kernel_initializer="lecun_normal"),
            keras.layers.Dense(100, activation="selu", kernel_initializer="lecun_normal"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer, callbacks = make(math.ceil(len(x) / batch_size), epochs)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=epochs,
        validation_data=validation,
        callbacks=callbacks,
        verbose=0,
    ).history
    return history["val_accuracy"][-1], model.evaluate(*test, verbose=0)[1]


def main():
    """Trains, and prints one row per schedule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=25)
    options = parser.parse_args()
    data = full()
    print(f"{'schedule':12} {'validation':17} {'test':17} textbook's validation", flush=True)
    for name in options.schedules:
        runs = [accuracies(name, seed, options.epochs, data) for seed in range(options.seeds)]
        validation, test = zip(*runs, strict=True)
        print(
            f"{name:12} {mean_and_error(validation):17} {mean_and_error(test):17} "
            f"{SCHEDULES[name][2]:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
