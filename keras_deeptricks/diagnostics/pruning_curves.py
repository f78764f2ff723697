"""How the score of a model falls with the share of its weights, or units, that are pruned."""

import dataclasses
import warnings

import keras
import numpy as np

from keras_deeptricks.diagnostics.pruning_arguments import check_fractions, check_saliencies
from keras_deeptricks.diagnostics.repeated_results import aligned, joined_results, mean_and_error
from keras_deeptricks.models.pruning.kernels import maskable_of
from keras_deeptricks.models.pruning.prunable import Prunable
from keras_deeptricks.models.pruning.prune import prune
from keras_deeptricks.models.pruning.prune_arguments import check_exclude
from keras_deeptricks.utils.backend import random_order_preserved
from keras_deeptricks.utils.checks import check_built, check_choice, check_integer
from keras_deeptricks.utils.compiled_step import check_compiled
from keras_deeptricks.utils.results import Result
from keras_deeptricks.utils.training_state import preserved

_FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclasses.dataclass(frozen=True, eq=False)
class PruningCurves(Result):
    """The scores of a model by the share of its weights, or units, that are pruned.

    The last axis of all scores is that of the models, one unless results were joined.

    Attributes:
        metric: Name of the score, such as `"accuracy"` or `"loss"`.
        units: Whether whole units, neurons or filters, were pruned.
        saliencies: Names of the s saliencies.
        fractions: The shares that were pruned, shape (f,), in growing order.
        scores: The scores without retraining, shape (s, f, models).
        retrained: The scores after retraining, shape (s, f, models); None where it was not asked
            for.
        whole: The scores of the models as they were given, shape (models,).
    """

    metric: str
    units: bool
    saliencies: list
    fractions: np.ndarray
    scores: np.ndarray
    retrained: np.ndarray | None
    whole: np.ndarray

    plot_function = "plot_pruning_curves"

    @classmethod
    def joined(cls, results):
        """The results of several models, such as those of several seeds, as one.

        Args:
            results: A list of `PruningCurves` with the same metric, saliencies and fractions.

        Returns:
            A `PruningCurves`.

        Raises:
            ValueError: The list is empty, or the results do not agree.
        """
        return joined_results(cls, results, axes={"scores": 2, "retrained": 2, "whole": 0})

    def __str__(self):
        columns = [
            (name, scores) for name, scores in zip(self.saliencies, self.scores, strict=True)
        ]
        if self.retrained is not None:
            pairs = zip(self.saliencies, self.retrained, strict=True)
            columns += [(f"{name}, retrained", scores) for name, scores in pairs]
        rows = [[self.metric, *(name for name, _ in columns)]]
        for place, fraction in enumerate(self.fractions):
            cells = (mean_and_error(scores[place]) for _, scores in columns)
            rows.append([f"{fraction:.1%}", *cells])
        what = "units" if self.units else "weights"
        first = f"by the share of {what} pruned; whole: {mean_and_error(self.whole)}"
        return "\n".join([first, *aligned(rows)])


def pruning_curves(
    model,
    x,
    y=None,
    *,
    saliencies=None,
    saliency_data=None,
    fractions=_FRACTIONS,
    scope="global",
    exclude=(),
    retrain=None,
    metric=None,
    batch_size=None,
    sample_weight=None,
    seed=0,
    verbose=0,
):
    """Scores a model with more and more of it pruned, in the order of several saliencies.

    To see which saliency finds what a trained network can do without, how much that is, and what
    retraining brings back. The given model comes back with its weights, optimizer and metrics
    untouched.

    Args:
        model: A built and trained `keras.Model`, compiled with an optimizer and a loss.
        x, y: Test data as for `model.evaluate`: arrays, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`. It is read once per score.
        saliencies: A list of names: of weights `"random"`, `"weight_magnitude"`,
            `"optimal_brain_damage"` (by the Gauss–Newton diagonal); or of units, neurons and
            filters, `"random_units"`, `"incoming_weight_norm"` (the mean), `"mean_activation"`,
            `"active_share"`. Or a dictionary from labels of your own to such names or to what
            `keras_deeptricks.models.pruning.prune` takes, such as a function of a model. By default
            those of weights, without optimal brain damage where there is no `saliency_data`.
        saliency_data: What saliencies are measured on: a tuple (x, y) or (x, y, sample_weight) of
            arrays, or a data set that can be read again. A part of the training data, not the test
            data.
        fractions: The shares to prune, numbers from 0 to 1. By default 0, 0.1, … 0.9.
        scope, exclude: As for `prune`.
        retrain: A function that trains the pruned model it is given, in place, or returns the
            trained one. Then there is a second curve for each saliency, in which the model that was
            pruned and retrained at one fraction is pruned further for the next, by its own
            saliencies. So each point has had more training than the one before: pass few fractions,
            and 0 among them to see what retraining alone does. None for none.
        metric: The name that `model.evaluate` gives the score. By default the first metric that is
            no loss, or else `"loss"`.
        batch_size, sample_weight: As for `model.evaluate`.
        seed: Whole number that fixes the random orders.
        verbose: 1 for a progress bar over the scores, 0 for silence. Defaults to 0.

    Returns:
        A `PruningCurves`; `print` shows a table, `plot()` draws the curves. Those of several
        models, such as of several seeds, become one by `PruningCurves.joined`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The model is not built or not compiled, has no such metric, a saliency does not
            fit it or needs data, `x` is a generator, which can be read only once, or an argument is
            out of its range.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 8)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int32")
    model = keras.Sequential([
        keras.Input((8,)),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(2, activation="softmax"),
    ])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    train, test = (x[:200], y[:200]), (x[200:], y[200:])
    model.fit(*train, epochs=5, verbose=0)

    curves = kdt.diagnostics.pruning_curves(
        model, *test, saliency_data=train, fractions=[0.3, 0.6, 0.9]
    )
    print(curves)
    assert curves.saliencies == ["random", "weight_magnitude", "optimal_brain_damage"]
    assert curves.scores.shape == (3, 3, 1)
    ```

    Reference: LeCun, Denker & Solla, Optimal brain damage, 1990, figures 1 and 2; Han, Pool, Tran &
    Dally, Learning both weights and connections for efficient neural networks, 2015, figure 5.
    """
    check_built("model", model)
    check_compiled(model)
    for name, data in (("x", x), ("saliency_data", saliency_data)):
        if hasattr(data, "__next__"):
            raise ValueError(
                f"`{name}` is a generator, which can be read only once. Pass arrays, a "
                "tf.data.Dataset or a keras.utils.PyDataset."
            )
    seed = check_integer("seed", seed, minimum=0)
    saliencies = check_saliencies(saliencies, saliency_data, seed)
    fractions = check_fractions(fractions)
    if retrain is not None and not callable(retrain):
        raise TypeError(
            f"`retrain` must be a function of a pruned model. Received: retrain={retrain!r}."
        )
    check_choice("scope", scope, ("global", "layer"))
    excluded = check_exclude(exclude, model)
    total = len(saliencies) * len(fractions) * (1 if retrain is None else 2) + 1
    data = {"x": x, "y": y, "batch_size": batch_size, "sample_weight": sample_weight}
    scores = _Scores(metric, data, keras.utils.Progbar(total, verbose=verbose, unit_name="score"))
    retrained = []
    with random_order_preserved(), preserved(model):
        found = [Prunable.of(model, one, excluded) for one in saliencies.values()]
        units = _are_of_units(dict(zip(saliencies, found, strict=True)))
        whole = scores.of(model)
        curves = [_curve(model, one, fractions, scope, scores) for one in found]
        for saliency in () if retrain is None else saliencies.values():
            # By paths, which are those of the copies too.
            options = {"saliency": saliency, "scope": scope, "exclude": excluded}
            retrained.append(_retrained_curve(model, retrain, fractions, options, scores))
    return PruningCurves(
        metric=scores.metric,
        units=units,
        saliencies=list(saliencies),
        fractions=fractions,
        scores=np.array(curves)[..., None],
        retrained=None if retrain is None else np.array(retrained)[..., None],
        whole=np.array([whole]),
    )


def _are_of_units(found):
    """Whether the saliencies are of units, all of them or none."""
    units = [label for label, prunable in found.items() if prunable.of_units]
    weights = [label for label, prunable in found.items() if not prunable.of_units]
    if units and weights:
        raise ValueError(
            "`saliencies` must all be of weights, or all of units: a share of one is no share of "
            f"the other. Received: {units} of units, {weights} of weights."
        )
    return bool(units)


class _Scores:
    """Scores of models on the same data."""

    def __init__(self, metric, data, bar):
        self.metric, self.data, self.bar = metric, data, bar

    def of(self, model):
        logs = model.evaluate(**self.data, verbose=0, return_dict=True)
        if self.metric is None:
            self.metric = _first_metric(model)
        if self.metric not in logs:
            known = ", ".join(repr(name) for name in logs)
            raise ValueError(
                f"`metric` must be one that the model is compiled with: {known}. "
                f"Received: metric={self.metric!r}."
            )
        self.bar.add(1)
        return float(logs[self.metric])


def _first_metric(model):
    # The logs themselves are in alphabetical order.
    results = [(metric.name, metric.result()) for metric in model.metrics]
    names = [
        inner
        for name, result in results
        for inner in (result if isinstance(result, dict) else [name])
    ]
    return next((name for name in names if not name.endswith("loss")), "loss")


def _curve(model, prunable, fractions, scope, scores):
    """The scores of a model without retraining. Its weights are changed, and put back."""
    weights, found = model.get_weights(), []
    places = {path: weight.place for path, weight in maskable_of(model).items()}
    for fraction in fractions:
        pruned = list(weights)
        for path, mask in prunable.masks(scope, fraction=fraction).items():
            pruned[places[path]] = np.where(mask, weights[places[path]], 0)
        # The compiled step of the given model serves all fractions.
        model.set_weights(pruned)
        found.append(scores.of(model))
    model.set_weights(weights)
    return found


def _retrained_curve(model, retrain, fractions, options, scores):
    """The scores of copies that are pruned, retrained, pruned further."""
    found = []
    for fraction in fractions:
        with warnings.catch_warnings():
            # A curve goes on to where nothing is left.
            warnings.filterwarnings("ignore", "Nothing is left")
            model = prune(model, fraction=fraction, **options)
        returned = retrain(model)
        model = returned if isinstance(returned, keras.Model) else model
        check_compiled(model)
        found.append(scores.of(model))
    return found
