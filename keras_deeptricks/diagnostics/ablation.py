"""Which tricks help on the data at hand: each removed from all of them, and added to none."""

import dataclasses
import functools
import inspect

import keras
import numpy as np

from keras_deeptricks.diagnostics import ablation_table
from keras_deeptricks.diagnostics.ablation_data import check_data, description
from keras_deeptricks.diagnostics.ablation_design import (
    FULL,
    PLAIN,
    check_toggles,
    configurations,
    settings_of,
)
from keras_deeptricks.diagnostics.ablation_effects import ADDED, REMOVED, effects_of
from keras_deeptricks.diagnostics.ablation_runs import RunStore
from keras_deeptricks.diagnostics.ablation_training import (
    EPOCHS_THAT_COUNT,
    measure,
    random_states_preserved,
    score_of,
)
from keras_deeptricks.utils.backend import tracing_warnings_hidden
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number
from keras_deeptricks.utils.monitor import improves_upwards
from keras_deeptricks.utils.results import Result


@dataclasses.dataclass(frozen=True, eq=False)
class Ablation(Result):
    """The scores of an ablation and what follows from them.

    Attributes:
        tricks: Names of the n tricks.
        values: For each trick what its setting is without and with it, a pair of texts.
        seeds: The seeds, shape (s,).
        full, plain: Scores of the configuration with all tricks and of the one without any, by
            seed, shape (s,). NaN where a run failed, here and below.
        removed: Scores with all tricks but one, shape (n, s).
        added: Scores with one trick alone, shape (n, s).
        failures: A dictionary with `"configuration"`, `"seed"` and `"reason"` for each failed run.
        monitor: Name of the score.
        epoch: `"kept"`, `"best"` or `"last"`: what was scored.
        larger_is_better: Whether a larger score is better.
        confidence: Probability of the confidence intervals.
    """

    tricks: list
    values: dict
    seeds: np.ndarray
    full: np.ndarray
    plain: np.ndarray
    removed: np.ndarray
    added: np.ndarray
    failures: list
    monitor: str
    epoch: str
    larger_is_better: bool
    confidence: float

    plot_function = "plot_ablation"

    @functools.cached_property
    def effects(self):
        """The effects: `effects["removed"][trick]` and `effects["added"][trick]`.

        Each has `values` (the score with the trick less that without it, by seed), `mean`, `low`,
        `high`, `p_value`, `holm_p_value`, `verdict` and `failed`.
        """
        scores = (self.full, self.plain, self.removed, self.added)
        found = effects_of(self.tricks, *scores, self.confidence, self.larger_is_better)
        return {
            design: {one.trick: one for one in found if one.design == design}
            for design in (REMOVED, ADDED)
        }

    def __str__(self):
        return self.table()

    def table(self):
        """Scores, effects with their intervals and p-values, and verdicts, as text."""
        return ablation_table.table(self)

    def summary(self):
        """Which tricks help, hurt, or show no difference, in two sentences."""
        return ablation_table.summary(self)

    def plot(self, ax=None):
        """Draws the effects with their intervals in two panels; needs Matplotlib.

        Args:
            ax: Two Matplotlib `Axes`, for tricks removed and tricks added. By default those of a
                new figure.

        Returns:
            An array of the two `Axes`.
        """
        return super().plot(ax)


def ablate(
    build,
    data,
    toggles,
    seeds=5,
    *,
    monitor="val_accuracy",
    mode="auto",
    epoch="kept",
    epochs=10,
    batch_size=None,
    confidence=0.95,
    directory=None,
    verbose=0,
):
    """Finds out which tricks help on your data, by training with and without each of them.

    Two questions are asked of every trick: what is lost when it alone is removed from the
    configuration that has them all, and what is gained when it alone is added to the plain
    baseline that has none. For n tricks that is 2n + 2 configurations, each trained once per seed.

    All configurations share the seeds, and the effects are differences between runs of the same
    seed. Before `build` is called, and again before `fit`, `keras.utils.set_random_seed(seed)`
    is: so initial weights, order of the rows and dropout masks are the same as far as the
    configurations have them in common. (Unseeded layers draw their seeds one after the other: a
    trick that adds such a layer changes the draws of those behind it. Pass seeds made of `seed` to
    the layers to pair them too.) The intervals are those of chance in training. That your
    validation rows are themselves a sample is not in them.

    Python's, NumPy's and torch's global random states are restored at the end. Keras' and
    TensorFlow's cannot be read; they begin anew from a number that Python's state at the start
    determines.

    Args:
        build: Function of (settings, seed): `settings` is a dictionary with the value of each
            toggle. It returns a compiled `keras.Model`, or a pair of one and a dictionary of
            options of `fit` such as `epochs`, `batch_size` or `callbacks`. It must make the model
            and its optimizer anew each time. Options with a `validation_data` of their own, for
            early stopping on other rows than those that score, need `epoch="kept"`.
        data: (x_train, y_train, x_val, y_val), ((x_train, y_train), (x_val, y_val)), or an object
            with `x_train`, `y_train` and `validation_data`, such as
            `keras_deeptricks.datasets.load` returns; arrays, or lists or dictionaries of them.
        toggles: Dictionary from the name of a trick to a pair (value without it, value with it);
            or a list of names, for False and True. The values should be plain: the same objects
            go to every run.
        seeds: A list of different whole numbers, or how many: 5 for 0 to 4. A single one gives no
            intervals. Defaults to `5`.
        monitor: Name of the score as `fit` logs it. (A `"val_loss"` contains the penalties of
            that configuration: use a metric where a trick is a penalty.) Defaults to
            `"val_accuracy"`.
        mode: `"max"` or `"min"` for what is better, `"auto"` to go by the name.
        epoch: `"kept"` to score the model that `fit` leaves, with the weights that a callback may
            have restored; `"last"` or `"best"` for the entry of the last or best epoch in the
            history. A model kept or an epoch chosen by the rows that score it is a little
            flattered. Defaults to `"kept"`.
        epochs, batch_size: As for `fit`, where `build` does not return them.
        confidence: Probability of the intervals, above 0 and below 1. Defaults to `0.95`.
        directory: Folder for the finished runs, one JSON file each, or None. The same call with
            the same folder goes on where it was killed, or with more seeds; it runs again what
            ended with an exception. A folder of other data, toggles, epochs, batch size, backend
            or name of `build` is refused. Changes inside `build` go unnoticed: take a new folder.
        verbose: 1 for a progress bar over the runs, 0 for silence. Defaults to 0.

    Returns:
        An `Ablation`; `print` shows the table, `plot()` draws it. A run that ends with an
        exception or a loss that is NaN or infinite is recorded as failed, and the others go on.

    Raises:
        TypeError: An argument, or what `build` returned, is of the wrong type.
        ValueError: An argument is out of its range, the folder holds another experiment, or
            `monitor` is not logged.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int32")

    def build(settings, seed):
        hidden = keras.layers.Dense(16, activation="elu" if settings["hidden layer"] else None)
        model = keras.Sequential(
            [keras.Input((4,)), hidden, keras.layers.Dense(1, activation="sigmoid")]
        )
        optimizer = keras.optimizers.SGD(0.1, momentum=settings["momentum"])
        model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
        return model

    result = kdt.diagnostics.ablate(
        build,
        (x[:200], y[:200], x[200:], y[200:]),
        {"hidden layer": (False, True), "momentum": (0.0, 0.9)},
        seeds=3,
        epochs=5,
    )
    print(result)
    assert result.effects["removed"]["hidden layer"].mean > 0
    ```

    Reference: for pairing by seeds and several comparisons, Bouthillier et al., Accounting for
    variance in machine learning benchmarks, 2021; Holm, 1979.
    """
    _check_build(build)
    toggles = check_toggles(toggles)
    data = check_data(data)
    seeds = _check_seeds(seeds)
    check_choice("epoch", epoch, EPOCHS_THAT_COUNT)
    upwards = _direction(monitor, mode, epoch)
    confidence = check_number("confidence", confidence, above=0, below=1)
    fit_options = {"epochs": check_integer("epochs", epochs, minimum=1), "verbose": 0}
    if batch_size is not None:
        fit_options["batch_size"] = check_integer("batch_size", batch_size, minimum=1)
    runs = RunStore(
        directory,
        {
            "build": description(build),
            "toggles": {one.name: description([one.off, one.on]) for one in toggles},
            "data": description(data),
            "epochs": epochs,
            "batch_size": batch_size,
            "backend": keras.config.backend(),
            "precision": keras.config.dtype_policy().name,
        },
    )
    names = configurations(toggles)
    # Seed by seed, so that a run that is killed leaves whole comparisons.
    todo = [(on, seed) for seed in seeds for on in dict.fromkeys(names.values())]
    bar = keras.utils.Progbar(len(todo), verbose=verbose, unit_name="run")
    with random_states_preserved(), tracing_warnings_hidden():
        for on, seed in todo:
            if runs.find(on, seed) is None:
                settings = settings_of(toggles, on)
                record = measure(build, settings, seed, data, fit_options, epoch == "kept")
                runs.add(on, seed, record)
            score_of(runs.find(on, seed), monitor, epoch, upwards)  # a wrong `monitor` shows now
            bar.add(1)
    scores, failures = {}, []
    for name, on in names.items():
        found = [score_of(runs.find(on, seed), monitor, epoch, upwards) for seed in seeds]
        scores[name] = np.array([score for score, _ in found])
        failures += [
            {"configuration": name, "seed": seed, "reason": reason}
            for seed, (_, reason) in zip(seeds, found, strict=True)
            if reason is not None
        ]
    return Ablation(
        tricks=[one.name for one in toggles],
        values={one.name: [_shown(one.off), _shown(one.on)] for one in toggles},
        seeds=np.array(seeds, "int64"),
        full=scores[FULL],
        plain=scores[PLAIN],
        removed=np.array([scores[f"without {one.name}"] for one in toggles]),
        added=np.array([scores[f"with {one.name}"] for one in toggles]),
        failures=failures,
        monitor=monitor,
        epoch=epoch,
        larger_is_better=upwards,
        confidence=confidence,
    )


def _check_build(build):
    if not callable(build):
        raise TypeError(
            "`build` must be a function of (settings, seed) that returns a compiled model. "
            f"Received: build={build!r}."
        )
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):
        return  # a function that does not tell
    try:
        signature.bind({}, 0)
    except TypeError as error:
        raise TypeError(
            f"`build` must take two arguments, (settings, seed). It takes {signature}."
        ) from error


def _check_seeds(seeds):
    if isinstance(seeds, str) or not hasattr(seeds, "__iter__"):
        return list(range(check_integer("seeds", seeds, minimum=1)))
    # Keras gives them to NumPy, which takes 32 bits.
    checked = [check_integer("seeds", seed, minimum=0, maximum=2**32 - 1) for seed in seeds]
    if not checked or len(set(checked)) < len(checked):
        raise ValueError(
            f"`seeds` must be a list of different whole numbers, or how many. Received: {seeds!r}."
        )
    return checked


def _direction(monitor, mode, epoch):
    """Whether `monitor` should rise."""
    if not isinstance(monitor, str) or not monitor:
        raise TypeError(f"`monitor` must be a name. Received: monitor={monitor!r}.")
    if epoch == "kept" and not monitor.startswith("val_"):
        raise ValueError(
            "`monitor` must begin with 'val_' for epoch='kept': the model is scored on the "
            f"validation rows. Received: monitor={monitor!r}."
        )
    return improves_upwards(monitor, mode)


def _shown(value):
    """A value in a few signs."""
    text = getattr(value, "__qualname__", None) or repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
