"""Rounds of training and pruning: what each begins with, what it leaves, what is told of it."""

import warnings

import keras
import numpy as np
import pytest
from small_models import Unnamed, assert_identical, class_data

import keras_deeptricks as kdt
from keras_deeptricks.models.pruning import (
    PruningRounds,
    incoming_weight_norm,
    iterative_pruning,
    masks_of,
    optimal_brain_damage,
    prune,
    weight_magnitude,
)

X, Y = class_data()


def network():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="tanh", name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(3, activation="softmax", name="out"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


class Fit:
    """Trains, and notes what it was given and left."""

    def __init__(self):
        self.begun, self.masks, self.ended, self.rates, self.steps = [], [], [], [], []

    def __call__(self, model):
        self.begun.append(model.get_weights())
        self.masks.append(masks_of(model))
        self.rates.append(float(model.optimizer.learning_rate))
        self.steps.append(int(model.optimizer.iterations))
        history = model.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0)
        model.optimizer.learning_rate = 1e-5  # as a callback that lowers it
        self.ended.append(model.get_weights())
        return history


def masked(weights, masks):
    """Weights of the network above with masks on the two kernels."""
    weights = [np.array(weight) for weight in weights]
    for place, path in ((0, "hidden/kernel"), (6, "out/kernel")):
        if path in masks:
            weights[place] = np.where(masks[path], weights[place], np.float32(0))
    return weights


def evaluate(model):
    return model.evaluate(X, Y, verbose=0, return_dict=True)


def test_rounds_go_on_from_trained_weights():
    model, fit = network(), Fit()
    given = model.get_weights()
    pruned, rounds = iterative_pruning(model, fit, 0.75, rounds=2, evaluate=evaluate)
    assert_identical(model.get_weights(), given)
    assert int(model.optimizer.iterations) == 0
    assert masks_of(model) == {}
    assert_identical(fit.begun[0], given)
    for number in (1, 2):
        assert_identical(fit.begun[number], masked(fit.ended[number - 1], fit.masks[number]))
    assert_identical(pruned.get_weights(), fit.ended[2])
    assert_identical(pruned.get_weights(), masked(pruned.get_weights(), fit.masks[2]))
    # 56 weights, of which each round prunes half of what is left.
    assert [entry["nonzero"] for entry in rounds.rounds] == [56, 28, 14]
    # Each training begins anew, whatever the one before has done to its optimizer.
    assert fit.steps == [0, 0, 0]
    np.testing.assert_allclose(fit.rates, 0.01, rtol=1e-6)
    assert pruned.compiled


def test_the_masks_are_those_of_prune():
    fit = Fit()
    iterative_pruning(network(), fit, fractions=[0.3, 0.6])
    trained = network()
    trained.set_weights(fit.ended[0])
    once = prune(trained, weight_magnitude, 0.3)
    assert_identical(list(fit.masks[1].values()), list(masks_of(once).values()))
    once.set_weights(fit.ended[1])
    twice = prune(once, weight_magnitude, 0.6)
    assert_identical(list(fit.masks[2].values()), list(masks_of(twice).values()))


@pytest.mark.parametrize("given", [False, True])
def test_rewinding_is_exact_where_nothing_is_masked(given):
    model, fit = network(), Fit()
    initial = model.get_weights()
    early = [weight + 0.5 for weight in initial]
    iterative_pruning(model, fit, 0.75, rounds=2, rewind=early if given else "initial")
    assert_identical(fit.begun[0], initial)
    for number in (1, 2):
        start = early if given else initial
        assert_identical(fit.begun[number], masked(start, fit.masks[number]))
    # By what was learned: the lowest of the trained weights, and what was gone.
    saliency = np.abs(fit.ended[0][0])[~fit.masks[1]["hidden/kernel"]]
    kept = np.abs(fit.ended[0][0])[fit.masks[1]["hidden/kernel"]]
    assert saliency.max() <= kept.min()
    for path, mask in fit.masks[2].items():
        assert not mask[~fit.masks[1][path]].any()
    assert sum(int(mask.sum()) for mask in fit.masks[2].values()) == 14
    assert fit.steps == [0, 0, 0]


def test_a_trained_model_is_pruned_first():
    model, fit = network(), Fit()
    model.fit(X, Y, epochs=2, verbose=0)
    given = model.get_weights()
    pruned, rounds = iterative_pruning(
        model, fit, fractions=[0.5], trained=True, evaluate=evaluate, exclude="out"
    )
    assert len(fit.begun) == 1
    assert set(masks_of(pruned)) == {"hidden/kernel"}
    assert_identical(fit.begun[0], masked(given, fit.masks[0]))
    assert rounds.rounds[0]["before"] is None
    assert rounds.rounds[0]["history"] is None
    assert rounds.rounds[0]["after"] == pytest.approx(evaluate(model), rel=1e-6)
    assert rounds.rounds[1]["fraction"] == 0.5
    assert rounds.sparsities[1] == 16 / 56


def test_a_model_pruned_before_goes_on_from_there():
    model = prune(network(), weight_magnitude, fraction=0.5)
    pruned, rounds = iterative_pruning(model, Fit(), 0.875, rounds=2)
    assert [entry["fraction"] for entry in rounds.rounds] == [0.0, 0.75, 0.875]
    assert [entry["nonzero"] for entry in rounds.rounds] == [28, 14, 7]
    first, last = masks_of(model), masks_of(pruned)
    assert all(not last[path][~mask].any() for path, mask in first.items())


@pytest.mark.parametrize("rewind", [None, "initial"])
def test_units_with_data_and_a_smaller_model_in_the_end(rewind):
    pruned, rounds = iterative_pruning(
        network(),
        lambda model: model.fit(X, Y, verbose=0),
        fractions=[0.25, 0.5],
        saliency=incoming_weight_norm,
        rewind=rewind,
        shrink=True,
    )
    assert pruned.get_layer("hidden").units == 4
    assert rounds.shrunk["parameters"] == [8 * 5 + 32 + 27, 4 * 5 + 16 + 15]
    assert "parameters of the smaller model: 99 → 51" in str(rounds)


@pytest.mark.parametrize("rewind", [None, "weights"])
def test_blocks_stand_as_plain_layers_from_the_beginning(rewind):
    inputs = tensor = keras.Input((4, 4, 2))
    for name in ("one", "two"):
        tensor = kdt.layers.ResidualBlock(2, name=name)(tensor)
    outputs = keras.layers.Dense(1, name="out")(keras.layers.Flatten()(tensor))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
    begun, ended = [], []

    def fit(model):
        begun.append(model.get_weights())
        model.fit(x, x[:, 0, 0, :1], verbose=0)
        ended.append(model.get_weights())

    early = [weight + 1 for weight in model.get_weights()]
    options = {"rewind": early if rewind else None, "exclude": "one"}
    pruned, rounds = iterative_pruning(model, fit, 0.6, rounds=2, **options)
    # Two kernels of 36 weights, and one of 32.
    assert rounds.rounds[2]["nonzero"] == 176 - round(0.6 * 104)
    assert not any(path.startswith("one") for path in masks_of(pruned))
    before = [weight + 1 for weight in begun[0]] if rewind else ended[0]
    for first, then in zip(before, begun[1], strict=True):
        np.testing.assert_array_equal(then[then != 0], first[then != 0])
        assert (then == 0).sum() < first.size or not first.any()


def test_optimal_brain_damage_closes_over_data():
    _, rounds = iterative_pruning(
        network(),
        Fit(),
        0.5,
        rounds=1,
        saliency=lambda model: optimal_brain_damage(model, X, Y),
    )
    assert rounds.sparsities.tolist() == [0, 0.5]


def test_the_result(tmp_path):
    _, rounds = iterative_pruning(network(), Fit(), 0.5, rounds=1, evaluate=evaluate)
    first, last = rounds.rounds
    assert first["round"] == 0
    assert last["flops"] == first["flops"] == 2 * 56
    assert last["nonzero_flops"] == 56
    assert len(last["history"]["loss"]) == 2
    assert rounds.figures("loss")[1] == last["after"]["loss"] < last["before"]["loss"]
    assert np.isnan(rounds.figures("other", "before")).all()
    text = str(rounds).splitlines()
    assert text[1].split()[0] == "round"
    assert "accuracy before" in text[1]
    assert text[3].split()[:4] == ["1", "50.0%", "28", "56"]
    rounds.save(tmp_path / "rounds.json")
    again = PruningRounds.load(tmp_path / "rounds.json")
    assert again.rounds == rounds.rounds
    assert again.shrunk is None


def test_figures_of_one_number_and_training_without_history():
    _, rounds = iterative_pruning(
        network(),
        lambda model: model.train_on_batch(X, Y) and None,
        fractions=[0.5],
        evaluate=lambda model: np.float32(2.5),
    )
    assert rounds.figures("figure").tolist() == [2.5, 2.5]
    assert rounds.rounds[1]["history"] is None


def test_weights_that_a_training_restores_are_masked_again():
    def fit(model):
        before = model.get_weights()
        model.fit(X, Y, verbose=0)
        model.set_weights([weight + 1 for weight in before])

    pruned, rounds = iterative_pruning(network(), fit, 0.5, rounds=1)
    assert rounds.sparsities[-1] == 0.5
    assert (
        np.count_nonzero(pruned.get_weights()[0]) + np.count_nonzero(pruned.get_weights()[6]) == 28
    )


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"fit": None}, TypeError, "`fit`"),
        ({"saliency": {"hidden/kernel": np.ones((4, 8))}}, TypeError, "`saliency`"),
        ({"saliency": lambda model: None}, TypeError, "`saliency`"),
        ({"evaluate": "accuracy"}, TypeError, "`evaluate`"),
        ({"evaluate": lambda model: model.evaluate(X, Y, verbose=0)}, TypeError, "return_dict"),
        ({"final_sparsity": None}, ValueError, "either `final_sparsity` or `fractions`"),
        ({"fractions": [0.5]}, ValueError, "either `final_sparsity` or `fractions`"),
        ({"final_sparsity": 1.0}, ValueError, "`final_sparsity`"),
        ({"final_sparsity": None, "fractions": [0.5, 0.4]}, ValueError, "`fractions`"),
        ({"final_sparsity": None, "fractions": []}, ValueError, "`fractions`"),
        ({"final_sparsity": None, "fractions": 0.5}, TypeError, "`fractions`"),
        ({"final_sparsity": None, "fractions": [0.5], "rounds": 1}, ValueError, "`rounds`"),
        ({"rounds": 0}, ValueError, "`rounds`"),
        ({"scope": "all"}, ValueError, "`scope`"),
        ({"exclude": "hiden"}, ValueError, "`exclude`"),
        ({"rewind": "first"}, ValueError, "`rewind`"),
        ({"rewind": 3}, TypeError, "`rewind`"),
        ({"rewind": [np.ones(3)]}, ValueError, "`rewind`"),
        ({"trained": 1}, TypeError, "`trained`"),
        ({"shrink": None}, TypeError, "`shrink`"),
        ({"model": None}, TypeError, "`model`"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_trained(changes, error, message):
    fit = Fit()
    arguments = {"model": network(), "fit": fit, "final_sparsity": 0.5, **changes}
    with pytest.raises(error, match=message):
        iterative_pruning(**arguments)
    assert fit.begun == []


def test_a_training_of_another_model_is_refused():
    with pytest.raises(TypeError, match="in place"):
        iterative_pruning(network(), lambda model: network(), 0.5)


@pytest.mark.parametrize("result", [lambda m, h: m, lambda m, h: h.history, lambda m, h: (h, 1)])
def test_what_a_training_returns_beside_does_not_matter(result):
    def fit(model):
        return result(model, model.fit(X, Y, verbose=0))

    _, rounds = iterative_pruning(network(), fit, 0.5, rounds=1)
    assert rounds.sparsities[-1] == 0.5


def warnings_of(function):
    """What it returns or raises, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        try:
            result = function()
        except ValueError as error:
            result = error
    return result, " ".join(str(w.message) for w in found if w.category is UserWarning)


def test_a_metric_that_copies_cannot_have_is_told_before_anything_is_trained():
    def own(y, outputs):
        return keras.ops.mean(outputs, axis=-1)

    model, fit = network(), Fit()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[own])
    error, told = warnings_of(lambda: iterative_pruning(model, fit, 0.5))
    assert "register_keras_serializable" in str(error)
    assert "not compiled" in told
    assert fit.begun == []


@pytest.mark.parametrize("rewind", [None, "initial"])
def test_a_subclassed_model_whose_layers_have_no_names(rewind):
    model = Unnamed()
    model(X[:1])
    model.compile("adam", "mse")
    (pruned, rounds), told = warnings_of(
        lambda: iterative_pruning(
            model,
            lambda each: each.fit(X, np.zeros((len(X), 3)), verbose=0),
            0.75,
            rounds=2,
            rewind=rewind,
        )
    )
    assert "set_masks(loaded)" in told
    np.testing.assert_allclose(rounds.sparsities, [0, 0.5, 0.75], atol=0.5 / 42)  # rounded
    assert [layer.name for layer in pruned.layers] == [layer.name for layer in model.layers]
