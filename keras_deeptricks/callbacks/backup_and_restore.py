"""Backup of a run that also keeps what its callbacks and random layers know."""

import json
import os
import pathlib
import warnings
import zipfile

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.results import from_json, to_json

_FILE = "states_{}.npz"


class BackupAndRestore(keras.callbacks.BackupAndRestore):
    """Keras' `BackupAndRestore`, with the state of other callbacks and of random layers.

    An interrupted run that is started again goes on at the epoch it had reached, with weights
    and optimizer as they were. Keras loses what `EarlyStopping` and `PerformanceScheduling` have
    counted, so that the run stops at another epoch, and the seeds of dropout. This one keeps
    them, at the end of each epoch. Put it behind the callbacks it keeps.

    The order in which `fit` shuffles arrays is no part of a backup: for a run that goes on bit
    for bit, feed a data set whose order depends on the epoch alone.

    Args:
        backup_dir: Folder for the backup; used by this run only.
        callbacks: The callbacks of the same `fit` whose state is kept: those of this package
            that have `get_state` and `set_state`.
        double_checkpoint: As in Keras: whether to keep the backup before the last one too.
        delete_checkpoint: Whether the folder is deleted when training has ended. Defaults to
            `True`.

    Raises:
        TypeError: One of `callbacks` has no state that could be kept.
        ValueError: `backup_dir` is empty; or, in `fit`, this callback stands before one of those.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    stopping = kdt.callbacks.EarlyStopping("loss", patience=3)
    slower = kdt.callbacks.PerformanceScheduling("loss", patience=2)
    backup = kdt.callbacks.BackupAndRestore("backup", callbacks=[stopping, slower])
    x, y = np.ones((32, 4)), np.ones((32, 1))
    model.fit(x, y, epochs=3, callbacks=[stopping, slower, backup], verbose=0)
    ```
    """

    def __init__(self, backup_dir, callbacks=(), double_checkpoint=False, delete_checkpoint=True):
        callbacks = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
        for callback in callbacks:
            if not hasattr(callback, "get_state") or not hasattr(callback, "set_state"):
                raise TypeError(
                    "`callbacks` must be callbacks with `get_state` and `set_state`, such as "
                    "EarlyStopping and PerformanceScheduling of keras_deeptricks. "
                    f"Received: {callback!r}."
                )
        super().__init__(
            str(backup_dir) if backup_dir else backup_dir,
            double_checkpoint=double_checkpoint,
            delete_checkpoint=delete_checkpoint,
        )
        self.callbacks = callbacks
        self._restores = False

    def on_train_begin(self, logs=None):
        self._restores = any(pathlib.Path(self.backup_dir).glob("*.weights.h5"))
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch, logs=None):
        # After `on_train_begin` of every callback, and where the first epoch is known.
        if self._restores:
            self._restores = False
            self._restore(epoch - 1)

    def on_epoch_end(self, epoch, logs=None):
        states = [callback.get_state() for callback in self.callbacks]
        for callback, state in zip(self.callbacks, states, strict=True):
            if state["epoch"] != epoch:
                raise ValueError(
                    "BackupAndRestore must stand behind the callbacks whose state it keeps. "
                    f"{type(callback).__name__} has not seen the end of epoch {epoch + 1} yet: "
                    "move it to the front of the list."
                )
        # Before the weights: whatever is interrupted, to every weights file there are states.
        self._write(epoch, states)
        super().on_epoch_end(epoch, logs)

    def _write(self, epoch, states):
        folder = pathlib.Path(self.backup_dir)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"seed_{n}": _array(v) for n, v in enumerate(_seeds(self.model))}
        plain = []
        for n, state in enumerate(states):
            weights = state.pop("weights", None)
            state["weights"] = None if weights is None else len(weights)
            arrays.update({f"weights_{n}_{k}": value for k, value in enumerate(weights or ())})
            plain.append(to_json(state))
        unfinished = folder / "unfinished.npz"
        np.savez(unfinished, states=np.array(json.dumps(plain)), **arrays)
        os.replace(unfinished, folder / _FILE.format(epoch))
        # A backup of Keras may be one or two epochs old.
        for path in folder.glob(_FILE.format("*")):
            number = path.stem.rpartition("_")[2]
            if number.isdigit() and int(number) < epoch - 2:
                path.unlink()

    def _restore(self, epoch):
        path = pathlib.Path(self.backup_dir) / _FILE.format(epoch)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):
            warnings.warn(
                f"BackupAndRestore finds no state of epoch {epoch + 1} in '{self.backup_dir}': the "
                "callbacks begin anew.",
                stacklevel=2,
            )
            return
        states = from_json(json.loads(str(arrays["states"])))
        if len(states) != len(self.callbacks):
            raise ValueError(
                f"`callbacks` must be those of the interrupted run. The backup has {len(states)} "
                f"states, there are {len(self.callbacks)} callbacks."
            )
        for n, (callback, state) in enumerate(zip(self.callbacks, states, strict=True)):
            if state["weights"] is not None:
                state["weights"] = [arrays[f"weights_{n}_{k}"] for k in range(state["weights"])]
            callback.set_state(state)
        seeds = _seeds(self.model)
        if all(f"seed_{n}" in arrays for n in range(len(seeds))):
            for n, variable in enumerate(seeds):
                variable.assign(arrays[f"seed_{n}"])


def _seeds(model):
    """The variables that a file of weights leaves out: the states of seed generators."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _array(variable):
    return np.array(ops.convert_to_numpy(variable))
