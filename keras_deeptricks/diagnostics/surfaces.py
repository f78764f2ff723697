"""Classic functions of two variables on which optimizers are compared."""

import dataclasses
from collections.abc import Callable

from keras_deeptricks.utils.checks import check_number


@dataclasses.dataclass(frozen=True)
class Surface:
    """A function of two variables, the region worth drawing and where to start.

    Use it to put a function of your own beside the ones of `SURFACES`. Calling it calls the
    function.

    Args:
        name: What results and pictures call it.
        function: A callable f(x, y), elementwise, differentiable and written in `keras.ops` or
            plain arithmetic.
        bounds: The region to draw, `((x_low, x_high), (y_low, y_high))`.
        start: The point `(x, y)` from which a trajectory starts by default.
        minimum: The point of the global minimum, or None (default) if there is none.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: A bound or coordinate is not finite, or a low bound is not below the high one.

    Example:

    ```python
    from keras import ops
    import keras_deeptricks as kdt

    waves = kdt.diagnostics.Surface(
        "waves", lambda x, y: ops.sin(3 * x) + x**2 + y**2, ((-2, 2), (-2, 2)), (1.5, 1.0)
    )
    trajectory = kdt.diagnostics.trace_optimizer(kdt.optimizers.Adam(0.05), waves, steps=20)
    assert trajectory.values[-1] < trajectory.values[0]
    ```

    Reference: Jamil & Yang, A literature survey of benchmark functions for global optimization
    problems, 2013, for many more.
    """

    name: str
    function: Callable
    bounds: tuple
    start: tuple
    minimum: tuple | None = None

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise TypeError(f"`name` must be a string. Received: name={self.name!r}.")
        if not callable(self.function):
            raise TypeError(f"`function` must be callable. Received: function={self.function!r}.")
        checked = {
            "bounds": tuple(_pair("bounds", b) for b in _two("bounds", self.bounds)),
            "start": _pair("start", self.start),
            "minimum": None if self.minimum is None else _pair("minimum", self.minimum),
        }
        if any(low >= high for low, high in checked["bounds"]):
            raise ValueError(
                "`bounds` must be ((x_low, x_high), (y_low, y_high)), each low below its high. "
                f"Received: bounds={self.bounds!r}."
            )
        for field, value in checked.items():
            object.__setattr__(self, field, value)

    def __call__(self, x, y):
        return self.function(x, y)


def _pair(name, value):
    return tuple(check_number(name, item) for item in _two(name, value))


def _two(name, value):
    try:
        items = list(value)
    except TypeError:
        items = []
    if len(items) != 2 or isinstance(value, (str, bytes, dict, set)):
        raise TypeError(f"`{name}` must have two items. Received: {name}={value!r}.")
    return items


def beale(x, y):
    """Beale's function: a curved valley between steep walls.

    Use it for what adaptive rates are made for: the gradient is a hundred thousand times larger
    in the corners than on the floor. (1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)² is
    0 at its only minimum, (3, 0.5).

    Args:
        x, y: Backend tensors, NumPy arrays or numbers.

    Returns:
        The values, of the same kind.

    Example:

    ```python
    from keras_deeptricks.diagnostics.surfaces import beale

    assert beale(3.0, 0.5) == 0
    ```

    Reference: Beale, On an iterative method for finding a local minimum of a function of more than
    one variable, 1958; Moré, Garbow & Hillstrom, Testing unconstrained optimization software, 1981,
    problem 5.
    """
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def rosenbrock(x, y):
    """Rosenbrock's banana: a narrow bent valley, easy to find and slow to follow.

    Use it for momentum, which gathers speed along the valley. (1 − x)² + 100 (y − x²)² is 0 at
    its only minimum, (1, 1), where its Hessian has the condition number 2508.

    Args:
        x, y: Backend tensors, NumPy arrays or numbers.

    Returns:
        The values, of the same kind.

    Example:

    ```python
    from keras_deeptricks.diagnostics.surfaces import rosenbrock

    assert rosenbrock(1.0, 1.0) == 0
    ```

    Reference: Rosenbrock, An automatic method for finding the greatest or least value of a
    function, 1960.
    """
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def saddle(x, y):
    """The saddle x² − y²: a minimum along x, a maximum along y, unbounded below.

    Use it for how long an optimizer takes to leave the ridge y = 0, where the gradient points
    at the saddle point (0, 0).

    Args:
        x, y: Backend tensors, NumPy arrays or numbers.

    Returns:
        The values, of the same kind.

    Example:

    ```python
    from keras_deeptricks.diagnostics.surfaces import saddle

    assert saddle(2.0, 1.0) == 3
    ```

    Reference: Dauphin et al., Identifying and attacking the saddle point problem in
    high-dimensional non-convex optimization, 2014.
    """
    return x**2 - y**2


def quadratic(x, y):
    """The quadratic ½ (x² + 100 y²), of condition number 100.

    Use it for what can be computed by hand: plain gradient descent of rate η multiplies x by
    1 − η and y by 1 − 100 η in each step, so it converges for η < 0.02 and is then slow along x.
    The minimum is (0, 0).

    Args:
        x, y: Backend tensors, NumPy arrays or numbers.

    Returns:
        The values, of the same kind.

    Example:

    ```python
    from keras_deeptricks.diagnostics.surfaces import quadratic

    assert quadratic(1.0, 0.1) == 1.0
    ```

    Reference: Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """
    return 0.5 * (x**2 + 100 * y**2)


SURFACES = {
    surface.name: surface
    for surface in (
        Surface("beale", beale, ((-1.0, 4.0), (-2.0, 2.0)), (1.0, 1.5), (3.0, 0.5)),
        Surface("rosenbrock", rosenbrock, ((-2.0, 2.0), (-1.0, 3.0)), (-1.2, 1.0), (1.0, 1.0)),
        Surface("saddle", saddle, ((-2.0, 2.0), (-2.0, 2.0)), (1.5, 0.01)),
        Surface("quadratic", quadratic, ((-10.0, 10.0), (-2.0, 2.0)), (-9.0, 1.5), (0.0, 0.0)),
    )
}
