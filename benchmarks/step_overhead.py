"""What our optimizers and gradient transforms cost per training step, against Keras' SGD.

    KERAS_BACKEND=jax python benchmarks/step_overhead.py

Two models with the same weights are trained in turn, chunk by chunk: one with
`keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)`, one with the optimizer measured: ours
with a float rate, with rate and momentum of 1cycle, and each transform around Keras' SGD. Prints
the median and the quartiles of the ratio of the paired times; "Keras" is a second model with the
same Keras optimizer, as a measure of the noise.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_deeptricks as kdt


def model_with(optimizer, steps_per_execution):
    """The 300-100 network of the recipes on 28×28 images, compiled."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(300, activation="elu", kernel_initializer="he_normal"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(100, activation="elu", kernel_initializer="he_normal"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer, "sparse_categorical_crossentropy", steps_per_execution=steps_per_execution
    )
    return model


def seconds(model, x, y, batch_size):
    """The time of one chunk of training."""
    started = time.perf_counter()
    model.fit(x, y, batch_size=batch_size, shuffle=False, verbose=0)
    return time.perf_counter() - started


def paired_ratios(first, second, x, y, batch_size, repeats):
    """Ratios second / first of the times of chunks trained in turn, in changing order."""
    for model in (first, second):
        seconds(model, x, y, batch_size)
    ratios = []
    for repeat in range(repeats):
        pair = [first, second] if repeat % 2 == 0 else [second, first]
        times = {id(model): seconds(model, x, y, batch_size) for model in pair}
        ratios.append(times[id(second)] / times[id(first)])
    return np.array(ratios), times[id(first)]


def plain():
    """Keras' optimizer that all are compared with."""
    return keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)


def optimizers(total_steps):
    """What is measured, by name: functions that make an optimizer."""
    cycle = kdt.schedules.OneCycle(0.01, total_steps)

    def cycled():
        # As `callbacks.OneCycle` installs it.
        rate, momentum = (kdt.schedules.Shifted(part, 0) for part in (cycle, cycle.momentum()))
        return kdt.optimizers.SGD(rate, momentum=momentum, nesterov=True)

    def layerwise():
        # The kernels of the two hidden layers have rates of their own.
        rates = {"dense(_[0-9]+)?/kernel": 0.5, "dense(_[0-9]+)?/bias": 2.0}
        return kdt.optimizers.LayerwiseLearningRates(plain(), rates)

    return {
        "Keras": plain,
        "SGD": lambda: kdt.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        "1cycle": cycled,
        "PartialTraining": lambda: kdt.optimizers.PartialTraining(plain()),
        "LayerwiseLearningRates": layerwise,
        "AdaptiveGradientClipping": lambda: kdt.optimizers.AdaptiveGradientClipping(
            plain(), exclude=()
        ),
        "GradientNoise": lambda: kdt.optimizers.GradientNoise(plain(), variance=1e-6, seed=0),
    }


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--optimizers", nargs="+", choices=optimizers(1), default=optimizers(1))
    parser.add_argument("--steps", type=int, default=300, help="steps per chunk")
    parser.add_argument("--repeats", type=int, default=40, help="pairs of chunks")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps-per-execution", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = options.steps * options.batch_size
    x = rng.normal(size=(rows, 784)).astype("float32")
    y = rng.integers(0, 10, rows)
    made = optimizers(options.steps * (options.repeats + 1))
    for name in options.optimizers:
        first = model_with(plain(), options.steps_per_execution)
        second = model_with(made[name](), options.steps_per_execution)
        ratios, last = paired_ratios(first, second, x, y, options.batch_size, options.repeats)
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        print(
            f"{keras.config.backend():10} {name:24} median {median:.3f} "
            f"(quartiles {low:.3f}–{high:.3f}, {len(ratios)} pairs of {options.steps} steps, "
            f"{1e3 * last / options.steps:.2f} ms per step)",
            flush=True,
        )


if __name__ == "__main__":
    main()
