"""What a trial tells: figures that an oracle can rank, and why it stopped."""

import math
import pathlib

import keras

# Whether an epoch has diverged, among its figures.
DIVERGED = "diverged"
_MESSAGE = "message.txt"
# Less than any difference that means something, more than rounding.
_LATER = 1e-9
# How much worse than a network that knows nothing a diverged trial counts.
_WORSE = 10.0


def figure_of_divergence(name, chance_loss, deviation=1.0):
    """What a figure of an epoch that has diverged counts as: finite, and bad.

    A trial whose score is NaN is a failed one to Keras Tuner, of which three in a row end the
    search; an infinite one becomes the best to its Bayesian optimization. So an accuracy counts
    as 0, a loss or an error as ten times that of a network that knows nothing.

    Args:
        name: Name of the figure in the logs.
        chance_loss: Loss of a network that knows nothing, without penalties.
        deviation: The largest standard deviation of a regression's targets.

    Returns:
        A float, or None for what is neither accuracy, loss nor error.
    """
    if name.endswith("accuracy"):
        return 0.0
    if name.endswith("loss"):
        return _WORSE * chance_loss
    if name.endswith(("rmse", "mae")):
        return _WORSE * deviation
    return None


class RankableFigures(keras.callbacks.Callback):
    """Gives every epoch figures that a search can rank.

    Those of epochs that have diverged become finite, and `"diverged"` is 1 there. Of epochs that
    are equal in the objective the later is a little better: Keras Tuner keeps the weights of the
    first of equal ones, where `keras_deeptricks.callbacks.EarlyStopping` keeps those of the last.

    It stands behind what stops the training and before a tuner's callbacks.

    Args:
        chance_loss, deviation: As in `figure_of_divergence`.
        objective: Name of the figure that the best epoch is kept by, or None.
        direction: `"max"` or `"min"`, of the objective.
    """

    def __init__(self, chance_loss, deviation=1.0, objective=None, direction="max"):
        super().__init__()
        self.chance_loss = chance_loss
        self.deviation = deviation
        self.objective = objective
        self.later = _LATER if direction == "max" else -_LATER

    def on_epoch_end(self, epoch, logs=None):
        logs = logs if logs is not None else {}
        losses = [value for name, value in logs.items() if name.endswith("loss")]
        diverged = not all(math.isfinite(value) for value in losses)
        logs[DIVERGED] = float(diverged)
        if self.objective in logs and not diverged:
            logs[self.objective] = float(logs[self.objective]) + self.later * epoch
        if diverged:
            for name in list(logs):
                figure = figure_of_divergence(name, self.chance_loss, self.deviation)
                if figure is not None:
                    logs[name] = figure


def message(epochs, epochs_run, stopping, learning_rate, origin):
    """In one line: how long a training was, why it ended, and its rate.

    Args:
        epochs: Number of the last epoch that was asked for.
        epochs_run: Number of the last epoch that was run.
        stopping: The `keras_deeptricks.callbacks.EarlyStopping`.
        learning_rate: The highest rate.
        origin: Where the rate is from.
    """
    reason = stopping.stopping_reason
    if reason == "patience":
        why = f"{stopping.monitor} no better for {stopping.wait} epochs"
    elif reason == "not_finite":
        why = "the loss was not finite"
    else:
        why = reason or "a callback stopped it"
    if epochs_run < epochs or reason == "not_finite":
        ended = f"stopped after epoch {epochs_run} of {epochs}: {why}"
    else:
        ended = f"ended after epoch {epochs} of {epochs}"
    kept = _kept(stopping, epochs_run)
    return f"{ended}; kept {kept}; learning rate {learning_rate:.3g} ({origin})"


def _kept(stopping, epochs_run):
    if stopping.monitor == "loss":
        return f"epoch {epochs_run}"
    if stopping.best is None or not math.isfinite(stopping.best):
        return "none"
    return f"epoch {stopping.best_epoch + 1}"


def tuner_callback(callbacks):
    """The callback through which a tuner follows a trial, or None outside a search."""
    for callback in callbacks:
        if hasattr(callback, "trial") and hasattr(callback, "tuner"):
            return callback
    return None


def log_apart(callbacks, *parts):
    """Lets TensorBoard callbacks write into a folder of their own below `log_dir`.

    Args:
        callbacks: List of callbacks.
        parts: Names of the folders below.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.TensorBoard):
            callback.log_dir = str(pathlib.PurePath(callback.log_dir, *parts))


def keep_message(folder, text):
    """Writes a trial's message into its folder: what a worker tells its chief leaves it out."""
    pathlib.Path(folder, _MESSAGE).write_text(text + "\n", encoding="utf-8")


def kept_message(folder):
    """The message in a trial's folder, or None."""
    path = pathlib.Path(folder, _MESSAGE)
    return path.read_text(encoding="utf-8").rstrip("\n") if path.exists() else None
