"""A snapshot ensemble against its last member and against one annealing of the same length.

    KERAS_BACKEND=jax python benchmarks/snapshot_ensemble.py --seeds 5

8,000 Fashion-MNIST training images drawn at random, 5,000 others for the accuracy, a 200-100
network, SGD with momentum. The cycles and the single cosine start from the same rate and take the
same number of epochs. No epoch is chosen on the validation rows, but the default rate and length
were, by trials with seed 0. Prints a table in markdown.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from fashion_mnist import error_of_mean, mean_and_error, subset

import keras_deeptricks as kdt

BATCH_SIZE = 64


def network(seed, rate):
    """A compiled network, the same for equal seeds."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(200, activation="relu", kernel_initializer="he_normal"),
            keras.layers.Dropout(0.2, seed=seed),
            keras.layers.Dense(100, activation="relu", kernel_initializer="he_normal"),
            keras.layers.Dropout(0.2, seed=seed + 1),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    compile_(model, keras.optimizers.SGD(rate, momentum=0.9))
    return model


def compile_(model, optimizer=None):
    """Compiles with the loss and the metric of this benchmark."""
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])


def measured(model, data):
    """The loss and the accuracy on the validation rows."""
    if not model.compiled:
        compile_(model, keras.optimizers.SGD())
    return model.evaluate(*data[1], batch_size=500, verbose=0)


def trained(seed, options, data, cycles, rate):
    """One run of all epochs in so many cycles: the model and its callback."""
    model = network(seed, rate)
    snapshots = kdt.callbacks.SnapshotEnsemble(cycles)
    (x, y), _ = data
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=options.epochs, callbacks=[snapshots], verbose=0)
    return model, snapshots


def run(seed, options, data):
    """Loss and accuracy of everything for one seed, by name."""
    model, snapshots = trained(seed, options, data, options.cycles, options.rate)
    found = {f"ensemble of all {options.cycles}": measured(snapshots.ensemble(), data)}
    for last in range(options.cycles - 1, 1, -1):
        found[f"ensemble of the last {last}"] = measured(snapshots.ensemble(last), data)
    found["last snapshot alone"] = measured(model, data)
    single, _ = trained(seed, options, data, 1, options.rate)
    found["one annealing, equal cost"] = measured(single, data)
    return found


def main():
    """Trains, and prints one row per contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=0.05)
    options = parser.parse_args()
    data = subset(options.rows)
    runs = [run(seed, options, data) for seed in range(options.seeds)]
    first = next(iter(runs[0]))
    print(
        "| | accuracy | ensemble's gain, paired | loss | its gain, paired |\n|---|---|---|---|---|"
    )
    for name in runs[0]:
        losses, accuracies = np.array([each[name] for each in runs]).T
        best_losses, best_accuracies = np.array([each[first] for each in runs]).T
        gains = ["", ""]
        if name != first:
            gains = [_signed(best_accuracies - accuracies), _signed(losses - best_losses)]
        print(
            f"| {name} | {mean_and_error(accuracies)} | {gains[0]} | {mean_and_error(losses)} | "
            f"{gains[1]} |",
            flush=True,
        )


def _signed(differences):
    return f"{np.mean(differences):+.4f} ± {error_of_mean(differences):.4f}"


if __name__ == "__main__":
    main()
