"""The loss along random directions, or around the path of training, in the space of weights."""

import dataclasses
import os
import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.diagnostics.landscape_directions import (
    NORMALIZATIONS,
    moved_weights,
    random_direction,
)
from keras_deeptricks.diagnostics.landscape_losses import losses_at
from keras_deeptricks.diagnostics.trajectory_plane import trajectory_plane
from keras_deeptricks.utils.backend import bring_weights_home, random_order_preserved
from keras_deeptricks.utils.batches import is_arrays
from keras_deeptricks.utils.checks import check_built, check_choice, check_integer, check_number
from keras_deeptricks.utils.compiled_step import check_compiled
from keras_deeptricks.utils.results import Result
from keras_deeptricks.utils.training_state import preserved

# Around a path the picture goes on for this share of the path's extent, on each side.
_MARGIN = 0.2
_DEFAULT_ROWS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class LossLandscape(Result):
    """The loss of a model on a line or a plane through its weights.

    A point (a, b) stands for the weights w + a·d + b·e, where w are those of the center.

    Attributes:
        grid_x: The coordinates a along the first direction, of shape (n,).
        grid_y: The coordinates b along the second, of shape (m,); None for one direction.
        losses: The loss at the points, of shape (n,), or (m, n) for two directions. It may be
            infinite or NaN far from the center.
        center_loss: The loss at the center: the weights of the model, or the end of a trajectory.
        rows: Number of rows of data.
        normalization: `"filter"`, `"layer"` or None for random directions; `"unit"` for those
            of a trajectory, so that the coordinates are distances.
        path: The checkpoints of the trajectory in the plane, of shape (checkpoints, 1 or 2);
            None for random directions. The last one is the center, 0.
        shares: The share of the variance of the trajectory along each direction; None for random
            ones.
    """

    grid_x: np.ndarray
    grid_y: np.ndarray | None
    losses: np.ndarray
    center_loss: float
    rows: int
    normalization: str | None
    path: np.ndarray | None = None
    shares: np.ndarray | None = None

    plot_function = "plot_loss_landscape"

    def __str__(self):
        finite = self.losses[np.isfinite(self.losses)]
        found = f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "nowhere finite"
        if 0 < finite.size < self.losses.size:
            found += f", not finite at {self.losses.size - finite.size} points"
        where = f"[{self.grid_x[0]:.3g}, {self.grid_x[-1]:.3g}]"
        if self.grid_y is not None:
            where += f" × [{self.grid_y[0]:.3g}, {self.grid_y[-1]:.3g}]"
        lines = [
            f"loss {self.center_loss:.4g} at the center; {found} at {self.losses.size} points of "
            f"{where}; {self.rows} rows"
        ]
        if self.path is not None:
            shares = " and ".join(f"{share:.1%}" for share in self.shares)
            lines.append(f"path of {len(self.path)} checkpoints; {shares} of its variance shown")
        return "\n".join(lines)

    def plot(self, ax=None):
        """Draws the curve, or the contours with the path; needs Matplotlib.

        Args:
            ax: Matplotlib `Axes` to draw on; a new figure's by default. On axes with
                `projection="3d"` two directions are drawn as a surface.

        Returns:
            The `Axes` drawn on.
        """
        return super().plot(ax)


def loss_landscape(
    model,
    x,
    y=None,
    *,
    directions=2,
    span=None,
    points=25,
    trajectory=None,
    normalization="filter",
    rows=None,
    batch_size=None,
    sample_weight=None,
    seed=0,
    verbose=0,
):
    """Evaluates the loss on a line or plane through a model's weights.

    To see how flat a minimum is, how smooth its surroundings are, and, with `trajectory`, by which
    way training came there. The loss is the one that `model.evaluate` reports: in inference mode,
    with the penalties of all weights and the losses of all outputs.

    Random directions are Gaussian and, for each filter (all weights of one output unit), as long
    as the filter itself. So the pictures of two networks can be compared: a network whose weights
    are scaled up in one layer and down in the next has the same picture. Only trainable kernels
    are moved; biases, parameters and statistics of normalization, and frozen layers are not.

    With `trajectory` the directions are the first principal components of the checkpoints, of
    length 1, through the last of them.

    All points are evaluated in one compiled function, batch by batch, so that the data is read
    once and memory does not grow with the number of points. The model comes back with its
    weights, optimizer, seeds and metrics untouched.

    Args:
        model: A built and compiled `keras.Model`.
        x, y: Data as for `model.evaluate`: arrays, or a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader` or a generator of batches. A few
            hundred rows of the training data are mostly enough.
        directions: 1 for a curve, 2 for a surface. Defaults to `2`.
        span: The coordinates go from −span to span, a number above 0, or one for each direction.
            By default 1 for random directions, where 1 is as far as the filters are long; and
            the extent of the path, and a fifth on each side, for a trajectory.
        points: Number of points along each direction, at least 2, or one number for each.
            Defaults to `25`.
        trajectory: Checkpoints of training, in their order: a list of what `model.get_weights()`
            returned, or of paths of `.weights.h5` files. The last one is the center, and the
            first principal components of all are the directions. At least one more than
            `directions`.
        normalization: Of random directions: `"filter"`; `"layer"`, for which each whole kernel
            keeps its length; or None for standard normal numbers. Defaults to `"filter"`.
        rows: Number of rows of data to use, the first ones. By default all.
        batch_size: Rows of a batch, for arrays only. Defaults to 256. It matters to the result
            only for losses that are no means over rows.
        sample_weight: A weight for each row, for arrays only.
        seed: Whole number that fixes the random directions.
        verbose: 1 for a progress bar over the batches, 0 for silence. Defaults to 0.

    Returns:
        A `LossLandscape`; `plot()` draws it.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The model is not built or not compiled, has NaN or infinite weights, no
            trainable kernel or a `test_step` of its own; the trajectory does not fit the model or
            has too few different checkpoints; or an argument is out of its range.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int32")
    model = keras.Sequential([
        keras.Input((8,)),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ])
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    path = [model.get_weights()]
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: path.append(model.get_weights())
    )
    model.fit(x, y, epochs=5, callbacks=[record], verbose=0)

    surface = kdt.diagnostics.loss_landscape(model, x, y, points=9)
    assert np.isclose(surface.center_loss, model.evaluate(x, y, verbose=0), rtol=1e-4)
    around_the_path = kdt.diagnostics.loss_landscape(model, x, y, points=9, trajectory=path)
    print(around_the_path)
    ```

    Reference: Li, Xu, Taylor, Studer & Goldstein, Visualizing the loss landscape of neural nets,
    2018, sections 4 (filter normalization) and 7 (trajectories).
    """
    _check_model(model)
    count = check_integer("directions", directions, minimum=1, maximum=2)
    points = _one_for_each("points", points, count, lambda v: check_integer("points", v, minimum=2))
    if span is not None:
        span = _one_for_each("span", span, count, lambda v: check_number("span", v, above=0))
    check_choice("normalization", normalization, NORMALIZATIONS)
    data = _check_data(x, y, sample_weight, batch_size)
    if rows is not None:
        rows = check_integer("rows", rows, minimum=1)
    seed = check_integer("seed", seed, minimum=0)
    bring_weights_home(model)
    moved = moved_weights(model)
    places = [weight.place for weight in moved]
    path = shares = None
    with random_order_preserved(), preserved(model):
        if trajectory is None:
            center = _values(model)
            _check_finite(model, center, "model", "its weights")
            generator = np.random.default_rng(seed)
            kernels = [center[weight.place] for weight in moved], [weight.axes for weight in moved]
            found = [random_direction(*kernels, generator, normalization) for _ in range(count)]
        else:
            checkpoints = _checkpoints(model, trajectory)
            kernels = [[checkpoint[place] for place in places] for checkpoint in checkpoints]
            found, path, shares = trajectory_plane(kernels, count)
            model.set_weights(checkpoints[-1])
            normalization = "unit"
        ends = _ends(span, path, count)
        axes = [np.linspace(*pair, number) for pair, number in zip(ends, points, strict=True)]
        grid = np.stack(np.meshgrid(*axes), axis=-1)
        coordinates = np.concatenate([grid.reshape(-1, count), np.zeros((1, count))])
        losses, seen = losses_at(model, places, found, coordinates, data, rows, verbose)
    return LossLandscape(
        grid_x=axes[0],
        grid_y=axes[1] if count == 2 else None,
        losses=losses[:-1].reshape(grid.shape[:-1]),
        center_loss=float(losses[-1]),
        rows=seen,
        normalization=normalization,
        path=path,
        shares=shares,
    )


def _check_model(model):
    check_built("model", model)
    check_compiled(model)
    if type(model).test_step is not keras.Model.test_step:
        raise ValueError(
            f"`model` must be evaluated by Keras. '{model.name}' has a `test_step` of its own, "
            "whose loss is not known: override `compute_loss` instead."
        )


def _check_data(x, y, sample_weight, batch_size):
    if not is_arrays(x):
        given = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}
        given = [f"`{name}`" for name, value in given.items() if value is not None]
        if given:
            raise ValueError(
                f"{' and '.join(given)} must be left out here: a data set has its own. Received: "
                f"x of type {type(x).__name__}."
            )
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, minimum=1)
    size = batch_size or _DEFAULT_ROWS
    return {"x": x, "y": y, "sample_weight": sample_weight, "batch_size": size}


def _one_for_each(name, value, count, check):
    """A checked number for each direction, of one number or of one for each."""
    if not isinstance(value, (tuple, list)):
        return [check(value)] * count
    if len(value) != count:
        raise ValueError(
            f"`{name}` must be one number, or one for each of the {count} directions. Received: "
            f"{name}={value!r}."
        )
    return [check(item) for item in value]


def _ends(span, path, count):
    """The first and the last coordinate along each direction."""
    if span is None and path is not None:
        low, high = path.min(axis=0), path.max(axis=0)
        margin = _MARGIN * (high - low)
        return list(zip(low - margin, high + margin, strict=True))
    return [(-width, width) for width in span or [1.0] * count]


def _values(model):
    return [np.array(ops.convert_to_numpy(weight)) for weight in model.weights]


def _checkpoints(model, trajectory):
    """The weights of each checkpoint, checked."""
    if isinstance(trajectory, (str, os.PathLike)) or not isinstance(trajectory, (list, tuple)):
        raise TypeError(
            "`trajectory` must be a list of checkpoints: what model.get_weights() returned, or "
            f"paths of .weights.h5 files. Received: trajectory of type {type(trajectory).__name__}."
        )
    if len(trajectory) < 2:
        raise ValueError(
            "`trajectory` must have at least one checkpoint more than `directions`. Received: "
            f"{len(trajectory)} of them."
        )
    found = []
    for number, checkpoint in enumerate(trajectory):
        name = f"trajectory[{number}]"
        values = _checkpoint(model, checkpoint, name)
        _check_finite(model, values, name, "the weights of a checkpoint")
        found.append(values)
    return found


def _checkpoint(model, checkpoint, name):
    if isinstance(checkpoint, (str, os.PathLike)):
        with warnings.catch_warnings():
            # The file may have the state of an optimizer, which does not count here.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model.load_weights(checkpoint)
        return _values(model)
    if not isinstance(checkpoint, (list, tuple)):
        raise TypeError(
            f"`{name}` must be a list of arrays, as model.get_weights() returns, or the path of a "
            f".weights.h5 file. Received: {name} of type {type(checkpoint).__name__}."
        )
    arrays = [np.asarray(ops.convert_to_numpy(array)) for array in checkpoint]
    if len(arrays) != len(model.weights):
        raise ValueError(
            f"`{name}` must have the {len(model.weights)} arrays of '{model.name}', as "
            f"model.get_weights() returns them. Received: {len(arrays)} arrays."
        )
    for array, weight in zip(arrays, model.weights, strict=True):
        if array.shape != tuple(weight.shape):
            raise ValueError(
                f"`{name}` must fit '{model.name}', whose weight '{weight.path}' has the shape "
                f"{tuple(weight.shape)}. Received: an array of shape {array.shape} for it. Take "
                "the checkpoints from this model, or one of the same architecture."
            )
    return arrays


def _check_finite(model, values, name, what):
    for value, weight in zip(values, model.weights, strict=True):
        if not np.isfinite(np.asarray(value, "float64")).all():
            raise ValueError(
                f"`{name}` must be finite, for there is no landscape around NaN or infinity: "
                f"{what} have some in '{weight.path}'. Take weights from before training "
                "diverged."
            )
