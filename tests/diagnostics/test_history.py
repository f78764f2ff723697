"""Verdicts and findings on curves of known kinds."""

import csv
import functools

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics.history_reading import fill_missing

diagnose = kdt.diagnostics.diagnose_history


def falling(epochs=30, pace=4.0, floor=0.1, noise=0.02, seed=0, height=2.2):
    rng = np.random.default_rng(seed)
    values = height * np.exp(-np.arange(epochs) / pace) + floor
    return values * (1 + noise * rng.normal(size=epochs))


def one_cycle(seed):
    at = np.arange(20) / 20
    bump = 0.4 * np.exp(-(((at - 0.35) / 0.12) ** 2))
    return falling(20, 3.3, noise=0.03, seed=seed) + bump


def warm_up(seed):
    values = 2.3 / (1 + np.exp((np.arange(25) - 8) / 2)) + 0.1
    return values + 0.02 * np.random.default_rng(seed).normal(size=25)


def steps_of_rate(seed):
    values = falling(40, 2, 0.3, seed=seed)
    values[20:] *= 0.5
    values[30:] *= 0.8
    return values


def near_zero(seed):
    return falling(40, 1, 1e-7, 0.1, seed)


HEALTHY = {
    "smooth": lambda seed: falling(seed=seed, noise=0),
    "small data": lambda seed: falling(seed=seed, noise=0.08, floor=0.2),
    "irreducible noise": lambda seed: falling(30, 0.6, 1.0, 0.02, seed),
    "one cycle": one_cycle,
    "warm-up": warm_up,
    "steps of the rate": steps_of_rate,
    "near zero": near_zero,
    "log-likelihood": lambda seed: falling(seed=seed) - 3,
    "large negative": lambda seed: 50 * falling(seed=seed) - 1000,
    "penalties": lambda seed: falling(seed=seed) + 3 * np.exp(-np.arange(30) / 10),
    "few epochs": lambda seed: falling(5, 2, seed=seed),
    "long": lambda seed: falling(300, 20, seed=seed),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", HEALTHY)
def test_healthy_curves_are_silent(kind, seed):
    loss = HEALTHY[kind](seed)
    noise = 1 + 0.2 * np.random.default_rng(seed + 9).normal(size=len(loss))
    # Validation: a little above, with much noise.
    found = diagnose({"loss": loss, "val_loss": loss + 0.1 * np.abs(noise)})
    assert found.findings == []
    assert found.facts["learning_rate"] == "good"
    assert found.ok


def test_early_stopping_is_silent():
    train, valid = falling(20, 5), falling(20, 5, 0.3)
    valid[14:] += 0.01 * np.arange(6)
    assert diagnose({"loss": train, "val_loss": valid}).findings == []


def test_a_fit_that_goes_on_is_silent():
    loss = 0.05 * np.exp(-np.arange(10) / 40)
    assert diagnose({"loss": loss, "accuracy": np.full(10, 0.98)}).findings == []


FAULTY = {
    "too low": (2.3 - 0.01 * np.arange(12), "learning_rate_too_low", "too low"),
    "unmoved": (2.3 - 1e-6 * np.arange(8), "learning_rate_too_low", "too low"),
    "risen": (2.0 + 0.3 * np.arange(10), "divergence", "very high"),
    "stuck above": (np.array([14.0] + [14.4] * 9), "divergence", "very high"),
    "zigzag": (1 + 0.3 * (-1.0) ** np.arange(20), "oscillation", "high"),
    "risen again": (
        np.concatenate([falling(12, 2), np.linspace(0.3, 2, 12)]),
        "divergence",
        "high",
    ),
    "exploded": (np.array([2.0, 9.0, 400.0, np.nan, np.nan]), "nan", "very high"),
    "constant": (np.full(6, 0.7), "nothing_trainable", "undecided"),
}


@pytest.mark.parametrize("kind", FAULTY)
def test_faulty_curves(kind):
    loss, code, verdict = FAULTY[kind]
    found = diagnose({"loss": loss})
    assert code in found.codes
    assert found.facts["learning_rate"] == verdict
    assert not found.ok


def test_slow_but_learning_is_a_note():
    found = diagnose({"loss": 2.3 - 0.06 * np.arange(12)})
    assert [(f.code, f.severity) for f in found.findings] == [("learning_rate_too_low", "note")]
    assert found.ok


def test_overfitting():
    t = np.arange(30)
    curves = {"loss": 2 * np.exp(-t / 4), "val_loss": 2 * np.exp(-t / 3) + 0.3 + 0.03 * t}
    found = diagnose(curves)
    assert found.codes == ["overfitting"]
    assert found.facts["learning_rate"] == "good"
    assert "epoch 1" in found.findings[0].evidence
    gap = diagnose(
        {
            "loss": falling(),
            "val_loss": falling(floor=0.4),
            "accuracy": np.linspace(0.3, 1, 30),
            "val_accuracy": np.minimum(np.linspace(0.3, 1, 30), 0.6),
        }
    )
    assert gap.codes == ["overfitting"]
    assert "0.600" in gap.findings[0].evidence


def test_chance_level():
    rng = np.random.default_rng(0)
    loss = 2.303 + 0.003 * rng.normal(size=12)
    assert diagnose({"loss": loss}).findings == []  # nothing tells that this is bad
    told = diagnose({"loss": loss, "accuracy": 0.1 + 0.004 * rng.normal(size=12)})
    assert told.codes == ["underfitting"]
    assert diagnose({"loss": loss}, baseline=np.log(10)).codes == ["underfitting"]
    thrown = diagnose({"loss": np.r_[3.1, loss]}, baseline=np.log(10))
    assert thrown.facts["learning_rate"] == "high"


def test_too_short_is_a_note():
    found = diagnose({"loss": [1.0]})
    assert [(f.code, f.severity) for f in found.findings] == [("check_incomplete", "note")]
    assert found.facts["learning_rate"] == "undecided"


def test_names_of_outputs():
    slow = 2.3 - 0.01 * np.arange(12)
    found = diagnose({"out_a_loss": falling(12), "out_b_loss": slow}, monitor="out_b_loss")
    assert found.codes == ["learning_rate_too_low"]
    assert diagnose({"out_a_loss": falling(12)}).facts["loss_name"] == "out_a_loss"
    with pytest.raises(ValueError, match="There are: loss"):
        diagnose({"loss": [1.0]}, monitor="cost")
    with pytest.raises(ValueError, match="validation curve"):
        diagnose({"loss": [1.0]}, validation="val_x")
    with pytest.raises(ValueError, match="looks like a loss"):
        diagnose({"accuracy": [1.0]})


def test_first_layer_with_nan():
    good, bad = np.ones(5), np.array([1, 1, 1, np.nan, np.nan])
    later = np.array([1, 1, 1, 1, np.nan])
    found = diagnose(
        {
            "loss": [2.0, 1.5, 1.2, 1.1, np.nan],
            "monitor/block/dense/activation_std": good,
            "monitor/block/dense/gradient_norm": bad,
            "monitor/dense_1/activation_std": bad,
            "monitor/dense_2/activation_std": later,
        }
    )
    assert found.codes[0] == "nan"
    assert found.findings[0].layer == "dense_1"
    assert "loss became NaN in epoch 5" in found.findings[0].evidence
    assert "epoch 4" in found.findings[0].evidence


LAYER_FAULTS = {
    "dead_units": {"monitor/b/dead_share": np.full(8, 0.97), "monitor/a/dead_share": np.zeros(8)},
    "saturated_units": {
        "monitor/b/saturated_share": np.full(8, 0.8),
        # Confident at the end only.
        "monitor/a/saturated_share": np.linspace(0, 0.9, 8),
    },
    "exploding_gradient": {
        "monitor/b/gradient_norm": np.geomspace(1, 1e6, 8),
        "monitor/a/gradient_norm": np.ones(8),
    },
    "vanishing_gradient": {
        "monitor/b/gradient_norm": np.full(8, 1e-8),
        "monitor/a/gradient_norm": np.ones(8),
    },
}


@pytest.mark.parametrize("code", LAYER_FAULTS)
def test_series_of_layers(code):
    found = diagnose({"loss": falling(8, 2), **LAYER_FAULTS[code]})
    assert [(f.code, f.layer) for f in found.findings] == [(code, "b")]
    swapped = {
        name.replace("/b/", "/c/"): v[::-1] * 0 + 0.1 for name, v in LAYER_FAULTS[code].items()
    }
    assert diagnose({"loss": falling(8, 2), **swapped}).findings == []


def test_forms_of_histories(tmp_path):
    curves = {"epoch": np.arange(12), "loss": 2.3 - 0.01 * np.arange(12)}
    path = tmp_path / "log.csv"
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*curves, "val_loss"])
        for epoch, loss in zip(*curves.values(), strict=True):
            rows.writerow([epoch, loss, "NA" if epoch % 2 else loss])
    history = keras.callbacks.History()
    history.history = {"loss": list(curves["loss"])}
    for form in (curves, history, path, str(path)):
        assert diagnose(form).codes == ["learning_rate_too_low"]
    pandas = pytest.importorskip("pandas")
    assert diagnose(pandas.DataFrame(curves)).codes == ["learning_rate_too_low"]
    with pytest.raises(TypeError, match="Received: history of type int"):
        diagnose(3)
    with pytest.raises(ValueError, match="There is none"):
        diagnose(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="at least one epoch"):
        diagnose({"loss": []})


def test_missing_values_are_no_nan():
    values, at = fill_missing([np.nan, 1, np.nan, 2, np.nan])
    np.testing.assert_array_equal(values, [1, 2])
    np.testing.assert_array_equal(at, [1, 3])
    values, _ = fill_missing([1, 2, np.nan, np.nan])
    assert np.isnan(values[2:]).all()


@functools.cache
def digits():
    data = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))[:640]
    return (data.data[order] / 16).astype("float32"), data.target[order]


@pytest.mark.parametrize(
    "rate, verdicts",
    [
        (1e-6, ["too low"]),
        (1e-3, ["too low"]),
        (0.1, ["good"]),
        # TensorFlow computes with logits: there the loss is higher and falls for longer.
        (10.0, ["high", "very high"]),
    ],
    ids=["1e-6", "1e-3", "0.1", "10"],
)
def test_real_trainings(rate, verdicts):
    x, y = digits()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    found = diagnose(model.fit(x, y, epochs=8, batch_size=32, verbose=0))
    assert found.facts["learning_rate"] in verdicts
    assert found.ok == (verdicts == ["good"])
