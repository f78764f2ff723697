"""What the pictures of a lesion study show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import keras_deeptricks as kdt


def study(metric="accuracy", **changes):
    fields = {
        "metric": metric,
        "blocks": ["block_1", "block_2", "block_3"],
        "projected": np.array([False, True, False]),
        "whole": 0.93,
        "single": np.array([0.90, 0.61, 0.92]),
        "counts": np.array([1, 2]),
        "several": np.array([[0.90, 0.92], [0.88, 0.55]]),
    }
    return kdt.diagnostics.LesionStudy(**{**fields, **changes})


def labelled(ax):
    return {line.get_label(): line for line in ax.lines}


def test_errors_by_block():
    ax = study().plot()[0]
    curve = labelled(ax)["without the block"]
    np.testing.assert_array_equal(curve.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(curve.get_ydata(), [0.10, 0.39, 0.08], atol=1e-12)
    marks = labelled(ax)["shortcut is projected"]
    np.testing.assert_array_equal(marks.get_xdata(), [2])
    whole = labelled(ax)["whole model: 0.07"]
    np.testing.assert_allclose(whole.get_ydata(), 0.07, atol=1e-12)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["block_1", "block_2", "block_3"]
    assert ax.get_ylabel() == "error (1 − accuracy)"


def test_error_against_the_number_of_blocks():
    ax = study().plot()[1]
    mean = labelled(ax)["mean of 2 random choices"]
    np.testing.assert_array_equal(mean.get_xdata(), [1, 2])
    np.testing.assert_allclose(mean.get_ydata(), [0.09, 0.285], atol=1e-12)
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    # From the lowest to the highest of the draws.
    np.testing.assert_allclose([heights.min(), heights.max()], [0.08, 0.45], atol=1e-12)


def test_a_loss_is_drawn_as_it_is():
    axes = study("loss").plot()
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [0.90, 0.61, 0.92])
    assert [ax.get_ylabel() for ax in axes] == ["loss", "loss"]


def test_single_blocks_alone_and_many_blocks():
    names = [f"block_{number}" for number in range(60)]
    alone = study(
        blocks=names,
        projected=np.zeros(60, bool),
        single=np.ones(60),
        counts=np.zeros(0, int),
        several=np.zeros((0, 5)),
    )
    ax = alone.plot()
    assert ax.get_title() == "One block deleted"
    assert "shortcut is projected" not in labelled(ax)
    # So many names would overlap.
    assert "block_3" not in [tick.get_text() for tick in ax.get_xticklabels()]
    axes = alone.plot(ax=plt.subplots(1, 2)[1])
    assert list(labelled(axes[1])) == ["whole model: 0.07"]


def test_draws_on_given_axes():
    _, axes = plt.subplots(1, 2)
    assert study().plot(ax=axes) is axes
    assert axes[1].get_title() == "Several blocks deleted"
    _, ax = plt.subplots()
    assert study().plot(ax=ax) is ax
    assert ax.get_title() == "One block deleted"
    with pytest.raises(ValueError, match="3 of them"):
        study().plot(ax=plt.subplots(1, 3)[1])
