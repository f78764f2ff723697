"""The picture of a search."""

import numpy as np
import pytest

from keras_deeptricks.tuners.search_result import SearchResult
from keras_deeptricks.visualization import plot_search


def result(count=12, objective="val_accuracy", direction="max"):
    rng = np.random.default_rng(0)
    trials = []
    for number in range(count):
        kind = "batch" if number % 3 else "none"
        settings = {
            "depth": int(rng.integers(1, 7)),
            "rate": float(10 ** rng.uniform(-3, -0.5)),
            "momentum": float(rng.uniform(0.8, 0.98)),
            "kind": kind,
            "epochs": 20,  # the same everywhere
            **({"position": "after"} if kind == "batch" and number % 2 else {}),
            **({"position": "before"} if kind == "batch" and not number % 2 else {}),
        }
        score = None if number == 5 else 0.9 + 0.01 * settings["depth"]
        trials.append(
            {
                "trial": f"{number:02d}",
                "status": "COMPLETED" if score else "FAILED",
                "score": score,
                "round": number // 4,
                "settings": settings,
                "metrics": {},
                "message": "",
            }
        )
    models = {"best_model": None, "model": None}
    return SearchResult(
        trials, objective, direction, trials[0]["settings"], **models, test=None,
        search={"tuner": "CoarseToFine", "seconds": 1.0}, targets=None,
    )  # fmt: skip


def test_each_setting_that_varied_has_an_axis():
    figure = plot_search(result())
    lines, *others = figure.axes
    assert "11 trials" in lines.get_title()
    assert "later round" in lines.get_title()
    # A line for each trial with a score.
    drawn = [line for line in lines.lines if len(line.get_xdata()) == 6]
    assert len(drawn) == 11
    labels = [ax.get_xlabel() for ax in others]
    assert labels == ["depth", "rate", "momentum", "kind", "position", "trials with a score"]
    by_name = dict(zip(labels, others, strict=True))
    assert by_name["rate"].get_xscale() == "log"
    assert by_name["momentum"].get_xscale() == "linear"
    # Only where it applies, and the best again in red.
    points = sum(len(part.get_offsets()) for part in by_name["position"].collections)
    used = [trial for trial in result().ranked() if "position" in trial["settings"]]
    assert points - len(used) in (0, 1)


def test_the_best_is_the_lowest_of_a_loss():
    drawn = plot_search(result(objective="val_loss", direction="min"))
    assert "lower val_loss" in drawn.axes[0].get_title()
    progress = drawn.axes[-1].lines[0].get_ydata()
    assert list(progress) == list(np.minimum.accumulate(progress))


def test_nothing_to_draw():
    found = result()
    for trial in found.trials:
        trial["score"] = None
    with pytest.raises(ValueError, match="no trial has a score"):
        plot_search(found)


def test_written_to_a_file(tmp_path):
    result().plot(tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 10_000
