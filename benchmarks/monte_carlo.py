"""The time and memory of Monte-Carlo dropout: the textbook's way, loops, and MonteCarlo.

    KERAS_BACKEND=tensorflow python benchmarks/monte_carlo.py
    KERAS_BACKEND=jax python benchmarks/monte_carlo.py

Two networks with random weights: a dense 784-300-100-10 with dropout before its last layer, on
10,000 rows with 100 passes, and a convolutional one on 1,000 images with 50 passes. All ways are
timed in turn in one process, after a first call of each; the slow ones run fewer passes, and their
time is scaled up (`--passes`). Prints times, and ratios to ours; then the time to compile and the
peak of memory (each of a fresh process) for few and for many passes.
"""

import argparse
import functools
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers, ops

import keras_deeptricks as kdt


def dense_network():
    """784-300-100-10, and where its random part begins."""
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(300, activation="relu"),
            layers.Dense(100, activation="relu"),
            kdt.layers.MCDropout(0.5, seed=1),
            layers.Dense(10, activation="softmax"),
        ]
    )


def convolutional_network():
    """Two convolutions, pooling, dropout, dense 128, dropout, dense 10."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            kdt.layers.MCDropout(0.25, seed=1),
            layers.Dense(128, activation="relu"),
            kdt.layers.MCDropout(0.5, seed=2),
            layers.Dense(10, activation="softmax"),
        ]
    )


NETWORKS = {
    "dense": (dense_network, 10_000, 100),
    "convolutional": (convolutional_network, 1000, 50),
}


class RandomPartOnly(keras.Model):
    """Passes of the layers behind the first dropout without any noise: the least there is to do.

    The input is shifted a little in each pass, so that a compiler cannot compute it only once.
    """

    def __init__(self, behind, passes):
        super().__init__()
        self.behind, self.passes = behind, passes

    def call(self, inputs):
        def add(index, total):
            return total + self.behind(inputs + 1e-6 * ops.cast(index, "float32"))

        return ops.fori_loop(0, self.passes, add, 0.0 * self.behind(inputs)) / self.passes


class WholePasses(keras.Model):
    """Hides the graph of a model, so that nothing is cached."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def call(self, inputs):
        return self.model(inputs)


def first_dropout(model):
    return next(i for i, layer in enumerate(model.layers) if isinstance(layer, layers.Dropout))


def ways(model, x, passes, few):
    """Name → (function, passes it runs)."""
    ours = kdt.models.MonteCarlo(model, samples=passes, seed=1)
    uncut = kdt.models.MonteCarlo(WholePasses(model), samples=passes, seed=1)
    ours.predict(x, verbose=0)
    rows = ours.chunk_size
    chunks = [x[i : i + rows] for i in range(0, len(x), rows)]
    cut = first_dropout(model)
    before = keras.Sequential([keras.Input(x.shape[1:]), *model.layers[:cut]])
    behind = [layer for layer in model.layers[cut:] if not isinstance(layer, layers.Dropout)]
    behind = keras.Sequential([keras.Input(before.output_shape[1:]), *behind])
    hidden = [before.predict(chunk, batch_size=rows, verbose=0) for chunk in chunks]
    least = RandomPartOnly(behind, passes)
    for network in (model, least):
        network.compile()

    def stacked(count, **options):
        samples = np.stack([model.predict(x, verbose=0, **options) for _ in range(count)])
        return samples.mean(axis=0), samples.std(axis=0)

    def eagerly():
        return [np.mean([model(chunk) for _ in range(few)], axis=0) for chunk in chunks]

    def compiled():
        for chunk in chunks:
            samples = np.stack([model.predict_on_batch(chunk) for _ in range(few)])
            samples.mean(axis=0), samples.std(axis=0)

    return {
        "textbook: stacked predict": (lambda: stacked(few), few),
        f"stacked predict, batch {rows}": (lambda: stacked(few, batch_size=rows), few),
        f"eager calls, batch {rows}": (eagerly, few),
        f"compiled whole passes, batch {rows}": (compiled, few),
        "MonteCarlo, nothing cached": (lambda: uncut.predict(x, verbose=0), passes),
        "MonteCarlo": (lambda: ours.predict(x, verbose=0), passes),
        "random part alone": (lambda: [least.predict_on_batch(h) for h in hidden], passes),
    }


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def print_times(name, few, repeats):
    make, rows, passes = NETWORKS[name]
    model = make()
    x = np.random.default_rng(0).normal(size=(rows, *model.input_shape[1:])).astype("float32")
    candidates = ways(model, x, passes, few)
    for function, _ in candidates.values():
        function()
    times = {way: [] for way in candidates}
    for _ in range(repeats):
        for way, (function, count) in candidates.items():
            times[way].append(seconds(function) * passes / count)
    times = {way: np.median(values) for way, values in times.items()}
    print(f"\n{name}, {rows} rows, {passes} passes, {keras.config.backend()}\n")
    print("| way | seconds | times ours |\n|---|---|---|")
    for way, value in times.items():
        print(f"| {way} | {value:.3f} | {value / times['MonteCarlo']:.2f} |")


def print_compile_times():
    x = np.zeros((1000, 784), "float32")
    print("\ntime to compile (first call less a second one), dense, 1000 rows")
    for passes in (10, 1000):
        ours = kdt.models.MonteCarlo(dense_network(), samples=passes, seed=1)
        predict = functools.partial(ours.predict, x, verbose=0)
        first, second = seconds(predict), seconds(predict)
        print(f"{passes} passes: {first - second:.2f} s")


def print_memory():
    print("\npeak of memory, dense, 10,000 rows, each in a fresh process")
    for passes in (1, 100, 1000):
        command = [sys.executable, __file__, "--memory-of", str(passes)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(f"{passes} passes: {output.split()[-1]} MB")


def memory_of(passes):
    """Peak of resident memory in MB, as Linux counts it."""
    x = np.zeros((10_000, 784), "float32")
    kdt.models.MonteCarlo(dense_network(), samples=passes, seed=1).predict(x, verbose=0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments=None):
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--passes", type=int, default=10, help="of the slow ways, scaled up")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory_of is not None:
        print(f"{memory_of(options.memory_of):.0f}")
        return
    for name in options.networks:
        print_times(name, options.passes, options.repeats)
    print_compile_times()
    print_memory()


if __name__ == "__main__":
    main()
