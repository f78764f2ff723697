"""What pruning should cost by the second derivatives of the loss, and what it does cost."""

import dataclasses

import numpy as np
from keras import ops

from keras_deeptricks.diagnostics.pruning_arguments import check_fractions, random_saliency
from keras_deeptricks.diagnostics.repeated_results import aligned, joined_results, mean_and_error
from keras_deeptricks.models.pruning.data_loss import DataLoss
from keras_deeptricks.models.pruning.optimal_brain_damage import optimal_brain_damage
from keras_deeptricks.models.pruning.selection import gone_by_fraction
from keras_deeptricks.models.pruning.weight_magnitude import weight_magnitude
from keras_deeptricks.utils.backend import compiled, tracing_warnings_hidden
from keras_deeptricks.utils.checks import check_choice, check_integer
from keras_deeptricks.utils.layer_probe import tensors_of
from keras_deeptricks.utils.results import Result

_ORDERS = ("optimal_brain_damage", "weight_magnitude", "random")


@dataclasses.dataclass(frozen=True, eq=False)
class LossIncrease(Result):
    """The increase of a loss by pruning, as optimal brain damage predicts it and as it is.

    The last axis is that of the models, one unless results were joined.

    Attributes:
        orders: Names of the o orders in which weights were pruned.
        fractions: The shares that were pruned, shape (f,), in growing order.
        predicted: ½Σ h·w² over the pruned weights w, with the second derivatives h of the loss,
            shape (o, f, models).
        measured: The loss with these weights at zero less that without, shape (o, f, models).
        loss: The loss without pruning, shape (models,).
    """

    orders: list
    fractions: np.ndarray
    predicted: np.ndarray
    measured: np.ndarray
    loss: np.ndarray

    plot_function = "plot_loss_increase"

    @property
    def correlation(self):
        """For each order Pearson's correlation of prediction and measurement, over all points.

        Both grow with the share that is pruned, so it is high also where they differ by a factor:
        look at `ratio` beside it. NaN where there is but one point, or all are equal.
        """
        pairs = zip(self.predicted, self.measured, strict=True)
        return {
            name: _pearson(predicted.ravel(), measured.ravel())
            for name, (predicted, measured) in zip(self.orders, pairs, strict=True)
        }

    @property
    def ratio(self):
        """For each order the median of measured/predicted, 1 where the theory holds.

        Over all points with a prediction above 0; NaN where there are none.
        """
        found = {}
        for name, predicted, measured in zip(
            self.orders, self.predicted, self.measured, strict=True
        ):
            known = predicted > 0
            ratios = measured[known] / predicted[known]
            found[name] = float(np.median(ratios)) if len(ratios) else float("nan")
        return found

    @classmethod
    def joined(cls, results):
        """The results of several models, such as those of several seeds, as one.

        Args:
            results: A list of `LossIncrease` with the same orders and fractions.

        Returns:
            A `LossIncrease`.

        Raises:
            ValueError: The list is empty, or the results do not agree.
        """
        return joined_results(cls, results, axes={"predicted": 2, "measured": 2, "loss": 0})

    def plot(self, ax=None):
        """Draws prediction and measurement; needs Matplotlib.

        Args:
            ax: Two Matplotlib `Axes`, for both against the share and for one against the other, or
                one `Axes` for the first alone. By default two of a new figure.

        Returns:
            What was drawn on: an array of two `Axes`, or one `Axes`.
        """
        return super().plot(ax)

    def __str__(self):
        rows = [["pruned"]]
        for name in self.orders:
            rows[0] += [f"{name}, predicted", "measured"]
        for place, fraction in enumerate(self.fractions):
            row = [f"{fraction:.1%}"]
            for predicted, measured in zip(self.predicted, self.measured, strict=True):
                row += [mean_and_error(predicted[place], 3), mean_and_error(measured[place], 3)]
            rows.append(row)
        last, lines = [], [f"increase of the loss, {mean_and_error(self.loss)} without pruning"]
        for label, values in (
            ("measured/predicted", self.ratio),
            ("correlation", self.correlation),
        ):
            words = (f"{name} {value:.3f}" for name, value in values.items())
            last.append(f"{label}: {', '.join(words)}")
        return "\n".join([*lines, *aligned(rows), *last])


def loss_increase(
    model,
    x,
    y=None,
    sample_weight=None,
    *,
    diagonal="gauss_newton",
    orders=_ORDERS,
    fractions=(0.05, 0.1, 0.15, 0.2, 0.25, 0.3),
    batch_size=None,
    steps=None,
    seed=0,
):
    """Measures whether the loss grows by pruning as optimal brain damage says.

    Its saliency ½·h·w² rests on three assumptions: the loss is at a minimum, is quadratic around
    it, and weights do not depend on each other. Here the sum of the saliencies is compared with the
    loss itself. Where they part, saliencies should be computed anew, after retraining.

    Args:
        model: A built and trained `keras.Model`, compiled with an optimizer and a loss. It is left
            as it is.
        x: Inputs: arrays, or anything that yields batches (inputs, targets, weights) and can be
            read again. The data that the model was trained on, or a part of it: for other data the
            loss is not at a minimum.
        y, sample_weight: Targets and weights of the rows, for arrays only.
        diagonal: As for `keras_deeptricks.models.pruning.optimal_brain_damage`: `"gauss_newton"`,
            `"exact"`, `"hutchinson"`, or a dictionary of second derivatives by the path of kernels.
        orders: The orders in which weights are pruned, a list of names: by
            `"optimal_brain_damage"`, by `"weight_magnitude"`, at `"random"`. By default all.
        fractions: Shares of the weights of all kernels, numbers from 0 to 1. By default 0.05, 0.1,
            … 0.3.
        batch_size: Rows of a batch, for arrays only. Defaults to 256.
        steps: Number of batches to take, by default all there are.
        seed: Whole number that fixes the random order.

    Returns:
        A `LossIncrease`; `print` shows a table, `plot()` draws it. Those of several models become
        one by `LossIncrease.joined`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, the data is empty or a generator, or the model
            is not built, not compiled, or has no weights to prune.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(64, 4))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    y = model.predict(x, verbose=0)  # so that the model is at a minimum
    found = kdt.diagnostics.loss_increase(model, x, y, fractions=[0.25, 0.5, 0.75])
    print(found)
    first = found.orders.index("optimal_brain_damage")
    # A linear model, whose loss is quadratic: exact for a single weight.
    assert np.isclose(found.predicted[first, 0], found.measured[first, 0], rtol=1e-3)
    ```

    Reference: LeCun, Denker & Solla, Optimal brain damage, 1990, section 2, figure 1.
    """
    if hasattr(x, "__next__"):
        raise ValueError(
            "`x` is a generator, which can be read only once. Pass arrays, a tf.data.Dataset or a "
            "keras.utils.PyDataset."
        )
    if not isinstance(orders, (list, tuple)) or not orders:
        raise TypeError(f"`orders` must be a list of names of {_ORDERS}. Received: {orders!r}.")
    orders = [check_choice("orders", name, _ORDERS) for name in orders]
    fractions = check_fractions(fractions)
    seed = check_integer("seed", seed, minimum=0)
    loss = DataLoss(model, x, y, sample_weight, batch_size, steps)
    if isinstance(diagonal, str):
        data = (x, y, sample_weight)
        options = {"batch_size": batch_size, "steps": steps}
        damage = optimal_brain_damage(model, *data, diagonal=diagonal, **options)
    else:
        damage = optimal_brain_damage(model, diagonal=diagonal)
    missing = [path for path in loss.kernels if path not in damage]
    if missing:
        raise ValueError(
            "`diagonal` must hold the second derivatives of all kernels of the model. Received: "
            f"none of {missing}."
        )
    values = {
        "optimal_brain_damage": damage,
        "weight_magnitude": weight_magnitude(model),
        "random": random_saliency(model, False, seed),
    }
    gone = [
        _gone(loss.kernels, values[name], fraction) for name in orders for fraction in fractions
    ]
    first, *losses = _losses(loss, [np.zeros(loss.size, bool), *gone])
    saliency = _flat(damage, loss.kernels)
    shape = (len(orders), len(fractions), 1)
    return LossIncrease(
        orders=orders,
        fractions=fractions,
        predicted=np.array([saliency[one].sum() for one in gone]).reshape(shape),
        measured=(np.array(losses) - first).reshape(shape),
        loss=np.array([first]),
    )


def _gone(kernels, values, fraction):
    """The weights of all kernels as one boolean vector, True for those that are pruned."""
    before = [~kernel.keep() for kernel in kernels.values()]
    found = gone_by_fraction([values[path] for path in kernels], before, fraction)
    return np.concatenate([one.ravel() for one in found])


def _flat(values, kernels):
    return np.concatenate([np.ravel(values[path]) for path in kernels])


def _losses(loss, pruned):
    """The mean loss over the rows with each set of weights at zero."""
    totals, rows = np.zeros(len(pruned)), 0
    with loss.ready(), tracing_warnings_hidden():
        step = loss.loss if loss.model.run_eagerly else compiled(loss.loss)
        vector, others = loss.point()
        kept = [ops.convert_to_tensor((~one).astype(loss.dtype)) for one in pruned]
        for count, batch in loss.batches():
            data = tuple(map(tensors_of, batch))
            for place, keep in enumerate(kept):
                value = ops.convert_to_numpy(step(vector * keep, others, data))
                totals[place] += count * float(value)
            rows += count
    return totals / rows


def _pearson(first, second):
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
