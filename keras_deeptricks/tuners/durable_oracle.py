"""An oracle whose process may be killed at any moment and be started again."""

import functools
import json
import os
import pathlib

import keras_tuner


def make_durable(oracle, folder):
    """Mends what a killed process left behind, and lets the oracle save itself atomically.

    For the chief, right after the tuner that reloaded the project was made. It

    - makes the trials' files and the oracle's agree, where it was killed between the two;
    - gives a grid search back its place in the grid, which Keras Tuner does not save;
    - writes each file beside its old version and then puts it in its place, so that a process
      killed while it writes leaves no half file, on which the next start would fail.

    Args:
        oracle: The `keras_tuner.Oracle`.
        folder: The project's directory. Nothing is changed about the saving where it is a URL.
    """
    _drop_unknown(oracle, folder)
    _mend_queue(oracle)
    if isinstance(oracle, keras_tuner.oracles.GridSearchOracle):
        _restore_grid(oracle)
    if "://" not in str(folder):
        folder = pathlib.Path(folder)
        oracle.save = functools.partial(_save_state, oracle, folder / "oracle.json")
        oracle._save_trial = functools.partial(_save_trial, folder)


def check_keras_tuner(oracle):
    """Refuses a version of Keras Tuner without the parts that a search by processes builds on.

    Args:
        oracle: The `keras_tuner.Oracle`.

    Raises:
        RuntimeError: the installed version has them no more.
    """
    names = ["_retry_queue", "_save_trial", "ongoing_trials", "tuner_ids", "start_order"]
    names += ["end_order"]
    if isinstance(oracle, keras_tuner.oracles.GridSearchOracle):
        names += ["_ordered_ids", "_populate_next", "_compare"]
    missing = [name for name in names if not hasattr(oracle, name)]
    if missing:
        raise RuntimeError(
            f"Keras Tuner {keras_tuner.__version__} has no {', '.join(missing)} any more. "
            "Install a version from 1.4.7 on, below 1.5: pip install 'keras-tuner<1.5'."
        )


def save_tuner(tuner):
    """Writes a tuner's own file, all of it or nothing; Keras Tuner does so after each trial."""
    if "://" in str(tuner.project_dir):
        return
    path = pathlib.Path(tuner.project_dir, f"{tuner.tuner_id}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, tuner.get_state())


def write_json(path, value):
    """Writes `value` to the file `path`, all of it or nothing.

    Args:
        path: The file.
        value: What `json` can write.

    Example:

    ```python
    import json
    import pathlib

    from keras_deeptricks.tuners import durable_oracle

    durable_oracle.write_json("trial.json", {"score": 1.5})
    assert json.loads(pathlib.Path("trial.json").read_text()) == {"score": 1.5}
    ```
    """
    path = pathlib.Path(path)
    text = json.dumps(value)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
    return text


def _save_state(oracle, path):
    return write_json(path, oracle.get_state())


def _save_trial(folder, trial):
    place = folder / f"trial_{trial.trial_id}"
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / "trial.json", trial.get_state())


def _drop_unknown(oracle, folder):
    """Forgets trials whose file was written before the chief died, but not yet the oracle's.

    No worker has ever got them, and the oracle, back where it was, will choose them again.
    """
    for name in set(oracle.trials) - set(oracle.start_order):
        del oracle.trials[name]
        if "://" not in str(folder):
            (pathlib.Path(folder) / f"trial_{name}" / "trial.json").unlink(missing_ok=True)


def _mend_queue(oracle):
    """Puts each trial that has not ended into the queue once, each that has at the end."""
    held = {trial.trial_id for trial in oracle.ongoing_trials.values()}
    queue = [name for name in dict.fromkeys(oracle._retry_queue) if name not in held]
    for name in sorted(set(oracle.trials) - set(oracle.end_order) - held):
        if oracle.trials[name].status in ("COMPLETED", "FAILED"):  # its file came first
            oracle.end_order.append(name)
        elif name not in queue:
            queue.append(name)
    ended = set(oracle.end_order)
    oracle._retry_queue[:] = [name for name in queue if name not in ended]


def _restore_grid(oracle):
    values = {name: trial.hyperparameters.values for name, trial in oracle.trials.items()}
    compare = functools.cmp_to_key(lambda a, b: oracle._compare(values[a], values[b]))
    ordered = sorted(values, key=compare)
    oracle._ordered_ids = type(oracle._ordered_ids)()
    for name in ordered:
        oracle._ordered_ids.insert(name)
    # Each is asked for its next point of the grid; those tried already are passed over.
    oracle._populate_next = ordered
