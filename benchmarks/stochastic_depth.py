"""What stochastic depth saves: the time of an epoch with it, against the same net without.

    KERAS_BACKEND=tensorflow python benchmarks/stochastic_depth.py

Two residual networks of the recipes on random 32×32×3 images are trained in turn, epoch by epoch:
one plain, one whose survival probability falls linearly to that of the last block. Prints the
median and the quartiles of the ratio of the paired times, beside the share of blocks that are
expected to be computed; "none" is a second plain network, as a measure of the noise.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from step_overhead import paired_ratios

import keras_deeptricks as kdt


def network(options, last):
    """A compiled residual network with stochastic depth down to `last`, or without for None."""
    return kdt.recipes.resnet(
        (32, 32, 3),
        10,
        depth=options.depth,
        filters=options.filters,
        stochastic_depth=last,
        skip={"auto": "auto", "yes": True, "no": False}[options.skip],
        learning_rate=1e-3,
        seed=0,
    )


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=32, help="6n + 2")
    parser.add_argument("--filters", type=int, default=16, help="channels of the first stage")
    parser.add_argument("--last", type=float, default=0.5, help="survival of the last block")
    parser.add_argument("--skip", choices=("auto", "yes", "no"), default="auto")
    parser.add_argument("--steps", type=int, default=20, help="steps per epoch")
    parser.add_argument("--repeats", type=int, default=10, help="pairs of epochs")
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = options.steps * options.batch_size
    x = rng.normal(size=(rows, 32, 32, 3)).astype("float32")
    y = rng.integers(0, 10, rows)
    blocks = (options.depth - 2) // 2
    for last in (None, options.last):
        first, second = network(options, None), network(options, last)
        share = np.mean(kdt.layers.survival_probabilities(blocks, last)) if last else 1.0
        ratios, time = paired_ratios(first, second, x, y, options.batch_size, options.repeats)
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        print(
            f"{keras.config.backend():10} depth {options.depth}, {options.filters} filters, "
            f"last block {last or 'none':<5} "
            f"({share:.2f} of the blocks): median {median:.3f} (quartiles {low:.3f}–{high:.3f}, "
            f"{len(ratios)} pairs of {options.steps} steps, "
            f"{1e3 * time / options.steps:.0f} ms per plain step)",
            flush=True,
        )


if __name__ == "__main__":
    main()
