"""What a recipe learns from the targets: the task, the classes, and how to encode them."""

import dataclasses

import numpy as np

from keras_deeptricks.assembly.parts import TASKS
from keras_deeptricks.utils.checks import check_choice


@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
    """The task that targets pose and the vocabulary of their classes.

    Attributes:
        task: `"classification"`, `"binary"`, `"multilabel"` or `"regression"`.
        outputs: Number of output units.
        labels: The classes in the order of the output units (for a binary task: negative,
            positive), as a NumPy array; None where there is none.
        one_hot: Whether the targets came one-hot.
    """

    task: str
    outputs: int
    labels: np.ndarray | None = None
    one_hot: bool = False

    def encode(self, y, name="y"):
        """The targets as the loss takes them.

        Raises:
            ValueError: `y` holds classes that were not in the training targets, or has the wrong
                shape.
        """
        y = check_targets(y, name)
        if self.task == "regression":
            y = y.astype("float32").reshape(len(y), -1)
            return self._check_width(y, name)
        if self.task == "multilabel":
            return self._check_width(y, name).astype("float32")
        if self.one_hot:
            self._check_width(y, name)
            return np.argmax(y, axis=1).astype("int32")
        y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1:
            raise ValueError(
                f"`{name}` must hold one class per row, as in training. "
                f"Received an array of shape {y.shape}."
            )
        position = np.searchsorted(self.labels, y)
        position = np.minimum(position, len(self.labels) - 1)
        unknown = self.labels[position] != y
        if unknown.any():
            raise ValueError(
                f"`{name}` holds classes that the training targets lack: "
                f"{np.unique(y[unknown])[:5].tolist()}. Known are {self.labels[:20].tolist()}."
            )
        return position.astype("float32" if self.task == "binary" else "int32")

    def encode_class_weight(self, class_weight):
        """Weights by class, in the words of the targets, as Keras takes them.

        Raises:
            ValueError: a class is not one of the targets', or the task has no classes.
        """
        if class_weight is None:
            return None
        if self.labels is None:
            raise ValueError(f"`class_weight` is for classes; this is a {self.task}.")
        known = {label: position for position, label in enumerate(self.labels.tolist())}
        unknown = [label for label in class_weight if label not in known]
        if unknown:
            raise ValueError(
                f"`class_weight` names {unknown[:5]}, which the targets lack. Known are "
                f"{list(known)[:20]}."
            )
        return {known[label]: weight for label, weight in class_weight.items()}

    def decode(self, predictions):
        """The labels that predictions of the model stand for; the predictions of a regression."""
        predictions = np.asarray(predictions)
        if self.task == "regression":
            return predictions[:, 0] if self.outputs == 1 else predictions
        if self.task == "multilabel":
            return (predictions > 0.5).astype("int32")
        if self.task == "binary":
            chosen = (predictions[:, 0] > 0.5).astype("int32")
        else:
            chosen = predictions.argmax(axis=1)
        return chosen if self.labels is None else self.labels[chosen]

    def _check_width(self, y, name):
        if y.ndim != 2 or y.shape[1] != self.outputs:
            raise ValueError(
                f"`{name}` must have {self.outputs} columns, as in training. "
                f"Received an array of shape {y.shape}."
            )
        return y


def understand_targets(y, task=None, outputs=None):
    """What the training targets `y`, an array, ask for.

    Strings, whole numbers and booleans are classes: two make a binary task, more a
    classification. A two-dimensional array of 0 and 1 is one-hot if every row has a single 1,
    else multi-label. Other numbers are a regression. Pass `task` where that is wrong, for
    instance for whole numbers that count, and `outputs` where the data lacks some of the classes
    0, 1, 2 …

    Raises:
        TypeError: The array is of a type that is no target.
        ValueError: The targets are empty, NaN or infinite, of one class only, or do not fit
            `task`.
    """
    if task is not None:
        check_choice("task", task, TASKS)
    y = check_targets(y, "y")
    task = task or _infer_task(y)
    if task == "regression":
        if y.dtype.kind not in "biuf":
            raise TypeError(
                f"`y` must hold numbers for task='regression'. Received dtype {y.dtype}."
            )
        return Targets(task, int(np.prod(y.shape[1:], dtype=int)))
    if task == "multilabel":
        if y.ndim != 2 or not _is_zeros_and_ones(y):
            raise ValueError(
                "`y` must be a two-dimensional array of 0 and 1 for task='multilabel'. Received "
                f"shape {y.shape} and dtype {y.dtype}."
            )
        return Targets(task, y.shape[1])
    if y.ndim == 2 and y.shape[1] > 1:
        if not _is_one_hot(y):
            raise ValueError(
                f"`y` must hold one class per row, or be one-hot, for task='{task}'. Received an "
                f"array of shape {y.shape} whose rows are not one-hot."
            )
        if (y.sum(axis=0) > 0).sum() < 2:
            raise ValueError("`y` holds a single class: there is nothing to tell apart.")
        if task == "binary":
            raise ValueError("`y` must hold one class per row for task='binary'.")
        return Targets("classification", y.shape[1], np.arange(y.shape[1]), one_hot=True)
    labels = np.unique(y)
    if outputs is not None and task == "binary" and outputs > 1:
        task = "classification"
    if outputs is not None and task == "classification":
        if y.dtype.kind not in "biu" or labels.min() < 0 or labels.max() >= outputs:
            raise ValueError(
                f"`y` must hold whole numbers from 0 to {outputs - 1} for outputs={outputs}. "
                f"Received {labels[:20].tolist()}."
            )
        return Targets(task, outputs, np.arange(outputs))
    if len(labels) < 2:
        raise ValueError(
            f"`y` holds a single class, {labels[0]!r}: there is nothing to tell apart."
        )
    if task == "binary" and len(labels) != 2:
        raise ValueError(
            f"`y` must hold two classes for task='binary'. Received {len(labels)}: "
            f"{labels[:10].tolist()}. Use task='classification'."
        )
    return Targets(task, 1 if task == "binary" else len(labels), labels)


def check_targets(y, name):
    """`y` as an array of one or two dimensions, of a type that targets have, without NaN.

    Raises:
        TypeError: its type is no target's.
        ValueError: it is empty, of the wrong rank, or holds NaN or infinities.
    """
    y = np.asarray(y)
    if y.dtype.kind == "O":
        kinds = {type(value) for value in y.ravel()[:1000]}
        if kinds == {str}:
            y = y.astype(str)
        else:
            raise TypeError(
                f"`{name}` has dtype object, with values of type "
                f"{', '.join(sorted(kind.__name__ for kind in kinds))}. Convert it to numbers, or "
                "all of it to strings: y.astype(str)."
            )
    if y.dtype.kind not in "biufUS":
        raise TypeError(f"`{name}` must hold numbers or strings. Received dtype {y.dtype}.")
    if y.size == 0:
        raise ValueError(f"`{name}` is empty (shape {y.shape}).")
    if y.ndim not in (1, 2):
        raise ValueError(
            f"`{name}` must have one target, or one row of targets, per row of `x`. Received an "
            f"array of shape {y.shape}."
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(f"`{name}` holds NaN or infinite values: remove those rows first.")
    return y


def _infer_task(y):
    if y.dtype.kind in "US":
        return "binary" if len(np.unique(y)) == 2 else "classification"
    if y.ndim == 2 and y.shape[1] > 1:
        if _is_one_hot(y):
            return "classification"
        return "multilabel" if _is_zeros_and_ones(y) else "regression"
    if y.dtype.kind == "f":
        return "binary" if _is_zeros_and_ones(y) and len(np.unique(y)) == 2 else "regression"
    return "binary" if len(np.unique(y)) == 2 else "classification"


def _is_zeros_and_ones(y):
    return y.dtype.kind in "biuf" and bool(np.isin(y, (0, 1)).all())


def _is_one_hot(y):
    return _is_zeros_and_ones(y) and bool((y.sum(axis=1) == 1).all())
