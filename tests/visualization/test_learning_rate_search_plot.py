"""What the picture of a range test shows."""

import numpy as np
import pytest

import keras_deeptricks as kdt


@pytest.fixture
def search():
    rates = np.geomspace(1e-5, 1.0, 50)
    losses = 2.0 - np.tanh(np.log10(rates) + 3) + 10 * rates
    return kdt.diagnostics.LearningRateSearch(
        rates, losses, losses, {"valley": 1e-2, "midpoint": 3e-2}, "midpoint", "completed"
    )


def test_curve_on_a_logarithmic_axis_with_the_suggestions(search):
    ax = search.plot()
    assert ax.get_xscale() == "log"
    curve = ax.lines[1]
    np.testing.assert_array_equal(curve.get_xdata(), search.learning_rates)
    np.testing.assert_array_equal(curve.get_ydata(), search.smoothed_losses)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "midpoint: 0.03 (chosen)" in labels
    assert "valley: 0.01" in labels


def test_draws_on_given_axes(search):
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert search.plot(ax=ax) is ax
