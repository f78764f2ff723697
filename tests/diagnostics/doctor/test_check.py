"""What `check` promises of any program: nothing is changed, every form of data is read."""

import keras
import numpy as np
import pytest
from doctor_cases import Batches, labels, normal
from keras import layers

from keras_deeptricks.diagnostics import check
from keras_deeptricks.diagnostics.doctor import rate_trials

X = normal(160, 6)
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)


def network(optimizer=None, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(16, kernel_regularizer="l2", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.Dropout(0.2, seed=1, name="drop"),
            layers.Dense(3, "softmax", name="out"),
        ]
    )
    model.compile(
        optimizer or keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **options,
    )
    return model


def values(model):
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("level", ["quick", "full"])
def test_the_model_is_left_bit_identical(level):
    model = network()
    model.fit(X, Y, epochs=1, verbose=0)
    before, flags = values(model), [layer.trainable for layer in model.layers]
    random = np.random.get_state()[1].copy()  # noqa: NPY002
    optimizer, history = model.optimizer, model.history
    diagnosis = check(model, X, Y, level=level, seed=0)
    assert not [f for f in diagnosis.findings if f.code == "check_incomplete"]
    assert same(values(model), before)
    assert [layer.trainable for layer in model.layers] == flags
    assert model.optimizer is optimizer
    assert model.history is history
    assert np.array_equal(np.random.get_state()[1], random)  # noqa: NPY002


def test_training_goes_on_as_if_nothing_had_been():
    left, right = network(), network()
    left.fit(X, Y, epochs=1, shuffle=False, verbose=0)
    right.fit(X, Y, epochs=1, shuffle=False, verbose=0)
    check(right, X, Y, seed=0)
    left.fit(X, Y, epochs=1, shuffle=False, verbose=0)
    right.fit(X, Y, epochs=1, shuffle=False, verbose=0)
    assert same(left.get_weights(), right.get_weights())


def test_an_optimizer_that_is_not_built_stays_so_or_is_fresh():
    model = network()
    check(model, X, Y, seed=0)
    iterations = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    assert iterations == 0


def test_the_same_seed_gives_the_same_report(monkeypatch):
    # On a busy machine the runs would be cut to what fits into the time.
    monkeypatch.setattr(rate_trials, "_SECONDS", {"quick": 600.0})
    first = check(network(), X, Y, seed=3)
    second = check(network(), X, Y, seed=3)
    assert first.findings == second.findings
    np.testing.assert_array_equal(first.facts["trial_end_losses"], second.facts["trial_end_losses"])


@pytest.mark.parametrize("form", ["arrays", "tensors", "dataset", "generator", "lists"])
def test_forms_of_data(form):
    model = network()
    wrong = Y + 1  # labels 1 to 3 for the units 0 to 2
    if form == "arrays":
        diagnosis = check(model, X, wrong, seed=0)
    elif form == "tensors":
        x = keras.ops.convert_to_tensor(X)
        diagnosis = check(model, x, keras.ops.convert_to_tensor(wrong), seed=0)
    elif form == "dataset":
        diagnosis = check(model, Batches(X, wrong), seed=0)
    elif form == "generator":
        batches = Batches(X, wrong)
        diagnosis = check(model, (batches[n] for n in range(len(batches))), seed=0)
    else:
        diagnosis = check(model, [X], wrong, seed=0)
    assert ("label_range", "error", "out") in [
        (f.code, f.severity, f.layer) for f in diagnosis.findings
    ]


def test_a_model_without_targets():
    class Reconstruction(keras.Model):
        def __init__(self):
            super().__init__()
            self.code, self.back = layers.Dense(4, "tanh"), layers.Dense(6)

        def call(self, inputs):
            outputs = self.back(self.code(inputs))
            self.add_loss(keras.ops.mean(keras.ops.square(outputs - inputs)))
            return outputs

    model = Reconstruction()
    model.compile(keras.optimizers.Adam(0.01))
    diagnosis = check(model, X, seed=0)
    assert diagnosis.ok, str(diagnosis)
    assert len(diagnosis.facts["trial_losses"]) >= 3


def test_an_optimizer_without_a_single_rate():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("This Keras has no MultiOptimizer.")
    model = network()
    head = keras.optimizers.Adam(0.01)
    groups = [(keras.optimizers.Adam(0.01), model.layers[:-1]), (head, model.layers[-1:])]
    try:
        optimizer = keras.optimizers.MultiOptimizer(groups)
    except TypeError:
        pytest.skip("MultiOptimizer takes its groups in another form here.")
    model.compile(optimizer, "sparse_categorical_crossentropy")
    assert check(model, X, Y, seed=0).ok


def test_validation_data_in_every_form():
    x, y = normal(60, 6, seed=5), labels(60)
    for data in ((x, y), (x, y, np.ones(60)), Batches(x, y)):
        assert check(network(), X, Y, validation_data=data, seed=0).level == "quick"
    leaked = check(network(), X, Y, validation_data=(X[:40], Y[:40]), seed=0)
    assert "data_leakage" in leaked.codes


def test_a_model_that_cannot_be_trained_is_told_and_no_crash():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="out")])
    model.compile("sgd", "mse")
    diagnosis = check(model, X, normal(160, 3), seed=0)
    assert ("output_units", "error", "out") in [
        (f.code, f.severity, f.layer) for f in diagnosis.findings
    ]


@pytest.mark.parametrize(
    "error, match, call",
    [
        (TypeError, "`model` must be a keras.Model", lambda: check("model", X, Y)),
        (ValueError, "must be compiled", lambda: check(keras.Sequential([layers.Dense(1)]), X, Y)),
        (ValueError, "`level`", lambda: check(network(), X, Y, level="deep")),
        (ValueError, "`seed`", lambda: check(network(), X, Y, seed=-1)),
        (ValueError, "`batch_size`", lambda: check(network(), X, Y, batch_size=0)),
        (ValueError, "same number of rows", lambda: check(network(), X, Y[:-1])),
        (ValueError, "no rows", lambda: check(network(), X[:0], Y[:0])),
        (ValueError, "`y` goes with arrays only", lambda: check(network(), Batches(X, Y), Y)),
    ],
)
def test_bad_arguments(error, match, call):
    with pytest.raises(error, match=match):
        call()
