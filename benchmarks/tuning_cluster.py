"""What a second worker gains in a search.

    KERAS_BACKEND=jax python benchmarks/tuning_cluster.py

Trials sleep, so the figure is that of the cluster itself (asking, reporting, ending) and does not
depend on the number of cores. Prints the wall time of the search by one worker and by two: from the
start of the first trial until the chief returns, without the start of the processes.
"""

import argparse
import os
import pathlib
import re
import sys
import tempfile

_PROGRAM = """
import pathlib, sys, time
import keras_tuner
from keras_deeptricks.tuners import cluster

folder, trials, seconds, workers = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]

class Sleeper(keras_tuner.RandomSearch):
    def run_trial(self, trial, **options):
        time.sleep(seconds)
        return trial.hyperparameters.values["x"] ** 2

space = keras_tuner.HyperParameters()
space.Float("x", -1.0, 1.0)
tuner = Sleeper(
    hyperparameters=space, max_trials=trials, seed=1, directory=folder, project_name="search"
)
if cluster.role() == "chief":
    cluster.run(tuner, verbose=0)
    print("ended", time.time())
else:
    # All workers begin together, whichever process started first.
    (pathlib.Path(folder) / f"{tuner.tuner_id}.ready").touch()
    while len(list(pathlib.Path(folder).glob("*.ready"))) < int(workers):
        time.sleep(0.01)
    print("began", time.time(), flush=True)
    cluster.run(tuner, verbose=0)
"""


def seconds_of(workers, trials, seconds):
    """Wall time of the search."""
    from keras_deeptricks.tuners import launcher

    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "program.py"
        program.write_text(_PROGRAM)
        done = launcher.launch(
            [sys.executable, program, folder, trials, seconds, workers],
            workers,
            directory=folder,
            environment={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        texts = {name: path.read_text() for name, path in done.logs.items()}
        if done.exit_code:
            raise SystemExit(texts["chief"])
    began = min(float(t) for text in texts.values() for t in re.findall(r"^began (.*)", text, re.M))
    return float(re.search(r"^ended (.*)", texts["chief"], re.M)[1]) - began


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a trial")
    options = parser.parse_args()
    one = seconds_of(1, options.trials, options.seconds)
    two = seconds_of(2, options.trials, options.seconds)
    print(
        f"{options.trials} trials of {options.seconds:g} s: one worker {one:.1f} s, "
        f"two workers {two:.1f} s, ratio {two / one:.2f}"
    )


if __name__ == "__main__":
    main()
