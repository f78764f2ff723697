"""Pictures of optimizers on their way over a surface."""

import math
import pathlib

import numpy as np

from keras_deeptricks.diagnostics.optimizer_trajectory import OptimizerTrajectory
from keras_deeptricks.utils.checks import check_integer
from keras_deeptricks.visualization.axes import new_axes

# Blue is the surface's.
_COLORS = ("tab:red", "black", "darkorange", "darkgreen", "purple", "saddlebrown", "deeppink")
_CONTOURS = 20
# How long a film stays at its end before it begins again, in milliseconds.
_PAUSE = 1000


def plot_trajectories(trajectories, ax=None):
    """Draws the paths of optimizers over the contours of their surface.

    The contours are equally spaced on a logarithmic scale: above the minimum, or, where the
    surface goes below zero, away from zero on both sides. A path begins at a ring and ends at a
    dot; a star marks the minimum.

    Args:
        trajectories: An `OptimizerTrajectory`, a list of them, or a dictionary from labels to
            them; all of one surface.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes`.

    Raises:
        TypeError: Something else than trajectories is given.
        ValueError: None is given, or they are of different surfaces.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    optimizers = [keras.optimizers.SGD(0.015), keras.optimizers.Adam(0.3)]
    trajectories = [kdt.diagnostics.trace_optimizer(o, "quadratic") for o in optimizers]
    kdt.visualization.plot_trajectories(trajectories)
    ```
    """
    named = _by_label(trajectories)
    ax = new_axes() if ax is None else ax
    _draw(ax, named)
    return ax


def animate_trajectories(trajectories, path=None, *, frames=60, interval=50):
    """Shows the paths of optimizers as they grow, as a film.

    Args:
        trajectories: As for `plot_trajectories`. Every frame shows the same step of each.
        path: A file ending in `.gif` to save the film in, or None (default).
        frames: Number of frames from start to end, at least 2; the end is then held for a
            while. Defaults to `60`.
        interval: Milliseconds per frame, at least 1 (in a file multiples of 10). Defaults to `50`.

    Returns:
        A `matplotlib.animation.FuncAnimation`. Keep it as long as it is to be shown.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `trajectories` are none or of different surfaces, `path` does not end in
            `.gif`, or a number is out of range.

    Example:

    ```python
    import keras_deeptricks as kdt

    trajectory = kdt.diagnostics.trace_optimizer(kdt.optimizers.Adam(0.3), "beale", steps=30)
    film = kdt.visualization.animate_trajectories(trajectory, "adam.gif", frames=5, interval=200)
    ```
    """
    frames = check_integer("frames", frames, minimum=2)
    interval = check_integer("interval", interval, minimum=1)
    if path is not None and pathlib.Path(path).suffix != ".gif":
        raise ValueError(f"`path` must end in .gif. Received: path='{path}'.")
    named = _by_label(trajectories)
    ax = new_axes()
    from matplotlib import animation

    paths = _draw(ax, named)
    # What is laid out once need not be laid out again for every frame, which takes as long as it.
    ax.figure.draw_without_rendering()
    ax.figure.set_layout_engine("none")
    last = max(len(trajectory.positions) for trajectory in named.values()) - 1
    shown = np.linspace(0, last, frames).round().astype("int64").tolist()
    shown += [last] * math.ceil(_PAUSE / interval)
    film = animation.FuncAnimation(
        ax.figure, lambda step: _show(paths, step), shown, interval=interval
    )
    if path is not None:
        film.save(path, writer=animation.PillowWriter(fps=1000 / interval))
    return film


def _by_label(trajectories):
    if isinstance(trajectories, dict):
        named = {str(label): trajectory for label, trajectory in trajectories.items()}
    else:
        several = trajectories if isinstance(trajectories, (list, tuple)) else [trajectories]
        named = {}
        for trajectory in several:
            label = getattr(trajectory, "optimizer", "")
            while label in named:
                label += "′"
            named[label] = trajectory
    for trajectory in named.values():
        if not isinstance(trajectory, OptimizerTrajectory):
            raise TypeError(
                "`trajectories` must be an OptimizerTrajectory, or a list or dictionary of them. "
                f"Received: {trajectory!r}."
            )
    surfaces = sorted({trajectory.surface for trajectory in named.values()})
    if len(surfaces) != 1:
        raise ValueError(
            "`trajectories` must be at least one, and all of one surface. Received: "
            f"trajectories of {surfaces}."
        )
    return named


def _draw(ax, named):
    """Draws everything; returns the position array, line and end marker of each path."""
    # Without bounds of its own, a surface is sampled around each path.
    widest = max(named.values(), key=lambda t: np.ptp(t.grid_x) * np.ptp(t.grid_y))
    _draw_surface(ax, widest)
    handles, paths = [], []
    for number, (label, trajectory) in enumerate(named.items()):
        color = _COLORS[number % len(_COLORS)]
        ended = trajectory.stopping_reason != "completed"
        label += f" ({trajectory.stopping_reason.replace('_', ' ')})" if ended else ""
        positions = trajectory.positions
        (line,) = ax.plot(*positions.T, color=color, linewidth=1.6, label=label)
        (end,) = ax.plot(*positions[-1:].T, "o", color=color, mec="white", ms=7, zorder=4)
        ax.plot(*positions[:1].T, "o", mfc="white", mec="0.2", ms=6)
        handles.append(line)
        paths.append((positions, line, end))
    if widest.minimum is not None:
        handles += ax.plot(
            *widest.minimum, "*", color="gold", mec="0.2", ms=15, label="minimum", zorder=3
        )
    ax.set_xlim(widest.grid_x[0], widest.grid_x[-1])
    ax.set_ylim(widest.grid_y[0], widest.grid_y[-1])
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    # Above the axes: the paths leave no corner free.
    ax.legend(
        handles=handles,
        title=widest.surface,
        fontsize="small",
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=min(len(handles), 3),
    )
    return paths


def _draw_surface(ax, trajectory):
    heights = _logarithmic(trajectory)
    if not heights.min() < heights.max():
        return  # a plane has no contours
    grid = trajectory.grid_x, trajectory.grid_y, heights
    levels = np.linspace(heights.min(), heights.max(), _CONTOURS)
    ax.contourf(*grid, levels, cmap="Blues_r", alpha=0.4)
    ax.contour(*grid, levels, colors="0.4", linewidths=0.4, linestyles="solid")


def _logarithmic(trajectory):
    """The surface on a scale that shows the floor of a valley and its walls."""
    values = np.ma.masked_invalid(trajectory.grid_values)
    if trajectory.minimum is None and values.min() < 0:
        return np.arcsinh(values / _percentile(abs(values), 50))
    values = values - values.min()
    return np.log(values + _percentile(values, 4))


def _percentile(values, share):
    # Below this the scale is linear: contours any closer to zero the grid does not resolve.
    return float(np.percentile(values.compressed(), share)) or 1.0


def _show(paths, step):
    for positions, line, end in paths:
        line.set_data(*positions[: step + 1].T)
        end.set_data(*positions[min(step, len(positions) - 1)][:, None])
    return [artist for _, line, end in paths for artist in (line, end)]
