"""Coarse-to-fine against random search at the same budget, and tuned against untuned.

    python benchmarks/tuning.py
    python benchmarks/tuning.py --datasets digits --seeds 2 --trials 10

For each data set and seed both tuners get the same number of trials, the same rows to validate on
and the same number of epochs. The test rows judge the best trial's model, beside the recipe with
its default settings on the same training rows; and the best settings trained anew on training and
validation rows together. Finished searches are kept in `--directory` and not run again.
"""

import argparse
import json
import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_deeptricks as kdt

_EPOCHS = {"digits": 10, "diabetes": 20}
_FIGURES = {"digits": "accuracy", "diabetes": "rmse"}
_TUNERS = ("random", "coarse_to_fine")


def main(arguments=None):
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=tuple(_EPOCHS), default=list(_EPOCHS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path("runs/tuning"))
    options = parser.parse_args(arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    print(f"{options.trials} trials, {options.seeds} seeds, {keras.config.backend()}")
    for dataset in options.datasets:
        results = [_results(dataset, seed, options) for seed in range(options.seeds)]
        _print_table(dataset, results)


def _results(dataset, seed, options):
    """Best validation figure and test figure by the tuner's name, and of the untuned recipe."""
    found = {}
    for tuner in _TUNERS:
        name = f"{dataset}-{seed}-{tuner}-{options.trials}-{keras.config.backend()}"
        found[tuner] = _kept(
            options.directory / f"{name}.json", _search, dataset, seed, tuner, options.trials
        )
    name = f"{dataset}-{seed}-untuned-{keras.config.backend()}"
    found["untuned"] = _kept(options.directory / f"{name}.json", _untuned, dataset, seed)
    return found


def _kept(path, function, *arguments):
    if not path.exists():
        path.write_text(json.dumps(function(*arguments)) + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _search(dataset, seed, tuner, trials):
    data = kdt.datasets.load(dataset, seed=seed)
    folder = tempfile.mkdtemp()
    try:
        result = kdt.tuners.search(
            data.x_train,
            data.y_train,
            validation_data=data.validation_data,
            test_data=(data.x_test, data.y_test),
            tuner=tuner,
            trials=trials,
            epochs=_EPOCHS[dataset],
            seed=seed,
            directory=folder,
        )
    finally:
        shutil.rmtree(folder)
    return {
        "objective": result.objective,
        "score": result.ranked()[0]["score"],
        "scores": result.best_scores(),
        "test": _figures(result.best_model, data, result.targets),
        "refit": result.test,
        "settings": result.best_settings,
        "seconds": result.search["seconds"],
    }


def _figures(model, data, targets):
    encoded = targets.encode(data.y_test)
    return model.evaluate(data.x_test, encoded, verbose=0, return_dict=True)


def _untuned(dataset, seed):
    data = kdt.datasets.load(dataset, seed=seed)
    run = kdt.recipes.train_default(
        data.x_train,
        data.y_train,
        validation_data=data.validation_data,
        epochs=_EPOCHS[dataset],
        seed=seed,
        verbose=0,
    )
    validation = run.evaluate(*data.validation_data)
    name = "accuracy" if run.targets.task == "classification" else "loss"
    return {"score": validation[name], "test": run.evaluate(data.x_test, data.y_test)}


def _print_table(dataset, results):
    figure = _FIGURES[dataset]
    objective = results[0][_TUNERS[0]]["objective"]
    print(f"\n{dataset}: best {objective} of the search, and {figure} on the test rows")
    print(f"{'':16}{'best, median (range)':34}{'test':20}test, trained anew on all rows")
    for name in ("untuned", *_TUNERS):
        scores = [result[name]["score"] for result in results]
        spread = f"{np.median(scores):.4f} ({min(scores):.4f} to {max(scores):.4f})"
        tests = [
            _mean([result[name][kind][figure] for result in results])
            for kind in ("test", "refit")
            if kind in results[0][name]
        ]
        print(f"{name:16}{spread:34}{'   '.join(tests)}")
    sign = 1 if objective.endswith("accuracy") else -1
    gain = [sign * (r["coarse_to_fine"]["score"] - r["random"]["score"]) for r in results]
    print(
        f"coarse to fine better than random by {np.median(gain):.4f} (median of the paired "
        f"differences), on {sum(g > 0 for g in gain)} of {len(gain)} seeds"
    )


def _mean(values):
    """Mean ± standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{np.mean(values):.4f} ± {error:.4f}"


if __name__ == "__main__":
    main()
