"""Whether targets can be told from inputs at all, asked of simple models without the network."""

import dataclasses
import math

import numpy as np

from keras_deeptricks.diagnostics.doctor.relatedness_views import standardized, views_of

# Rows that are looked at, and columns of targets to which more are projected at random.
_MOST_ROWS, _MOST_TARGETS = 1500, 32
_FOLDS = 5
_NEIGHBOURS = 10
# Columns of random nonlinear features, which see products of inputs that others do not.
_RANDOM_FEATURES = 256
# Classes that are coded one by one; more get random codes.
_MOST_CLASSES = 32


@dataclasses.dataclass(frozen=True)
class Relatedness:
    """How well simple models tell targets from inputs, on rows they were not fitted to.

    The scores are the accuracy for classes, and the share of variance explained (which is below 0
    for a fit worse than the mean) otherwise.

    Attributes:
        best_p: The probability that chance gives targets that are told as well by any of them.
        knn_score: The score of the nearest neighbours.
        linear_score: The score of a ridge regression.
        nonlinear_score: The score of a ridge regression on random nonlinear features.
        chance: The score without inputs: the share of the most frequent class, or 0.
        rows: The number of rows looked at.
    """

    best_p: float
    knn_score: float
    linear_score: float
    nonlinear_score: float
    chance: float
    rows: int


def relatedness(inputs, target, rng):
    """Tells whether the targets can be told from the inputs better than by chance.

    Nearest neighbours, a ridge regression and one on random features are cross-validated, and how
    well their predictions go with the targets is compared with what exchanging the targets of the
    held-out rows would give, by its exact mean and variance under all permutations.

    Args:
        inputs: An array with rows first, or a list of them; numbers, tokens or text.
        target: An array with as many rows: classes in any coding, or numbers of any shape.
        rng: A NumPy `Generator`.

    Returns:
        A `Relatedness`, with `best_p` of 1 where there is nothing to be told, as with targets that
        are all the same or fewer than 20 rows.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.diagnostics.doctor.relatedness import relatedness

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    assert relatedness(x, x[:, 0] > 0, rng).best_p < 1e-6
    assert relatedness(x, rng.random(300) > 0.5, rng).best_p > 1e-3
    ```
    """
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    target = np.asarray(target)
    rows = np.sort(rng.permutation(len(target))[:_MOST_ROWS])
    coded, labels = _coded_targets(target[rows], rng)
    nothing = Relatedness(1.0, math.nan, math.nan, math.nan, math.nan, len(rows))
    if len(rows) < 20 or coded.shape[1] == 0:
        return nothing
    views = views_of([np.asarray(leaf)[rows] for leaf in inputs], rng)
    if not views:
        return nothing
    folds = rng.permutation(len(rows)) % _FOLDS
    best = {}
    for view in views:
        for name, learner in _LEARNERS.items():
            told = _cross_validated(learner, view, coded, folds, rng)
            p = permutation_p(told, coded, folds)
            score = _score(told, coded, labels)
            old_p, old_score = best.get(name, (1.0, -math.inf))
            best[name] = min(p, old_p), max(score, old_score)
    tests = len(views) * len(_LEARNERS)
    chance = 0.0 if labels is None else float(np.bincount(labels[0]).max() / len(rows))
    return Relatedness(
        best_p=min(1.0, tests * min(p for p, _ in best.values())),
        knn_score=best["knn"][1],
        linear_score=best["linear"][1],
        nonlinear_score=best["nonlinear"][1],
        chance=chance,
        rows=len(rows),
    )


def permutation_p(told, target, folds):
    """The probability that targets exchanged at random within folds go as well with `told`.

    The sum over rows of (told − its mean)·(target − its mean) is compared with its variance under
    permutations of a fold, Σ (C_told · C_target) / (n − 1), where C are the matrices of products of
    columns; their sum over folds is close to normal.

    Args:
        told: Predictions, of shape (rows, targets).
        target: Of the same shape.
        folds: The number of the fold of each row.
    """
    total = variance = 0.0
    for fold in np.unique(folds):
        rows = folds == fold
        if rows.sum() < 2:
            continue
        first = told[rows] - told[rows].mean(axis=0)
        second = target[rows] - target[rows].mean(axis=0)
        total += float(np.sum(first * second))
        products = np.sum((first.T @ first) * (second.T @ second))
        variance += float(products) / (rows.sum() - 1)
    if variance <= 0:
        return 1.0
    return 0.5 * math.erfc(total / math.sqrt(2 * variance))


def _coded_targets(target, rng):
    """(columns with mean 0 and deviation 1, None or (class of each row, columns of classes))."""
    table = target.reshape(len(target), -1)
    if target.dtype.kind not in "biuf":
        table = np.unique(table, return_inverse=True)[1].reshape(len(table), -1)
    table = table.astype("float64")
    one_hot = table.shape[1] > 1 and np.isin(table, (0, 1)).all() and (table.sum(1) == 1).all()
    single = table.argmax(axis=1) if one_hot else table[:, 0]
    values, classes = np.unique(single, return_inverse=True)
    whole = bool(np.all(values == np.round(values)))
    if (table.shape[1] == 1 or one_hot) and whole and len(values) <= max(3, len(table) / 5):
        codes = np.eye(len(values))
        if len(values) > _MOST_CLASSES:
            codes = rng.normal(size=(len(values), _MOST_CLASSES))
        if len(values) < 2:
            return np.empty((len(table), 0)), None
        # Not divided by deviations: a rare class then counts as much as it occurs.
        coded = codes[classes]
        return coded - coded.mean(axis=0), (classes, codes - coded.mean(axis=0))
    table = table[:, table.std(axis=0) > 0]
    if table.shape[1] > _MOST_TARGETS:
        table = standardized(table) @ rng.normal(size=(table.shape[1], _MOST_TARGETS))
    # Ranks, so that a few enormous values do not decide.
    ranks = np.argsort(np.argsort(table, axis=0), axis=0) if table.shape[1] else table
    return standardized(ranks.astype("float64")), None


def _cross_validated(learner, table, coded, folds, rng):
    told = np.zeros(coded.shape)
    table, coded = learner.features(table, rng), coded.astype("float32")
    for fold in range(_FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            told[held] = learner.fit(table[~held], coded[~held], table[held])
    return told


def _score(told, coded, labels):
    if labels is None:
        return float(1 - np.sum((coded - told) ** 2) / np.sum(coded**2))
    classes, codes = labels
    distance = np.sum(codes**2, axis=1) - 2 * told @ codes.T
    return float(np.mean(distance.argmin(axis=1) == classes))


class _Neighbours:
    @staticmethod
    def features(table, rng):
        return table

    @staticmethod
    def fit(table, coded, asked):
        distance = np.sum(table**2, axis=1) - 2 * asked @ table.T
        count = min(_NEIGHBOURS, len(table) - 1)
        near = np.argpartition(distance, count, axis=1)[:, :count]
        return coded[near].mean(axis=1)


class _Ridge:
    @staticmethod
    def features(table, rng):
        return table

    @staticmethod
    def fit(table, coded, asked):
        mean, offset = table.mean(axis=0), coded.mean(axis=0)
        centre = table - mean
        # A tenth of the rows as a penalty: mild for strong columns, and many columns do no harm.
        products = centre.T @ centre + 0.1 * len(table) * np.eye(table.shape[1], dtype=table.dtype)
        return (asked - mean) @ np.linalg.solve(products, centre.T @ (coded - offset)) + offset


class _RandomFeatures(_Ridge):
    @staticmethod
    def features(table, rng):
        weights = rng.normal(size=(table.shape[1], _RANDOM_FEATURES)) / math.sqrt(table.shape[1])
        units = table @ weights.astype(table.dtype)
        return np.maximum(units + rng.normal(size=_RANDOM_FEATURES).astype(table.dtype), 0)


_LEARNERS = {"knn": _Neighbours, "linear": _Ridge, "nonlinear": _RandomFeatures}
