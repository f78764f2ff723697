"""What all networks of the recipes have in common: inputs, output, loss, optimizer."""

import keras

from keras_deeptricks.initializers.for_activation import for_activation
from keras_deeptricks.layers.standardization import Standardization
from keras_deeptricks.losses.standardized_mean_squared_error import StandardizedMeanSquaredError
from keras_deeptricks.optimizers import SGD, AdaptiveGradientClipping, Nadam, RMSprop
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number
from keras_deeptricks.utils.data_parallel import synchronize_batch_norm

TASKS = ("classification", "regression", "binary", "multilabel")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# The layer that an optimizer cannot tell from the others.
_LAST_LAYER = "scores"
_OPTIONS = (
    "task",
    "adapt_to",
    "adapt_targets_to",
    "optimizer",
    "learning_rate",
    "adaptive_clip_factor",
    "precision",
    "steps_per_execution",
)
DEFAULT_LEARNING_RATES = {"momentum": 0.02, "rmsprop": 1e-3, "nadam": 1e-3}


def assemble(
    input_shape,
    outputs,
    body,
    seeds,
    *,
    name,
    task="classification",
    adapt_to=None,
    adapt_targets_to=None,
    l2=0.0,
    optimizer="momentum",
    learning_rate=None,
    momentum=0.95,
    adaptive_clip_factor=None,
    precision="float32",
    steps_per_execution=1,
    before=None,
    **unknown,
):
    """Standardization, the body of the network, the output of the task; compiled.

    Args:
        body: Function of the standardized tensor and the dtype policy that gives the features
            the output is computed from, of shape (rows, features).
        seeds: The `Seeds` of the network.
        before: Function of the raw inputs, called before the standardization, or None.
        unknown: What no network takes.

    The others are those of the public functions.
    """
    if unknown:
        raise TypeError(
            f"{name} got unexpected arguments: {', '.join(unknown)}. Beside its own it takes "
            f"{', '.join(_OPTIONS)}."
        )
    input_shape = _check_input_shape(input_shape)
    outputs = check_integer("outputs", outputs, minimum=1)
    check_choice("task", task, TASKS)
    check_choice("precision", precision, PRECISIONS)
    if task == "classification" and outputs < 2:
        raise ValueError(
            "`outputs` must be at least 2 for task='classification', a softmax over classes. "
            f"Received: outputs={outputs}. For two classes with one output use task='binary'."
        )
    if task == "binary" and outputs != 1:
        raise ValueError(f"`outputs` must be 1 for task='binary'. Received: outputs={outputs}.")
    if adapt_targets_to is not None and task != "regression":
        raise ValueError(f"`adapt_targets_to` is for task='regression'. Received: task='{task}'.")
    optimizer = _optimizer(optimizer, learning_rate, momentum, adaptive_clip_factor, precision)
    policy = keras.DTypePolicy(precision)

    inputs = keras.Input(input_shape)
    # Images of one channel come with or without an axis for it.
    standardization = Standardization(
        axis=None if len(input_shape) == 2 else -1, name="standardization"
    )
    tensor = standardization(inputs if before is None else before(inputs))
    tensor = body(tensor, policy)
    activation = {"classification": "softmax", "regression": "linear"}.get(task, "sigmoid")
    tensor = keras.layers.Dense(
        outputs,
        kernel_initializer=for_activation(activation, seed=seeds.next()),
        kernel_regularizer=regularizer(l2),
        dtype=policy,
        name=_LAST_LAYER,
    )(tensor)
    tensor = keras.layers.Activation(activation, dtype="float32", name="output")(tensor)
    loss = _LOSSES.get(task)
    if task == "regression":
        units = Standardization(axis=-1, invert=True, name="target_units")
        tensor = units(tensor)
        deviation = 1.0
        if adapt_targets_to is not None:
            targets = keras.ops.convert_to_numpy(adapt_targets_to)
            units.adapt(targets.reshape(len(targets), -1))
            deviation = keras.ops.convert_to_numpy(units.deviation).tolist()
        loss = StandardizedMeanSquaredError(deviation)
    model = keras.Model(inputs, tensor, name=name)
    synchronize_batch_norm(model)
    if adapt_to is not None:
        standardization.adapt(adapt_to)
    model.compile(optimizer, loss, metrics=_metrics(task), steps_per_execution=steps_per_execution)
    return model


_LOSSES = {
    "classification": "sparse_categorical_crossentropy",
    "binary": "binary_crossentropy",
    "multilabel": "binary_crossentropy",
}


def _metrics(task):
    if task == "regression":
        return [
            keras.metrics.RootMeanSquaredError(name="rmse"),
            keras.metrics.MeanAbsoluteError(name="mae"),
        ]
    if task == "classification":
        return ["accuracy"]
    return [keras.metrics.BinaryAccuracy(name="accuracy")]


def _optimizer(optimizer, learning_rate, momentum, adaptive_clip_factor, precision):
    if isinstance(optimizer, keras.optimizers.Optimizer):
        if learning_rate is not None:
            raise ValueError(
                "`learning_rate` cannot be given with an optimizer object: set it in the optimizer."
            )
    else:
        check_choice("optimizer", optimizer, tuple(DEFAULT_LEARNING_RATES))
        if learning_rate is None:
            learning_rate = DEFAULT_LEARNING_RATES[optimizer]
        if isinstance(learning_rate, int):
            learning_rate = float(learning_rate)
        optimizer = {
            "momentum": lambda: SGD(learning_rate, momentum=momentum, nesterov=True),
            "rmsprop": lambda: RMSprop(learning_rate, momentum=momentum, nesterov=True),
            "nadam": lambda: Nadam(learning_rate, beta_1=momentum),
        }[optimizer]()
    if adaptive_clip_factor is not None:
        optimizer = AdaptiveGradientClipping(optimizer, adaptive_clip_factor, exclude=[_LAST_LAYER])
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if precision == "mixed_float16" and not scales:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def regularizer(l2):
    """The l2 penalty of a strength, None for 0."""
    l2 = check_number("l2", l2, minimum=0)
    return keras.regularizers.L2(l2) if l2 else None


def _check_input_shape(input_shape):
    if isinstance(input_shape, int):
        input_shape = (input_shape,)
    if not isinstance(input_shape, (tuple, list)) or not 1 <= len(input_shape) <= 3:
        raise ValueError(
            "`input_shape` must be the shape of one row: (features,), (height, width) or (height, "
            f"width, channels). Received: input_shape={input_shape!r}."
        )
    return tuple(check_integer("input_shape", size, minimum=1) for size in input_shape)


class Seeds:
    """Different seeds for the layers of a network, from one seed."""

    def __init__(self, seed):
        self.seed = None if seed is None else check_integer("seed", seed, minimum=0)
        self.used = 0

    def next(self):
        """A seed, or None where the network has none."""
        self.used += 1
        # Far apart, so that networks of neighbouring seeds share none.
        return None if self.seed is None else (self.seed * 1000 + self.used) % 2**31
