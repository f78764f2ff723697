"""The picture of schedules."""

import numpy as np

from keras_deeptricks.utils.checks import check_integer
from keras_deeptricks.utils.hyperparameters import is_schedule, values_at
from keras_deeptricks.visualization.axes import new_axes

# Keras' own schedules are evaluated one step at a time.
_MOST_POINTS = 1000
_LENGTHS = ("total_steps", "decay_steps", "first_decay_steps", "half_cycle_steps", "every_steps")
# How many of their own lengths schedules without an end are drawn for.
_SPANS = {
    "first_decay_steps": 7,
    "half_cycle_steps": 6,
    "every_steps": 5,
}


def plot_schedules(schedules, steps=None, *, momentum=None, ax=None):
    """Draws one schedule or several over the steps, and a momentum on an axis of its own.

    Args:
        schedules: A schedule of this package or of Keras, a number, a list of these, or a
            dictionary from labels to them.
        steps: Number of steps to draw. By default the longest length that a schedule tells
            of itself.
        momentum: A schedule or number, or None.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes` of the schedules.

    Raises:
        TypeError: One of `schedules` is neither a schedule nor a number.
        ValueError: `steps` is not given and no schedule tells its length.

    Example:

    ```python
    import keras_deeptricks as kdt

    cyclical = kdt.schedules.Cyclical(0.01, 0.1, half_cycle_steps=100)
    kdt.visualization.plot_schedules({"cyclical": cyclical})
    ```
    """
    named = _by_label(schedules)
    drawn = [*named.values()] if momentum is None else [*named.values(), momentum]
    for schedule in drawn:
        number = isinstance(schedule, (int, float)) and not isinstance(schedule, bool)
        if not number and not is_schedule(schedule):
            raise TypeError(
                f"`schedules` and `momentum` must be schedules or numbers. Received: {schedule!r}."
            )
    if steps is None:
        steps = max(_length(schedule) for schedule in drawn)
        if not steps:
            raise ValueError("`steps` must be given: the schedules do not tell their length.")
    steps = check_integer("steps", steps, minimum=1)
    at = np.unique(np.linspace(0, steps - 1, min(steps, _MOST_POINTS)).round().astype("int64"))
    ax = new_axes() if ax is None else ax
    lines = []
    for label, schedule in named.items():
        lines += ax.plot(at, values_at(schedule, at), label=label)
    ax.set_xlabel("step")
    ax.set_ylabel(
        "learning rate" if len(named) > 1 or momentum is not None else lines[0].get_label()
    )
    ax.set_ylim(bottom=0)
    if momentum is not None:
        other = ax.twinx()
        color = f"C{len(lines)}"
        lines += other.plot(at, values_at(momentum, at), "--", color=color, label="momentum")
        other.set_ylabel("momentum")
    if len(lines) > 1:
        # Above the axes: two scales leave no corner free.
        ax.legend(
            handles=lines,
            fontsize="small",
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=min(len(lines), 3),
        )
    return ax


def _by_label(schedules):
    if isinstance(schedules, dict):
        return schedules
    several = schedules if isinstance(schedules, (list, tuple)) else [schedules]
    named = {}
    for schedule in several:
        label = getattr(schedule, "name", None) or type(schedule).__name__
        if not is_schedule(schedule):
            label = f"{schedule:g}" if isinstance(schedule, (int, float)) else label
        while label in named:
            label += "′"
        named[label] = schedule
    return named


def _length(schedule):
    """The number of steps that show a schedule, or 0 if it does not tell."""
    for name in _LENGTHS:
        length = getattr(schedule, name, None)
        if isinstance(length, (int, float)):
            return int(np.ceil(length * _SPANS.get(name, 1))) + 1
    boundaries = getattr(schedule, "boundaries", None)
    if boundaries:
        return int(boundaries[-1] * 1.25) + 1
    inner = getattr(schedule, "schedule", None)
    return 0 if inner is None else _length(inner) + max(getattr(schedule, "first_step", 0), 0)
