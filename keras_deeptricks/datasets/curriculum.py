"""Curriculum learning: easy rows first, harder ones joining epoch by epoch."""

import math

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.batches import is_arrays, row_count, take_rows
from keras_deeptricks.utils.checks import check_integer, check_number


class Curriculum(keras.utils.PyDataset):
    """Batches drawn from the easiest rows, of which there are more in every epoch.

    In epoch e (from 0) the rows come from the easiest share of them: `initial_share` at first,
    growing linearly, all of them from epoch `full_epoch` on. Every epoch has the same number of
    steps, so that schedules keep their length: as long as the share is small its rows come more
    than once. Which rows an epoch has depends on `seed` and the epoch alone.

    `fit` tells the epoch through the callback `epoch_counter`, which must be passed to it.

    Args:
        x, y: Arrays, or lists, tuples or dictionaries of arrays, with rows along axis 0.
        difficulty: Array of one number per row, the larger the harder: see `loss_by_row`, or the
            length of a sentence, the noise of an image …
        batch_size: Rows per step, at least 1. Defaults to `32`.
        initial_share: Share of the rows in epoch 0, above 0 and at most 1. Defaults to `0.2`.
        full_epoch: The first epoch with all rows, at least 0. Defaults to `5`.
        sample_weight: Array of one weight per row, or None.
        seed: Whole number that fixes the order. Defaults to `0`.
        **kwargs: `workers`, `use_multiprocessing` and `max_queue_size` of
            `keras.utils.PyDataset`.

    Attributes:
        epoch_counter: The callback to pass to `fit`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or the lengths differ.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(200, 4))
    y = x.sum(axis=1) + np.linspace(0, 1, 200)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    easy_first = kdt.datasets.Curriculum(x, y, difficulty=np.arange(200), full_epoch=3)
    model.fit(easy_first, epochs=5, callbacks=[easy_first.epoch_counter], verbose=0)
    ```

    Reference: Bengio, Louradour, Collobert & Weston, Curriculum learning, 2009.
    """

    def __init__(
        self,
        x,
        y,
        difficulty,
        batch_size=32,
        initial_share=0.2,
        full_epoch=5,
        sample_weight=None,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, part in (("x", x), ("y", y)):
            if not is_arrays(part):
                raise TypeError(f"`{name}` must be arrays. Received: {name}={type(part).__name__}.")
        self.x, self.y, self.sample_weight = x, y, sample_weight
        self.batch_size = check_integer("batch_size", batch_size, minimum=1)
        self.initial_share = check_number("initial_share", initial_share, above=0, maximum=1)
        self.full_epoch = check_integer("full_epoch", full_epoch, minimum=0)
        self.seed = check_integer("seed", seed, minimum=0)
        rows = row_count(x)
        difficulty = np.asarray(ops.convert_to_numpy(difficulty), "float64")
        given = [("y", row_count(y)), ("difficulty", len(difficulty))]
        if sample_weight is not None:
            given.append(("sample_weight", row_count(sample_weight)))
        for name, length in given:
            if length != rows:
                raise ValueError(
                    f"`{name}` must have as many rows as `x`. Received: {length} and {rows}."
                )
        if difficulty.ndim != 1 or not np.isfinite(difficulty).all():
            raise ValueError(
                "`difficulty` must be one finite number per row. Received an array of shape "
                f"{difficulty.shape}."
            )
        self.easiest_first = np.argsort(difficulty, kind="stable")
        self.epoch_counter = _EpochCounter(self)
        self.begin_epoch(0)

    def share(self, epoch):
        """The share of the rows, the easiest ones, that epoch `epoch` draws from."""
        if epoch >= self.full_epoch:
            return 1.0
        return self.initial_share + (1.0 - self.initial_share) * epoch / self.full_epoch

    def begin_epoch(self, epoch):
        """Draws the rows of an epoch; the callback calls it."""
        rows = len(self.easiest_first)
        pool = self.easiest_first[: max(1, math.ceil(self.share(epoch) * rows - 1e-9))]
        random = np.random.default_rng([self.seed, epoch])
        # Each row of the pool once before any comes again.
        rounds = [random.permutation(pool) for _ in range(math.ceil(rows / len(pool)))]
        self.order = np.concatenate(rounds)[:rows]

    def __len__(self):
        return math.ceil(len(self.easiest_first) / self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        parts = (self.x, self.y)
        if self.sample_weight is not None:
            parts += (self.sample_weight,)
        return tuple(take_rows(part, rows) for part in parts)


class _EpochCounter(keras.callbacks.Callback):
    """Tells a curriculum which epoch begins: its own hooks are called at other times as well."""

    def __init__(self, curriculum):
        super().__init__()
        self.curriculum = curriculum

    def on_epoch_begin(self, epoch, logs=None):
        self.curriculum.begin_epoch(epoch)


def loss_by_row(model, x, y, batch_size=256):
    """The loss of each row under a trained model, as a difficulty for `Curriculum`.

    The model may be a small one trained on the same data, or a pretrained one: what it finds
    hard is mostly hard for others too.

    Args:
        model: A compiled `keras.Model` with one output and a loss that is a `keras.losses.Loss`,
            or the name or function of one.
        x, y: Arrays.
        batch_size: Rows per step of the prediction. Defaults to `256`.

    Returns:
        A float array of one loss per row.

    Raises:
        ValueError: `model` is not compiled, or its loss gives no number per row.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((5, 2)), np.arange(5.0)
    assert kdt.datasets.loss_by_row(model, x, y).shape == (5,)
    ```

    Reference: Hacohen & Weinshall, On the power of curriculum learning in training deep networks,
    2019.
    """
    if not isinstance(model, keras.Model) or not model.compiled:
        raise ValueError(f"`model` must be a compiled keras.Model. Received: model={model!r}.")
    loss = keras.losses.get(model.loss)
    call = loss.call if isinstance(loss, keras.losses.Loss) else loss
    predicted = ops.convert_to_tensor(model.predict(x, batch_size=batch_size, verbose=0))
    targets = ops.convert_to_tensor(y)
    if len(targets.shape) == 1 and len(predicted.shape) == 2:
        targets = ops.expand_dims(targets, -1)
    values = ops.convert_to_numpy(call(targets, predicted)) if callable(call) else np.zeros(())
    if values.ndim == 0 or len(values) != row_count(x):
        raise ValueError(
            "The model's loss must give one number per row. Received: "
            f"loss={model.loss!r}, which gives {values.shape}."
        )
    return values.reshape(len(values), -1).mean(axis=1).astype("float64")
