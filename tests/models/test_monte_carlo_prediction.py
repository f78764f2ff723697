"""The prediction with its uncertainty: quantities, several outputs, files, errors."""

import math

import numpy as np
import pytest

import keras_deeptricks as kdt

MonteCarloPrediction = kdt.models.MonteCarloPrediction
from_samples = MonteCarloPrediction.from_samples

# The results are rounded to float32, whose numbers are 6e-8 of their size apart.
SINGLE = {"rtol": 2e-7, "atol": 1e-7}

ARRAYS = ("mean", "std", "expected_entropy", "quantiles", "samples")
PROPERTIES = (
    "variance",
    "predictive_variance",
    "predictive_std",
    "predictive_entropy",
    "mutual_information",
    "labels",
)


def classes(passes=20, rows=5, count=3, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(count), (passes, rows))


def several(kind=dict):
    rng = np.random.default_rng(1)
    samples = {"c": classes(), "r": rng.normal(size=(20, 5, 2)), "b": rng.uniform(size=(20, 5, 1))}
    task = {"c": "classification", "r": "regression", "b": "binary"}
    tau = {"c": None, "r": 4.0, "b": None}
    if kind is not dict:
        samples, task, tau = (kind(value.values()) for value in (samples, task, tau))
    return from_samples(samples, task, tau=tau, quantiles=(0.1, 0.9), keep_samples=True, seed=7)


def assert_same(first, second):
    """Equal to the bit, in the same structure and of the same types."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert list(first) == list(second)
        first, second = list(first.values()), list(second.values())
    if isinstance(first, (list, tuple)):
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    elif isinstance(first, np.ndarray):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second, strict=True)
    else:
        assert first == second


def test_classification_by_hand():
    samples = np.array([[[0.9, 0.1], [1.0, 0.0]], [[0.7, 0.3], [0.0, 1.0]]])
    found = from_samples(samples, "classification")

    def h(p):
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    np.testing.assert_allclose(found.mean, [[0.8, 0.2], [0.5, 0.5]], **SINGLE)
    np.testing.assert_allclose(found.std, [[0.1, 0.1], [0.5, 0.5]], **SINGLE)
    np.testing.assert_allclose(found.variance, [[0.01, 0.01], [0.25, 0.25]], **SINGLE)
    np.testing.assert_array_equal(found.predictive_variance, found.variance)
    np.testing.assert_allclose(found.expected_entropy, [(h(0.9) + h(0.7)) / 2, 0], **SINGLE)
    np.testing.assert_allclose(found.predictive_entropy, [h(0.8), math.log(2)], **SINGLE)
    information = [h(0.8) - (h(0.9) + h(0.7)) / 2, math.log(2)]
    np.testing.assert_allclose(found.mutual_information, information, **SINGLE)
    np.testing.assert_array_equal(found.labels, [0, 0])
    assert (found.passes, found.task, found.samples, found.quantiles) == (
        2,
        "classification",
        None,
        None,
    )


def test_binary_by_hand():
    found = from_samples([[[0.0, 0.6]], [[1.0, 0.6]]], "binary")
    np.testing.assert_allclose(found.mean, [[0.5, 0.6]], **SINGLE)
    h = -0.6 * math.log(0.6) - 0.4 * math.log(0.4)
    np.testing.assert_allclose(found.expected_entropy, [[0, h]], **SINGLE)
    np.testing.assert_allclose(found.mutual_information, [[math.log(2), 0]], **SINGLE)
    np.testing.assert_array_equal(found.labels, [[0, 1]])


def test_regression_by_hand():
    samples = np.array([[[1.0]], [[2.0]], [[6.0]]])
    found = from_samples(samples, "regression", tau=4.0, quantiles=[0.0, 0.5, 1], keep_samples=True)
    np.testing.assert_allclose(found.mean, [[3.0]], **SINGLE)
    np.testing.assert_allclose(found.variance, [[14 / 3]], **SINGLE)
    np.testing.assert_allclose(found.predictive_variance, [[14 / 3 + 0.25]], **SINGLE)
    np.testing.assert_allclose(found.predictive_std, [[math.sqrt(14 / 3 + 0.25)]], **SINGLE)
    np.testing.assert_array_equal(found.quantiles, [[[1]], [[2]], [[6]]])
    assert found.quantile_levels == (0.0, 0.5, 1.0)
    np.testing.assert_array_equal(found.samples, samples)
    for name in ("expected_entropy", "predictive_entropy", "mutual_information", "labels"):
        assert getattr(found, name) is None
    without = from_samples(samples, "regression")
    np.testing.assert_allclose(without.predictive_std, without.std, **SINGLE)


@pytest.mark.parametrize("task", ["classification", "binary"])
def test_one_pass_has_no_doubt(task):
    found = from_samples(classes(passes=1).astype("float32"), task)
    np.testing.assert_array_equal(found.std, 0)
    np.testing.assert_array_equal(found.mutual_information, 0)
    np.testing.assert_array_equal(found.predictive_entropy, found.expected_entropy)


def test_mutual_information_is_never_negative():
    samples = np.repeat(classes(passes=1, rows=1000), 3, axis=0)
    assert from_samples(samples, "classification").mutual_information.min() >= 0


def test_the_order_of_passes_and_rows_does_not_matter():
    samples = classes()
    first = from_samples(samples, "classification")
    again = from_samples(samples[::-1, [4, 2, 0, 1, 3]], "classification")
    np.testing.assert_allclose(again.mean, first.mean[[4, 2, 0, 1, 3]], **SINGLE)
    np.testing.assert_allclose(again.std, first.std[[4, 2, 0, 1, 3]], **SINGLE)


def test_images_have_an_entropy_for_each_pixel():
    samples = classes(4, 2 * 6).reshape(4, 2, 2, 3, 3)
    found = from_samples(samples, "classification")
    assert found.mean.shape == (2, 2, 3, 3)
    assert found.mutual_information.shape == found.labels.shape == (2, 2, 3)


@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_several_outputs(kind):
    found = several(kind)
    keys = ["c", "r", "b"] if kind is dict else [0, 1, 2]
    single = [
        from_samples(found.samples[key], found.task[key], found.tau[key], (0.1, 0.9), True, 7)
        for key in keys
    ]
    for key, one in zip(keys, single, strict=True):
        part = found[key]
        for name in (*ARRAYS, *PROPERTIES, "task", "tau", "passes", "seed", "quantile_levels"):
            if name in ARRAYS[:4]:  # of the samples in single precision
                if getattr(one, name) is not None:
                    np.testing.assert_allclose(getattr(part, name), getattr(one, name), **SINGLE)
                continue
            if name in PROPERTIES:
                assert_same(getattr(part, name), getattr(found, name)[key])
            else:
                assert_same(getattr(part, name), getattr(one, name))
    assert found.labels[keys[1]] is None
    assert found.expected_entropy[keys[1]] is None
    if kind is not dict:
        assert type(found.mean) is list
        assert [part.task for part in found] == ["classification", "regression", "binary"]


def test_nested_outputs():
    samples = {"a": classes(), "more": [classes(seed=1), np.ones((20, 5, 1))]}
    task = {"a": "classification", "more": ["classification", "regression"]}
    found = from_samples(samples, task)
    assert found["more"].task == ["classification", "regression"]
    assert_same(found["more"][0].mean, found.mean["more"][0])
    assert found.tau is None
    assert "more: 20 passes, 2 outputs" in str(found)


@pytest.mark.parametrize("ending", ["json", "npz"])
@pytest.mark.parametrize("kind", [dict, list, tuple, "classification", "regression"])
def test_a_file_gives_back_everything(tmp_path, ending, kind):
    if isinstance(kind, str):
        before = from_samples(classes(), kind, quantiles=(0.5,), keep_samples=True, seed=3)
    else:
        before = several(kind)
    path = tmp_path / f"prediction.{ending}"
    before.save(path)
    after = MonteCarloPrediction.load(path)
    for name in (*ARRAYS, *PROPERTIES, "task", "tau", "passes", "seed", "quantile_levels"):
        assert_same(getattr(after, name), getattr(before, name))


def test_arrays_are_read_only_copies_also_in_structures():
    mean = {"a": np.ones((2, 1))}
    found = MonteCarloPrediction(mean, {"a": np.zeros((2, 1))}, {"a": "regression"}, 5)
    mean["a"][0] = 9
    np.testing.assert_array_equal(found.mean["a"], 1)
    with pytest.raises(ValueError, match="read-only"):
        found["a"].mean[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        found.mean["a"][0] = 5


def test_words():
    text = str(several())
    assert text.startswith("20 passes, 3 outputs\n  c: classification, mean of shape (5, 3)")
    assert "doubt of the model" in text
    assert "with the noise" in text
    without = MonteCarloPrediction(np.array([[0.5, 0.5]]), np.zeros((1, 2)), "classification", 3)
    assert "entropy 0.693 nats" in str(without)
    assert without.mutual_information is None


def test_indexing():
    with pytest.raises(TypeError, match="only one"):
        from_samples(classes(), "classification")[0]
    with pytest.raises(KeyError, match=r"no output 'x'.*'c', 'r', 'b'"):
        several()["x"]
    with pytest.raises(IndexError, match="no output 3"):
        several(list)[3]
    assert several(list)[-1].task == "binary"


P = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"task": "ranking"}, ValueError, "`task` must be one of"),
        ({"task": None}, TypeError, "`task` must be a string"),
        ({"std": np.zeros((4, 1))}, ValueError, r"`std` must have the shape.*\(4, 1\)"),
        ({"mean": P * 3}, ValueError, "logits"),
        ({"mean": P / 2}, ValueError, "sum to one"),
        ({"mean": P * np.nan}, ValueError, "`mean`"),
        ({"mean": None}, ValueError, "must be given"),
        ({"passes": 0}, ValueError, "`passes`"),
        ({"tau": 1.0}, ValueError, "a classification has none"),
        ({"tau": 0.0, "task": "regression"}, ValueError, "`tau` must be a number > 0"),
        ({"tau": "1", "task": "regression"}, TypeError, "`tau` must be a number"),
        ({"expected_entropy": np.zeros((4, 2))}, ValueError, "`expected_entropy`"),
        ({"quantiles": np.zeros((2, 4, 2))}, ValueError, "`quantiles`"),
        ({"quantile_levels": (0.5, 2)}, ValueError, "`quantiles` must be a number ≥ 0 and ≤ 1"),
        ({"samples": np.zeros((3, 4, 2))}, ValueError, "`samples` must have the shape"),
        ({"task": {"a": "binary"}}, TypeError, "`mean` must have the structure"),
        ({"mean": {"a": P}}, TypeError, "`mean` must be of a single output"),
    ],
)
def test_bad_fields(changes, error, message):
    fields = {"mean": P, "std": P * 0, "task": "classification", "passes": 2, **changes}
    with pytest.raises(error, match=message):
        MonteCarloPrediction(**fields)


@pytest.mark.parametrize(
    "samples, task, error, message",
    [
        (np.zeros((0, 3, 2)), "regression", ValueError, "at least one pass"),
        (np.zeros(3), "regression", ValueError, r"\(passes, rows, ...\)"),
        (np.full((2, 3, 1), np.nan), "regression", ValueError, "must be finite"),
        (np.full((2, 3, 1), 2.0), "binary", ValueError, "logits"),
        ({"a": P[None]}, "classification", TypeError, "several outputs"),
        ({"a": P[None]}, {"b": "binary"}, TypeError, "`samples` must have the structure"),
        ([P[None]], ["binary", "binary"], TypeError, "`samples` must have the structure"),
        ([P[None], P[None].repeat(2, 0)], ["binary"] * 2, ValueError, "as many passes"),
    ],
)
def test_bad_samples(samples, task, error, message):
    with pytest.raises(error, match=message):
        from_samples(samples, task)


def test_half_precision_probabilities_are_taken():
    samples = classes(count=1000).astype("float16")
    found = from_samples(samples, "classification")
    assert found.mean.dtype == np.float32
