import json
import math

import keras
import keras_tuner
import numpy as np
import pytest
from small_models import regression_data

from keras_deeptricks.tuners import CoarseToFine, CoarseToFineOracle
from keras_deeptricks.tuners.coarse_to_fine import _value
from keras_deeptricks.tuners.durable_oracle import make_durable

# Keras Tuner asks for the name of the thread in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:.*(currentThread|getName).*:DeprecationWarning")


def space(**declare):
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Float("dropout", 0.0, 0.5)
    hp.Int("width", 8, 128, sampling="log")
    hp.Choice("batch", [16, 32, 64, 128])
    hp.Choice("kind", ["a", "b", "c"])
    hp.Boolean("flag")
    hp.Fixed("always", 3)
    return hp


def oracle_of(folder, hyperparameters=None, **options):
    oracle = CoarseToFineOracle(
        keras_tuner.Objective("score", "min"),
        hyperparameters=hyperparameters or space(),
        **{
            "max_trials": 30,
            "seed": 1,
            "coarse_share": 0.4,
            "rounds": 3,
            "shrink": 0.5,
            "extend": "log",
            **options,
        },
    )
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "project")
    return oracle


def run(oracle, score, trials=None):
    """Runs the trials one after the other; returns their values."""
    values = []
    while trials is None or len(values) < trials:
        trial = oracle.create_trial("tuner0")
        if trial.status == "STOPPED":
            break
        values.append(trial.hyperparameters.values)
        oracle.update_trial(trial.trial_id, {"score": score(trial.hyperparameters.values)})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return values


def distance(values, rate=1e-2, dropout=0.2):
    """How far from the best values, in decades and units."""
    return abs(math.log10(values["rate"] / rate)) + 5 * abs(values["dropout"] - dropout)


def test_rounds_narrow_around_the_best(tmp_path):
    oracle = oracle_of(tmp_path)
    values = run(oracle, distance)
    assert len(values) == 30
    rounds = [oracle.round_of(name) for name in oracle.start_order]
    assert rounds == [0] * 12 + [1] * 6 + [2] * 6 + [3] * 6
    regions = oracle.regions()
    assert len(regions) == 3
    for number, region in enumerate(regions, start=1):
        before = [v for v, r in zip(values, rounds, strict=True) if r < number]
        best = min(before, key=distance)
        low, high = region["rate"]
        assert low <= best["rate"] <= high
        inside = [v["rate"] for v, r in zip(values, rounds, strict=True) if r == number]
        assert all(low <= rate <= high for rate in inside)
        assert best["kind"] in region["kind"]
        assert all(
            v["kind"] in region["kind"] and v["batch"] in region["batch"]
            for v, r in zip(values, rounds, strict=True)
            if r == number
        )
        assert "always" not in region
    widths = [math.log(high / low) for low, high in (region["rate"] for region in regions)]
    assert widths[0] <= math.log(1e3) + 1e-9
    assert widths == sorted(widths, reverse=True)
    assert all(v["always"] == 3 for v in values)


def test_the_range_of_a_rate_is_left_where_the_best_lies_at_its_end(tmp_path):
    def toward_large_rates(values):
        return distance(values, rate=1.0)

    left = run(oracle_of(tmp_path / "a"), toward_large_rates)
    assert max(v["rate"] for v in left) > 0.1
    assert all(0.0 <= v["dropout"] <= 0.5 for v in left)
    assert all(8 <= v["width"] <= 128 for v in left)
    # By half of the range, in decades, at most.
    assert max(v["rate"] for v in left) <= 0.1 * 10**1.5
    kept = run(oracle_of(tmp_path / "b", extend=("learning_rate",)), toward_large_rates)
    assert max(v["rate"] for v in kept) <= 0.1
    kept = run(oracle_of(tmp_path / "d", extend=None), toward_large_rates)
    assert max(v["rate"] for v in kept) <= 0.1
    named = run(oracle_of(tmp_path / "c", extend=["rate"]), toward_large_rates)
    assert [v["rate"] for v in named] == [v["rate"] for v in left]


def test_it_finds_better_values_than_random_search_on_a_smooth_function(tmp_path):
    def best(oracle):
        return min(map(distance, run(oracle, distance)))

    ours, theirs = [], []
    for seed in range(12):
        ours.append(best(oracle_of(tmp_path / f"ours{seed}", seed=seed + 1)))
        plain = keras_tuner.oracles.RandomSearchOracle(
            keras_tuner.Objective("score", "min"),
            max_trials=30,
            seed=seed + 1,
            hyperparameters=space(),
        )
        plain.verbose = 0
        plain._set_project_dir(str(tmp_path / f"theirs{seed}"), "project")
        theirs.append(best(plain))
    assert np.median(ours) < 0.85 * np.median(theirs)


def test_the_larger_scores_are_the_better_ones_where_the_objective_says_so(tmp_path):
    oracle = oracle_of(tmp_path)
    oracle.objective = keras_tuner.Objective("score", "max")
    values = run(oracle, lambda v: -distance(v))
    best = max(values[:12], key=lambda v: -distance(v))
    low, high = oracle.regions()[0]["rate"]
    assert low <= best["rate"] <= high


def test_a_small_space_ends_the_search_when_it_is_exhausted(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    hp.Boolean("flag")
    values = run(oracle_of(tmp_path, hp), lambda v: float(v["kind"] == "a"))
    assert len({(v["kind"], v["flag"]) for v in values}) == len(values) == 4


def test_conditional_hyperparameters(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Choice("norm", ["batch", "none"])
    with hp.conditional_scope("norm", ["batch"]):
        hp.Float("position", 0.0, 1.0)
    hp.Float("rate", 1e-3, 1e-1, sampling="log")
    values = run(oracle_of(tmp_path, hp), lambda v: abs(v["rate"] - 0.01))
    assert all(("position" in v) == (v["norm"] == "batch") for v in values)


def test_an_interrupted_search_goes_on_with_the_same_trials(tmp_path):
    whole = run(oracle_of(tmp_path / "whole"), distance)
    first = oracle_of(tmp_path / "parts")
    begun = run(first, distance, trials=20)
    second = oracle_of(tmp_path / "parts", seed=99)
    second.reload()
    make_durable(second, tmp_path / "parts" / "project")
    assert json.loads((tmp_path / "parts" / "project" / "oracle.json").read_text())["regions"]
    assert second.regions() == first.regions()
    assert begun + run(second, distance) == whole


def test_trials_under_way_do_not_hold_up_other_workers(tmp_path):
    oracle = oracle_of(tmp_path, max_trials=10)
    trials = [oracle.create_trial(f"tuner{number}") for number in range(10)]
    # Nothing has ended: all of them search the whole ranges.
    assert [oracle.round_of(trial.trial_id) for trial in trials] == [0] * 10
    assert oracle.create_trial("tuner10").status == "STOPPED"


def test_failed_trials_are_no_centre(tmp_path):
    oracle = oracle_of(tmp_path, max_consecutive_failed_trials=20)
    for _ in range(12):
        trial = oracle.create_trial("tuner0")
        trial.status = "FAILED"
        oracle.end_trial(trial)
    trial = oracle.create_trial("tuner0")
    assert trial.status == "RUNNING"
    assert oracle.round_of(trial.trial_id) == 0


def test_values_at_the_ends_of_whole_ranges():
    hp = space()
    width = next(h for h in hp.space if h.name == "width")
    assert _value(width, 0.0) == 8
    assert _value(width, 1.0) == _value(width, 2.0) == 128
    rate = next(h for h in hp.space if h.name == "rate")
    assert _value(rate, 4 / 3) == pytest.approx(1.0)


def test_the_tuner_trains_models(tmp_path):
    x, y = regression_data(rows=32)

    def build(hp):
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(hp.Int("units", 2, 16)), keras.layers.Dense(1)]
        )
        model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-1, sampling="log")), "mse")
        return model

    tuner = CoarseToFine(
        build, "val_loss", max_trials=3, rounds=1, directory=tmp_path, project_name="p", seed=0
    )
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    assert len(tuner.oracle.end_order) == 3
    best = tuner.oracle.get_best_trials()[0]
    assert tuner.get_best_models()[0].evaluate(x, y, verbose=0) == pytest.approx(
        best.score, rel=1e-4
    )


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"max_trials": 0}, ValueError, "max_trials"),
        ({"coarse_share": 0}, ValueError, "coarse_share"),
        ({"coarse_share": 1.2}, ValueError, "coarse_share"),
        ({"rounds": 0}, ValueError, "rounds"),
        ({"rounds": 1.5}, TypeError, "rounds"),
        ({"shrink": 1.0}, ValueError, "shrink"),
        ({"extend": "linear"}, ValueError, "extend"),
    ],
)
def test_bad_arguments(options, error, text):
    with pytest.raises(error, match=text):
        CoarseToFineOracle("val_loss", **options)
