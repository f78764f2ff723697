"""Seven activations on Fashion-MNIST: accuracy and time, shallow and deep, with and without norm.

    KERAS_BACKEND=jax python benchmarks/activations.py --seeds 5

Networks of 3 and of 8 hidden layers of 100 units, each activation with the initializer that suits
it (`keras_deeptricks.initializers.for_activation`), without and with batch norm (between the kernel
and the activation). SGD with momentum 0.9, batches of 64, 10 epochs, 8,000 training images and
5,000 others for validation. The rate of each cell is the one of the lowest validation loss after
the last epoch on a grid of half decades around 0.03, with a seed of its own; a best rate at the
grid's edge extends it, twice at most.

Prints the validation accuracy after the last epoch, mean ± standard error over the seeds, which
change the initial weights and the order of the rows, not the rows; and the time of an epoch as a
ratio to ReLU's, the median of epochs trained in turn, with their quartiles.
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

BATCH_SIZE = 64
MIDDLE_RATE = 0.03
TUNING_SEED = 1000
ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "linear")


def activation_layer(name):
    """A new layer; Keras' own slopes of the leaky ReLU are not the textbooks' 0.01."""
    if name == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=0.01)
    return keras.layers.Activation(name)


def network(name, depth, batch_norm):
    """`depth` hidden layers of 100, compiled."""
    model = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten()])
    for _ in range(depth):
        activation = activation_layer(name)
        initializer = kdt.initializers.for_activation(activation)
        model.add(keras.layers.Dense(100, use_bias=not batch_norm, kernel_initializer=initializer))
        if batch_norm:
            model.add(keras.layers.BatchNormalization())
        model.add(activation)
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(
        kdt.optimizers.SGD(MIDDLE_RATE, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def measured(model, state, data, options):
    """The chosen rate of a model, and its accuracies, one per seed."""
    (x, y), validation = data

    def loss_and_accuracy(seed, rate):
        fashion_mnist.restart(model, state, seed, rate)
        model.fit(x, y, batch_size=BATCH_SIZE, epochs=options.epochs, verbose=0)
        return model.evaluate(*validation, batch_size=1000, verbose=0)

    exponents = (0,) if options.quick else (-1, 0, 1)
    rate = fashion_mnist.best_rate(
        lambda rate: loss_and_accuracy(TUNING_SEED, rate)[0],
        [MIDDLE_RATE * fashion_mnist.HALF_A_DECADE**exponent for exponent in exponents],
        extensions=0 if options.quick else 2,
    )
    return rate, [loss_and_accuracy(seed, rate)[1] for seed in range(options.seeds)]


def time_ratios(models, states, data, rounds):
    """The quartiles of each model's time per epoch over that of ReLU's in the same round."""
    (x, y), _ = data
    for name, model in models.items():
        # From the start again: NaN and numbers near zero take a time of their own.
        fashion_mnist.restart(model, states[name], 0, MIDDLE_RATE)
    times = {name: [] for name in models}
    for turn in range(rounds):
        names = list(models) if turn % 2 == 0 else list(models)[::-1]
        for name in names:
            started = time.perf_counter()
            models[name].fit(x, y, batch_size=BATCH_SIZE, verbose=0)
            times[name].append(time.perf_counter() - started)
    return {
        name: np.quantile(np.array(times[name]) / times["relu"], (0.25, 0.5, 0.75))
        for name in models
    }


def main():
    """Trains, and prints one table and one ranking per setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", nargs="+", type=int, default=[3, 8])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=8000, help="training images")
    parser.add_argument("--rounds", type=int, default=7, help="timed epochs of each network")
    parser.add_argument(
        "--quick", action="store_true", help="a minute: one depth and rate, few rows and seeds"
    )
    options = parser.parse_args()
    if options.quick:
        options.depths, options.seeds, options.epochs = options.depths[:1], 2, 2
        options.rows, options.rounds = 2000, 3
    data = fashion_mnist.subset(options.rows)
    started = time.perf_counter()
    for depth in options.depths:
        for batch_norm in (False, True):
            models = {name: network(name, depth, batch_norm) for name in ACTIVATIONS}
            states = {name: TrainingState.capture(models[name]) for name in models}
            found = {name: measured(models[name], states[name], data, options) for name in models}
            ratios = time_ratios(models, states, data, options.rounds)
            print(f"\n{depth} hidden layers, {'with' if batch_norm else 'without'} batch norm")
            print("\n| activation | rate | accuracy | time / ReLU's |\n|---|---|---|---|")
            for name, (rate, accuracies) in found.items():
                low, median, high = ratios[name]
                print(
                    f"| {name} | {rate:.2g} | {fashion_mnist.mean_and_error(accuracies)} | "
                    f"{median:.2f} ({low:.2f}–{high:.2f}) |"
                )
            print("\n" + fashion_mnist.ranking({name: found[name][1] for name in found}))
            print(f"# {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
