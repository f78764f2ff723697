"""Pictures of loss landscapes."""

import numpy as np

from keras_deeptricks.visualization.axes import new_axes, new_figure

_CONTOURS = 20
# Above this ratio a loss is drawn on a logarithmic scale.
_HUGE = 50
_NOT_FINITE = "0.85"
_PATH = "tab:red"


def plot_loss_landscape(landscape, ax=None):
    """Draws the loss along a direction as a curve, along two as contours or as a surface.

    The contours are dense where the loss is low: equally spaced on a logarithmic scale that begins
    near the lowest loss. Where the loss is not finite, the picture is gray. A path begins at a
    ring and ends at a star.

    Args:
        landscape: A `keras_deeptricks.diagnostics.LossLandscape`.
        ax: Matplotlib `Axes` to draw on; a new figure's by default. On axes with
            `projection="3d"` two directions are drawn as a surface, without a path.

    Returns:
        The `Axes`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    grid = np.linspace(-1, 1, 21)
    landscape = kdt.diagnostics.LossLandscape(
        grid_x=grid,
        grid_y=grid,
        losses=0.1 + grid**2 + 5 * grid[:, None] ** 2,
        center_loss=0.1,
        rows=1000,
        normalization="filter",
    )
    ax = kdt.visualization.plot_loss_landscape(landscape)
    ```

    Reference: Li, Xu, Taylor, Studer & Goldstein, Visualizing the loss landscape of neural nets,
    2018, figures 2, 5 and 9.
    """
    is_curve = landscape.grid_y is None
    if ax is None:
        ax = new_axes() if is_curve else new_figure(1, 1, figsize=(6.4, 5.2))[1]
    if is_curve:
        _draw_curve(ax, landscape)
    elif ax.name == "3d":
        _draw_surface(ax, landscape)
    else:
        _draw_contours(ax, landscape)
    return ax


def _draw_curve(ax, landscape):
    x, losses = landscape.grid_x, _finite(landscape.losses)
    ax.plot(x, losses, ".-", label="loss")
    ax.plot([0], [landscape.center_loss], "*", color="gold", mec="0.2", ms=13, label="center")
    if landscape.path is not None:
        at = landscape.path[:, 0]
        heights = np.interp(at, x, losses.filled(np.nan), left=np.nan, right=np.nan)
        ax.plot(at, heights, ".", color=_PATH, ms=7, zorder=3, label="path, projected")
    if losses.mask.any():
        half = np.diff(x).mean() / 2
        for place in np.flatnonzero(losses.mask):
            label = {"label": "not finite"} if place == np.flatnonzero(losses.mask)[0] else {}
            ax.axvspan(x[place] - half, x[place] + half, color=_NOT_FINITE, lw=0, **label)
    if _is_huge(losses):
        ax.set_yscale("log")
    ax.set_xlim(x[0], x[-1])
    ax.set_xlabel(_axis_label(landscape, 0))
    ax.set_ylabel("loss")
    ax.legend(fontsize="small")


def _draw_contours(ax, landscape):
    losses = _finite(landscape.losses)
    ax.set_facecolor(_NOT_FINITE)
    levels = _levels(losses)
    if levels is not None:
        from matplotlib.colors import BoundaryNorm

        grid = landscape.grid_x, landscape.grid_y, losses
        # Pale, for the numbers to be read.
        colors = {"cmap": _pale(), "norm": BoundaryNorm(levels, 256)}
        filled = ax.contourf(*grid, levels, **colors)
        lines = ax.contour(*grid, levels, colors="0.3", linewidths=0.4, linestyles="solid")
        ax.clabel(lines, levels[1:-1:3], fontsize="x-small", fmt=_short)
        bar = ax.figure.colorbar(filled, ax=ax, spacing="uniform", ticks=levels[::3])
        bar.ax.set_yticklabels([_short(level) for level in levels[::3]])
        bar.set_label("loss")
    handles = _draw_path(ax, landscape)
    if losses.mask.any():
        from matplotlib.patches import Patch

        handles.append(Patch(facecolor=_NOT_FINITE, label="not finite"))
    ax.set_xlim(landscape.grid_x[0], landscape.grid_x[-1])
    ax.set_ylim(landscape.grid_y[0], landscape.grid_y[-1])
    ax.set_xlabel(_axis_label(landscape, 0))
    ax.set_ylabel(_axis_label(landscape, 1))
    ax.legend(
        handles=handles,
        fontsize="small",
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(handles),
    )


def _draw_path(ax, landscape):
    handles = []
    if landscape.path is not None:
        options = {"color": _PATH, "lw": 1.4, "ms": 5, "label": "path of training"}
        handles += ax.plot(*landscape.path.T, ".-", **options)
        ax.plot(*landscape.path[:1].T, "o", mfc="white", mec="0.2", ms=7, zorder=3)
    name = f"center: {_short(landscape.center_loss)}"
    star = {"color": "gold", "mec": "0.2", "ms": 13, "zorder": 4, "ls": "none", "label": name}
    return handles + ax.plot([0], [0], "*", **star)


def _draw_surface(ax, landscape):
    losses = _finite(landscape.losses)
    is_huge = _is_huge(losses)
    heights = np.log10(losses) if is_huge else losses
    x, y = np.meshgrid(landscape.grid_x, landscape.grid_y)
    # Matplotlib leaves out what is NaN.
    surface = {"cmap": "viridis", "rcount": 100, "ccount": 100, "linewidth": 0.1}
    surface |= {"vmin": heights.min(), "vmax": heights.max(), "edgecolor": "0.3"}
    ax.plot_surface(x, y, heights.filled(np.nan), **surface)
    # Longer labels would lie over the numbers.
    kind = "direction" if landscape.path is None else "component"
    ax.set_xlabel(f"first {kind}")
    ax.set_ylabel(f"second {kind}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(nbins=5)
    ax.set_zlabel("log₁₀ loss" if is_huge else "loss")


def _finite(losses):
    """The losses, masked where they are not finite; the mask is always an array."""
    return np.ma.array(losses, mask=~np.isfinite(losses), dtype="float64")


def _is_huge(losses):
    return bool(losses.count()) and losses.min() > 0 and losses.max() > _HUGE * losses.min()


def _levels(losses):
    """The losses of the contours, or None for a plane."""
    if not losses.count() or not losses.min() < losses.max():
        return None
    low, high = float(losses.min()), float(losses.max())
    above = losses.compressed() - low
    # Nearer to the lowest loss the grid resolves nothing.
    begin = float(np.percentile(above[above > 0], 3))
    steps = np.geomspace(begin, begin + high - low, _CONTOURS) - begin
    levels = low + steps
    levels[-1] = high
    return levels if (np.diff(levels) > 0).all() else None


def _axis_label(landscape, axis):
    if landscape.path is not None:
        name = ("first", "second")[axis]
        return f"{name} principal component ({landscape.shares[axis]:.1%} of the variance)"
    kind = {"filter": "filter-normalized", "layer": "layer-normalized"}.get(
        landscape.normalization, "not normalized"
    )
    return f"{('first', 'second')[axis]} random direction ({kind})"


def _pale():
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["Blues_r"](np.linspace(0.35, 1, 256)))


def _short(loss):
    return f"{loss:.3g}"
