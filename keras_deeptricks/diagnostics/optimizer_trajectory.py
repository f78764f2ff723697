"""The path of an optimizer on a function of two variables."""

import dataclasses
import re

import keras
import numpy as np
from keras import ops

from keras_deeptricks.diagnostics.surfaces import SURFACES, Surface
from keras_deeptricks.utils.checks import check_integer
from keras_deeptricks.utils.compiled_step import clone_optimizer, unwrap_optimizer
from keras_deeptricks.utils.results import Result

# Points of the grid in each direction: the walls of Beale's function need about this many.
_GRID_POINTS = 151
# An optimizer has diverged this many half widths of the region from its centre.
_FAR = 1e6


@dataclasses.dataclass(frozen=True, eq=False)
class OptimizerTrajectory(Result):
    """The points an optimizer visits on a surface, and the surface around them.

    Attributes:
        positions: The points, of shape (steps + 1, 2): the start and the one after each step.
        values: The surface at each of them, of shape (steps + 1,).
        optimizer: The name of the optimizer, or its class where Keras has named it.
        surface: The name of the surface.
        stopping_reason: `"completed"`; or `"diverged"` or `"not_finite"` if the next point would
            have been a million times the size of the region away, or the surface not finite there.
        grid_x, grid_y: The coordinates of a grid over the region to draw, of shapes (n,), (m,).
        grid_values: The surface on the grid, of shape (m, n).
        minimum: The point of the minimum, of shape (2,), or None if there is none, or none known.
    """

    positions: np.ndarray
    values: np.ndarray
    optimizer: str
    surface: str
    stopping_reason: str
    grid_x: np.ndarray
    grid_y: np.ndarray
    grid_values: np.ndarray
    minimum: np.ndarray | None = None

    plot_function = "plot_trajectories"

    def __str__(self):
        (x, y), value = self.positions[-1], self.values[-1]
        return (
            f"{self.optimizer} on {self.surface}: {self.values[0]:.3g} to {value:.3g} at "
            f"({x:.3g}, {y:.3g}) in {len(self.values) - 1} steps, {self.stopping_reason}"
        )


def trace_optimizer(optimizer, surface, start=None, steps=200):
    """Follows an optimizer down a function of two variables, step by step.

    Use it to see what momentum, a schedule or an adaptive rate does where the answer is known,
    before it is blamed or praised for what a network does. The steps are those of a compiled Keras
    model whose only weight, in float32, is the point and whose loss is the surface. The
    optimizer is copied without its slots, and stays untouched.

    Args:
        optimizer: A `keras.optimizers.Optimizer`; rate and momentum may be schedules.
        surface: `"beale"`, `"rosenbrock"`, `"saddle"` or `"quadratic"`; a `Surface`; or a callable
            f(x, y), elementwise and written in `keras.ops`, whose region to draw then follows from
            the trajectory.
        start: The point (x, y) to start from. By default that of the surface; a callable has none.
        steps: Number of training steps, at least 1. Defaults to `200`.

    Returns:
        An `OptimizerTrajectory`. It has fewer steps if the optimizer diverges, and says so in
        its `stopping_reason`.

    Raises:
        TypeError: An argument is of the wrong type, or the function does not return a tensor of
            the shape of x and y.
        ValueError: `surface` is no known name, `start` is missing or the surface not finite
            there, `steps` is out of range, or the optimizer cannot be copied.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    trajectory = kdt.diagnostics.trace_optimizer(
        kdt.optimizers.SGD(0.005), "quadratic", start=(8.0, 1.0), steps=50
    )
    assert np.allclose(trajectory.positions[-1], [8 * 0.995**50, 0.5**50], rtol=1e-4)
    ```

    Reference: Goodfellow, Bengio & Courville, Deep Learning, 2016, sections 8.2–8.5.
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            f"`optimizer` must be a keras.optimizers.Optimizer. Received: optimizer={optimizer!r}."
        )
    steps = check_integer("steps", steps, minimum=1)
    has_bounds = isinstance(surface, (str, Surface))
    surface = _find_surface(surface, start)
    first_value = _evaluate(surface, *np.array([surface.start, surface.start]).T)[0]
    if not np.isfinite(first_value):
        raise ValueError(
            "`start` must be a point where the surface is finite. Received: "
            f"start={surface.start}, where {surface.name} is {first_value}."
        )
    positions, stopping_reason = _train(clone_optimizer(optimizer), surface, steps)
    values = _evaluate(surface, *positions.T)
    if not np.isfinite(values).all():
        end = np.isfinite(values).argmin()
        positions, values, stopping_reason = positions[:end], values[:end], "not_finite"
    bounds = surface.bounds if has_bounds else _bounds_around(positions, values)
    grid_x, grid_y = (np.linspace(*each, _GRID_POINTS) for each in bounds)
    return OptimizerTrajectory(
        positions=positions,
        values=values,
        optimizer=_name(unwrap_optimizer(optimizer)),
        surface=surface.name,
        stopping_reason=stopping_reason,
        grid_x=grid_x,
        grid_y=grid_y,
        grid_values=_evaluate(surface, *np.meshgrid(grid_x, grid_y)),
        minimum=None if surface.minimum is None else np.array(surface.minimum),
    )


class _Point(keras.Model):
    """A model that outputs its only weight, a point of the plane."""

    def __init__(self, start):
        # Without a name of its own it would take the next number of Keras' counter. In float16
        # Keras would wrap the optimizer.
        super().__init__(name="point", dtype="float32")
        self.position = self.add_weight(shape=(2,), initializer="zeros", name="position")
        self.position.assign(np.array(start, "float32"))

    def call(self, ones):
        return ones * self.position


def _train(optimizer, surface, steps):
    """The positions, up to the last one within reach, and why they end."""
    point = _Point(surface.start)
    point.compile(optimizer, lambda _, position: surface(position[:, 0], position[:, 1]))
    center, half_width = np.mean(surface.bounds, axis=1), np.ptp(surface.bounds, axis=1) / 2
    positions = [_read(point.position)]
    ones = np.ones((1, 1), "float32")
    for _ in range(steps):
        point.train_on_batch(ones, ones)
        position = _read(point.position)
        if not np.isfinite(position).all():
            return np.array(positions), "not_finite"
        if (abs(position - center) > _FAR * half_width).any():
            return np.array(positions), "diverged"
        positions.append(position)
    return np.array(positions), "completed"


def _name(optimizer):
    """The name given to the optimizer, or its class for one that Keras made, such as rm_sprop_3."""
    automatic = re.sub(r"_\d+$", "", optimizer.name).replace("_", "")
    # An optimizer made from another keeps the name of that one.
    bases = {base.__name__.lower() for base in type(optimizer).__mro__}
    return type(optimizer).__name__ if automatic.lower() in bases else optimizer.name


def _read(variable):
    return np.array(ops.convert_to_numpy(variable), "float64")


def _find_surface(surface, start):
    """The `Surface` that is meant, with the start that is asked for."""
    if isinstance(surface, str):
        if surface not in SURFACES:
            known = ", ".join(f"'{name}'" for name in SURFACES)
            raise ValueError(f"`surface` must be one of {known}. Received: surface={surface!r}.")
        surface = SURFACES[surface]
    if isinstance(surface, Surface):
        return surface if start is None else dataclasses.replace(surface, start=start)
    if not callable(surface):
        raise TypeError(
            "`surface` must be a name, a Surface or a callable f(x, y). Received: "
            f"surface={surface!r}."
        )
    if start is None:
        raise ValueError("`start` must be given for a callable `surface`. Received: start=None.")
    name = getattr(surface, "__name__", type(surface).__name__)
    found = Surface("surface" if name == "<lambda>" else name, surface, ((-1, 1), (-1, 1)), start)
    return dataclasses.replace(found, bounds=[_around(x, x) for x in found.start])


def _bounds_around(positions, values):
    """The region of the points that are no higher than the start: not those of an explosion."""
    positions = positions[values <= values[0]]
    low, high = positions.min(axis=0), positions.max(axis=0)
    # A path along one axis shows something of the other one too.
    least = (high - low).max() / 4
    return [_around(*ends, least) for ends in zip(low, high, strict=True)]


def _around(low, high, least=0.0):
    middle, half_width = (low + high) / 2, max(0.6 * (high - low), least)
    if half_width <= 1e-6 * abs(middle):
        half_width = max(1.0, abs(middle))
    return middle - half_width, middle + half_width


def _evaluate(surface, x, y):
    """The surface at the coordinates `x`, `y`, two arrays of one shape."""
    x, y = (ops.convert_to_tensor(each, "float32") for each in (x, y))
    values = surface(x, y)
    if not ops.is_tensor(values) or tuple(values.shape) != tuple(x.shape):
        raise TypeError(
            "`surface` must be elementwise in x and y and written in keras.ops: for two tensors "
            f"of the shape {tuple(x.shape)} it must return a third. Received: {values!r}."
        )
    return np.array(ops.convert_to_numpy(values), "float64")
