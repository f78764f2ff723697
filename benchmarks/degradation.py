"""Degradation: deep plain networks against shallow ones and against residual networks.

    KERAS_BACKEND=jax python benchmarks/degradation.py --seeds 3

Handwritten digits (scikit-learn's, 8×8), plain and residual networks of 20 and 56 layers with
layers of the same sizes, batch norm, SGD with momentum, one cycle. No augmentation: what is to be
seen is how well each can be trained at all, so the training loss stands first. All have the same
peak rate; of several rates given, each network gets the best by the training loss of seed 0. Prints
a table in markdown and, with `--plot`, draws the curves.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from fashion_mnist import best_rate, mean_and_error

import keras_deeptricks as kdt

NETWORKS = {"plain": kdt.recipes.plain_net, "residual": kdt.recipes.resnet}
BATCH_SIZE = 64


def trained(kind, depth, rate, seed, options, data):
    """The training history of one network: mean losses and accuracies by epoch."""
    keras.utils.set_random_seed(seed)
    model = NETWORKS[kind](
        (8, 8), 10, depth=depth, filters=options.filters, adapt_to=data.x_train, seed=seed
    )
    return model.fit(
        data.x_train,
        data.y_train,
        batch_size=BATCH_SIZE,
        epochs=options.epochs,
        validation_data=(data.x_test, data.y_test),
        callbacks=[kdt.callbacks.OneCycle(rate, momentum=(0.95, 0.85))],
        verbose=0,
    ).history


def curves(options):
    """For each network its rate and, for each seed, its history."""
    data = kdt.datasets.load("digits", seed=0)
    found = {}
    for depth in options.depths:
        for kind in NETWORKS:

            def final_loss(rate, kind=kind, depth=depth):
                return trained(kind, depth, rate, 0, options, data)["loss"][-1]

            rate = options.rates[0]
            if len(options.rates) > 1:
                rate = best_rate(final_loss, options.rates, extensions=1)
            runs = [
                trained(kind, depth, rate, seed, options, data) for seed in range(options.seeds)
            ]
            found[kind, depth] = rate, runs
            print(f"| {kind} | {depth} | {rate:.3g} | {_row(runs)} |", flush=True)
    return found


def _row(runs):
    middle = len(runs[0]["loss"]) // 2 - 1
    columns = [
        [run["loss"][middle] for run in runs],
        [run["loss"][-1] for run in runs],
        [run["val_accuracy"][-1] for run in runs],
    ]
    return " | ".join(mean_and_error(column) for column in columns)


def draw(found, path):
    """The training losses by epoch, each seed a line."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots()
    for number, ((kind, depth), (_, runs)) in enumerate(found.items()):
        for index, run in enumerate(runs):
            label = f"{kind} {depth}" if index == 0 else None
            style = "-" if depth == max(d for _, d in found) else "--"
            epochs = np.arange(1, len(run["loss"]) + 1)
            axes.semilogy(epochs, run["loss"], style, color=f"C{number}", label=label)
    axes.set(xlabel="epoch", ylabel="training loss, with penalty")
    axes.legend()
    axes.figure.savefig(path, bbox_inches="tight")


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1])
    parser.add_argument("--plot", help="path of a picture")
    options = parser.parse_args()
    half = options.epochs // 2
    print(f"| network | layers | peak rate | loss, epoch {half} | loss, end | test accuracy |")
    print("|---|---|---|---|---|---|")
    found = curves(options)
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
