"""Pruning curves: what is pruned, what is scored, and what comes back."""

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics import LossIncrease, PruningCurves, loss_increase, pruning_curves
from keras_deeptricks.models.pruning import masks_of, prune, weight_magnitude

X = np.eye(4, dtype="float32")
WEIGHTS = np.array([[4.0], [-1.0], [3.0], [2.0]], "float32")


def linear():
    """y = w·x, whose outputs on the rows of X are its weights."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False, name="out")])
    model.compile("sgd", "mse", metrics=["mae"])
    model.set_weights([WEIGHTS])
    return model


def classifier(units=12):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 6)).astype("float32")
    y = (x[:, 0] + x[:, 1] > 0).astype("int32")
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(units, activation="relu", name="hidden"),
            keras.layers.Dense(2, activation="softmax", name="out"),
        ]
    )
    optimizer = keras.optimizers.Adam(0.02)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=5, verbose=0)
    return model, x, y


def test_scores_by_hand():
    model = linear()
    curves = pruning_curves(
        model,
        X,
        WEIGHTS,
        saliencies={"small first": weight_magnitude, "large first": {"out/kernel": -abs(WEIGHTS)}},
        fractions=[0.75, 0, 0.5],
    )
    assert curves.metric == "mae"
    assert curves.saliencies == ["small first", "large first"]
    np.testing.assert_array_equal(curves.fractions, [0, 0.5, 0.75])
    # The mean absolute error is the sum of the pruned |w| over 4.
    expected = [[0, 3 / 4, 6 / 4], [0, 7 / 4, 9 / 4]]
    np.testing.assert_allclose(curves.scores[..., 0], expected, rtol=1e-6)
    assert curves.whole.tolist() == [0.0]
    assert curves.retrained is None
    assert not curves.units


def test_the_model_is_left_alone():
    model, x, y = classifier()
    before = model.get_weights(), model.optimizer.variables[0].numpy()
    pruning_curves(model, x, y, saliency_data=(x, y), fractions=[0.5])
    loss_increase(model, x, y, fractions=[0.5])
    for one, other in zip(before[0], model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.optimizer.variables[0].numpy() == before[1]
    assert masks_of(model) == {}


def test_the_same_as_scoring_pruned_models():
    model, x, y = classifier()
    curves = pruning_curves(model, x, y, saliencies=["weight_magnitude"], fractions=[0.3, 0.8])
    for place, fraction in enumerate(curves.fractions):
        pruned = prune(model, weight_magnitude, fraction=fraction)
        accuracy = pruned.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
        # The same weights and data: the mean of 120 zeros and ones.
        assert curves.scores[0, place, 0] == pytest.approx(accuracy, abs=1e-6)


def test_retraining_goes_on_from_fraction_to_fraction():
    model, x, y = classifier()
    seen = []

    def retrain(pruned):
        zeros = [np.mean(weight == 0) for weight in (pruned.get_weights()[0],)]
        seen.append((pruned, zeros[0]))
        pruned.fit(x, y, verbose=0)

    curves = pruning_curves(
        model,
        x,
        y,
        saliencies=["weight_magnitude"],
        fractions=[0.0, 0.25, 0.5],
        scope="layer",
        retrain=retrain,
        metric="loss",
    )
    assert [share for _, share in seen] == [0.0, 0.25, 0.5]
    masks = [masks_of(pruned) for pruned, _ in seen[1:]]
    # What was gone before is gone still.
    assert not (masks[1]["hidden/kernel"] & ~masks[0]["hidden/kernel"]).any()
    last = seen[-1][0].evaluate(x, y, verbose=0, return_dict=True)["loss"]
    assert curves.retrained[0, -1, 0] == pytest.approx(last, rel=1e-5)
    assert curves.metric == "loss"


def test_units_and_exclude():
    model, x, y = classifier()
    names = ["random_units", "incoming_weight_norm", "mean_activation", "active_share"]
    data = {"saliencies": names, "saliency_data": (x, y)}
    curves = pruning_curves(model, x, y, fractions=[0, 1], **data)
    assert curves.units
    assert "share of units" in str(curves)
    assert curves.scores.shape == (4, 2, 1)
    # Without any hidden unit the outputs are constant: one class for all rows.
    constant = max(np.mean(y), 1 - np.mean(y)), min(np.mean(y), 1 - np.mean(y))
    for score in curves.scores[:, 1, 0]:
        assert min(abs(score - share) for share in constant) < 1e-6
    hidden = model.get_layer("hidden")
    both = pruning_curves(
        model, x, y, saliencies=["random"], fractions=[1], exclude=[hidden], retrain=lambda m: m
    )
    np.testing.assert_allclose(both.scores, both.retrained, rtol=1e-6)
    with pytest.raises(ValueError, match="of units"):
        pruning_curves(model, x, y, saliencies=["random", "random_units"])


def test_random_order_by_seed():
    model, x, y = classifier()
    first, again, other = (
        pruning_curves(model, x, y, saliencies="random", metric="loss", seed=seed).scores
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_joined_and_files(tmp_path):
    model = linear()
    parts = [pruning_curves(model, X, WEIGHTS + k, fractions=[0, 0.5]) for k in range(3)]
    joined = PruningCurves.joined(parts)
    assert joined.scores.shape == (2, 2, 3)
    np.testing.assert_array_equal(joined.whole, [part.whole[0] for part in parts])
    assert "±" in str(joined)
    for name in ("curves.json", "curves.npz"):
        joined.save(tmp_path / name)
        again = PruningCurves.load(tmp_path / name)
        np.testing.assert_array_equal(again.scores, joined.scores)
        assert again.retrained is None
    with pytest.raises(ValueError, match="fractions"):
        PruningCurves.joined([parts[0], pruning_curves(model, X, WEIGHTS, fractions=[0, 0.25])])
    with pytest.raises(ValueError, match="at least one"):
        PruningCurves.joined([])


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"fractions": [0.5, 1.5]}, ValueError, "fractions"),
        ({"fractions": 0.5}, TypeError, "fractions"),
        ({"fractions": []}, ValueError, "fractions"),
        ({"saliencies": ["magnitude"]}, ValueError, "weight_magnitude"),
        ({"saliencies": 3}, TypeError, "saliencies"),
        ({"saliencies": []}, ValueError, "at least one"),
        ({"saliencies": ["optimal_brain_damage"]}, ValueError, "saliency_data"),
        ({"metric": "accuracy"}, ValueError, "'mae'"),
        ({"retrain": 3}, TypeError, "retrain"),
        ({"scope": "model"}, ValueError, "scope"),
        ({"exclude": ["nothing"]}, ValueError, "exclude"),
        ({"seed": -1}, ValueError, "seed"),
        ({"saliency_data": iter([])}, ValueError, "generator"),
    ],
)
def test_bad_arguments(options, error, words):
    model = linear()
    with pytest.raises(error, match=words):
        pruning_curves(model, X, WEIGHTS, **options)
    np.testing.assert_array_equal(model.get_weights()[0], WEIGHTS)


def test_a_model_that_is_not_compiled():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="compile"):
        pruning_curves(model, X, WEIGHTS)


def test_loss_increase_by_hand():
    # The mean of (w·x − y)² over the rows of X: h = 2/4, and weights do not depend on each other.
    found = loss_increase(linear(), X, WEIGHTS, fractions=[0.25, 0.5, 1.0], seed=3)
    assert found.orders == ["optimal_brain_damage", "weight_magnitude", "random"]
    expected = np.array([1, 1 + 4, 1 + 4 + 9 + 16]) / 4
    for order in (0, 1):
        # Quadratic, and at its minimum: the prediction is exact, in float32.
        np.testing.assert_allclose(found.predicted[order, :, 0], expected, rtol=1e-5)
        np.testing.assert_allclose(found.measured[order, :, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(found.predicted, found.measured, rtol=1e-5)
    assert found.loss.tolist() == [0.0]
    assert all(value == pytest.approx(1) for value in found.correlation.values())
    assert all(value == pytest.approx(1) for value in found.ratio.values())
    assert str(found).splitlines()[-2].startswith("measured/predicted: optimal_brain_damage 1.000")


def test_weights_that_depend_on_each_other_cost_more_than_is_predicted():
    # (w₁ + w₂ + w₃ + w₄ − 4)², all w = 1: h = 2, so that n of them should cost n and do cost n².
    model = linear()
    model.set_weights([np.ones((4, 1))])
    found = loss_increase(model, np.ones((1, 4)), np.full((1, 1), 4.0), fractions=[0.5, 0.75, 1.0])
    np.testing.assert_allclose(found.predicted[0, :, 0], [2, 3, 4], rtol=1e-5)
    np.testing.assert_allclose(found.measured[0, :, 0], [4, 9, 16], rtol=1e-5)
    assert found.ratio["random"] == pytest.approx(3)
    assert found.correlation["random"] > 0.98


def test_loss_increase_of_a_pruned_model_and_joined(tmp_path):
    model = prune(linear(), weight_magnitude, fraction=0.5)
    found = loss_increase(model, X, model.predict(X, verbose=0), fractions=[0.5, 0.75])
    # What is pruned already costs nothing.
    np.testing.assert_allclose(found.measured[0, :, 0], [0, 9 / 4], rtol=1e-5)
    joined = LossIncrease.joined([found, found])
    assert joined.measured.shape == (3, 2, 2)
    joined.save(tmp_path / "increase.json")
    again = LossIncrease.load(tmp_path / "increase.json")
    np.testing.assert_array_equal(again.predicted, joined.predicted)


def test_loss_increase_takes_a_diagonal():
    model = linear()
    diagonal = {"out/kernel": np.full((4, 1), 2.0)}
    found = loss_increase(model, X, WEIGHTS, diagonal=diagonal, fractions=[0.25])
    np.testing.assert_allclose(found.predicted[0, 0, 0], 1.0)
    assert np.isnan(found.correlation["random"])
    bad = [
        ({"diagonal": {}}, ValueError, "diagonal"),
        ({"diagonal": "best"}, ValueError, "diagonal"),
        ({"orders": []}, TypeError, "orders"),
        ({"orders": ["first"]}, ValueError, "orders"),
        ({"fractions": [-1]}, ValueError, "fractions"),
    ]
    for options, error, words in bad:
        with pytest.raises(error, match=words):
            loss_increase(model, X, WEIGHTS, **options)
    with pytest.raises(ValueError, match="generator"):
        loss_increase(model, iter([]))


def test_data_sets():
    model = linear()

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            rows = slice(2 * index, 2 * index + 2)
            return X[rows], WEIGHTS[rows]

    arrays = kdt.diagnostics.pruning_curves(
        model, X, WEIGHTS, saliency_data=(X, WEIGHTS), fractions=[0.5]
    )
    batches = kdt.diagnostics.pruning_curves(model, Data(), saliency_data=Data(), fractions=[0.5])
    np.testing.assert_allclose(batches.scores, arrays.scores, rtol=1e-6)
    losses = [loss_increase(model, *data).measured for data in ((X, WEIGHTS), (Data(),))]
    np.testing.assert_allclose(*losses, rtol=1e-5)
