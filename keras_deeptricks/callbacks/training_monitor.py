"""Observes the layers of a model while it trains."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.callbacks.event_files import import_writer
from keras_deeptricks.callbacks.training_probe import TrainingProbe
from keras_deeptricks.callbacks.training_record import STATISTICS, TrainingRecord
from keras_deeptricks.utils.backend import random_order_preserved
from keras_deeptricks.utils.checks import check_flag, check_integer
from keras_deeptricks.utils.compiled_step import single_optimizers
from keras_deeptricks.utils.hyperparameters import batch_counter
from keras_deeptricks.utils.layer_probe import tensors_of
from keras_deeptricks.utils.row_chunks import row_chunks


class TrainingMonitor(keras.callbacks.Callback):
    """Records, every so many steps, how activations, gradients and updates of all layers fare.

    To see during a training which layer dies, saturates, stops learning or blows up. It only
    observes: the weights are bit for bit those of a training without it. Every `every` steps, the
    first one included, one compiled function runs the model forward and backward on a fixed batch
    of `rows` rows, and a few numbers per layer come back:

    - `activation_mean` and `activation_std`: mean and standard deviation of its outputs;
    - `dead_share`: share of its units (channels) that are zero for all rows;
    - `saturated_share`: share of its outputs that lie where its activation is flat (as in
      `keras_deeptricks.diagnostics.activation_statistics`), where it has such an activation;
    - `gradient_norm`: norm of the gradient of its trainable variables;
    - `update_ratio`: norm of the change of these variables in a step by their norm before. About
      1e-3 is usual; 1e-6 hardly learns, 1e-1 is unstable.

    All are of the moment after the step. With `steps_per_execution` it is the end of the execution
    in which the step falls, and the update is that of the whole execution divided by its steps.

    The history of `fit` gains the last value of every epoch, as `"monitor/<layer>/<statistic>"`;
    it is NaN as long as there is none. What a layer does not have (gradients without variables)
    is left out.

    Args:
        x, y: Data to observe on, as for `model.fit`: arrays, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`. Of arrays the first rows are taken, of a
            data set those of its first batches. (Reading a `tf.data.Dataset` that shuffles makes it
            shuffle differently afterwards: pass arrays, or a data set of its own.)
        every: Number of steps from one record to the next. Defaults to `50`.
        rows: Number of rows of the fixed batch, at most. Defaults to `64`.
        sample_weight: For arrays only: a weight for each row.
        training: Whether the layers are called as in training, with dropout and with the batch's
            own statistics in batch normalization. Defaults to `True`.
        log_dir: Folder for TensorBoard's event files, or None for none. Needs the package
            `tensorboard`.

    Attributes:
        record: A `TrainingRecord` of all that was seen in the last `fit`, also the first layer
            where something was not finite. Its `plot()` draws the curves.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, `x` is a generator, which can be read only
            once, or has no rows.
        ImportError: `log_dir` is given and `tensorboard` is not installed.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(320, 8))
    y = (x[:, 0] > 0).astype("int32")
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, activation="relu", name="hidden"),
            keras.layers.Dense(2, activation="softmax", name="out"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    monitor = kdt.callbacks.TrainingMonitor(x, y, every=5)
    history = model.fit(x, y, epochs=2, callbacks=[monitor], verbose=0).history
    print(monitor.record)
    assert monitor.record.steps.tolist() == [0, 5, 10, 15]
    assert len(history["monitor/hidden/update_ratio"]) == 2
    ```

    Reference: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010, sections 3 and 4.
    """

    def __init__(
        self, x, y=None, every=50, *, rows=64, sample_weight=None, training=True, log_dir=None
    ):
        super().__init__()
        self.every = check_integer("every", every, minimum=1)
        self.rows = check_integer("rows", rows, minimum=1)
        self.training = check_flag("training", training)
        self.log_dir = log_dir
        self._writer_class = None if log_dir is None else import_writer()
        if hasattr(x, "__next__"):
            raise ValueError(
                "`x` is a generator, from which a batch cannot be taken without losing it for "
                "`fit`. Pass one batch of it: TrainingMonitor(*next(x))."
            )
        with random_order_preserved():
            _, *self._batch = next(row_chunks(x, self.rows, y, sample_weight))
        self._clear()

    def _clear(self):
        self._records, self._not_finite = [], {}
        self._seen = []
        self._probe = self._data = None
        self._before = None
        self._epoch = self._base = self._written = 0

    @property
    def record(self):
        self._read()
        layers = self._layers()
        tables = np.full((len(self._records), len(layers), len(STATISTICS)), np.nan)
        for table, one in zip(tables, self._records, strict=True):
            table[[layers.index(name) for name in one["layers"]]] = one["table"]
        return TrainingRecord(
            steps=np.array([one["step"] for one in self._records], "int64"),
            epochs=np.array([one["epoch"] for one in self._records], "int64"),
            losses=np.array([one["loss"] for one in self._records], "float64"),
            layers=layers,
            series={name: tables[:, :, place] for place, name in enumerate(STATISTICS)},
            first_not_finite=dict(self._not_finite),
        )

    def _layers(self):
        # Layers that were frozen may have none of their own at first.
        return list(dict.fromkeys(name for one in self._records for name in one["layers"]))

    def on_train_begin(self, logs=None):
        self._clear()
        self._steps_at_once = self.model.steps_per_execution
        self._data = [tensors_of(part) for part in self._batch]

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._base = _steps_done(self.model)

    # Not at the end of a batch: on JAX Keras waits for every step if a callback listens there.
    def on_train_batch_begin(self, batch, logs=None):
        # Each look at the model costs on JAX: the weights have to be brought home.
        first = self._base + batch
        if self._before is not None:
            self._observe(first)
        if not self._is_due(first, first + self._steps_at_once):
            return
        model = self.model
        self._first, self._before = first, []
        if not model.built:
            return
        if self._probe is None or not self._probe.fits(model):
            self._probe = TrainingProbe(model, self._data, self.training)
        self._before = self._probe.weights()

    def _is_due(self, first, end):
        return -(-first // self.every) * self.every < end

    def _observe(self, done):
        """Records the execution that ended after `done` steps, if it is one to be observed."""
        before, self._before = self._before, None
        model = self.model
        # An epoch's last execution may have fewer steps.
        if not self._is_due(self._first, done):
            return
        is_new = not before
        if is_new:
            # It was built in this step: from what weights is not known.
            self._probe = TrainingProbe(model, self._data, self.training)
            before = self._probe.weights()
        steps = None if is_new else done - self._first
        found = self._probe.look(before)
        self._seen.append((self._probe, found, steps, {"step": done - 1, "epoch": self._epoch}))

    def _read(self):
        """Fetches what was seen; only now, for a training that runs ahead not to wait for it."""
        for probe, found, steps, one in self._seen:
            loss, table, not_finite = probe.read(found, steps or 1)
            if steps is None:
                table[:, STATISTICS.index("update_ratio")] = np.nan
            if not_finite is None and not np.isfinite(loss):
                not_finite = "", "loss"
            if not_finite is not None and not self._not_finite:
                layer, what = not_finite
                self._not_finite = {"step": one["step"], "layer": layer, "what": what}
            self._records.append({**one, "loss": loss, "layers": probe.layers, "table": table})
        self._seen = []

    def on_epoch_end(self, epoch, logs=None):
        if self._before is not None:
            self._observe(_steps_done(self.model))
        self._read()
        # Not among the logs, which the progress bar would print.
        history = getattr(self.model, "history", None)
        if history is not None and self._records:
            for name, value in self._last_values():
                values = history.history.setdefault(name, [])
                values += [float("nan")] * (len(history.epoch) - len(values))
                values.append(value)
        if self._writer_class is not None:
            self._write()

    def _last_values(self):
        last = self._records[-1]
        for name, row in zip(last["layers"], last["table"], strict=True):
            for statistic, value in zip(STATISTICS, row, strict=True):
                if self._probe.has(name, statistic):
                    yield f"monitor/{name}/{statistic}", float(value)

    def _write(self):
        writer = self._writer_class(str(self.log_dir))
        try:
            for one in self._records[self._written :]:
                for name, row in zip(one["layers"], one["table"], strict=True):
                    for statistic, value in zip(STATISTICS, row, strict=True):
                        if not np.isnan(value):
                            tag = f"monitor/{name}/{statistic}"
                            writer.add_scalar(tag, value, step=one["step"])
        finally:
            writer.close()
        self._written = len(self._records)


def _steps_done(model):
    """The number of batches that the optimizer has seen."""
    return int(ops.convert_to_numpy(batch_counter(single_optimizers(model.optimizer)[0])))
