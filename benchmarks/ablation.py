"""Which tricks of the default configuration help on the digits, and which on a plain baseline.

    KERAS_BACKEND=jax python benchmarks/ablation.py --seeds 5 --directory runs

The nine toggles of `keras_deeptricks.recipes.default_toggles` on scikit-learn's 8×8 digits: three
hidden layers of 100 units, 20 epochs, batches of 32, 1,293 rows to train on, 144 for early stopping
and 360 to score on. With `--directory` a run that is killed goes on where it was.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_deeptricks as kdt


def main():
    """Trains, prints the table, and saves the result and its picture if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits", choices=kdt.datasets.real_data.NAMES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--toggles", nargs="+", choices=kdt.recipes.default_toggles())
    parser.add_argument("--directory", help="folder for finished runs")
    parser.add_argument("--output", help="file for the result, .json or .npz")
    parser.add_argument("--picture", help="file for the picture, such as ablation.png")
    parser.add_argument("--quick", action="store_true", help="a minute: two toggles, two seeds")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.epochs = 2, 3
        options.toggles = options.toggles or ["activation", "early_stopping"]
    toggles = kdt.recipes.default_toggles()
    data = kdt.datasets.load(options.dataset)
    build = kdt.recipes.DefaultConfiguration(
        data.x_train, data.y_train, stopping_data=data.validation_data, epochs=options.epochs
    )
    started = time.perf_counter()
    result = kdt.diagnostics.ablate(
        build,
        # The rows of early stopping have no part in the scores.
        (data.x_train, data.y_train, data.x_test, data.y_test),
        {name: toggles[name] for name in options.toggles or toggles},
        seeds=options.seeds,
        monitor="val_rmse" if build.task == "regression" else "val_accuracy",
        directory=options.directory,
        verbose=1,
    )
    print(f"\n{result}\n\n{result.summary()}\n\n{time.perf_counter() - started:.0f} s")
    if options.output:
        result.save(options.output)
    if options.picture:
        result.plot()[0].figure.savefig(options.picture, dpi=120)


if __name__ == "__main__":
    main()
