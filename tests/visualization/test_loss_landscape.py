"""What the pictures of loss landscapes show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import keras_deeptricks as kdt

X, Y = np.linspace(-1, 1, 21), np.linspace(-2, 2, 17)


def landscape(losses=None, **changes):
    losses = 0.1 + X**2 + 5 * Y[:, None] ** 2 if losses is None else losses
    fields = {
        "grid_x": X,
        "grid_y": Y if losses.ndim == 2 else None,
        "losses": losses,
        "center_loss": 0.1,
        "rows": 10,
        "normalization": "filter",
    }
    return kdt.diagnostics.LossLandscape(**{**fields, **changes})


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_curve():
    ax = landscape(0.1 + X**2).plot()
    curve = ax.lines[0]
    np.testing.assert_array_equal(curve.get_xdata(), X)
    np.testing.assert_allclose(curve.get_ydata(), 0.1 + X**2)
    assert ax.get_yscale() == "linear"
    assert ax.get_xlabel() == "first random direction (filter-normalized)"
    assert labels(ax) == ["loss", "center"]


def test_curve_with_a_huge_range_and_gaps():
    losses = 0.1 + 1e8 * X**4
    losses[:3], losses[-1] = np.inf, np.nan
    ax = landscape(losses, normalization=None).plot()
    assert ax.get_yscale() == "log"
    assert "not finite" in labels(ax)
    assert ax.get_xlabel() == "first random direction (not normalized)"
    assert len(ax.patches) == 4  # a gray stripe for each such point


def test_curve_with_a_path():
    path = {"path": np.array([[0.5], [0.25], [0.0]]), "shares": np.array([0.9])}
    ax = landscape(0.1 + X**2, normalization="unit", **path).plot()
    marks = {line.get_label(): line for line in ax.lines}["path, projected"]
    # The curve, interpolated between points that are 0.1 apart.
    np.testing.assert_allclose(marks.get_ydata(), [0.35, 0.1650, 0.1], atol=1e-9)
    assert ax.get_xlabel() == "first principal component (90.0% of the variance)"


def test_contours():
    found = landscape()
    ax = found.plot()
    filled = ax.collections[0]
    levels = filled.levels
    np.testing.assert_allclose(levels[[0, -1]], [found.losses.min(), found.losses.max()])
    # Dense near the lowest loss.
    assert np.all(np.diff(levels, 2) > 0)
    assert labels(ax) == ["center: 0.1"]
    assert ax.get_ylabel() == "second random direction (filter-normalized)"
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "loss"
    assert bar.get_yticklabels()[0].get_text() == "0.1"


@pytest.mark.parametrize("lowest", [-3.0, 0.0, 1e-8])
def test_contours_of_any_range(lowest):
    losses = lowest + 1e10 * (X**2 + Y[:, None] ** 2) ** 3
    levels = landscape(losses).plot().collections[0].levels
    assert len(levels) == 20
    assert np.all(np.diff(levels) > 0)
    assert np.sum(levels < 1e8) >= 5  # the valley has contours too


def test_what_is_not_finite_is_gray():
    losses = 0.1 + X**2 + Y[:, None] ** 2
    losses[:4], losses[:, -2:] = np.nan, np.inf
    ax = landscape(losses).plot()
    assert labels(ax) == ["center: 0.1", "not finite"]
    levels = ax.collections[0].levels
    assert np.isfinite(levels).all()
    nowhere = landscape(np.full((17, 21), np.nan)).plot()
    assert labels(nowhere) == ["center: 0.1", "not finite"]
    flat = landscape(np.ones((17, 21))).plot()
    assert labels(flat) == ["center: 0.1"]


def test_path():
    path = np.array([[0.9, 1.5], [0.5, 0.2], [0.0, 0.0]])
    ax = landscape(path=path, shares=np.array([0.8, 0.15]), normalization="unit").plot()
    line = ax.lines[0]
    np.testing.assert_array_equal(np.stack(line.get_data(), axis=1), path)
    assert labels(ax) == ["path of training", "center: 0.1"]
    assert ax.get_ylabel() == "second principal component (15.0% of the variance)"


def test_draws_on_given_axes():
    _, ax = plt.subplots()
    assert landscape().plot(ax=ax) is ax
    solid = plt.figure().add_subplot(projection="3d")
    assert landscape().plot(ax=solid) is solid
    assert solid.get_zlabel() == "log₁₀ loss"  # from 0.1 to 21
    low = plt.figure().add_subplot(projection="3d")
    assert landscape(1 + 0 * Y[:, None] + X**2).plot(ax=low).get_zlabel() == "loss"
