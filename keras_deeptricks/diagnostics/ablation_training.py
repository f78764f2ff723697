"""One run of an ablation: builds, trains and scores a model with a seed."""

import contextlib
import math
import random

import keras
import numpy as np

from keras_deeptricks.utils import backend

EPOCHS_THAT_COUNT = ("kept", "best", "last")
# Rows that are scored at once.
_ROWS = 1024


def measure(build, settings, seed, data, fit_options, monitors_own_rows):
    """Trains the model of `settings` with `seed`; returns what became of it.

    Args:
        build: Function of the settings and the seed, as for `ablate`.
        data: An `AblationData`.
        fit_options: Options of `fit` that `build` may overrule.
        monitors_own_rows: Whether `build` may have other validation rows than those of `data`.

    Returns:
        A dictionary of `"history"` (name to values), `"kept"` (the scores of the trained model on
        the validation rows), and of `"raised"`, the exception that ended the run, as text, or
        None.

    Raises:
        TypeError, ValueError: `build` returned something that is no compiled model with options
            of `fit`.
    """
    keras.utils.set_random_seed(seed)
    try:
        built = build(dict(settings), seed)
    except Exception as error:
        return _raised(error)
    model, options = _check_built(built, monitors_own_rows)
    options = {**fit_options, **options}
    if "validation_split" not in options:
        options.setdefault("validation_data", data.validation_data)
    # Whatever number of random numbers `build` drew, the order of the rows is the seed's.
    keras.utils.set_random_seed(seed)
    try:
        history = model.fit(data.x_train, data.y_train, **options).history
        kept = model.evaluate(*data.validation_data, batch_size=_ROWS, verbose=0, return_dict=True)
    except Exception as error:
        return _raised(error)
    series = {name: [np.asarray(value) for value in values] for name, values in history.items()}
    return {
        "history": {
            name: [float(value) for value in values]
            for name, values in series.items()
            if all(value.ndim == 0 for value in values)
        },
        "kept": {name: float(value) for name, value in kept.items()},
        "raised": None,
    }


def score_of(record, monitor, epoch, upwards):
    """The score of a run and why it has none: a pair of a number, or NaN, and a text, or None.

    Raises:
        ValueError: The run has no entry `monitor`.
    """
    if record["raised"] is not None:
        return math.nan, record["raised"]
    if epoch == "kept":
        known = {f"val_{name}": [value] for name, value in record["kept"].items()}
        losses = known["val_loss"]
    else:
        known, losses = record["history"], record["history"]["loss"]
    if monitor not in known:
        raise ValueError(
            f"`monitor` must be one of {', '.join(map(repr, sorted(known)))}, for epoch={epoch!r}. "
            f"Received: monitor={monitor!r}."
        )
    finite = [
        value
        for value, loss in zip(known[monitor], losses, strict=True)
        if math.isfinite(value) and math.isfinite(loss)
    ]
    if epoch == "best" and finite:
        return (max if upwards else min)(finite), None
    value, loss = known[monitor][-1], losses[-1]
    if math.isfinite(value) and math.isfinite(loss):
        return value, None
    return math.nan, f"the loss is {loss}" if not math.isfinite(loss) else f"{monitor} is {value}"


@contextlib.contextmanager
def random_states_preserved():
    """Restores the global random states of Python, NumPy and torch when the block ends.

    Those of Keras and TensorFlow cannot be read: they begin anew from a number that Python's
    state at the block's start determines.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    drawn = random.Random()
    drawn.setstate(python)
    try:
        with backend.random_order_preserved():
            try:
                yield
            finally:
                keras.utils.set_random_seed(drawn.randrange(2**31))
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _check_built(built, monitors_own_rows):
    """The model and the options that `build` returned."""
    model, options = built, {}
    if isinstance(built, (tuple, list)) and len(built) == 2:
        model, options = built
    if not isinstance(model, keras.Model) or not isinstance(options, dict):
        raise TypeError(
            "`build` must return a compiled keras.Model, or a pair of one and a dictionary of "
            f"options of `fit`. Received: {built!r}."
        )
    if not model.compiled:
        raise ValueError(f"`build` must return a compiled model. '{model.name}' is not.")
    for name in ("x", "y"):
        if name in options:
            raise ValueError(f"`build` returned {name!r} as an option of `fit`: it is in `data`.")
    if not monitors_own_rows:
        for name in ("validation_data", "validation_split", "validation_freq"):
            if name in options:
                raise ValueError(
                    f"`build` returned {name!r} as an option of `fit`. Then the history is not of "
                    "the validation rows in `data`, and `epoch` must be 'kept'."
                )
    return model, options


def _raised(error):
    text = " ".join(str(error).split())
    return {"history": {}, "kept": {}, "raised": f"{type(error).__name__}: {text[:300]}"}
