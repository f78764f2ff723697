"""One row for every public class: how it is made, and what it must refuse.

`test_contract.py` puts each row through the whole contract. A new class needs one row here:

    row(kdt.layers.MCDropout, {"rate": 0.3, "seed": 1}, rate=[-0.1, 1.0, "half"])

is the class, arguments that are good, and by argument the values that are bad. A second row of
the same class, with other arguments, is welcome.
"""

import dataclasses
import tempfile

import keras
import numpy as np

import keras_deeptricks as kdt
from keras_deeptricks.optimizers.gradient_transform import GradientTransform

NAN, INF = float("nan"), float("inf")
# What no number may be.
NO_NUMBERS = [None, "much", NAN, INF]

KINDS = {
    "layer": keras.Layer,
    # What is made from an optimizer gets its class from that one.
    "optimizer": (keras.optimizers.Optimizer, GradientTransform),
    "schedule": keras.optimizers.schedules.LearningRateSchedule,
    "constraint": keras.constraints.Constraint,
    "initializer": keras.initializers.Initializer,
    "loss": keras.losses.Loss,
    "callback": keras.callbacks.Callback,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A class, good arguments, and bad values by argument."""

    cls: type
    good: dict
    bad: dict
    # What a layer gets: "rows" of features, "images", or a "pair" of tensors of rows.
    inputs: str = "rows"

    def make(self, **changes):
        """A new instance, with some arguments changed."""
        good = {name: _fresh(value) for name, value in self.good.items()}
        return self.cls(**{**good, **changes})

    @property
    def kind(self):
        """What it is, one of `KINDS`."""
        return next(kind for kind, base in KINDS.items() if issubclass(self.cls, base))

    @property
    def name(self):
        """The module and the class, with the arguments."""
        return f"{self.kind}-{self.cls.__name__}-{','.join(self.good)}"


def row(cls, good, **bad):
    return Row(cls, good, bad)


def of(inputs, made):
    """The row, for a layer that gets other inputs than rows."""
    return dataclasses.replace(made, inputs=inputs)


def _fresh(value):
    """A layer, or each of a list, anew: two models must not share it."""
    if isinstance(value, list):
        return [_fresh(part) for part in value]
    return type(value).from_config(value.get_config()) if isinstance(value, keras.Layer) else value


layers, optimizers, schedules = kdt.layers, kdt.optimizers, kdt.schedules
CYCLE = schedules.OneCycle(0.01, 8)
MOMENTUM = CYCLE.momentum(0.9, 0.8)
BAD_MOMENTA = [*NO_NUMBERS, -0.1, 1.1]
BAD_STEPS = [None, "many", 0, 2.5]


def falling(total_steps):
    return schedules.PolynomialDecay(0.01, total_steps)


ROWS = [
    row(layers.MCDropout, {"rate": 0.3, "seed": 1}, rate=[*NO_NUMBERS, -0.1, 1.0]),
    row(layers.MCAlphaDropout, {"rate": 0.1, "seed": 1}, rate=[*NO_NUMBERS, -0.1, 1.0]),
    row(
        layers.RReLU,
        {"lower": 0.1, "upper": 0.5, "seed": 1},
        lower=[*NO_NUMBERS, -0.1, 0.6],
        upper=[*NO_NUMBERS, -0.1],
        seed=["one"],
    ),
    row(
        layers.Maxout,
        {"units": 3, "pieces": 4, "kernel_constraint": kdt.constraints.MaxNorm(0.5)},
        units=[None, "many", 0, 1.5],
        pieces=[None, "many", 0, 1.5],
    ),
    row(
        layers.MaxoutConv2D,
        {"filters": 3, "kernel_size": 3, "padding": "same"},
        filters=[None, "many", 0, 1.5],
        pieces=[None, "many", 0, 1.5],
        kernel_size=["wide", 0],
        strides=["wide", 0],
    ),
    row(
        layers.AdaptivePiecewiseLinear,
        {"segments": 3, "hinge_regularizer": "l2"},
        segments=[None, "many", 0, 1.5],
        shared_axes=["all", 0, -1, [0.5], [None]],
    ),
    row(layers.AdaptivePiecewiseLinear, {"shared_axes": [1], "slope_initializer": "ones"}),
    of(
        "pair",
        row(
            layers.StochasticDepth,
            {"survival_probability": 0.5, "seed": 1},
            survival_probability=[*NO_NUMBERS, -0.1, 1.1],
            mode=[None, "rows"],
            seed=["one", 0.5, -1],
        ),
    ),
    of("pair", row(layers.StochasticDepth, {"survival_probability": 0.5, "mode": "row"})),
    row(
        layers.Residual,
        {
            "branch": [keras.layers.BatchNormalization(), keras.layers.Dense(5)],
            "activation": "tanh",
            "survival_probability": 0.5,
            "seed": 1,
        },
        branch=[None, [], "dense", [None]],
        shortcut=["dense", []],
        survival_probability=[*NO_NUMBERS, -0.1, 1.1],
        skip=[None, "yes", 1],
        seed=["one", 0.5, -1],
    ),
    row(
        layers.Residual,
        {"branch": keras.layers.Dense(3), "shortcut": keras.layers.Dense(3), "skip": False},
    ),
    of(
        "images",
        row(
            layers.ResidualBlock,
            {"filters": 5, "survival_probability": 0.5, "seed": 1, "skip": True},
            filters=BAD_STEPS,
            kind=[None, "wide"],
            strides=BAD_STEPS,
            pre_activation=[None, 1],
            shortcut=[None, "identity"],
            activation=["unknown", keras.layers.LeakyReLU()],
            kernel_size=BAD_STEPS,
            dropout=[*NO_NUMBERS, -0.1, 1],
            zero_init_residual=[None, 1],
            survival_probability=[*NO_NUMBERS, -0.1, 1.1],
            skip=[None, "yes", 1],
            batch_norm_momentum=BAD_MOMENTA,
            batch_norm_epsilon=[*NO_NUMBERS, 0],
            data_format=["first"],
            seed=["one", 0.5, -1],
        ),
    ),
    of(
        "images",
        row(
            layers.ResidualBlock,
            {"filters": 2, "kind": "bottleneck", "strides": 2, "pre_activation": True},
        ),
    ),
    of(
        "images",
        row(
            layers.PaddedShortcut,
            {"filters": 6, "strides": 2},
            filters=BAD_STEPS,
            strides=BAD_STEPS,
            data_format=["first"],
        ),
    ),
    of(
        "images",
        row(
            layers.DenseBlock,
            {"units": 2, "growth": 2, "dropout": 0.1, "seed": 1},
            units=BAD_STEPS,
            growth=BAD_STEPS,
            bottleneck=[None, 1],
            dropout=[*NO_NUMBERS, -0.1, 1],
            seed=["one", 0.5, -1],
        ),
    ),
    of(
        "images",
        row(
            layers.DenseTransition,
            {"compression": 0.4, "activation": "gelu"},
            compression=[*NO_NUMBERS, 0, -1, 1.1],
            dropout=[*NO_NUMBERS, -0.1, 1],
        ),
    ),
    row(layers.Standardization, {}, axis=[0.5, True], invert=[1, None], minimum_deviation=[-1]),
    row(layers.Standardization, {"axis": None, "invert": True}, minimum_deviation=NO_NUMBERS),
    row(
        layers.Whitening,
        {"method": "pca", "components": 3},
        method=[None, "svd"],
        components=[0, 2.5, "all"],
        epsilon=[*NO_NUMBERS, -1],
    ),
    row(layers.Whitening, {"method": "zca", "axis": -1}, components=[2], axis=[0, 0.5, True]),
    row(optimizers.SGD, {"momentum": 0.9, "nesterov": True}, momentum=BAD_MOMENTA),
    row(optimizers.SGD, {"learning_rate": CYCLE, "momentum": MOMENTUM}, learning_rate=["fast"]),
    row(optimizers.RMSprop, {"momentum": 0.9}, momentum=BAD_MOMENTA, nesterov=["yes", 1]),
    row(optimizers.RMSprop, {"momentum": MOMENTUM, "nesterov": True, "centered": True}),
    row(optimizers.Adam, {"learning_rate": 0.01}, beta_1=BAD_MOMENTA),
    row(optimizers.Adam, {"learning_rate": CYCLE, "beta_1": MOMENTUM, "amsgrad": True}),
    row(optimizers.AdamW, {"weight_decay": 0.01, "beta_1": MOMENTUM}, beta_1=BAD_MOMENTA),
    row(optimizers.Nadam, {"beta_1": MOMENTUM}, beta_1=BAD_MOMENTA),
    row(
        optimizers.AdaptiveGradientClipping,
        {"optimizer": optimizers.SGD(CYCLE, momentum=MOMENTUM), "exclude": ["out"]},
        optimizer=[None, "sgd", keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())],
        clip_factor=[*NO_NUMBERS, 0, -1],
        epsilon=[*NO_NUMBERS, 0, -1],
        scope=[None, "filter", 1],
        exclude=[3, [None], [""]],
        axes=[3, ["out"], {"out": "0"}, {"out": (0.5,)}],
    ),
    row(
        optimizers.GradientNoise,
        {"optimizer": keras.optimizers.Adam(0.01), "variance": CYCLE, "seed": 1},
        optimizer=[None, "adam"],
        variance=[*NO_NUMBERS, -1],
        decay=[*NO_NUMBERS, -1],
        seed=["one", 0.5, -1],
        exclude=[None, 3],
    ),
    row(
        optimizers.LayerwiseLearningRates,
        {"optimizer": optimizers.Nadam(0.01), "multipliers": {"hidden": CYCLE}, "decay": 0.5},
        optimizer=[None, "nadam", 0.1],
        multipliers=[3, ["out"], {"out": -1}, {"out": "slow"}, {3: 0.5}],
        decay=["much", NAN, 0, 1.5],
    ),
    row(
        optimizers.PartialTraining,
        {"optimizer": keras.optimizers.Adam(0.01)},
        optimizer=[None, "adam", keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())],
    ),
    row(schedules.Constant, {"constant": 0.01}, constant=[*NO_NUMBERS, -1]),
    row(
        schedules.LogRange,
        {"low": 1e-4, "high": 1e-2, "total_steps": 4},
        low=[*NO_NUMBERS, 0, -1],
        high=[*NO_NUMBERS, 1e-4],
        total_steps=[*BAD_STEPS, 1],
    ),
    row(
        schedules.OneCycle,
        {"max_learning_rate": 0.01, "total_steps": 4},
        max_learning_rate=[*NO_NUMBERS, 0, -1],
        total_steps=BAD_STEPS,
        initial_divisor=[*NO_NUMBERS, 0.5],
        final_divisor=[*NO_NUMBERS, 0.5],
        warmup_fraction=[*NO_NUMBERS, 0, 1],
        annealing=[None, "cosin", 1],
        three_phase=[None, 1, "yes"],
    ),
    row(
        schedules.OneCycleMomentum,
        {"high": 0.02, "low": 0.01, "total_steps": 4},
        high=[*NO_NUMBERS, 1.1],
        low=[*NO_NUMBERS, -0.1, 0.03],
        total_steps=BAD_STEPS,
        warmup_fraction=[0, 1],
        annealing=["cosin"],
        three_phase=[1],
    ),
    row(
        schedules.Scaled,
        {"schedule": CYCLE, "factor": 0.5, "minimum": 1e-4},
        schedule=[None, 0.1, "cosine"],
        factor=[*NO_NUMBERS, 0, -1],
        minimum=[*NO_NUMBERS, -1],
    ),
    row(
        schedules.Shifted,
        {"schedule": schedules.CosineDecay(0.01, 8), "first_step": 2},
        schedule=[None, 0.1],
        first_step=[None, 0.5, "two"],
    ),
    row(
        schedules.Power,
        {"initial_learning_rate": 0.01, "decay_steps": 2.5, "exponent": 0.5},
        initial_learning_rate=[*NO_NUMBERS, 0, -1],
        decay_steps=[*NO_NUMBERS, 0, -1],
        exponent=[*NO_NUMBERS, -0.5],
    ),
    row(
        schedules.InverseSquareRoot,
        {"initial_learning_rate": 0.01},
        initial_learning_rate=[*NO_NUMBERS, 0, -1],
        warmup_steps=[None, "many", -1, 2.5],
    ),
    row(
        schedules.InverseSquareRoot,
        {"initial_learning_rate": 0.01, "warmup_steps": 3},
        warmup_steps=[True, INF],
    ),
    row(
        schedules.StepDecay,
        {"initial_learning_rate": 0.01, "factor": 0.5, "every_steps": 2},
        initial_learning_rate=[*NO_NUMBERS, 0, -1],
        factor=[*NO_NUMBERS, 0, -1, 1.5],
        every_steps=BAD_STEPS,
    ),
    row(
        schedules.Cyclical,
        {"base_learning_rate": 0.01, "max_learning_rate": 0.02, "half_cycle_steps": 2},
        base_learning_rate=[*NO_NUMBERS, -1],
        max_learning_rate=[*NO_NUMBERS, 0.01],
        half_cycle_steps=BAD_STEPS,
        policy=[None, "triangle", 1],
        gamma=[*NO_NUMBERS, 0, 1.1],
    ),
    row(
        schedules.SnapshotCosine,
        {"initial_learning_rate": 0.01, "total_steps": 7, "cycles": 2},
        initial_learning_rate=[*NO_NUMBERS, 0, -1],
        total_steps=BAD_STEPS,
        cycles=[*BAD_STEPS, 8],
    ),
    row(
        schedules.RisingMomentum,
        {"maximum": 0.01, "every_steps": 2},
        maximum=[*NO_NUMBERS, -0.1, 1],
        every_steps=BAD_STEPS,
    ),
    row(
        schedules.Chain,
        {"parts": [(schedules.PolynomialDecay(0.005, 2, 0.01), 2), (0.01, 2), (CYCLE, 8)]},
        parts=[None, 0.1, [], [0.1], [("cosine", 3)], [(-1, 3)], [(NAN, 3)], [(0.1, 0)]],
    ),
    row(
        kdt.constraints.MaxNorm,
        {"max_value": 0.5},
        max_value=[*NO_NUMBERS, 0, -1],
        axis=[None, "all", 1.5, (), (0, 0.5), True],
    ),
    row(kdt.constraints.MaxNorm, {"max_value": 0.5, "axis": (0,)}),
    row(
        kdt.constraints.FixedMask,
        # For the 4×5 kernel of the contract's models.
        {"mask": np.eye(4, 5), "constraint": kdt.constraints.MaxNorm(0.5)},
        mask=[None, "half", 1, [], [0.5], [["a"]], {"shape": [2]}],
        constraint=["round", 3],
    ),
    row(
        kdt.initializers.HeLeaky,
        {"negative_slope": 0.1, "distribution": "uniform", "seed": 3},
        negative_slope=NO_NUMBERS,
        distribution=[None, "gaussian"],
    ),
    row(
        kdt.initializers.HeMaxout,
        {"pieces": 3, "seed": 3},
        pieces=[None, "many", 0, 1.5],
        distribution=[None, "gaussian"],
    ),
    row(
        kdt.initializers.Sparse,
        {"nonzero": 2, "stddev": 0.25, "seed": 3},
        nonzero=[None, "many", 0, 1.5],
        stddev=[*NO_NUMBERS, -1],
        seed=["one", 0.5],
    ),
    row(
        kdt.losses.StandardizedMeanSquaredError,
        {"deviation": 2.0},
        deviation=[*NO_NUMBERS, 0, -1, [1.0, 0.0], []],
    ),
    row(kdt.callbacks.OneCycle, {"max_learning_rate": 0.01}, max_learning_rate=[0], momentum=[0.9]),
    row(kdt.callbacks.Schedule, {"factory": falling}, factory=[None, 0.1], total_steps=[0, 1.5]),
    row(kdt.callbacks.PerformanceScheduling, {"monitor": "loss"}, factor=[0, 1], patience=[0, 0.5]),
    row(kdt.callbacks.EarlyStopping, {"monitor": "loss"}, patience=[-1, 0.5], check_finite=[1]),
    row(kdt.callbacks.HyperparameterLog, {}),
    row(
        kdt.callbacks.TrainingMonitor,
        {"x": np.ones((8, 4), "float32"), "y": np.zeros(8, "float32"), "every": 2},
        every=BAD_STEPS,
        rows=BAD_STEPS,
        training=[None, 1],
    ),
    row(
        kdt.callbacks.EpochChain,
        {"parts": [(0.01, 1), (falling, 1)]},
        parts=[None, [], [0.1], [(0.1, 0)], [("fast", 1)]],
        momentum=[[], 0.9],
        total_steps=[0, 1.5],
    ),
    row(
        kdt.callbacks.SnapshotEnsemble,
        {"cycles": 2, "initial_learning_rate": 0.01},
        cycles=BAD_STEPS,
        initial_learning_rate=["much", NAN, INF, 0, -1],
        folder=[3, ""],
        total_steps=[0, 1.5],
    ),
    # A folder of this process alone; it is gone when a training has ended.
    row(
        kdt.callbacks.BackupAndRestore,
        {"backup_dir": tempfile.mkdtemp()},
        backup_dir=[""],
        callbacks=[[keras.callbacks.History()]],
    ),
    row(
        kdt.callbacks.GradualPruning,
        {"final_sparsity": 0.5},
        final_sparsity=[*NO_NUMBERS, 0, 1, -0.1],
        schedule=[None, "cubic", 3, abs],
        initial_sparsity=[*NO_NUMBERS, -0.1, 0.6],
        begin_epoch=[None, "first", -1, 0.5],
        end_epoch=["last", -1, 0.5],
        every=BAD_STEPS,
        saliency=[None, "largest", {}, "optimal_brain_damage"],
        scope=[None, "all"],
    ),
    row(
        kdt.callbacks.GradualUnfreezing,
        {"schedule": {0: "out", 1: "hidden"}},
        schedule=[None, "hidden", {}, {-1: "out"}, {0.5: "out"}],
    ),
]
# The modules whose classes must each have a row.
MODULES = [
    kdt.callbacks,
    kdt.constraints,
    kdt.initializers,
    kdt.layers,
    kdt.losses,
    kdt.optimizers,
    kdt.schedules,
]
