"""What the pictures of activations, gradients and watched trainings show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import keras_deeptricks as kdt


def activations(count=2, **changes):
    fields = {
        "layers": [f"layer_{i}" for i in range(count)],
        "activations": ["tanh"] * count,
        "units": np.full(count, 3),
        "mean": np.zeros(count),
        "std": np.linspace(0.5, 0.1, count),
        "dead_share": np.zeros(count),
        "saturated_share": np.linspace(0, 0.9, count),
        "nan_share": np.zeros(count),
        "counts": np.tile([1, 2, 1], (count, 1)),
        "edges": np.tile([-1.0, -0.5, 0.5, 1.0], (count, 1)),
        "unit_std": [np.ones(3)] * count,
        "rows": 4,
    }
    return kdt.diagnostics.ActivationStatistics(**{**fields, **changes})


def test_histograms_of_all_layers():
    axes = activations().plot()
    first, second = axes.ravel()
    assert [bar.get_height() for bar in first.patches] == [0.25, 0.5, 0.25]
    assert [bar.get_x() for bar in first.patches] == [-1.0, -0.5, 0.5]
    assert [bar.get_width() for bar in first.patches] == [0.5, 1.0, 0.5]
    assert first.get_title() == "layer_0 (tanh)"
    assert first.get_xlabel().strip() == "std 0.5"
    assert second.get_xlabel() == "std 0.1\n90% saturated"
    # What is wrong has another color.
    assert first.patches[0].get_facecolor() != second.patches[0].get_facecolor()


def test_of_many_layers_some_are_drawn():
    axes = activations(60).plot()
    drawn = [ax for ax in axes.ravel() if ax.get_visible()]
    assert len(drawn) == 24
    assert drawn[0].get_title().startswith("layer_0 ")
    assert drawn[-1].get_title().startswith("layer_59 ")


def test_profile_on_one_axes_and_wrong_numbers():
    ax = plt.figure().add_subplot()
    assert activations(3).plot(ax) is ax
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.5, 0.3, 0.1])
    with pytest.raises(ValueError, match="3 layers"):
        activations(3).plot([ax, ax])


def gradients(**changes):
    fields = {
        "loss": 1.0,
        "variables": ["a/kernel", "b/kernel"],
        "variable_layers": ["a", "b"],
        "norm": np.array([0.2, 2.0]),
        "rms": np.array([0.1, 1.0]),
        "weight_norm": np.array([1.0, 1.0]),
        "ratio": np.array([0.2, 2.0]),
        "layers": ["a", "b"],
        "layer_norm": np.array([0.2, 2.0]),
        "layer_rms": np.array([0.1, 1.0]),
        "layer_weight_norm": np.array([1.0, 1.0]),
        "layer_ratio": np.array([0.2, 2.0]),
        "nan_share": np.zeros(2),
        "rows": 4,
    }
    return kdt.diagnostics.GradientStatistics(**{**fields, **changes})


def test_gradients_over_depth():
    ax = gradients().plot()
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.1, 1.0])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [0.2, 2.0])
    assert ax.get_yscale() == "log"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "b"]
    assert "first to last 0.1" in ax.get_title()


def test_gradients_that_a_logarithm_has_no_place_for():
    ax = gradients(layer_rms=np.array([0.0, np.nan])).plot()
    assert np.isnan(ax.lines[0].get_ydata()).all()
    assert [text.get_text() for text in ax.get_legend().get_texts()][-1] == "zero or not finite"


def record(**changes):
    one = np.array([[0.5, 0.4], [0.6, np.nan], [0.2, 0.0]])
    names = ("activation_mean", "activation_std", "dead_share", "gradient_norm", "update_ratio")
    fields = {
        "steps": np.array([0, 50, 100]),
        "epochs": np.array([0, 0, 1]),
        "losses": np.array([2.3, 1.1, 0.4]),
        "layers": ["hidden", "out"],
        "series": {**dict.fromkeys(names, one), "saturated_share": np.full((3, 2), np.nan)},
        "first_not_finite": {},
    }
    return kdt.callbacks.TrainingRecord(**{**fields, **changes})


def test_curves_of_a_record():
    axes = record().plot().ravel()
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [2.3, 1.1, 0.4])
    hidden, out = axes[1].lines
    np.testing.assert_array_equal(hidden.get_xdata(), [0, 50, 100])
    np.testing.assert_array_equal(hidden.get_ydata(), [0.5, 0.6, 0.2])
    # 0 has no place on the logarithmic axis; on the axis of shares it has.
    np.testing.assert_array_equal(out.get_ydata(), [0.4, np.nan, np.nan])
    np.testing.assert_array_equal(axes[4].lines[1].get_ydata(), [0.4, np.nan, 0.0])
    assert not axes[5].lines
    labels = [text.get_text() for text in axes[2].get_legend().get_texts()]
    assert labels == ["hidden", "out"]


def test_the_place_that_was_not_finite_first():
    place = {"step": 50, "layer": "out", "what": "activations"}
    axes = record(first_not_finite=place).plot().ravel()
    assert axes[0].get_title() == "not finite first: activations of out"
    assert axes[5].lines[-1].get_xdata() == [50, 50]


def test_updates_on_one_axes_and_wrong_numbers():
    ax = plt.figure().add_subplot()
    assert record().plot(ax) is ax
    assert ax.get_ylabel() == "update / weights per step"
    with pytest.raises(ValueError, match="one or six"):
        record().plot([ax, ax])
