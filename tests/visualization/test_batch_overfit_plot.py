"""What the picture of one batch shows."""

import math

import matplotlib.pyplot as plt
import numpy as np

import keras_deeptricks as kdt


def result(**changes):
    losses = 0.5 + 2 * np.exp(-np.arange(50) / 10)
    fields = {
        "reached": True,
        "reason": "It took 50 steps.",
        "findings": [],
        "losses": losses,
        "scores": np.ones(50),
        "score_name": "accuracy",
        "final_loss": losses[-1],
        "final_score": 1.0,
        "lowest_loss": 0.5,
        "guessing_loss": 2.5,
        "trials": {"as it is": losses, "no dropout": losses[:3]},
        "rows": 32,
        "seconds": 1.0,
    }
    return kdt.diagnostics.BatchOverfit(**{**fields, **changes})


def test_curves_above_the_lowest_loss():
    ax = result().plot()
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["as it is"].get_ydata(), 2 * np.exp(-np.arange(50) / 10))
    np.testing.assert_array_equal(lines["no dropout"].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(lines["guessing"].get_ydata(), 2.0)
    np.testing.assert_allclose(lines["learned by heart"].get_ydata(), 0.1)
    assert ax.get_yscale() == "log"
    assert ax.get_title() == "One batch of 32 rows: learned"


def test_without_a_lowest_loss_or_any_step():
    _, ax = plt.subplots()
    unknown = result(lowest_loss=math.nan, guessing_loss=math.nan, reached=False)
    assert unknown.plot(ax=ax) is ax
    assert ax.get_yscale() == "linear"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), unknown.losses)
    assert ax.get_title().endswith("NOT learned")
    nothing = result(trials={}, losses=np.zeros(0), lowest_loss=math.nan, guessing_loss=math.nan)
    assert nothing.plot().get_xlabel() == "step"


def test_what_explodes_stays_out_of_the_picture():
    wild = result(trials={"as it is": np.array([2.0, 1e9, math.inf])})
    assert wild.plot().get_ylim()[1] < 10
