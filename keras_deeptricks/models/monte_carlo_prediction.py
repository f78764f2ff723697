"""A prediction with its uncertainty, from many random passes of a model."""

import dataclasses
import functools

import numpy as np

from keras_deeptricks.utils.checks import check_choice, check_integer, check_number
from keras_deeptricks.utils.output_structure import (
    as_lists,
    check_structure,
    map_outputs,
    part_of,
)
from keras_deeptricks.utils.probabilistic_scores import TASKS, check_probabilities, entropy
from keras_deeptricks.utils.results import Result
from keras_deeptricks.utils.sample_summary import check_levels, sample_summary

# Fields that have the structure of the model's outputs.
_PER_OUTPUT = ("mean", "std", "expected_entropy", "tau", "quantiles", "samples")


@dataclasses.dataclass(frozen=True, eq=False)
class MonteCarloPrediction(Result):
    """The mean and the uncertainty of predictions, from T random passes ŷ_1, …, ŷ_T.

    For a model with several outputs each array (and `task` and `tau`) is a dictionary or list in
    the structure of the outputs, a tuple becoming a list; `prediction["name"]` or `prediction[0]`
    is the prediction of one of them. What has no meaning for the task is None.

    Attributes:
        mean: 1/T Σ_t ŷ_t, of shape (rows, ...).
        std: The standard deviation of the passes, √(1/T Σ_t (ŷ_t − mean)²), of that shape.
        task: `"classification"` (the last axis holds the probabilities of classes), `"binary"`
            (every entry is a probability of its own, also multi-label) or `"regression"`.
        passes: The number T.
        expected_entropy: 1/T Σ_t H(ŷ_t) in nats, the noise in the data; per row (or pixel) for a
            classification, per entry for a binary task.
        tau: The precision τ of the observation noise of a regression, or None.
        quantile_levels: The levels of `quantiles`, a tuple, or None.
        quantiles: The quantiles of the passes, of shape (levels, rows, ...), or None.
        samples: The passes, of shape (T, rows, ...), or None if they were not kept.
        seed: The seed of the passes, or None.

    Its properties, which follow from these:

    - `variance`: `std`², the variance of the passes.
    - `predictive_variance`, `predictive_std`: `variance` + 1/τ and its root: how far a new
      observation lies from the mean. Without τ the noise of observations is left out.
    - `predictive_entropy`: H(mean), the whole uncertainty of a class in nats; H(p) is
      −Σ_k p_k ln p_k, or −p ln p − (1 − p) ln(1 − p) for a binary task.
    - `mutual_information`: `predictive_entropy` − `expected_entropy` ≥ 0, the doubt of the model:
      what knowing the weights would tell of the class (BALD).
    - `labels`: The most probable class, or whether the probability of a binary entry is above ½.

    Raises:
        TypeError: A field is of the wrong type.
        ValueError: The task is unknown, shapes do not fit, or the mean holds no probabilities.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    samples = np.array([[[0.9, 0.1], [1.0, 0.0]], [[0.9, 0.1], [0.0, 1.0]]])  # two passes
    prediction = kdt.models.MonteCarloPrediction.from_samples(samples, "classification")
    assert np.allclose(prediction.mean, [[0.9, 0.1], [0.5, 0.5]])
    # The passes agree on the noisy first row, and contradict each other on the second.
    assert np.allclose(prediction.expected_entropy, [0.325, 0], atol=1e-3)
    assert np.allclose(prediction.mutual_information, [0, np.log(2)], atol=1e-6)
    ```

    References: Gal & Ghahramani, Dropout as a Bayesian approximation, 2016, section 4 (predictive
    mean, equation 6, and variance); Houlsby, Huszár, Ghahramani & Lengyel, Bayesian active
    learning for classification and preference learning, 2011, equation 2; Gal, Uncertainty in deep
    learning, 2016, section 3.3 (entropy and mutual information).
    """

    mean: np.ndarray
    std: np.ndarray
    task: str
    passes: int
    expected_entropy: np.ndarray | None = None
    tau: float | None = None
    quantile_levels: tuple | None = None
    quantiles: np.ndarray | None = None
    samples: np.ndarray | None = None
    seed: int | None = None

    plot_function = "plot_monte_carlo_prediction"

    def __post_init__(self):
        task = as_lists(self.task, self.task)
        object.__setattr__(self, "task", task)
        object.__setattr__(self, "passes", check_integer("passes", self.passes, minimum=1))
        if self.quantile_levels is not None:
            object.__setattr__(self, "quantile_levels", check_levels(self.quantile_levels))
        for name in _PER_OUTPUT:
            # Files have no tuples: as lists they are the same after they were saved.
            value = as_lists(getattr(self, name), task)
            check_structure(name, value, task)
            if value is not None:
                value = map_outputs(functools.partial(_plain, name), task, value)
            object.__setattr__(self, name, value)
        super().__post_init__()
        fields = [getattr(self, name) for name in _PER_OUTPUT]
        map_outputs(self._check_output, task, *fields)

    def _check_output(self, task, mean, std, expected_entropy, tau, quantiles, samples):
        check_choice("task", task, TASKS)
        if mean is None or std is None:
            raise ValueError("`mean` and `std` must be given for every output. Received: None.")
        _check_shape("std", std, mean.shape, "that of `mean`")
        if task != "regression":
            check_probabilities("mean", mean, task)
        if tau is not None and task != "regression":
            raise ValueError(
                f"`tau` is the precision of a regression's noise; a {task} has none: leave it out. "
                f"Received: tau={tau}."
            )
        if expected_entropy is not None:
            shape = mean.shape[:-1] if task == "classification" else mean.shape
            _check_shape("expected_entropy", expected_entropy, shape, "that of the entropy")
        if quantiles is not None:
            levels = len(self.quantile_levels or ())
            _check_shape("quantiles", quantiles, (levels, *mean.shape), "(levels, *mean.shape)")
        if samples is not None:
            _check_shape("samples", samples, (self.passes, *mean.shape), "(passes, *mean.shape)")

    @classmethod
    def from_samples(cls, samples, task, tau=None, quantiles=None, keep_samples=False, seed=None):
        """The prediction of given passes, computed in double precision and kept in single.

        Args:
            samples: Array of shape (passes, rows, ...); a structure of arrays if `task` is one.
            task: `"classification"`, `"binary"` or `"regression"`; for several outputs a
                dictionary or list of these.
            tau: The precision of a regression's observation noise, above 0, or None; for several
                outputs in their structure.
            quantiles: Levels from 0 to 1 of the quantiles of the passes to take, or None.
            keep_samples: Whether to keep the samples. Defaults to `False`.
            seed: The seed that the samples were drawn with, for the record.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of range, or the samples are none, not finite, of
                unequal number or no probabilities.
        """
        levels = None if quantiles is None else check_levels(quantiles)
        task, samples = as_lists(task, task), as_lists(samples, task)
        check_structure("samples", samples, task)
        counts = []

        def field(name):
            return map_outputs(lambda _, parts: parts[name], task, summaries)

        def summary(task, samples):
            found = sample_summary(samples, task, levels)
            counts.append(len(found["samples"]))
            return found

        summaries = map_outputs(summary, task, samples)
        if len(set(counts)) > 1:
            raise ValueError(
                f"`samples` must hold as many passes of each output. Received: {counts} passes."
            )
        return cls(
            mean=field("mean"),
            std=field("std"),
            task=task,
            passes=counts[0],
            expected_entropy=field("expected_entropy"),
            tau=tau,
            quantile_levels=levels,
            quantiles=None if levels is None else field("quantiles"),
            samples=field("samples") if keep_samples else None,
            seed=seed,
        )

    def __getitem__(self, key):
        """The prediction of one of several outputs, by its name or number."""
        if isinstance(self.task, str):
            raise TypeError(
                "`prediction[...]` takes one of several outputs, and this prediction has only one: "
                f"use its arrays, such as `prediction.mean`. Received: prediction[{key!r}]."
            )
        named = isinstance(self.task, dict)
        known = list(self.task) if named else range(-len(self.task), len(self.task))
        if key not in known:
            error = KeyError if named else IndexError
            raise error(f"There is no output {key!r}. The outputs are {list(known)}.")
        own = {name: part_of(getattr(self, name), key) for name in ("task", *_PER_OUTPUT)}
        return dataclasses.replace(self, **own)

    @property
    def variance(self):
        """The variance of the passes."""
        return map_outputs(lambda _, std: np.square(std), self.task, self.std)

    @property
    def predictive_variance(self):
        """The variance of the passes, and the noise 1/τ of a new observation where τ is known."""
        return map_outputs(_predictive_variance, self.task, self.std, self.tau)

    @property
    def predictive_std(self):
        """The root of `predictive_variance`."""
        return map_outputs(
            lambda *parts: np.sqrt(_predictive_variance(*parts)), self.task, self.std, self.tau
        )

    @property
    def predictive_entropy(self):
        """The entropy of the mean in nats: noise in the data and doubt of the model together."""
        return map_outputs(_predictive_entropy, self.task, self.mean)

    @property
    def mutual_information(self):
        """How much of the entropy, in nats, is doubt of the model."""
        return map_outputs(_mutual_information, self.task, self.mean, self.expected_entropy)

    @property
    def labels(self):
        """The most probable class, or 1 where a binary probability is above ½ and else 0."""
        return map_outputs(_labels, self.task, self.mean)

    def __str__(self):
        if isinstance(self.task, str):
            return f"{self.passes} passes, {self._in_words()}"
        keys = self.task if isinstance(self.task, dict) else range(len(self.task))
        lines = [f"  {key}: {self[key]._in_words()}".replace("\n", "\n  ") for key in keys]
        return "\n".join([f"{self.passes} passes, {len(lines)} outputs", *lines])

    def _in_words(self):
        if not isinstance(self.task, str):
            return str(self)
        text = f"{self.task}, mean of shape {self.mean.shape}\n  "
        if self.task == "regression":
            noise = "" if self.tau is None else f", with the noise {self.predictive_std.mean():.3g}"
            return f"{text}standard deviation {self.std.mean():.3g} on average{noise}"
        text += f"entropy {self.predictive_entropy.mean():.3g} nats on average"
        if self.expected_entropy is None:
            return text
        return (
            f"{text}: {self.expected_entropy.mean():.3g} noise in the data, "
            f"{self.mutual_information.mean():.3g} doubt of the model"
        )


def _check_shape(name, value, shape, words):
    if value.shape != shape:
        raise ValueError(
            f"`{name}` must have the shape {words}, {shape}. Received: {name} of shape "
            f"{value.shape}."
        )


def _plain(name, task, value):
    if value is None:
        return None
    if name == "tau":
        return check_number("tau", value, above=0)
    value = np.asarray(value)
    return value if value.dtype in ("float32", "float64") else value.astype("float32")


def _predictive_variance(_, std, tau):
    noise = 0.0 if tau is None else 1 / tau
    return (np.square(std, dtype="float64") + noise).astype(std.dtype)


def _predictive_entropy(task, mean):
    return None if task == "regression" else entropy(mean, task).astype(mean.dtype)


def _mutual_information(task, mean, expected_entropy):
    if expected_entropy is None or task == "regression":
        return None
    # Rounding can take it below 0, which it never is.
    return np.maximum(_predictive_entropy(task, mean) - expected_entropy, 0)


def _labels(task, mean):
    if task == "regression":
        return None
    return mean.argmax(axis=-1) if task == "classification" else (mean > 0.5).astype("int64")
