"""Deep dense networks on Fashion-MNIST: self-normalizing, batch norm, plain ReLU.

    KERAS_BACKEND=jax python benchmarks/deep_networks.py --part hundred --seeds 3
    KERAS_BACKEND=jax python benchmarks/deep_networks.py --part curves --seeds 5

`hundred`: 100 hidden layers, one of 300 units and 99 of 100, SELU with LeCun initialization against
ReLU with He's; SGD at 0.001 without momentum, batches of 32, 5 epochs; 55,000 training images, the
first 5,000 for validation, pixels standardized one by one. It is the protocol of Géron, Hands-on
machine learning, 2nd ed., chapter 11, whose figures stand beside ours. Then the same nets with one
cycle of the rate up to 0.01 and gradients clipped to norm 1. Prints the validation accuracy after
each epoch, mean ± standard error over the seeds.

`curves`: training loss of nets of 8, 16 and 32 hidden layers of 128 units, SELU against ReLU with
and without batch norm (between the kernel and the activation): the question of figure 1 of
Klambauer et al., Self-normalizing neural networks, 2017, on another data set. SGD at 0.01 without
momentum, batches of 128, 10,000 images. Prints the loss of each epoch on the way, as `fit` does,
mean ± standard error over the seeds; and the deviation between the seeds after the last epoch.

Seeds change the initial weights and the order of the rows, not the rows.
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

PUBLISHED = {"selu": 0.8218, "relu": 0.7380}
PEAK = 0.01
DEPTHS = (8, 16, 32)
KINDS = ("selu", "batch norm", "relu")
# torch refuses more than one.
STEPS_PER_EXECUTION = 1 if keras.config.backend() == "torch" else 16


def network(units, activation, batch_norm, learning_rate, clipnorm=None):
    """Dense layers of the given widths, compiled."""
    model = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten()])
    for width in units:
        kernel = kdt.initializers.for_activation(activation)
        model.add(keras.layers.Dense(width, use_bias=not batch_norm, kernel_initializer=kernel))
        if batch_norm:
            model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Activation(activation))
    # From logits: of probabilities below 1e-7 the loss has no gradient, but on TensorFlow.
    model.add(keras.layers.Dense(10))
    model.compile(
        keras.optimizers.SGD(learning_rate, clipnorm=clipnorm),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    return model


def histories(model, learning_rate, data, epochs, batch_size, seeds, validation=None, peak=None):
    """What `fit` reports of each seed, as dictionaries of lists.

    With a peak it is over one cycle, which stays in the optimizer: then for a single seed.
    """
    state = TrainingState.capture(model)
    for seed in seeds:
        fashion_mnist.restart(model, state, seed, learning_rate)
        cycle = [] if peak is None else [kdt.callbacks.OneCycle(peak, momentum=None)]
        yield model.fit(
            *data,
            batch_size=batch_size,
            epochs=epochs,
            validation_data=validation,
            validation_batch_size=1000,
            callbacks=cycle,
            verbose=0,
        ).history


def by_epoch(runs, epochs):
    """Mean ± standard error of each of the epochs, numbered from 1, as table cells."""
    return [fashion_mnist.mean_and_error([run[epoch - 1] for run in runs]) for epoch in epochs]


def hundred(options):
    """Prints the validation accuracies of the nets of 100 layers, one row for each."""
    train, validation, _ = fashion_mnist.full()
    train = [part[: options.rows or None] for part in train]
    epochs = range(1, (options.epochs or 5) + 1)
    head = "".join(f" epoch {epoch} |" for epoch in epochs)
    print(
        f"| activation | rate | published |{head}\n|---|---|---|{'---|' * len(epochs)}", flush=True
    )

    for peak in (None, PEAK):
        for name, published in PUBLISHED.items():
            groups = [[seed] for seed in range(options.seeds)] if peak else [range(options.seeds)]
            found = []
            for seeds in groups:
                model = network([300] + 99 * [100], name, False, 1e-3, clipnorm=peak and 1.0)
                found += histories(model, 1e-3, train, len(epochs), 32, seeds, validation, peak)
            cells = " | ".join(by_epoch([run["val_accuracy"] for run in found], epochs))
            rate = f"1cycle to {peak:g}, clipped |" if peak else f"0.001 | {published:.4f}"
            print(f"| {name} | {rate} | {cells} |", flush=True)


def curves(options):
    """Prints the training losses of three kinds of nets at each depth."""
    train, _ = fashion_mnist.subset(options.rows or 10_000)
    total = options.epochs or 20
    epochs = sorted({1, 2, 5, 10, 20, total} & set(range(1, total + 1)))
    print("| depth | network |" + "".join(f" epoch {epoch} |" for epoch in epochs) + " deviation |")
    print("|---|---|" + "---|" * (len(epochs) + 1), flush=True)
    for depth in options.depths:
        for kind in KINDS:
            activation = "selu" if kind == "selu" else "relu"
            model = network(depth * [128], activation, kind == "batch norm", 0.01)
            found = histories(model, 0.01, train, total, 128, range(options.seeds))
            runs = [history["loss"] for history in found]
            deviation = np.std([run[-1] for run in runs], ddof=1) if len(runs) > 1 else np.nan
            cells = " | ".join(by_epoch(runs, epochs))
            print(f"| {depth} | {kind} | {cells} | {deviation:.4f} |", flush=True)


def main():
    """Trains, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("hundred", "curves"), default="hundred")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=0, help="training images; 0 for the part's own")
    parser.add_argument("--epochs", type=int, default=0, help="0 for the part's own: 5 or 20")
    parser.add_argument("--depths", nargs="+", type=int, default=list(DEPTHS), help="of the curves")
    options = parser.parse_args()
    started = time.perf_counter()
    {"hundred": hundred, "curves": curves}[options.part](options)
    print(f"# {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
