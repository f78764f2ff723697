"""Examines a compiled model and its data before it is trained."""

import time
import warnings

import numpy as np

from keras_deeptricks.diagnostics.doctor import (
    architecture,
    data,
    initialization,
    optimizer,
    output_layer,
    signals,
    trials,
)
from keras_deeptricks.diagnostics.doctor.case import Case
from keras_deeptricks.diagnostics.doctor.diagnosis import Diagnosis
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.sample import read_sample
from keras_deeptricks.utils.backend import random_order_preserved, tracing_warnings_hidden
from keras_deeptricks.utils.batches import ensure_built
from keras_deeptricks.utils.checks import check_choice, check_integer
from keras_deeptricks.utils.compiled_step import check_compiled
from keras_deeptricks.utils.training_state import preserved

# In this order: later ones leave out what earlier ones have told.
_DETECTORS = (
    *data.DETECTORS,
    *output_layer.DETECTORS,
    *architecture.DETECTORS,
    *optimizer.DETECTORS,
    *initialization.DETECTORS,
    *signals.DETECTORS,
    *trials.DETECTORS,
)

# Errors of which others of Keras follow.
_STOPPING = ("architecture", "input_nan", "label_range", "label_shape", "nan", "output_units")


def check(
    model,
    x,
    y=None,
    validation_data=None,
    level="quick",
    seed=None,
    *,
    batch_size=None,
    sample_weight=None,
    class_weight=None,
):
    """Examines a compiled model and its data, and tells what is wrong and how to mend it.

    Call it before training, or when training does not work. It looks at the data, at the output
    layer against the loss and the targets, at the architecture, the optimizer, the first signals
    and gradients, and trains for a few seconds at several rates. What it says rests on what it
    measured on this model and these data. The model is left bit-identical.

    Args:
        model: A compiled `keras.Model` of any kind. If it is not built yet, it gets built.
        x, y: Training data as for `model.fit`: arrays, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`, a generator (whose first batches are
            then gone). Of much data a part is looked at.
        validation_data: Validation data as for `fit`, or None.
        level: `"quick"` (default, some seconds for a small network) or `"full"`, which trains for
            longer, reads the curves, and overfits one batch.
        seed: Whole number that fixes the choice of rows and the order of training; how many steps
            a slow model is trained for depends on the machine. NumPy's global generator is not
            touched.
        batch_size: Rows per batch, for arrays. Defaults to 32 as in `fit`.
        sample_weight, class_weight: As for `model.fit`.

    Returns:
        A `Diagnosis`: its `findings`, each with a `code` of `CODES`, a severity, the layer,
        evidence, explanation and remedy; `ok`; `plot()`; `to_html(path)`; `print` shows it.

    Raises:
        TypeError: `model` is no Keras model, or an argument is of the wrong type.
        ValueError: `model` is not compiled, there are no rows, or arguments do not fit together.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    y = x[:, 0] > 0
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="softmax", name="answer"),  # always 1
        ]
    )
    model.compile("adam", "binary_crossentropy")
    diagnosis = kdt.diagnostics.check(model, x, y, seed=0)
    worst = diagnosis.findings[0]
    assert (worst.code, worst.layer) == ("output_activation_mismatch", "answer")
    ```
    """
    check_compiled(model)
    check_choice("level", level, ("quick", "full"))
    if seed is not None:
        seed = check_integer("seed", seed, minimum=0)
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, minimum=1)
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    sample = read_sample(x, y, sample_weight, batch_size, rng)
    validation = _validation(validation_data, batch_size, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Keras warns of is told in the report
        ensure_built(model, sample.take(slice(0, 2)).x)
    case = Case(model, sample, validation, level, rng, class_weight)
    order = np.random.get_state()  # noqa: NPY002 - `fit` on JAX shuffles with it
    try:
        with random_order_preserved(), tracing_warnings_hidden(), preserved(model):
            examine(case)
    finally:
        np.random.set_state(order)  # noqa: NPY002
    return Diagnosis(
        findings=case.findings,
        facts=case.facts,
        title=f"Model '{model.name}'",
        level=level,
        seconds=time.perf_counter() - started,
    )


def examine(case, detectors=_DETECTORS):
    """Lets the detectors look at a case and notes what they find in it."""
    for detector in detectors:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case.findings += list(detector(case))
        except Exception as error:
            if case.has(*_STOPPING, severity="error"):
                continue  # it is no wonder, and told
            case.findings.append(_incomplete(detector, error))


def _incomplete(detector, error):
    said = str(error).strip().split("\n")[0][:300]
    return Finding(
        "check_incomplete",
        "note",
        None,
        f"'{detector.__name__}' could not be carried out: {type(error).__name__}: {said}",
        "What it looks for was not looked for.",
        "If `fit` fails likewise, mend that first.",
    )


def _validation(data, batch_size, rng):
    if data is None:
        return None
    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        return read_sample(*data, batch_size=batch_size, rng=rng)
    return read_sample(data, batch_size=batch_size, rng=rng)
