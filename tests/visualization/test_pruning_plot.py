"""What the pictures of pruning show."""

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

import keras_deeptricks as kdt
from keras_deeptricks.models.pruning import (
    PruningRounds,
    ShrinkReport,
    prune,
    sparsity,
    weight_magnitude,
)


def curves(models=1, **changes):
    fields = {
        "metric": "accuracy",
        "units": False,
        "saliencies": ["random", "weight_magnitude"],
        "fractions": np.array([0.3, 0.6]),
        "scores": np.array([[[0.8, 0.6], [0.5, 0.3]], [[0.9, 0.8], [0.7, 0.5]]])[..., :models],
        "retrained": np.array([[[0.9, 0.9], [0.7, 0.7]], [[0.9, 1.0], [0.9, 0.7]]])[..., :models],
        "whole": np.array([0.95, 0.97])[:models],
    }
    return kdt.diagnostics.PruningCurves(**{**fields, **changes})


def increase(sign=1.0):
    return kdt.diagnostics.LossIncrease(
        orders=["optimal_brain_damage", "random"],
        fractions=np.array([0.1, 0.2]),
        predicted=np.array([[[0.001], [0.01]], [[0.1], [0.3]]]),
        measured=np.array([[[0.001 * sign], [0.02]], [[0.2], [0.9]]]),
        loss=np.array([0.02]),
    )


def labelled(ax):
    return {line.get_label(): line for line in ax.lines}


def test_curves_of_several_models():
    ax = curves(models=2).plot()
    lines = labelled(ax)
    np.testing.assert_array_equal(lines["random"].get_xdata(), [30, 60])
    np.testing.assert_allclose(lines["random"].get_ydata(), [0.7, 0.4])
    np.testing.assert_allclose(lines["weight magnitude, retrained"].get_ydata(), [0.95, 0.8])
    np.testing.assert_allclose(lines["whole model: 0.96"].get_ydata(), 0.96)
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    # From the lowest to the highest of the models.
    np.testing.assert_allclose([heights.min(), heights.max()], [0.3, 0.8])
    assert ax.get_xlabel() == "weights pruned (%)"
    assert ax.get_title() == "Pruning, 2 models"


def test_curves_of_one_model_of_units():
    _, given = plt.subplots()
    ax = curves(retrained=None, units=True).plot(ax=given)
    assert ax is given
    assert not ax.collections
    assert sorted(labelled(ax)) == ["random", "weight magnitude", "whole model: 0.95"]
    assert ax.get_xlabel() == "units pruned (%)"


def test_loss_increase():
    left, right = increase().plot()
    lines = labelled(left)
    np.testing.assert_allclose(lines["optimal brain damage, measured"].get_ydata(), [0.001, 0.02])
    np.testing.assert_allclose(left.lines[1].get_ydata(), [0.001, 0.01])
    points = labelled(right)["random: ratio 2.5, correlation 1.000"]
    np.testing.assert_allclose(points.get_xdata(), [0.1, 0.3])
    np.testing.assert_allclose(points.get_ydata(), [0.2, 0.9])
    np.testing.assert_allclose(labelled(right)["equal"].get_xdata(), [0.001, 0.9])


def test_a_loss_that_falls_is_drawn():
    _, ax = plt.subplots()
    assert increase(sign=-1.0).plot(ax=ax) is ax
    assert ax.get_yscale() == "symlog"
    assert ax.get_ylim()[0] < 0
    with pytest.raises(ValueError, match="3 of them"):
        increase().plot(ax=plt.subplots(1, 3)[1])


def test_sparsity():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, name="first"),
            keras.layers.Dense(2, name="last"),
        ]
    )
    pruned = prune(model, weight_magnitude, fraction=0.5, exclude=["last"])
    ax = sparsity(pruned).plot()
    widths = [patch.get_width() for patch in ax.patches]
    assert widths == [100, 100, 50, 0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["first/kernel", "last/kernel"]
    assert [text.get_text() for text in ax.texts] == ["10 of 20 left", "10 of 10 left"]
    # 10 of 30 weights.
    assert "33.3 % of kernels" in ax.get_title()
    # 10 of 37, and the seven biases.
    assert ax.get_title().endswith("45.9 % of all parameters")


def test_sparsity_of_what_is_left_out():
    inputs = keras.Input((5, 4))
    tensor = keras.layers.MultiHeadAttention(1, 2, name="attention")(inputs, inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="last")(tensor))
    ax = sparsity(model).plot()
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == ["last/kernel", "attention (left out)"]
    plain = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    assert not sparsity(plain).plot().patches


def rounds(**figures):
    entries = []
    for number, share in enumerate((0.0, 0.5, 0.75)):
        parts = {"before": None, "after": None}
        if figures:
            parts["before"] = {name: value - number for name, value in figures.items()}
            parts["after"] = {name: value + number for name, value in figures.items()}
        entries.append({"round": number, "sparsity": share, **parts})
    return PruningRounds("small", entries)


def test_rounds():
    axes = rounds(accuracy=10.0, loss=2.0).plot()
    assert [ax.get_ylabel() for ax in axes] == ["accuracy", "loss"]
    lines = labelled(axes[0])
    np.testing.assert_array_equal(lines["trained"].get_xdata(), [0, 50, 75])
    np.testing.assert_array_equal(lines["trained"].get_ydata(), [10, 11, 12])
    # Without that of the untrained model.
    np.testing.assert_array_equal(lines["before retraining"].get_xdata(), [50, 75])
    np.testing.assert_array_equal(lines["before retraining"].get_ydata(), [9, 8])
    assert "not pruned: 10" in lines


def test_rounds_on_given_axes():
    _, given = plt.subplots()
    assert rounds(accuracy=10.0, loss=2.0).plot(ax=given) is given
    assert given.get_ylabel() == "accuracy"
    ax = kdt.visualization.plot_pruning_rounds(rounds(accuracy=10.0, loss=2.0), names="loss")
    assert ax.get_ylabel() == "loss"
    with pytest.raises(ValueError, match="`evaluate`"):
        rounds().plot()
    with pytest.raises(ValueError, match="3 of them"):
        rounds(loss=2.0).plot(ax=plt.subplots(1, 3)[1])
    with pytest.raises(ValueError, match="`names`"):
        kdt.visualization.plot_pruning_rounds(rounds(loss=2.0), names=["auc"])


def test_shrink():
    layers = [
        {"layer": "hidden", "units": [8, 2], "parameters": [40, 10], "flops": [64, 16]},
        {"layer": "out", "units": [2, 2], "parameters": [18, 18], "flops": [32, 32]},
    ]
    ax = ShrinkReport("small", layers, [], []).plot()
    assert [patch.get_width() for patch in ax.patches] == [100, 100, 25, 100]
    assert [text.get_text() for text in ax.texts] == ["40 → 10", "18"]
    assert ax.get_title() == "'small' made smaller: 58 → 28 parameters"
