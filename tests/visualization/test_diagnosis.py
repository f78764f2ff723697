import matplotlib.pyplot as plt
import numpy as np
import pytest

from keras_deeptricks.diagnostics.doctor.diagnosis import Diagnosis
from keras_deeptricks.visualization import plot_diagnosis

TRIALS = {
    "learning_rate": 0.1,
    "trial_start_loss": 2.3,
    "trial_rates": np.array([0.01, 0.1, 1.0]),
    "trial_losses": [np.full(10, 1.5), np.full(10, 0.5), np.array([2.3, 90.0, np.inf])],
    "trial_end_losses": np.array([1.5, 0.5, np.inf]),
}
SIGNALS = {"signal_layers": ["a", "b"], "signal_deviations": np.array([1.0, 0.0])}


def titles(axes):
    return [ax.get_title() for ax in axes]


def test_a_panel_for_what_was_measured():
    axes = plot_diagnosis(Diagnosis([], {**TRIALS, **SIGNALS}, "m"))
    assert titles(axes) == [
        "Short runs at several rates",
        "Loss at the end against the rate",
        "Signal before training",
    ]
    labels = [line.get_label() for line in axes[0].get_lines()]
    assert labels == ["1.0e-02", "1.0e-01 (given)", "1.0e+00", "before training"]
    plt.close("all")


def test_one_panel_on_given_axes():
    _, ax = plt.subplots()
    assert plot_diagnosis(Diagnosis([], SIGNALS, "m"), ax=ax) is ax
    assert titles([ax]) == ["Signal before training"]
    plt.close("all")


def test_curves_of_a_history():
    facts = {"curve/loss": np.array([2.0, 1.0]), "curve/val_loss": np.array([2.1, 1.4])}
    (ax,) = Diagnosis([], facts, "m").plot()
    assert [line.get_label() for line in ax.get_lines()] == ["loss", "val_loss"]
    plt.close("all")


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="Nothing was measured"):
        plot_diagnosis(Diagnosis([], {}, "m"))
