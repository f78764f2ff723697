"""What the curves of a training say about it."""

import time

import numpy as np

from keras_deeptricks.diagnostics import history_reading as reading
from keras_deeptricks.diagnostics import history_rules as rules
from keras_deeptricks.diagnostics.doctor.diagnosis import Diagnosis
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.history_layers import (
    first_layer_not_finite,
    layer_findings,
    median_update_ratio,
)
from keras_deeptricks.diagnostics.history_shape import curve_shape, finite_part, first_not_finite
from keras_deeptricks.utils.checks import check_number


def diagnose_history(history, *, monitor=None, validation=None, metric=None, baseline=None):
    """Tells from the curves of a training what went wrong, and what they say about the rate.

    Look at it after every training. A healthy training gives no findings: neither noise of small
    data, nor the rise in the middle of a cycle, nor a warm-up, nor steps of the rate, nor the few
    epochs that early stopping waits are faults.

    Args:
        history: What `model.fit` returns, its dictionary of lists, the path of a file that
            `keras.callbacks.CSVLogger` wrote, or a pandas `DataFrame`. Where `TrainingMonitor`
            recorded curves of layers, these are examined too.
        monitor: Name of the training loss. By default `"loss"`, or the first curve whose name
            ends so.
        validation: Name of its validation curve; by default `"val_"` before the loss's name.
        metric: Name of an accuracy, a share of right answers from 0 to 1, that tells slow
            progress from a task that is done. By default the first whose name says so.
        baseline: The loss that guessing gives, such as ln 10 for ten equally frequent classes or
            the targets' variance for the squared error. It tells a high level from a low one.

    Returns:
        A `Diagnosis`. `facts["learning_rate"]` is `"too low"`, `"good"`, `"high"`,
        `"very high"` or `"undecided"`.

    Raises:
        TypeError: `history` or `baseline` is of the wrong type.
        ValueError: `history` has no epochs or no loss, or lacks a curve that was named.

    Example:

    ```python
    import keras_deeptricks as kdt

    history = {"loss": [2.30, 2.29, 2.28, 2.27, 2.26, 2.25], "accuracy": [0.1] * 6}
    found = kdt.diagnostics.diagnose_history(history)
    assert found.facts["learning_rate"] == "too low" and not found.ok
    ```

    Reference: Karpathy, CS231n: Convolutional neural networks for visual recognition, "Babysitting
    the learning process", 2016.
    """
    started = time.perf_counter()
    if baseline is not None:
        baseline = check_number("baseline", baseline)
    curves = reading.read_history(history)
    training, valid, layers = reading.split_history(curves)
    name = reading.main_loss(training, monitor)
    accuracy = _accuracy(training, metric)
    watched = rules.Curves(
        name=name,
        loss=training[name],
        accuracy=None if accuracy is None else training[accuracy],
        baseline=baseline,
        update_ratio=median_update_ratio(layers),
    )
    verdict, findings = rules.judge(watched)
    findings = [*_not_finite(training, valid, layers), *findings, *_too_short(watched)]
    findings += _overfittings(watched, training, valid, validation)
    findings += layer_findings(layers)
    return Diagnosis(
        findings=findings,
        facts=_facts(verdict, watched, curves),
        title=f"Training curves of {len(watched.loss)} epochs",
        level="history",
        seconds=time.perf_counter() - started,
    )


def _accuracy(training, metric):
    if metric is None:
        return next(iter(reading.accuracies(training)), None)
    if metric not in training:
        raise ValueError(
            f"`metric` must be a training curve of the history. Received: metric={metric!r}. "
            f"There are: {', '.join(training)}."
        )
    return metric


def _overfittings(watched, training, valid, validation):
    names = {watched.name: watched.name}
    if validation is not None:
        if validation.removeprefix("val_") not in valid:
            raise ValueError(
                f"`validation` must be a validation curve of the history. Received: "
                f"validation={validation!r}. There are: "
                f"{', '.join('val_' + name for name in valid) or 'none'}."
            )
        names = {watched.name: validation.removeprefix("val_")}
    found = []
    for name in names.values():
        if name in valid:
            values, _ = reading.fill_missing(valid[name])
            found += rules.overfitting(watched, values, f"val_{name}")
    for name in reading.accuracies(training):
        if name in valid and not found:
            values, _ = reading.fill_missing(valid[name])
            found += rules.accuracy_gap(name, training[name], values)
    return found


def _not_finite(training, valid, layers):
    curves = {name: training[name] for name in reading.losses(training)}
    curves |= {
        f"val_{name}": reading.fill_missing(valid[name])[0] for name in reading.losses(valid)
    }
    broken = {name: first_not_finite(values) for name, values in curves.items()}
    broken = {name: epoch for name, epoch in broken.items() if epoch is not None}
    place = first_layer_not_finite(layers)
    if not broken and place is None:
        return []
    evidence = []
    if broken:
        name = min(broken, key=broken.get)
        value = "infinite" if np.isinf(curves[name][broken[name]]) else "NaN"
        evidence.append(f"{name} became {value} in epoch {broken[name] + 1}.")
    if place is not None:
        layer, statistic, epoch = place
        evidence.append(
            f"Of all layers '{layer}' was the first with such values: its {statistic} in epoch "
            f"{epoch + 1}."
        )
    return [
        Finding(
            "nan",
            "error",
            None if place is None else place[0],
            " ".join(evidence),
            "From then on every weight is NaN, and training means nothing any more.",
            "Look for NaN in the data, lower the learning rate, clip gradients (clipnorm=1.0), "
            "and guard logarithms, roots and divisions of your own.",
        )
    ]


def _too_short(watched):
    if len(watched.loss) >= rules.FEWEST_EPOCHS:
        return []
    epochs = len(watched.loss)
    return [
        Finding(
            "check_incomplete",
            "note",
            None,
            f"There {'is 1 epoch' if epochs == 1 else f'are {epochs} epochs'}.",
            f"A curve of fewer than {rules.FEWEST_EPOCHS} epochs has no shape to judge.",
            "Train longer, or log more often.",
        )
    ]


def _facts(verdict, watched, curves):
    facts = {"learning_rate": verdict, "loss_name": watched.name}
    values = finite_part(watched.loss)
    if len(values):
        shape = curve_shape(values)
        facts |= {
            "best_epoch": shape.best_epoch + 1,
            "plateau_since": shape.flat_since + 1,
            "noise": shape.noise,
            "descent": shape.descent,
        }
    facts |= {f"curve/{name}": values for name, values in curves.items()}
    return facts
