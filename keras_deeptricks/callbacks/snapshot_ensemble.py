"""Snapshot ensembles: several networks from one run, at the ends of its cosine cycles."""

import json
import os
import pathlib
import shutil
import tempfile
import warnings
import weakref

from keras_deeptricks.callbacks.schedule import Schedule
from keras_deeptricks.models.ensemble import Ensemble
from keras_deeptricks.schedules.shifted import Shifted
from keras_deeptricks.schedules.snapshot_cosine import SnapshotCosine
from keras_deeptricks.utils.checks import check_integer, check_number
from keras_deeptricks.utils.compiled_step import (
    check_compiled,
    given_learning_rate,
    is_multi_optimizer,
    unwrap_optimizer,
)
from keras_deeptricks.utils.hyperparameters import is_schedule

_PLAN = "snapshots.json"


class SnapshotEnsemble(Schedule):
    """Trains in equal cosine cycles and keeps the weights at the end of each.

    Use it to get an ensemble for the cost of one run: each cycle ends in a minimum, the full rate
    at the start of the next one leaves it again, and `ensemble()` averages the predictions of
    what was kept. The cycles are `keras_deeptricks.schedules.SnapshotCosine`, evaluated inside
    the compiled step; everything `keras_deeptricks.callbacks.Schedule` says of
    `steps_per_execution`, a second `fit` and the rate that is left after it holds here.

    The number of epochs must be a multiple of `cycles`. A run that is stopped earlier has fewer
    snapshots. A run that starts at epoch 0 lists none of those it finds in `folder`, and writes
    over them as it comes to them. With `initial_epoch`, or after an interruption with
    `keras_deeptricks.callbacks.BackupAndRestore(backup_dir, callbacks=[snapshots])` (which stands
    behind this one), it goes on in the middle of the cycle and takes up the snapshots of the run
    so far. For that pass a `folder`.

    Args:
        cycles: M, the number of cycles, and of snapshots, at least 1. The paper has 5 or 6.
        initial_learning_rate: α₀, the rate at the start of every cycle, above 0. It should be
            large, such as 0.1 or 0.2 for SGD. Defaults to the optimizer's present rate.
        folder: Where `snapshot_01.weights.h5` and so on are written, used by this run only. A
            new one is made where there is none. By default a temporary folder, which is deleted
            together with this callback (an ensemble made of it stays).
        total_steps: Number of steps of the run, for data of unknown length: a multiple of the
            number of epochs. (Where such data ends, TensorFlow's `fit` has Keras' optimizers count
            one step too many, which every schedule follows: data that repeats, with
            `steps_per_epoch`, is exact.)

    Attributes:
        files: The paths of the snapshots of this run so far, the earliest first.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range; or, in `fit` and before anything is changed,
            the number of epochs is no multiple of `cycles`, `total_steps` is none of the epochs,
            the data has no known length and `total_steps` is not given, or the optimizer has a
            schedule and `initial_learning_rate` is not given.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.2), "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).normal(size=(64, 4))
    y = (x[:, 0] > 0).astype("int32")
    snapshots = kdt.callbacks.SnapshotEnsemble(cycles=3)
    model.fit(x, y, epochs=6, callbacks=[snapshots], verbose=0)
    ensemble = snapshots.ensemble(last=2)
    assert len(snapshots.files) == 3 and ensemble.predict(x, verbose=0).shape == (64, 2)
    ```

    Reference: Huang, Li, Pleiss, Liu, Hopcroft & Weinberger, Snapshot ensembles: train 1, get M
    for free, 2017.
    """

    def __init__(self, cycles, initial_learning_rate=None, folder=None, total_steps=None):
        self.cycles = check_integer("cycles", cycles, minimum=1)
        if initial_learning_rate is not None:
            initial_learning_rate = check_number(
                "initial_learning_rate", initial_learning_rate, above=0
            )
        if folder is not None and (not isinstance(folder, (str, os.PathLike)) or not str(folder)):
            raise TypeError(
                "`folder` must be the path of a folder, or None for a temporary one. "
                f"Received: folder={folder!r}."
            )
        self.initial_learning_rate = initial_learning_rate
        self.folder = None if folder is None else pathlib.Path(folder)
        self.files = []
        self._epoch = None
        super().__init__(self._cosine, total_steps)

    def _cosine(self, total_steps):
        rate = self.initial_learning_rate
        if rate is None:
            rate = _present_rate(self.model.optimizer)
        return SnapshotCosine(rate, total_steps, self.cycles)

    def on_train_begin(self, logs=None):
        check_compiled(self.model)
        self._check_cycles(*self._count())
        if self.folder is None:
            self.folder = pathlib.Path(tempfile.mkdtemp(prefix="snapshots_"))
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        super().on_train_begin(logs)
        self._epoch = None
        self.files = []

    def on_epoch_begin(self, epoch, logs=None):
        is_first = not self.installed
        super().on_epoch_begin(epoch, logs)
        if is_first:
            self._take_up(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch
        number, rest = divmod(epoch + 1, self._cycle_epochs())
        if rest:
            return
        # Written under another name first: a run that is killed leaves no half snapshot.
        unfinished = self.folder / "unfinished.weights.h5"
        self.model.save_weights(unfinished)
        os.replace(unfinished, self._path(number))
        if self._path(number) not in self.files:
            self.files.append(self._path(number))

    def ensemble(self, last=None, activation=None):
        """The snapshots as one model, which averages their predictions.

        Args:
            last: How many to take, counted from the last one. Defaults to all.
            activation: As in `keras_deeptricks.models.Ensemble`: `"softmax"` for a model that
                gives logits.

        Returns:
            A `keras_deeptricks.models.Ensemble` of copies; the trained model stays as it is.

        Raises:
            ValueError: There is no snapshot yet, or fewer than `last`.
        """
        if last is not None:
            last = check_integer("last", last, minimum=1)
        if not self.files:
            raise ValueError(
                "There is no snapshot yet: the first one is taken at the end of the first cycle. "
                "Call `fit` with this callback first."
            )
        if last is not None and last > len(self.files):
            raise ValueError(
                f"`last` must be at most the number of snapshots, {len(self.files)}. "
                f"Received: last={last}."
            )
        return Ensemble(self.files[-(last or 0) :], model=self.model, activation=activation)

    def get_state(self):
        """What it has kept, for `keras_deeptricks.callbacks.BackupAndRestore`."""
        return {
            "epoch": self._epoch,
            "cycles": self.cycles,
            "files": [path.name for path in self.files],
        }

    def set_state(self, state):
        """Goes on from what `get_state` has told in an interrupted run."""
        if state["cycles"] != self.cycles:
            raise ValueError(
                f"`cycles` must be that of the interrupted run, {state['cycles']}. "
                f"Received: cycles={self.cycles}."
            )
        self._epoch = state["epoch"]
        self.files = self._existing(self.folder / name for name in state["files"])

    def _take_up(self, epoch):
        """Begins the list of files, with those of the same run before `epoch`."""
        plan = {"cycles": self.cycles, "epochs": self.params["epochs"]}
        path = self.folder / _PLAN
        if epoch > 0 and path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                found = None
            if found != plan:
                warnings.warn(
                    f"The snapshots in '{self.folder}' are those of another run ({found}, this "
                    f"one has {plan}) and are not taken up.",
                    stacklevel=2,
                )
                epoch = 0
        if epoch > 0:
            past = range(1, epoch // self._cycle_epochs() + 1)
            self.files = self._existing(self._path(number) for number in past)
        unfinished = self.folder / f"{_PLAN}.unfinished"
        unfinished.write_text(json.dumps(plan), encoding="utf-8")
        os.replace(unfinished, path)

    def _existing(self, paths):
        paths = list(paths)
        lost = [path.name for path in paths if not path.exists()]
        if lost:
            warnings.warn(
                f"SnapshotEnsemble finds no {', '.join(lost)} in '{self.folder}': the ensemble "
                "will do without. A temporary folder does not outlive its callback: pass "
                "`folder`.",
                stacklevel=2,
            )
        return [path for path in paths if path.exists()]

    def _path(self, number):
        return self.folder / f"snapshot_{number:02d}.weights.h5"

    def _cycle_epochs(self):
        return self.params["epochs"] // self.cycles

    def _check_cycles(self, total_steps, per_epoch):
        epochs, cycles = self.params["epochs"], self.cycles
        if epochs % cycles:
            below = epochs // cycles * cycles
            near = [str(n) for n in (below, below + cycles) if n]
            fitting = [str(n) for n in range(1, epochs + 1) if epochs % n == 0]
            raise ValueError(
                "The number of epochs must be a multiple of `cycles`, for a cycle to end with an "
                f"epoch. Received: epochs={epochs}, cycles={cycles}. Train {' or '.join(near)} "
                f"epochs, or make cycles one of {', '.join(fitting)}."
            )
        if total_steps != per_epoch * epochs:
            raise ValueError(
                "`total_steps` must be the number of epochs times the batches of an epoch, for a "
                f"cycle to end with an epoch. Received: total_steps={total_steps}, with {epochs} "
                f"epochs of {per_epoch} batches. Pass {per_epoch * epochs}."
            )


def _present_rate(optimizer):
    """The rate that the optimizer starts from: a number, or that of cycles run before."""
    optimizer = unwrap_optimizer(optimizer)
    rate = None if is_multi_optimizer(optimizer) else given_learning_rate(optimizer)
    while isinstance(rate, Shifted):
        rate = rate.schedule
    if isinstance(rate, SnapshotCosine):
        return rate.initial_learning_rate
    if rate is None or is_schedule(rate):
        raise ValueError(
            "`initial_learning_rate` must be given where the optimizer has no rate that is one "
            f"number. Received: initial_learning_rate=None, the rate is {rate!r}."
        )
    return float(rate)
