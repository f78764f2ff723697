"""The time of inference before and after batch norms were folded, and how predictions differ.

    KERAS_BACKEND=jax python benchmarks/folding.py

A residual network and a wide one with batch norms as if trained, and Keras' MobileNetV2, predict
the same batches as their folded twins, in turn and in changing order. Prints the median and the
quartiles of the ratio of the paired times; "itself" is the ratio of the network to a copy of it, as
a measure of the noise; then the largest difference of predictions relative to the largest one.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_deeptricks as kdt

SHAPE, CLASSES = (32, 32, 3), 10
NETWORKS = {
    "resnet": lambda: kdt.recipes.resnet(SHAPE, CLASSES, depth=20),
    "wide_resnet": lambda: kdt.recipes.wide_resnet(SHAPE, CLASSES, depth=16, widen=4),
    "mobilenet": lambda: keras.applications.MobileNetV2(
        weights=None, input_shape=SHAPE, classes=CLASSES
    ),
}


def as_if_trained(model, x):
    """Batch norms with random scales and shifts, and the statistics of the data."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name == "gamma":
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name == "beta":
            variable.assign(rng.normal(0, 0.3, variable.shape))
    kdt.models.refresh_batch_norm(model, x)
    return model


def seconds(model, x, batches):
    """The time of some compiled batches; the results are fetched."""
    started = time.perf_counter()
    for _ in range(batches):
        model.predict_on_batch(x)
    return time.perf_counter() - started


def paired_ratios(first, second, x, batches, repeats):
    """Ratios second / first of times taken in turn, in changing order; the last time of first."""
    for model in (first, second):
        seconds(model, x, 2)
    ratios = []
    for repeat in range(repeats):
        pair = [first, second] if repeat % 2 == 0 else [second, first]
        times = {id(model): seconds(model, x, batches) for model in pair}
        ratios.append(times[id(second)] / times[id(first)])
    return np.array(ratios), times[id(first)]


def largest_difference(first, second, x):
    """The largest difference of predictions over the largest prediction."""
    before, after = first.predict_on_batch(x), second.predict_on_batch(x)
    return np.max(np.abs(after - before)) / np.max(np.abs(before))


def main(arguments=None):
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rows", type=int, default=64, help="rows of a batch")
    parser.add_argument("--batches", type=int, default=5, help="batches of one measurement")
    parser.add_argument("--repeats", type=int, default=20, help="pairs of measurements")
    options = parser.parse_args(arguments)
    x = np.random.default_rng(1).normal(size=(options.rows, *SHAPE)).astype("float32")
    for name in options.networks:
        model = as_if_trained(NETWORKS[name](), x)
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        folded, report = kdt.models.fold_batch_norm(model, report=True)
        for label, other in (("itself", twin), ("folded", folded)):
            ratios, last = paired_ratios(model, other, x, options.batches, options.repeats)
            low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
            print(
                f"{keras.config.backend():10} {name:12} {label}: median {median:.3f} "
                f"(quartiles {low:.3f}–{high:.3f}, {len(ratios)} pairs of {options.batches} "
                f"batches of {options.rows}, {1e3 * last / options.batches:.1f} ms each)",
                flush=True,
            )
        print(
            f"{len(report.folded_names)} batch norms folded, {len(report.kept)} kept; largest "
            f"difference {largest_difference(model, folded, x):.1e} of the largest prediction",
            flush=True,
        )


if __name__ == "__main__":
    main()
