"""What recipes make of targets."""

import numpy as np
import pytest

from keras_deeptricks.assembly.targets import understand_targets


@pytest.mark.parametrize(
    "y, task, outputs, labels",
    [
        ([3, 7, 11, 3], "classification", 3, [3, 7, 11]),
        ([-1, 1, 1, -1], "binary", 1, [-1, 1]),
        ([True, False], "binary", 1, [False, True]),
        ([0.0, 1.0, 1.0], "binary", 1, [0.0, 1.0]),
        (["b", "a", "c"], "classification", 3, ["a", "b", "c"]),
        (np.array(["no", "yes"], dtype=object), "binary", 1, ["no", "yes"]),
        ([[0, 1, 0], [1, 0, 0]], "classification", 3, [0, 1, 2]),
        ([[0, 1, 1], [1, 0, 0]], "multilabel", 3, None),
        ([0.5, 1.0, 2.0], "regression", 1, None),
        ([[0.5, 1.0], [1.5, 2.0]], "regression", 2, None),
        ([[1], [2], [3]], "classification", 3, [1, 2, 3]),
    ],
)
def test_understands(y, task, outputs, labels):
    targets = understand_targets(np.asarray(y))
    assert (targets.task, targets.outputs) == (task, outputs)
    assert (None if targets.labels is None else targets.labels.tolist()) == labels


def test_classes_are_encoded_and_decoded():
    targets = understand_targets(np.array(["cat", "dog", "emu", "cat"]))
    assert targets.encode(["emu", "cat"]).tolist() == [2, 0]
    assert targets.decode([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]).tolist() == ["emu", "cat"]


def test_binary_and_multilabel_decode_at_a_half():
    binary = understand_targets(np.array([5, 9, 5]))
    assert binary.encode([9, 5]).tolist() == [1.0, 0.0]
    assert binary.decode([[0.4], [0.6]]).tolist() == [5, 9]
    several = understand_targets(np.array([[0, 1, 1], [0, 0, 0]]))
    assert several.decode([[0.4, 0.6, 0.9]]).tolist() == [[0, 1, 1]]


def test_one_hot_and_regression():
    one_hot = understand_targets(np.eye(3)[[0, 2, 1]])
    assert one_hot.encode(np.eye(3)[[2, 0]]).tolist() == [2, 0]
    regression = understand_targets(np.array([0.5, 1.5]))
    assert regression.encode([0.25]).tolist() == [[0.25]]
    assert regression.decode([[0.25]]).tolist() == [0.25]


def test_whole_numbers_can_be_a_regression():
    assert understand_targets(np.arange(10), task="regression").outputs == 1


def test_classes_that_the_data_lacks():
    targets = understand_targets(np.array([0, 1, 1]), outputs=3)
    assert (targets.task, targets.outputs) == ("classification", 3)
    assert targets.encode([2]).tolist() == [2]


def test_class_weights_go_by_label():
    targets = understand_targets(np.array(["a", "b", "c"]))
    assert targets.encode_class_weight({"c": 2.0, "a": 1.0}) == {2: 2.0, 0: 1.0}
    with pytest.raises(ValueError, match="`class_weight`"):
        targets.encode_class_weight({"d": 1.0})


@pytest.mark.parametrize(
    "y, options, message",
    [
        ([], {}, "empty"),
        ([1, 1, 1], {}, "single class"),
        (["a", "a"], {}, "single class"),
        ([[1, 0], [1, 0]], {}, "single class"),
        ([0.5, float("nan")], {}, "NaN"),
        ([0.5, float("inf")], {}, "infinite"),
        (np.array([1, "a"], dtype=object), {}, "object"),
        (np.array([None, 1], dtype=object), {}, "object"),
        (np.zeros((2, 2, 2)), {}, "shape"),
        ([1j, 2j], {}, "numbers or strings"),
        ([0, 1, 2], {"task": "binary"}, "two classes"),
        ([[0.5, 0.5]], {"task": "classification"}, "one-hot"),
        (["a", "b"], {"task": "regression"}, "numbers"),
        ([0, 1], {"task": "multilabel"}, "two-dimensional"),
        ([0, 1], {"task": "ranking"}, "`task`"),
        ([0, 5], {"outputs": 3}, "0 to 2"),
    ],
)
def test_bad_targets(y, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        understand_targets(np.asarray(y), **options)


@pytest.mark.parametrize(
    "train, other, message",
    [
        ([1, 2, 3], [4], r"lack: \[4\]"),
        (["a", "b"], ["c"], "lack"),
        ([[0, 1, 1], [1, 0, 0]], [[0, 1]], "3 columns"),
        ([0.5, 1.5], [[1.0, 2.0]], "1 columns"),
        ([1, 2, 3], [[1, 2]], "one class per row"),
    ],
)
def test_other_targets_must_fit(train, other, message):
    with pytest.raises(ValueError, match=message):
        understand_targets(np.asarray(train)).encode(other, "validation")
