"""Eight optimizers on Fashion-MNIST: how fast they fall and how well they end.

    KERAS_BACKEND=jax python benchmarks/optimizers.py --seeds 5

A 300-100 network of ELU layers with He initialization, batches of 32, 15 epochs, constant rates,
10,000 training images and 5,000 others for validation. The rate of each optimizer is the one of the
lowest validation loss (of all epochs) on a grid of half decades around the customary one, with a
seed of its own; a best rate at the grid's edge extends it, twice at most.

Speed is the number of epochs until the training loss falls below 0.3 (what Keras reports: the mean
over the epoch; interpolated between epochs), quality the validation accuracy. Each is the mean ±
its standard error over the seeds, which change the initial weights and the order of the rows, not
the rows. The stars (of the accuracy after the last epoch) are the thirds of the range from the
worst mean to the best; beside them stand those of Géron, Hands-on machine learning, 2nd ed.,
chapter 11.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import fashion_mnist
import keras
import numpy as np

import keras_deeptricks as kdt
from keras_deeptricks.utils.training_state import TrainingState

BATCH_SIZE = 32
LEVEL = 0.3
TUNING_SEED = 1000
# Each with the customary rate and the textbook's stars for speed and quality.
OPTIMIZERS = {
    "SGD": (kdt.optimizers.SGD, {}, 0.1, "1", "3"),
    "momentum": (kdt.optimizers.SGD, {"momentum": 0.9}, 0.01, "2", "3"),
    "Nesterov": (kdt.optimizers.SGD, {"momentum": 0.9, "nesterov": True}, 0.01, "2", "3"),
    "AdaGrad": (keras.optimizers.Adagrad, {}, 0.01, "3", "1"),
    "RMSProp": (kdt.optimizers.RMSprop, {}, 0.001, "3", "2–3"),
    "Adam": (kdt.optimizers.Adam, {}, 0.001, "3", "2–3"),
    "Nadam": (kdt.optimizers.Nadam, {}, 0.001, "3", "2–3"),
    "AdaMax": (keras.optimizers.Adamax, {}, 0.001, "3", "2–3"),
}


def network(optimizer):
    """The 300-100 network, compiled."""
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(300, activation="elu", kernel_initializer="he_normal"),
            keras.layers.Dense(100, activation="elu", kernel_initializer="he_normal"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def crossing(losses, level):
    """The number of epochs after which `losses` first falls below `level`, or NaN."""
    for epoch, loss in enumerate(losses):
        if loss < level:
            if epoch == 0:
                return 1.0
            before = losses[epoch - 1]
            return epoch + (before - level) / (before - loss)
    return float("nan")


def stars(values, largest_is_best):
    """1 to 3 by thirds of the range from the worst value to the best; NaN is the worst."""
    goodness = np.array(values) if largest_is_best else -np.array(values)
    low, high = np.nanmin(goodness), np.nanmax(goodness)
    thirds = np.floor(3 * (np.nan_to_num(goodness, nan=low) - low) / max(high - low, 1e-12))
    return [int(third) for third in np.minimum(thirds, 2) + 1]


def measured(name, data, options):
    """The chosen rate, and the histories of one run per seed with it."""
    make, settings, customary, *_ = OPTIMIZERS[name]
    (x, y), validation = data
    model = network(make(customary, **settings))
    state = TrainingState.capture(model)

    def history(seed, rate):
        fashion_mnist.restart(model, state, seed, rate)
        return model.fit(
            x,
            y,
            batch_size=BATCH_SIZE,
            epochs=options.epochs,
            validation_data=validation,
            validation_batch_size=1000,
            verbose=0,
        ).history

    exponents = (0,) if options.quick else (-2, -1, 0, 1, 2)
    rate = fashion_mnist.best_rate(
        lambda rate: np.min(history(TUNING_SEED, rate)["val_loss"]),
        [customary * fashion_mnist.HALF_A_DECADE**exponent for exponent in exponents],
        extensions=0 if options.quick else 2,
    )
    return rate, [history(seed, rate) for seed in range(options.seeds)]


def main():
    """Trains, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--rows", type=int, default=10000, help="training images")
    parser.add_argument(
        "--quick", action="store_true", help="a minute: customary rates, few rows, epochs and seeds"
    )
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.epochs, options.rows = 2, 4, 2000
    data = fashion_mnist.subset(options.rows)
    started = time.perf_counter()
    rates, epochs, last, best = {}, {}, {}, {}
    for name in options.optimizers:
        rates[name], runs = measured(name, data, options)
        epochs[name] = [crossing(run["loss"], LEVEL) for run in runs]
        last[name] = [run["val_accuracy"][-1] for run in runs]
        best[name] = [max(run["val_accuracy"]) for run in runs]
        print(f"# {name}: {time.perf_counter() - started:.0f} s", flush=True)
    speed_stars = stars([np.mean(epochs[name]) for name in epochs], largest_is_best=False)
    quality_stars = stars([np.mean(last[name]) for name in last], largest_is_best=True)
    print(f"| optimizer | rate | epochs to {LEVEL} | accuracy, last epoch | best epoch |", end="")
    print(" stars of speed, quality | textbook's |\n|---|---|---|---|---|---|---|")
    for name, *found in zip(epochs, speed_stars, quality_stars, strict=True):
        reached = sum(np.isfinite(epochs[name]))
        speed = fashion_mnist.mean_and_error(epochs[name], 1)
        if reached < options.seeds:
            speed = f"reached by {reached} of {options.seeds}"
        print(
            f"| {name} | {rates[name]:.2g} | {speed} | "
            f"{fashion_mnist.mean_and_error(last[name])} | "
            f"{fashion_mnist.mean_and_error(best[name])} | {found[0]}, {found[1]} | "
            f"{OPTIMIZERS[name][3]}, {OPTIMIZERS[name][4]} |"
        )
    reaching = {
        name: -np.array(epochs[name]) for name in epochs if np.all(np.isfinite(epochs[name]))
    }
    if reaching:
        print("\nspeed:", fashion_mnist.ranking(reaching))
    print("last epoch:", fashion_mnist.ranking(last))
    print("best epoch:", fashion_mnist.ranking(best))


if __name__ == "__main__":
    main()
