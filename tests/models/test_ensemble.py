"""Ensembles: the mean by hand, one member is that member, and files, training, uncertainty."""

import keras
import numpy as np
import pytest
from small_models import (
    BACKEND,
    assert_identical,
    assert_near,
    class_data,
    dense_model,
    regression_data,
    values,
)

import keras_deeptricks as kdt

Ensemble = kdt.models.Ensemble
KINDS = ["sequential", "functional", "subclassed"]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def members_of(kind="functional", count=3, outputs=3):
    """Built members that give logits."""
    models = [dense_model(outputs=outputs, kind=kind, seed=seed) for seed in range(count)]
    for model in models:
        model(class_data()[0][:2])
    return models


def two_headed(seed, as_dict=True, dtype=None):
    """Inputs (a, b), a class and a number as outputs."""
    keras.utils.set_random_seed(seed)
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    body = keras.layers.Dense(8, activation="tanh", dtype=dtype)(
        keras.layers.Concatenate(dtype=dtype)([a, b])
    )
    label = keras.layers.Dense(3, activation="softmax", name="label", dtype=dtype)(body)
    number = keras.layers.Dense(1, name="number", dtype=dtype)(body)
    outputs = {"label": label, "number": number} if as_dict else [label, number]
    return keras.Model({"a": a, "b": b} if as_dict else [a, b], outputs)


def two_inputs(as_dict=True):
    x = regression_data(features=6)[0]
    return {"a": x[:, :4], "b": x[:, 4:]} if as_dict else [x[:, :4], x[:, 4:]]


@keras.saving.register_keras_serializable(package="test_ensemble")
class FromDictionary(keras.Model):
    """A subclassed model of a dictionary, with a tuple of outputs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = keras.layers.Dense(2), keras.layers.Dense(1)

    def build(self, input_shape):
        self.first.build(input_shape["a"])
        self.second.build(input_shape["b"])

    def call(self, inputs):
        return self.first(inputs["a"]), self.second(inputs["b"])


@pytest.mark.parametrize("kind", KINDS)
def test_mean_by_hand(kind):
    members, x = members_of(kind), class_data()[0]
    singles = [member.predict(x, verbose=0) for member in members]
    before = [values(member.variables) for member in members]
    found = Ensemble(members).predict(x, verbose=0)
    np.testing.assert_allclose(found, np.mean(singles, axis=0), rtol=1e-6, atol=1e-7)
    weighted = Ensemble(members, weights=[1, 0, 3]).predict(x, verbose=0)
    np.testing.assert_allclose(weighted, (singles[0] + 3 * singles[2]) / 4, rtol=1e-6, atol=1e-7)
    probabilities = Ensemble(members, activation="softmax").predict(x, verbose=0)
    expected = np.mean([softmax(single) for single in singles], axis=0)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6, atol=1e-7)
    for member, variables in zip(members, before, strict=True):
        assert_identical(values(member.variables), variables)
        assert not member.compiled


@pytest.mark.parametrize("kind", KINDS)
def test_one_member_is_that_member(kind):
    (member,) = members_of(kind, count=1)
    x = class_data()[0]
    expected = member.predict(x, verbose=0)
    for weights in (None, [0.3]):
        ensemble = Ensemble([member], weights=weights)
        assert_near([ensemble.predict(x, verbose=0)], [expected])


def test_copies_are_one():
    (member,) = members_of(count=1)
    copies = []
    for _ in range(4):
        copies.append(keras.models.clone_model(member))
        copies[-1].set_weights(member.get_weights())
    x = class_data()[0]
    ensemble = Ensemble(copies)
    assert_near([ensemble.predict(x, verbose=0)], [member.predict(x, verbose=0)])
    assert not ensemble.uncertainty(x, verbose=0, task="regression").std.any()


@pytest.mark.parametrize("kind", KINDS)
def test_of_files(kind, tmp_path):
    members, x = members_of(kind), class_data()[0]
    members[1].save(tmp_path / "one.keras")
    members[2].save_weights(tmp_path / "two.weights.h5")
    template = members_of(kind, count=1)[0]
    before = values(template.variables)
    sources = [members[0], str(tmp_path / "one.keras"), tmp_path / "two.weights.h5"]
    ensemble = Ensemble(sources, model=template)
    expected = Ensemble(members).predict(x, verbose=0)
    assert_near([ensemble.predict(x, verbose=0)], [expected])
    assert ensemble.members[0] is members[0]
    assert template not in ensemble.members
    ensemble.compile("adam", "mse")
    ensemble.fit(x, np.ones((64, 3)), verbose=0)
    assert_identical(values(template.variables), before)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind, tmp_path):
    ensemble = Ensemble(members_of(kind), weights=[1, 2, 3], activation="softmax", name="three")
    ensemble.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = class_data()
    ensemble.fit(x, y, verbose=0)
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert isinstance(loaded, Ensemble)
    assert loaded.name == "three"
    assert loaded.member_weights == [1, 2, 3]
    assert loaded.activation is keras.activations.softmax
    expected = ensemble.predict(x, verbose=0)
    assert_near([loaded.predict(x, verbose=0)], [expected])
    assert loaded.evaluate(x, y, verbose=0) == ensemble.evaluate(x, y, verbose=0)
    loaded.fit(x, y, verbose=0)

    ensemble.save_weights(tmp_path / "ensemble.weights.h5")
    other = Ensemble(members_of(kind), weights=[1, 2, 3], activation="softmax")
    other.load_weights(tmp_path / "ensemble.weights.h5")
    assert_near([other.predict(x, verbose=0)], [expected])


def test_members_that_were_compiled_bring_no_optimizer(tmp_path):
    members = members_of()
    x, y = class_data()
    for member in members:
        member.compile("adam", "mse", metrics=["mae"])
        member.fit(x, np.ones((64, 3)), verbose=0)
    ensemble = Ensemble(members, activation="softmax")
    ensemble.compile("sgd", "sparse_categorical_crossentropy")
    assert set(ensemble.evaluate(x, y, verbose=0, return_dict=True)) == {"loss"}
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert not any(member.compiled for member in loaded.members)
    assert all(member.compiled for member in members)
    assert_near([loaded.predict(x, verbose=0)], [ensemble.predict(x, verbose=0)])


def test_trains_all_members():
    members = members_of()
    ensemble = Ensemble(members, activation="softmax")
    ensemble.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x, y = class_data()
    before = [member.get_weights() for member in members]
    losses = ensemble.fit(x, y, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for member, weights in zip(members, before, strict=True):
        changed = [
            not np.array_equal(a, b) for a, b in zip(weights, member.get_weights(), strict=True)
        ]
        assert all(changed)  # the statistics of batch normalization too


@pytest.mark.parametrize("as_dict", [True, False])
def test_several_inputs_and_outputs(as_dict, tmp_path):
    members = [two_headed(seed, as_dict) for seed in range(2)]
    x = two_inputs(as_dict)
    ensemble = Ensemble(members)
    singles = [member.predict(x, verbose=0) for member in members]
    found = ensemble.predict(x, verbose=0)
    for key in ("label", "number") if as_dict else (0, 1):
        expected = (singles[0][key] + singles[1][key]) / 2
        np.testing.assert_allclose(found[key], expected, rtol=1e-6, atol=1e-7)
    ensemble.save(tmp_path / "ensemble.keras")
    again = keras.saving.load_model(tmp_path / "ensemble.keras").predict(x, verbose=0)
    assert_near(keras.tree.flatten(again), keras.tree.flatten(found))

    told = ensemble.uncertainty(x, verbose=0, tau=2.0)
    number = told["number" if as_dict else 1]
    assert (number.task, number.tau) == ("regression", 2.0)
    assert told["label" if as_dict else 0].task == "classification"
    targets = [np.arange(64) % 3, np.zeros(64)]
    y = dict(zip(("label", "number"), targets, strict=True)) if as_dict else targets
    scores = ensemble.evaluate_uncertainty(x, y, verbose=0)
    assert scores["label" if as_dict else 0]["accuracy"] <= 1
    with pytest.raises(ValueError, match="`y` must"):
        ensemble.evaluate_uncertainty(x, targets[0], verbose=0)


def test_subclassed_members_of_a_dictionary():
    x = two_inputs()
    members = [FromDictionary(), FromDictionary()]
    for member in members:
        member({name: part[:2] for name, part in x.items()})
    singles = [member.predict(x, verbose=0) for member in members]
    found = Ensemble(members).predict(x, verbose=0)
    assert isinstance(found, tuple)
    for single, other, mean in zip(*singles, found, strict=True):
        np.testing.assert_allclose(mean, (single + other) / 2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_averages_in_float32(policy, tmp_path):
    members = [two_headed(seed, dtype=policy) for seed in range(3)]
    x = two_inputs()
    ensemble = Ensemble(members)
    found = ensemble.predict(x, verbose=0)
    singles = [
        keras.tree.map_structure(lambda part: np.asarray(part).astype("float32"), single)
        for single in (member.predict(x, verbose=0) for member in members)
    ]
    for key in ("label", "number"):
        assert found[key].dtype == np.float32
        expected = np.mean([single[key] for single in singles], axis=0)
        # Compiled together, a member may round otherwise by one place than alone.
        np.testing.assert_allclose(found[key], expected, rtol=0, atol=1e-2)
    ensemble.save(tmp_path / "ensemble.keras")
    again = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert again.members[0].layers[-1].dtype_policy.name == policy
    assert_near(keras.tree.flatten(again.predict(x, verbose=0)), keras.tree.flatten(found))


def test_mean_of_float16_members_is_finer_than_float16():
    inputs = keras.Input((1,))
    members = [
        keras.Model(inputs, keras.layers.Rescaling(scale, dtype="float16")(inputs))
        for scale in (1.0, 1.0 + 2**-10)
    ]
    found = Ensemble(members).predict(np.ones((2, 1)), verbose=0)
    np.testing.assert_array_equal(found, np.full((2, 1), 1 + 2**-11, "float32"))


def test_whole_number_inputs(tmp_path):
    members = [
        keras.Sequential(
            [
                keras.Input((5,), dtype="int32"),
                keras.layers.Embedding(3000, 4),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(1),
            ]
        )
        for _ in range(2)
    ]
    x = np.arange(10).reshape(2, 5).astype("int32") + 2900
    keras.config.set_dtype_policy("mixed_float16")
    singles = [member.predict(x, verbose=0) for member in members]
    found = Ensemble(members).predict(x, verbose=0)
    np.testing.assert_allclose(found, np.mean(singles, axis=0), rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="export is TensorFlow's here")
@pytest.mark.parametrize("kind", KINDS)
def test_export(kind, tmp_path):
    import tensorflow as tf

    ensemble = Ensemble(members_of(kind), activation="softmax")
    ensemble.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    x = class_data()[0]
    found = served.serve(x).numpy()
    np.testing.assert_allclose(found, ensemble.predict(x, verbose=0), rtol=1e-6, atol=1e-7)


def data_forms(x, y, batch_size=16):
    """The same rows as a `PyDataset` and a function that makes a generator."""

    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return -(-len(x) // batch_size)

        def __getitem__(self, index):
            rows = slice(index * batch_size, (index + 1) * batch_size)
            return x[rows], y[rows]

    def generator():
        for start in range(0, len(x), batch_size):
            yield x[start : start + batch_size], y[start : start + batch_size]

    forms = [Rows, generator]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        forms.append(lambda: tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size))
    return forms


def test_uncertainty_of_every_form_of_data():
    members = members_of()
    ensemble = Ensemble(members, activation="softmax")
    x, y = class_data(rows=40)
    singles = [softmax(member.predict(x, verbose=0)) for member in members]
    told = ensemble.uncertainty(x, verbose=0, keep_samples=True, quantiles=(0.5,))
    assert (told.task, told.passes) == ("classification", 3)
    np.testing.assert_allclose(told.samples, singles, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told.mean, np.mean(singles, axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told.std, np.std(singles, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(told.quantiles[0], np.median(singles, axis=0), rtol=1e-5, atol=1e-6)
    scores = ensemble.evaluate_uncertainty(x, y, verbose=0)
    accuracy = np.mean(np.mean(singles, axis=0).argmax(axis=1) == y)
    assert scores["accuracy"] == pytest.approx(accuracy)
    for make in data_forms(x, y):
        again = ensemble.uncertainty(make(), verbose=0)
        np.testing.assert_allclose(again.mean, told.mean, rtol=1e-5, atol=1e-6)
        assert ensemble.evaluate_uncertainty(make(), verbose=0)["accuracy"] == scores["accuracy"]
    part = ensemble.uncertainty(data_forms(x, y)[0](), steps=2, verbose=0)
    assert len(part.mean) == 32


def test_uncertainty_changes_nothing_and_knows_the_task(tmp_path):
    x, y = regression_data()
    members = members_of(outputs=1)
    ensemble = Ensemble(members)
    ensemble.compile("adam", "mse")
    before = values(ensemble.variables)
    told = ensemble.uncertainty(x, verbose=0, tau=4.0)
    assert (told.task, told.tau) == ("regression", 4.0)
    assert_identical(values(ensemble.variables), before)
    scores = ensemble.evaluate_uncertainty(x, y, verbose=0, tau=4.0)
    error = np.sqrt(np.mean((ensemble.predict(x, verbose=0)[:, 0] - y) ** 2))
    assert scores["rmse"] == pytest.approx(error, rel=1e-5)

    binary = Ensemble(members, activation="sigmoid")
    assert binary.uncertainty(x, verbose=0).task == "binary"
    binary.save(tmp_path / "after.keras")
    loaded = keras.saving.load_model(tmp_path / "after.keras")
    assert_identical(loaded.get_weights(), binary.get_weights())


def test_uncertainty_with_weights():
    x = class_data()[0]
    members = members_of()
    with pytest.raises(ValueError, match="`weights` must be equal"):
        Ensemble(members, weights=[1, 1, 2]).uncertainty(x, verbose=0)
    equal = Ensemble(members, weights=[2, 2, 2], activation="softmax")
    assert equal.uncertainty(x, verbose=0).passes == 3
    with pytest.raises(ValueError, match="`y` is missing"):
        equal.evaluate_uncertainty(x, verbose=0)


def test_members_that_do_not_match():
    first = dense_model()
    with pytest.raises(ValueError, match=r"same inputs.*\(None, 4\).*models\[1\].*\(None, 5\)"):
        Ensemble([first, dense_model(features=5)])
    with pytest.raises(ValueError, match=r"same outputs.*\(None, 1\).*models\[2\].*\(None, 2\)"):
        Ensemble([first, dense_model(seed=1), dense_model(outputs=2)])
    with pytest.raises(ValueError, match="same inputs"):
        Ensemble([two_headed(0), two_headed(1, as_dict=False)])
    other = dense_model(features=5, kind="subclassed")
    other(np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"same inputs.*models\[1\]"):
        Ensemble([first, other])


def test_members_that_share_weights():
    first = dense_model()
    with pytest.raises(ValueError, match="one object is in the list twice"):
        Ensemble([first, first])
    with pytest.raises(ValueError, match=r"share weights.*models\[0\] and models\[1\].*kernel"):
        Ensemble([first, keras.Model(first.inputs, first.outputs)])


def test_bad_arguments(tmp_path):
    model = dense_model()
    for bad in (model, None, [3]):
        with pytest.raises(TypeError, match="`models` must"):
            Ensemble(bad)
    with pytest.raises(ValueError, match="`models` must"):
        Ensemble([])
    with pytest.raises(ValueError, match="must be built"):
        Ensemble([dense_model(kind="subclassed")])
    for bad in ("soft", lambda outputs: outputs, 3):
        with pytest.raises(ValueError, match="`activation` must"):
            Ensemble([model], activation=bad)
    for bad in ([1, 2], [-1], [0]):
        with pytest.raises(ValueError, match="`weights` must"):
            Ensemble([model], weights=bad)
    with pytest.raises(TypeError, match="`weights` must"):
        Ensemble([model], weights=1)
    model.save_weights(tmp_path / "one.weights.h5")
    with pytest.raises(ValueError, match="`model` must"):
        Ensemble([tmp_path / "one.weights.h5"])
