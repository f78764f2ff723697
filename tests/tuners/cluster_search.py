"""A search whose trials sleep: run as chief or worker by the tests, and by hand."""

import argparse
import os
import pathlib
import time

if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_tuner

from keras_deeptricks.tuners import cluster


def grid_space():
    """Nine points."""
    found = keras_tuner.HyperParameters()
    found.Choice("x", [-1.0, 0.5, 2.0])
    found.Choice("y", [0.0, 1.0, 2.0])
    return found


def continuous_space():
    """Enough points for any number of trials."""
    found = keras_tuner.HyperParameters()
    found.Float("x", -2.0, 2.0)
    found.Float("rate", 1e-4, 1.0, sampling="log")
    return found


def oracle(kind, trials):
    """The oracle of a search for the smallest "score"."""
    options = {"objective": keras_tuner.Objective("score", "min"), "seed": 1}
    if kind == "grid":
        return keras_tuner.oracles.GridSearchOracle(hyperparameters=grid_space(), **options)
    options["hyperparameters"] = continuous_space()
    if kind == "hyperband":
        return keras_tuner.oracles.HyperbandOracle(max_epochs=4, factor=2, **options)
    if kind == "bayesian":
        return QuickBayesian(max_trials=trials, num_initial_points=trials - 1, **options)
    if kind == "coarse_to_fine":
        from keras_deeptricks.tuners.coarse_to_fine import CoarseToFineOracle

        return CoarseToFineOracle(max_trials=trials, **options)
    return keras_tuner.oracles.RandomSearchOracle(max_trials=trials, **options)


class QuickBayesian(keras_tuner.oracles.BayesianOptimizationOracle):
    """Fits its Gaussian process once and not twenty times for each trial."""

    def _make_gpr(self):
        process = super()._make_gpr()
        process.n_restarts_optimizer = 0
        return process


def score(values):
    """What a trial reports."""
    return {"score": (values["x"] - 0.5) ** 2 + values.get("y", values.get("rate", 0.0))}


class Sleeper(keras_tuner.Tuner):
    """Each trial writes a line when it starts, and sleeps."""

    def run_trial(self, trial, seconds, verbose=None):
        lines = pathlib.Path(self.project_dir) / "started.txt"
        with lines.open("a") as file:
            file.write(f"{self.tuner_id} {os.getpid()} {trial.trial_id}\n")
        time.sleep(seconds)
        return score(trial.hyperparameters.values)


def main():
    """Runs the search in this process's role."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("directory")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.3)
    options = parser.parse_args()
    tuner = Sleeper(
        oracle=oracle(options.kind, options.trials),
        directory=options.directory,
        project_name="search",
    )
    name = os.environ.get("KERASTUNER_TUNER_ID", "alone")
    (pathlib.Path(options.directory) / f"{name}.pid").write_text(str(os.getpid()))
    started = time.monotonic()
    cluster.run(tuner, options.seconds)
    print(f"{cluster.role()} ended after {time.monotonic() - started:.2f} s", flush=True)


if __name__ == "__main__":
    main()
