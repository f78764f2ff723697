"""Ablations: designs, pairing, statistics, resumption, failures."""

import functools
import json
import math
import random
import types

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics import Ablation, ablate

X = np.arange(12, dtype="float32").reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])
DATA = (X, Y, X[:4], Y[:4])


class Pretended(keras.Model):
    """Trains in no time: its history and its scores are given."""

    def __init__(self, history, kept):
        super().__init__()
        self.given = history, kept
        self.compile("sgd", "mse")

    def fit(self, *args, **options):
        self.seen = args, options
        return types.SimpleNamespace(history=self.given[0])

    def evaluate(self, *args, **options):
        return self.given[1]


def pretended(accuracy, loss=0.5):
    history = {"loss": [1.0, loss], "val_accuracy": [accuracy + 0.01, accuracy]}
    return Pretended(history, {"loss": loss, "accuracy": accuracy})


class Builder:
    """A `build` whose tricks have known effects, and which remembers its calls."""

    def __init__(self, stop_before=None):
        self.calls, self.stop_before = [], stop_before

    def __call__(self, settings, seed):
        if len(self.calls) == self.stop_before:
            raise KeyboardInterrupt
        self.calls.append((settings, seed))
        effect = (
            0.2 * settings["good"] - 0.1 * settings["bad"] + 0.05 * settings["idle"] * (seed - 1)
        )
        # The seed's own part is the same for all.
        return pretended(0.5 + 0.01 * seed**2 + effect + 0.001 * seed * settings["good"])


NAMES = ["good", "bad", "idle"]


def test_designs_and_effects_by_hand():
    build = Builder()
    found = ablate(build, DATA, NAMES, seeds=3)
    seed = np.arange(3)
    own = 0.5 + 0.01 * seed**2
    good, bad, idle = 0.2 + 0.001 * seed, -0.1 + 0 * seed, 0.05 * (seed - 1)
    np.testing.assert_allclose(found.full, own + good + bad + idle)
    np.testing.assert_allclose(found.plain, own)
    np.testing.assert_allclose(found.removed, found.full - np.array([good, bad, idle]))
    np.testing.assert_allclose(found.added, own + np.array([good, bad, idle]))
    assert len(build.calls) == 8 * 3
    for design in ("removed", "added"):
        effects = found.effects[design]
        np.testing.assert_allclose(effects["good"].values, good)
        assert effects["good"].mean == pytest.approx(0.201)
        # The deviation of 0.200, 0.201, 0.202 is 0.001; Student's quantile of 2 degrees 4.3027.
        half = 4.302652729749464 * 0.001 / math.sqrt(3)
        assert effects["good"].high - effects["good"].mean == pytest.approx(half, rel=1e-9)
        # p = 1 − t/√(2 + t²) with t = 0.201·√3/0.001 = 348.1.
        t = 201 * math.sqrt(3)
        assert effects["good"].p_value == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-6)
        assert effects["bad"].p_value == 0
        # Of six tests the two of "bad" come first; four are left.
        assert effects["good"].holm_p_value == pytest.approx(4 * effects["good"].p_value)
        assert effects["idle"].p_value == pytest.approx(1)
        verdicts = [effects[name].verdict for name in NAMES]
        assert verdicts == ["helps", "hurts", "no difference shown"]


def test_every_configuration_has_its_settings_and_all_seeds():
    build = Builder()
    ablate(build, DATA, {"good": (0, 2), "bad": (0, 1), "idle": (0, 3)}, seeds=[4, 7])
    seen = [tuple(settings.values()) for settings, seed in build.calls if seed == 4]
    assert sorted(seen) == sorted(
        [(2, 1, 3), (0, 0, 0), (0, 1, 3), (2, 0, 3), (2, 1, 0), (2, 0, 0), (0, 1, 0), (0, 0, 3)]
    )
    assert [tuple(s.values()) for s, seed in build.calls if seed == 7] == seen
    # Seed by seed: a run that is killed leaves whole comparisons.
    assert [seed for _, seed in build.calls] == [4] * 8 + [7] * 8


def test_what_is_the_same_configuration_is_trained_once():
    calls = []

    def build(settings, seed):
        calls.append(settings)
        return pretended(0.5 + 0.1 * sum(settings.values()))

    found = ablate(build, DATA, ["one"], seeds=1)
    assert calls == [{"one": True}, {"one": False}]
    np.testing.assert_array_equal(found.removed[0], found.plain)
    np.testing.assert_array_equal(found.added[0], found.full)
    calls.clear()
    ablate(build, DATA, ["one", "two"], seeds=1)
    assert len(calls) == 4


def test_may_help_is_not_helps():
    effect = [0.010, 0.014, 0.021, 0.012, 0.006]

    def build(settings, seed):
        return pretended(0.5 + settings["a"] * effect[seed])

    found = ablate(build, DATA, ["a", "b", "c", "d"])
    one = found.effects["added"]["a"]
    assert one.low > 0
    assert one.p_value < 0.05 < one.holm_p_value
    assert one.verdict == "may help"
    assert "may help: a" in found.summary()
    lower = ablate(build, DATA, ["a", "b", "c", "d"], mode="min")
    assert lower.effects["added"]["a"].verdict == "may hurt"


def test_which_epoch_counts():
    def build(settings, seed):
        best = 0.8 if settings["a"] else 0.7
        history = {
            "loss": [3.0, 2.0, 1.0],
            "val_accuracy": [0.1, best, 0.3],
            "val_loss": [1.0, 1.0 - best, 0.9],
            "rates": [[1, 2], [3, 4], [5, 6]],
        }
        return Pretended(history, {"loss": 0.4, "accuracy": best - 0.05})

    def full(**options):
        return ablate(build, DATA, ["a"], seeds=1, **options).full[0]

    assert full() == pytest.approx(0.75)
    assert full(epoch="best") == 0.8
    assert full(epoch="last") == 0.3
    assert full(epoch="best", monitor="val_loss") == pytest.approx(0.2)
    assert full(epoch="best", monitor="val_accuracy", mode="min") == 0.1
    assert full(epoch="last", monitor="loss") == 1.0
    assert full(monitor="val_loss") == 0.4
    with pytest.raises(ValueError, match="`monitor` must be one of 'val_accuracy', 'val_loss'"):
        full(monitor="val_auc")
    with pytest.raises(ValueError, match="`monitor` must begin with 'val_' for epoch='kept'"):
        full(monitor="loss")


def test_options_of_fit():
    models = []

    def build(settings, seed):
        models.append(pretended(0.5))
        return (models[-1], {"epochs": 3, "shuffle": False}) if settings["a"] else models[-1]

    ablate(build, DATA, ["a"], seeds=1, epochs=7, batch_size=2)
    (args, options), (_, plain) = models[0].seen, models[1].seen
    np.testing.assert_array_equal(args[0], X)
    np.testing.assert_array_equal(options["validation_data"][0], X[:4])
    assert (options["epochs"], options["shuffle"], options["batch_size"]) == (3, False, 2)
    assert (plain["epochs"], plain["verbose"]) == (7, 0)


def test_own_rows_for_early_stopping():
    own = (X[4:], Y[4:])
    models = []

    def build(settings, seed):
        models.append(pretended(0.5))
        return models[-1], {"validation_data": own}

    ablate(build, DATA, ["a"], seeds=1)
    assert models[0].seen[1]["validation_data"][0] is own[0]
    with pytest.raises(ValueError, match=r"'validation_data'.*`epoch` must be 'kept'"):
        ablate(build, DATA, ["a"], seeds=1, epoch="best")


@pytest.mark.parametrize("form", ["pairs", "object", "dictionaries"])
def test_forms_of_data(form):
    data = {
        "pairs": [(X, Y), (X[:4], Y[:4])],
        "object": types.SimpleNamespace(x_train=X, y_train=Y, validation_data=(X[:4], Y[:4])),
        "dictionaries": ({"a": X}, Y, {"a": X[:4]}, Y[:4]),
    }[form]
    models = []

    def build(settings, seed):
        models.append(pretended(0.5))
        return models[-1]

    ablate(build, data, ["a"], seeds=1)
    x = models[0].seen[0][0]
    np.testing.assert_array_equal(x["a"] if form == "dictionaries" else x, X)


def linear(rate=0.1):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"])
    return model


def test_the_same_seed_gives_the_same_weights_and_order_of_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2)).astype("float32")
    y = x[:, :1] * x[:, 1:]

    def build(settings, seed):
        model = linear()
        if settings["draws"]:  # random numbers, but nothing that matters
            random.random()
            np.random.normal(size=5)  # noqa: NPY002
            keras.random.normal((3,))
            keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        return model

    options = {"seeds": 2, "epochs": 1, "batch_size": 4, "monitor": "val_mae"}
    found = ablate(build, (x, y, x, y), ["draws"], **options)
    # Bit for bit.
    np.testing.assert_array_equal(found.full, found.plain)
    assert found.full[0] != found.full[1]
    assert found.effects["added"]["draws"].verdict == "no difference shown"


def test_global_random_states_are_restored():
    random.seed(3)
    np.random.seed(4)  # noqa: NPY002
    expected = [random.random(), np.random.rand()]  # noqa: NPY002
    numbers = []
    for _ in range(2):
        random.seed(3)
        np.random.seed(4)  # noqa: NPY002
        ablate(Builder(), DATA, NAMES, seeds=1)
        assert [random.random(), np.random.rand()] == expected  # noqa: NPY002
        numbers.append(drawn_by_keras())
    keras.utils.set_random_seed(0)
    first = drawn_by_keras()
    keras.utils.set_random_seed(0)
    if np.array_equal(first, drawn_by_keras()):  # older versions of Keras go on regardless
        # Keras' own generator begins from Python's state: the same, and not that of the seed.
        np.testing.assert_array_equal(*numbers)
    assert (numbers[0] != first).any()


def drawn_by_keras():
    return keras.ops.convert_to_numpy(keras.random.normal((3,)))


def test_torch_order_is_restored():
    if keras.config.backend() != "torch":
        pytest.skip("there is no such state on this backend")
    import torch

    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    ablate(Builder(), DATA, NAMES, seeds=1)
    assert torch.equal(torch.rand(2), expected)


def test_a_killed_ablation_goes_on(tmp_path):
    whole = ablate(Builder(), DATA, NAMES, seeds=2)
    with pytest.raises(KeyboardInterrupt):
        ablate(Builder(stop_before=5), DATA, NAMES, seeds=2, directory=tmp_path)
    assert len(list(tmp_path.glob("*-seed-*.json"))) == 5
    rest = Builder()
    found = ablate(rest, DATA, NAMES, seeds=2, directory=tmp_path)
    assert len(rest.calls) == 16 - 5
    np.testing.assert_array_equal(found.removed, whole.removed)
    np.testing.assert_array_equal(found.added, whole.added)
    # Other seeds, another score: only what is missing is trained.
    more = Builder()
    found = ablate(more, DATA, NAMES[::-1], [1, 2], epoch="best", directory=tmp_path)
    assert [seed for _, seed in more.calls] == [2] * 8
    np.testing.assert_allclose(found.plain[0], whole.plain[1] + 0.01)
    # No unfinished file is left.
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"on": 1}', "\x00"])
def test_a_damaged_file_is_run_again(tmp_path, text):
    first = ablate(Builder(), DATA, NAMES, seeds=1, directory=tmp_path)
    damaged = sorted(tmp_path.glob("*-seed-*.json"))[2]
    whole = damaged.read_text(encoding="utf-8")
    damaged.write_text(text)
    again = Builder()
    found = ablate(again, DATA, NAMES, seeds=1, directory=tmp_path)
    assert len(again.calls) == 1
    np.testing.assert_array_equal(found.removed, first.removed)
    assert json.loads(damaged.read_text(encoding="utf-8")) == json.loads(whole)


def test_runs_of_another_experiment_are_refused(tmp_path):
    ablate(Builder(), DATA, NAMES, seeds=1, directory=tmp_path)
    other_rows = (X + 1, Y, X[:4], Y[:4])
    cases = [
        ("data", (Builder(), other_rows, NAMES), {}),
        ("toggles", (Builder(), DATA, {"good": (0, 9), "bad": (0, 1), "idle": (0, 1)}), {}),
        ("build", (functools.partial(lambda s, seed: pretended(0.5)), DATA, NAMES), {}),
        ("epochs", (Builder(), DATA, NAMES), {"epochs": 11}),
        ("batch_size", (Builder(), DATA, NAMES), {"batch_size": 11}),
    ]
    for part, arguments, options in cases:
        with pytest.raises(ValueError, match=f"another experiment; it differs in: {part}\\."):
            ablate(*arguments, seeds=1, directory=tmp_path, **options)
    (tmp_path / "experiment.json").write_text("no json")
    with pytest.raises(ValueError, match=r"holds runs, but no experiment\.json"):
        ablate(Builder(), DATA, NAMES, seeds=1, directory=tmp_path)


def test_failures_are_recorded_and_the_others_go_on(tmp_path):
    repaired = False

    def build(settings, seed):
        if settings["breaks"] and seed == 1 and not repaired:
            raise MemoryError("no\nroom")
        return pretended(0.5, math.nan if settings["explodes"] else 0.5)

    tricks = ["breaks", "explodes", "fine"]
    found = ablate(build, DATA, tricks, seeds=3, directory=tmp_path)
    assert np.isnan(found.full).all()
    np.testing.assert_array_equal(np.isnan(found.added).sum(axis=1), [1, 3, 0])
    reasons = {(f["configuration"], f["seed"]): f["reason"] for f in found.failures}
    assert reasons["with breaks", 1] == "MemoryError: no room"
    assert reasons["with explodes", 0] == "the loss is nan"
    added = found.effects["added"]
    assert [added[name].failed for name in tricks] == [1, 3, 0]
    # What the runs that succeeded have in common is no verdict.
    assert [added[name].verdict for name in tricks] == [
        "some runs failed",
        "some runs failed",
        "no difference shown",
    ]
    text = str(found)
    assert "1 of 3 pairs failed" in text
    assert "with breaks, seed 1: MemoryError: no room" in text
    assert "3 of 3 runs failed" in text
    found.plot()
    # An exception may have passed, NaN comes again.
    repaired = True
    calls = []
    again = ablate(_counted(build, calls), DATA, tricks, seeds=3, directory=tmp_path)
    assert {seed for _, seed in calls} == {1}
    assert all(settings["breaks"] for settings, _ in calls)
    assert again.effects["added"]["breaks"].failed == 0
    assert again.effects["added"]["explodes"].failed == 3


def _counted(build, calls):
    @functools.wraps(build)
    def counting(settings, seed):
        calls.append((settings, seed))
        return build(settings, seed)

    return counting


def test_an_epoch_that_is_no_number():
    def build(settings, seed):
        history = {"loss": [1.0, math.nan], "val_accuracy": [0.6, 0.1]}
        return Pretended(history, {"loss": math.inf, "accuracy": 0.1})

    def found(epoch):
        return ablate(build, DATA, ["a"], seeds=1, epoch=epoch)

    assert found("best").full[0] == 0.6
    assert found("last").failures[0]["reason"] == "the loss is nan"
    assert found("kept").failures[0]["reason"] == "the loss is inf"


def test_a_real_effect_is_found():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(160, 2)).astype("float32")
    y = x @ np.array([[3.0], [-2.0]], "float32")

    def build(settings, seed):
        return linear(0.2 if settings["faster"] else 1e-6)

    found = ablate(
        build,
        kdt.datasets.real_data.DataSet("lines", x[:120], y[:120], x[120:], y[120:], x[:0], y[:0]),
        ["faster"],
        seeds=1,
        epochs=2,
        batch_size=10,
        monitor="val_mae",
    )
    effect = found.effects["removed"]["faster"]
    # An error falls: the effect is negative, and helps.
    assert not found.larger_is_better
    assert effect.mean < -1
    # 24 steps of rate 0.2 on an exact line, whose slowest direction shrinks by 0.8 or so in each.
    assert (found.full < 0.1).all()


def test_table_and_files(tmp_path):
    found = ablate(Builder(), DATA, {"good": (0, 1), "bad": (0, 1), "idle": (0, 1)}, seeds=3)
    text = found.table()
    assert text == str(found)
    assert text.splitlines()[0] == (
        "val_accuracy of the model that training leaves, 3 seeds; larger is better"
    )
    rows = [line.split() for line in text.splitlines() if line.startswith("good ")]
    # Mean without or with it, effect, interval, p, Holm, verdict.
    assert rows[0][:4] == ["good", "0.4167", "+0.2010", "+0.1985"]
    assert rows[1][:4] == ["good", "0.7177", "+0.2010", "+0.1985"]
    assert "no difference shown" in text
    assert "hurts †" in text
    assert "Of 6 comparisons some look clear by chance" in text
    assert found.values["good"] == ["0", "1"]
    for name in ("a.json", "a.npz"):
        found.save(tmp_path / name)
        assert Ablation.load(tmp_path / name).table() == text
    one = ablate(Builder(), DATA, NAMES, seeds=1)
    assert "A single seed tells nothing of chance" in str(one)
    assert one.effects["added"]["good"].verdict == "no interval"


def test_progress_is_silent_by_default(capsys):
    ablate(Builder(), DATA, NAMES, seeds=1)
    assert capsys.readouterr().out == ""
    ablate(Builder(), DATA, NAMES, seeds=1, verbose=1)
    assert "8/8" in capsys.readouterr().out


def fine(settings, seed):
    return pretended(0.5)


@pytest.mark.parametrize(
    "changes, error, match",
    [
        ({"build": 5}, TypeError, "`build` must be a function"),
        ({"build": lambda settings: 0}, TypeError, "`build` must take two arguments"),
        ({"build": lambda s, seed: 3}, TypeError, "`build` must return a compiled keras.Model"),
        ({"build": lambda s, seed: keras.Sequential()}, ValueError, "`build` must return a comp"),
        ({"build": lambda s, seed: (fine(s, 0), {"x": X})}, ValueError, "`build` returned 'x'"),
        ({"data": (X, Y)}, TypeError, "`data` must be"),
        ({"data": (X, Y, X, [0, 1])}, TypeError, "`data` must be .* Received as y_val: list"),
        ({"data": (X, Y[:2], X, Y)}, ValueError, r"`data`: x_train and y_train .*\[2, 6\]"),
        ({"data": (X, Y, X[:0], Y[:0])}, ValueError, "`data`: x_val and y_val"),
        ({"toggles": "abc"}, TypeError, "`toggles` must be a dictionary"),
        ({"toggles": {}}, ValueError, "`toggles` is empty"),
        ({"toggles": ["a", "a"]}, ValueError, "`toggles` must be a list of names that differ"),
        ({"toggles": {"a": 3}}, TypeError, "`toggles` must give for each name a pair"),
        ({"toggles": {"a": (1, 1)}}, ValueError, "`toggles`: the two values of 'a'"),
        ({"toggles": {3: (0, 1)}}, TypeError, "`toggles` must have names as keys"),
        ({"seeds": 0}, ValueError, "`seeds` must be a whole number ≥ 1"),
        ({"seeds": [1, 1]}, ValueError, "`seeds` must be a list of different"),
        ({"seeds": []}, ValueError, "`seeds` must be a list of different"),
        ({"seeds": [-1]}, ValueError, "`seeds` must be a whole number"),
        ({"monitor": 3}, TypeError, "`monitor` must be a name"),
        ({"monitor": "val_thing"}, ValueError, "cannot be told from its name"),
        ({"mode": "up"}, ValueError, "`mode` must be one of"),
        ({"epoch": "first"}, ValueError, "`epoch` must be one of 'kept', 'best', 'last'"),
        ({"epochs": 0}, ValueError, "`epochs`"),
        ({"batch_size": 0}, ValueError, "`batch_size`"),
        ({"confidence": 95}, ValueError, "`confidence`"),
    ],
)
def test_errors(changes, error, match):
    arguments = {"build": fine, "data": DATA, "toggles": ["a"], "seeds": 1, **changes}
    with pytest.raises(error, match=match):
        ablate(**arguments)
