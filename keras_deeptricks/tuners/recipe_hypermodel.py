"""What the hypermodels have in common: a network of the recipes, trained as the recipes train."""

import abc
import collections
import hashlib
import math
import warnings

import keras
import keras_tuner
import numpy as np

from keras_deeptricks.assembly.course_choices import early_stopping, monitored
from keras_deeptricks.assembly.parts import DEFAULT_LEARNING_RATES
from keras_deeptricks.assembly.training_data import dataset_batches
from keras_deeptricks.callbacks import HyperparameterLog
from keras_deeptricks.schedules import Constant
from keras_deeptricks.tuners.data_loss import DATA_LOSS, DataLoss
from keras_deeptricks.tuners.space import SearchSpace, choice, integer, number
from keras_deeptricks.tuners.trial_course import (
    SCHEDULES,
    found_rate,
    peak_momentum,
    prepare_trial_data,
    schedule_callback,
)
from keras_deeptricks.tuners.trial_report import (
    RankableFigures,
    keep_message,
    log_apart,
    message,
    tuner_callback,
)
from keras_deeptricks.utils import backend
from keras_deeptricks.utils.checks import check_integer

# The peak rate of a trial, among its metrics.
_PEAK = "peak_learning_rate"
_PER_STEP = ("learning_rate_per_step", "momentum_per_step")


class RecipeHyperModel(keras_tuner.HyperModel, abc.ABC):
    """Base of the hypermodels: their search space, and the training of each trial.

    A subclass lists its hyperparameters in `network_hyperparameters()` and makes the network in
    `network(settings)`. The arguments, and how trials are trained, are told in
    `keras_deeptricks.tuners.DefaultConfigHyperModel`.
    """

    def __init__(
        self,
        input_shape,
        outputs,
        task="classification",
        *,
        space=None,
        adapt_to=None,
        adapt_targets_to=None,
        epochs=None,
        precision="float32",
        seed=None,
        name=None,
    ):
        super().__init__(name=name)
        space = {} if space is None else space
        if epochs is not None and "epochs" in space:
            raise ValueError("`epochs` is given twice: leave out the argument, or space['epochs'].")
        epochs = 20 if epochs is None else check_integer("epochs", epochs, minimum=1)
        hyperparameters = [*self.network_hyperparameters(), *_training_hyperparameters(epochs)]
        self.search_space = SearchSpace(hyperparameters, space)
        self.input_shape = input_shape
        self.outputs = outputs
        self.task = task
        self.precision = precision
        self.seed = seed
        self.adapt_targets_to = None if adapt_targets_to is None else np.asarray(adapt_targets_to)
        # Bad arguments are refused here; and the data is gone through once, not in every trial.
        probe = self._assembled(self.search_space.defaults(), adapt_to=adapt_to)
        self._deviation = float(np.max(getattr(probe.loss, "deviation", 1.0)))
        self._executions = collections.Counter()
        self._statistics = None
        if adapt_to is not None:
            self._statistics = probe.get_layer("standardization").get_weights()
        self._told = None

    @abc.abstractmethod
    def network_hyperparameters(self):
        """List of the `Hyperparameter` objects of the network, parents first."""

    @abc.abstractmethod
    def network(self, settings, **options):
        """The compiled network.

        Args:
            settings: Dictionary of a value for each hyperparameter.
            options: Further arguments of the network.
        """

    @property
    def objective(self):
        """The figure to search by: `"val_accuracy"`, or the lowest `"val_data_loss"`.

        The latter is the validation loss without the penalties of the weights.
        """
        name = _figure(self.task, True)
        return keras_tuner.Objective(name, "min") if name == DATA_LOSS else name

    def forget_executions(self):
        """Lets the next network have the initial weights of a first execution again."""
        self._executions.clear()

    def build(self, hp):
        """A compiled, untrained network with the values in `hp`, which it declares there.

        Args:
            hp: A `keras_tuner.HyperParameters`.
        """
        values = self.search_space.declare_all(hp)
        model = self._assembled(
            {**self.search_space.defaults(), **values}, seed=self._weight_seed(values)
        )
        if self._statistics is not None:
            model.get_layer("standardization").set_weights(self._statistics)
        model.optimizer.build(model.trainable_variables)
        return model

    def fit(
        self,
        hp,
        model,
        x,
        y=None,
        *,
        validation_data=None,
        callbacks=(),
        verbose="auto",
        **fit_arguments,
    ):
        """Trains a network that `build` made as the recipes do.

        Args:
            hp: The `keras_tuner.HyperParameters` it was built with.
            model: The network.
            x, y: Arrays, or a data set of (inputs, targets) that can be read again, and None.
                Targets are encoded as the loss of the task takes them.
            validation_data: As for `model.fit`.
            callbacks: Further callbacks, behind those of the recipes.
            verbose: As for `model.fit`.
            **fit_arguments: Further arguments of `model.fit`. `epochs` and `batch_size` prevail
                over the hyperparameters of these names.

        Returns:
            The `History`, with `"val_data_loss"`, `"learning_rate"`, `"momentum"`,
            `"peak_learning_rate"`, `"epochs_run"` and `"diverged"` (0 or 1) beside the figures of
            each epoch.

        Raises:
            keras_tuner.errors.FatalError: The data is none to train on; it ends a search.
        """
        # Of several devices on TensorFlow Keras Tuner sets the scope for `build` only.
        with backend.home_of(model):
            return self._fit(hp, model, x, y, validation_data, callbacks, verbose, fit_arguments)

    def _fit(self, hp, model, x, y, validation_data, callbacks, verbose, fit_arguments):
        values = self.search_space.declare_all(hp)
        settings = {**self.search_space.defaults(), **values}
        epochs = fit_arguments.pop("epochs", None) or hp.values.get(
            "tuner/epochs", settings["epochs"]
        )
        data = _fatal(
            prepare_trial_data,
            x,
            y,
            fit_arguments.pop("sample_weight", None),
            validation_data,
            fit_arguments.pop("validation_split", None),
            fit_arguments.pop("batch_size", None) or settings["batch_size"],
            fit_arguments.get("steps_per_epoch"),
        )
        if self._statistics is None:
            model.get_layer("standardization").adapt(data.x)
        if model.steps_per_execution == 1:
            model.steps_per_execution = backend.steps_per_execution_for(data.steps)
        callbacks = list(callbacks or ())
        follower = tuner_callback(callbacks)
        rate, origin = self._rate(hp, values, model, data, fit_arguments, follower)
        course = schedule_callback(settings, rate, data.steps * epochs)
        objective, direction = self._best_by(follower, data.validation is not None)
        stopping = early_stopping(objective, course.factory, epochs, mode=direction)
        if settings["schedule"] == "constant":
            # There is no coming down to wait for.
            stopping.minimum_epochs = 0
        figures = RankableFigures(*self._of_chance(data), objective, direction)
        if follower is not None:
            if keras.config.backend() != "tensorflow":  # there Keras Tuner does it
                execution = f"execution{self._executions[_key(values)]}"
                log_apart(callbacks, follower.trial.trial_id, execution)
            self._executions[_key(values)] += 1
        fit_arguments.setdefault("shuffle", data.y is not None or _shuffles(data.x))
        with warnings.catch_warnings():
            # Keras warns at the end of an epoch whose length tf.data did not know.
            warnings.filterwarnings("ignore", message=".*ran out of data.*")
            history = model.fit(
                data.x,
                data.y,
                sample_weight=data.sample_weight,
                validation_data=data.validation,
                batch_size=data.batch_size,
                epochs=epochs,
                callbacks=[course, HyperparameterLog(), DataLoss(), stopping, figures, *callbacks],
                verbose=verbose,
                **fit_arguments,
            )
        epochs_run = (history.epoch or [0])[-1] + 1
        # An oracle takes numbers only.
        for name in _PER_STEP:
            history.history.pop(name, None)
        for name, value in ((_PEAK, float(rate)), ("epochs_run", float(epochs_run))):
            history.history[name] = [value] * len(history.epoch)
        if follower is not None:
            self._tell(follower, message(epochs, epochs_run, stopping, rate, origin))
        return history

    def _assembled(self, settings, seed=None, **options):
        learning_rate = settings["learning_rate"]
        if settings["rate"] != "searched":
            learning_rate = DEFAULT_LEARNING_RATES[settings["optimizer"]]
        return self.network(
            settings,
            task=self.task,
            adapt_targets_to=self.adapt_targets_to,
            l2=settings["l2"],
            optimizer=settings["optimizer"],
            # A schedule from the start: an optimizer with a float has one variable more than the
            # trained one whose checkpoint is to be loaded.
            learning_rate=Constant(learning_rate),
            momentum=peak_momentum(settings),
            precision=self.precision,
            seed=self.seed if seed is None else seed,
            **options,
        )

    def _weight_seed(self, values):
        """A seed of its own for each combination of values and each execution; or None."""
        if self.seed is None:
            return None
        text = f"{self.seed} {_key(values)}"
        if execution := self._executions[_key(values)]:
            text += f" {execution}"
        # Networks multiply their seed by a thousand, and seeds have 31 bits.
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 2**21

    def _rate(self, hp, values, model, data, fit_arguments, follower):
        """The highest rate of the trial, and in words where it is from."""
        if values["rate"] == "searched":
            return values["learning_rate"], "searched"
        before = hp.values.get("tuner/trial_id")
        if before is not None and follower is not None:
            # A trial that goes on with another's weights: on them a range test would tell little.
            metrics = follower.tuner.oracle.get_trial(before).metrics
            if metrics.exists(_PEAK):
                return metrics.get_last_value(_PEAK), f"found in trial {before}"
        return found_rate(
            model, data, fit_arguments.get("class_weight"), values["optimizer"], self.seed
        )

    def _best_by(self, follower, has_validation):
        """Name and direction of the figure that the best epoch is kept by: the search's own."""
        searched = None if follower is None else follower.tuner.oracle.objective
        # Several objectives, or one that `fit` has to return, are of other types.
        if has_validation and type(searched) is keras_tuner.Objective:
            return searched.name, searched.direction
        name = _figure(self.task, has_validation)
        return name, "max" if name.endswith("accuracy") else "min"

    def _of_chance(self, data):
        """The loss of a network that knows nothing, and the deviation of a regression's targets."""
        if self.task == "classification":
            return math.log(self.outputs), 1.0
        if self.task != "regression":
            return math.log(2), 1.0
        if self.adapt_targets_to is not None:
            return 1.0, self._deviation
        y = data.y
        if y is None:
            batches = (keras.ops.convert_to_numpy(batch[1]) for batch in dataset_batches(data.x))
            y = np.concatenate([np.asarray(batch) for batch in batches])
        variance = np.var(np.asarray(y, "float64").reshape(len(y), -1), axis=0)
        return float(variance.mean()), float(np.sqrt(variance.max()))

    def _tell(self, follower, text):
        """Adds a line to the trial's message for every execution of it, also in its folder."""
        trial = follower.trial
        begun = trial.message is not None and trial.message is self._told
        self._told = f"{self._told}\n{text}" if begun else text
        trial.message = self._told
        keep_message(follower.tuner.get_trial_dir(trial.trial_id), self._told)

    def __repr__(self):
        return (
            f"{type(self).__name__}({self.input_shape}, {self.outputs}, task={self.task!r}): "
            f"{self.search_space}"
        )


def _training_hyperparameters(epochs):
    """How a network is trained, whatever it is."""
    return [
        choice("optimizer", ("momentum", "rmsprop", "nadam")),
        number("momentum", 0.8, 0.98, 0.95, bounds={"minimum": 0, "below": 1}),
        choice("rate", ("found", "searched")),
        number(
            "learning_rate",
            1e-4,
            0.5,
            0.02,
            scale="log",
            bounds={"above": 0},
            parent=("rate", ("searched",)),
            fixes_parent=True,
        ),
        choice("schedule", SCHEDULES),
        integer("batch_size", 16, 128, 32, scale="log", step=2),
        integer("epochs", epochs, epochs, epochs, scale="log"),
    ]


def _key(values):
    """A combination of values as text."""
    return str(sorted(values.items()))


def _figure(task, has_validation):
    """The figure that the best epoch of a trial is kept by."""
    name = monitored(task, has_validation)
    # What differs in the strength of its penalties is not compared by them.
    return DATA_LOSS if name == "val_loss" else name


def _fatal(function, *arguments):
    """What is wrong with the data is wrong in every trial: the search ends at once."""
    try:
        return function(*arguments)
    except TypeError as error:
        raise keras_tuner.errors.FatalTypeError(str(error)) from error
    except ValueError as error:
        raise keras_tuner.errors.FatalValueError(str(error)) from error


def _shuffles(x):
    # Keras warns where other data sets are to be shuffled: they shuffle themselves.
    return isinstance(x, keras.utils.PyDataset)
