"""How long `diagnostics.check` takes on a 784-300-100-10 network with 10,000 rows.

python benchmarks/doctor.py --repeats 3
"""

import argparse
import statistics

import keras
import numpy as np

import keras_deeptricks as kdt


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.rows, 784)).astype("float32")
    y = (x[:, :10] + 0.5 * rng.normal(size=(options.rows, 10))).argmax(axis=1)
    for level in ("quick", "full"):
        seconds = []
        for repeat in range(options.repeats if level == "quick" else 1):
            keras.backend.clear_session()
            keras.utils.set_random_seed(repeat)
            model = kdt.recipes.default_network((784,), 10, adapt_to=x, learning_rate=0.02)
            diagnosis = kdt.diagnostics.check(model, x, y, level=level, seed=repeat)
            seconds.append(diagnosis.seconds)
        print(
            f"{keras.config.backend()}, level={level}: {statistics.median(seconds):.1f} s "
            f"(median of {len(seconds)}, {min(seconds):.1f} to {max(seconds):.1f}), "
            f"findings: {diagnosis.codes}"
        )


if __name__ == "__main__":
    main()
