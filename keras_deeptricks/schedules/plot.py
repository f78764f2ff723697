"""Draws schedules."""

import importlib


def plot(schedules, steps=None, *, momentum=None, ax=None):
    """Draws one schedule or several over the steps, and a momentum beside them.

    A front to `keras_deeptricks.visualization.plot_schedules`; needs Matplotlib.

    Args:
        schedules: A schedule of this package or of Keras, a number, a list of these, or a
            dictionary from labels to them.
        steps: Number of steps to draw. By default the longest length that a schedule tells
            of itself.
        momentum: A schedule or number to draw on an axis of its own, or None.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Raises:
        TypeError: One of `schedules` is neither a schedule nor a number.
        ValueError: `steps` is not given and no schedule tells its length.

    Example:

    ```python
    import keras_deeptricks as kdt

    cycle = kdt.schedules.OneCycle(0.1, total_steps=1000)
    kdt.schedules.plot(cycle, momentum=cycle.momentum())
    kdt.schedules.plot({"power": kdt.schedules.Power(0.1, 100), "fixed": 0.05}, steps=500)
    ```
    """
    visualization = importlib.import_module("keras_deeptricks.visualization")
    return visualization.plot_schedules(schedules, steps, momentum=momentum, ax=ax)
