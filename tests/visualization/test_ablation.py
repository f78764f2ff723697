"""What the picture of an ablation shows."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import keras_deeptricks as kdt

# Effects of removing: +0.2 with certainty, −0.1 with certainty, nothing, and a failed run.
OWN = np.array([0.700, 0.710, 0.705, 0.715])


def ablation(**changes):
    wobble = np.array([0.001, -0.001, 0.0005, -0.0005])
    nothing = np.array([0.01, -0.01, 0.02, -0.02])
    fields = {
        "tricks": ["good", "bad", "idle", "breaking"],
        "values": {name: ["False", "True"] for name in ("good", "bad", "idle", "breaking")},
        "seeds": np.arange(4),
        "full": OWN,
        "plain": OWN - 0.1,
        "removed": np.array(
            [OWN - 0.2 + wobble, OWN + 0.1 + wobble, OWN + nothing, [np.nan, 0.70, 0.70, 0.70]]
        ),
        "added": np.array([OWN - 0.1 + 0.2 + wobble, OWN - 0.2 + wobble, OWN - 0.1, OWN * np.nan]),
        "failures": [],
        "monitor": "val_accuracy",
        "epoch": "kept",
        "larger_is_better": True,
        "confidence": 0.95,
    }
    return kdt.diagnostics.Ablation(**{**fields, **changes})


def dots(ax):
    return [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]


def test_dots_and_intervals():
    found = ablation()
    for ax, design in zip(found.plot(), ("removed", "added"), strict=True):
        effects = list(found.effects[design].values())
        means = [dot.get_xdata()[0] for dot in dots(ax)]
        np.testing.assert_allclose(means, [effect.mean for effect in effects])
        assert [dot.get_ydata()[0] for dot in dots(ax)] == [0, 1, 2, 3]
        bars = [line for line in ax.lines if line.get_linewidth() == 2]
        shown = [effect for effect in effects if np.isfinite(effect.low)]
        np.testing.assert_allclose(
            [bar.get_xdata() for bar in bars], [[one.low, one.high] for one in shown]
        )
        marks = [line for line in ax.lines if line.get_marker() == "|"]
        np.testing.assert_array_equal(marks[0].get_xdata(), effects[0].values)


def test_colours_tell_the_verdict():
    ax = ablation().plot()[0]
    good, bad, idle, breaking = dots(ax)
    assert (good.get_markeredgecolor(), good.get_markerfacecolor()) == ("tab:blue", "tab:blue")
    assert (bad.get_markeredgecolor(), bad.get_markerfacecolor()) == ("tab:red", "tab:red")
    assert (idle.get_markeredgecolor(), idle.get_markerfacecolor()) == ("0.45", "white")
    assert breaking.get_markerfacecolor() == "white"
    legend = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert legend == ["helps", "hurts", "may help or hurt", "no difference shown", "single seeds"]
    assert [text.get_text() for text in ax.texts] == ["1 of 4 pairs failed"]


def test_names_and_direction():
    axes = ablation().plot()
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == [
        "good",
        "bad",
        "idle",
        "breaking",
    ]
    low, high = axes[0].get_ylim()
    assert low > high  # the first trick on top
    assert axes[0].get_title() == "Removed from the full configuration (full: 0.7075)"
    assert axes[1].get_title() == "Added to the plain baseline (plain: 0.6075)"
    assert axes[1].get_xlabel() == "val_accuracy with the trick − without it   (better →)"
    falling = ablation(monitor="val_loss", larger_is_better=False).plot()[0]
    assert falling.get_xlabel() == "val_loss with the trick − without it   (← better)"
    # What raises a loss hurts.
    assert dots(falling)[0].get_markeredgecolor() == "tab:red"


def test_failed_references_and_given_axes():
    _, axes = plt.subplots(1, 2)
    drawn = ablation(full=OWN * np.nan).plot(ax=axes)
    assert drawn[0] is axes[0]
    assert "all runs failed" in drawn[0].get_title()
    assert {text.get_text() for text in axes[0].texts} == {"4 of 4 pairs failed"}
    with pytest.raises(ValueError, match="`ax` must be two Axes"):
        ablation().plot(ax=axes[0])
