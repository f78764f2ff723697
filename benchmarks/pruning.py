"""Pruning: saliencies on digits, LeNet-300-100 on MNIST, and the speed of shrunken networks.

    KERAS_BACKEND=jax python benchmarks/pruning.py digits --seeds 5
    KERAS_BACKEND=jax python benchmarks/pruning.py mnist --seeds 3
    KERAS_BACKEND=jax python benchmarks/pruning.py speed

`digits`: accuracy against the share of weights, and of neurons, pruned without retraining, of a
network of rectified units trained for 40 epochs. Then another of tanh units, trained with an L2
penalty to a minimum of the loss, as the theory of optimal brain damage has it: the increase of the
loss that it predicts for 5 to 30 % of the weights, beside the one measured, and the accuracy. They
train on the training and the validation rows.

`mnist`: LeNet-300-100 on all 60,000 training images, pruned to 8.3 % of its weights in rounds, with
retraining, by magnitude and by optimal brain damage; the error on the test images, beside published
ones. No epoch is chosen on the test images; with `--validate` it trains on 55,000 and measures the
other 5,000, to choose settings by.

`speed`: times of batches before and after half of the neurons or filters were taken out, in turn.

Results are kept in `--directory`, one file for each seed; what is there is not computed again.
"""

import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from fashion_mnist import mean_and_error
from folding import largest_difference, paired_ratios

import keras_deeptricks as kdt
from keras_deeptricks.models.pruning import (
    incoming_weight_norm,
    iterative_pruning,
    optimal_brain_damage,
    prune,
    shrink,
    weight_magnitude,
)

FRACTIONS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
UNIT_FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
UNIT_SALIENCIES = ("random_units", "incoming_weight_norm", "mean_activation", "active_share")
DIGITS_RESULTS = {
    "weights": kdt.diagnostics.PruningCurves,
    "units": kdt.diagnostics.PruningCurves,
    "weights_at_minimum": kdt.diagnostics.PruningCurves,
    "increase_at_minimum": kdt.diagnostics.LossIncrease,
}
DAMAGE_FRACTIONS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
# Shares of the weights pruned after each round; Han et al. keep 8.3 % of LeNet-300-100.
ROUNDS = (0.5, 0.7, 0.8, 0.87, 0.917)
PUBLISHED = (
    ("not pruned", "0", "1.64–1.7"),
    ("magnitude (Han et al., 2015)", "91.7", "1.59–1.6"),
    ("optimal brain damage", "92", "2.0"),
    ("SNIP (Lee et al., 2019)", "95", "1.6"),
)


def dense_network(inputs, units, activation="relu", dropout=0.0, l2=0.0, seed=0):
    """A network of dense layers for ten classes, not compiled, the same for equal seeds."""
    keras.utils.set_random_seed(seed)
    penalty = keras.regularizers.L2(l2) if l2 else None
    model = keras.Sequential([keras.Input((inputs,))])
    for place, width in enumerate(units):
        options = {"kernel_initializer": "he_normal", "kernel_regularizer": penalty}
        model.add(keras.layers.Dense(width, activation=activation, **options))
        if dropout:
            model.add(keras.layers.Dropout(dropout, seed=seed + place))
    model.add(keras.layers.Dense(10, activation="softmax", kernel_regularizer=penalty))
    return model


def compile_(model, rate, steps):
    """Adam, with a rate that comes down to nothing in so many steps."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = keras.optimizers.Adam(schedule)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])


def digits(options):
    """The three results for each seed, and what they are over the seeds."""
    results = [digits_of(seed, options) for seed in range(options.seeds)]
    for name, kind in DIGITS_RESULTS.items():
        joined = kind.joined([kind.load(result[name]) for result in results])
        print(f"\n{name}: {joined}", flush=True)
        axes = joined.plot()
        figure = np.ravel(axes)[0].figure
        figure.savefig(options.directory / f"digits_{name}.png", dpi=120)


def digits_of(seed, options):
    """Computes what is missing for a seed; returns the paths of the results."""
    paths = {name: options.directory / f"digits_{name}_{seed}.json" for name in DIGITS_RESULTS}
    if all(path.exists() for path in paths.values()):
        return paths
    data = kdt.datasets.load("digits", seed=seed)
    x = np.concatenate([data.x_train, data.x_validation]).reshape(-1, 64) / 16
    y = np.concatenate([data.y_train, data.y_validation])
    test = data.x_test.reshape(-1, 64) / 16, data.y_test
    plain = dense_network(64, (40, 20), seed=seed)
    at_minimum = dense_network(64, (30,), activation="tanh", l2=options.l2, seed=seed)
    for model, rate, epochs in ((plain, 3e-3, 40), (at_minimum, 1e-2, options.epochs)):
        compile_(model, rate, epochs * -(-len(x) // 128))
        model.fit(x, y, batch_size=128, epochs=epochs, verbose=0)

    def curves(model, fractions, **more):
        settings = {"saliency_data": (x, y), "batch_size": len(test[0]), "seed": seed}
        found = kdt.diagnostics.pruning_curves
        return found(model, *test, fractions=fractions, **settings, **more)

    units = {"saliencies": UNIT_SALIENCIES, "scope": "layer"}
    damage = {"diagonal": options.diagonal, "fractions": DAMAGE_FRACTIONS, "batch_size": len(x)}
    found = {
        "weights": curves(plain, FRACTIONS),
        "units": curves(plain, UNIT_FRACTIONS, **units),
        "weights_at_minimum": curves(at_minimum, FRACTIONS),
        "increase_at_minimum": kdt.diagnostics.loss_increase(at_minimum, x, y, **damage, seed=seed),
    }
    for name, path in paths.items():
        found[name].save(path)
    return paths


def mnist(options):
    """The errors for each seed and saliency, and a table beside the published ones."""
    data = mnist_data(options)
    runs = {name: [] for name in ("weight_magnitude", "optimal_brain_damage")}
    for seed in range(options.seeds):
        for name, found in runs.items():
            found.append(mnist_run(name, seed, options, data))
            last = found[-1]
            print(
                f"seed {seed}, {name}: error {last['error'][0]:.2f} %, at "
                f"{last['sparsity'][-1]:.1%} {last['error'][-1]:.2f} %, {last['seconds']:.0f} s",
                flush=True,
            )
    print("\n| LeNet-300-100 on MNIST | weights removed (%) | test error (%) |\n|---|---|---|")
    for row in PUBLISHED:
        print(f"| published: {' | '.join(row)} |")
    for name, found in runs.items():
        for place, sparsity in enumerate(found[0]["sparsity"]):
            errors = mean_and_error([run["error"][place] for run in found], 2)
            print(f"| {name.replace('_', ' ')} | {100 * sparsity:.1f} | {errors} |")


def mnist_data(options):
    """(images, classes) to train on and to measure, flat, from 0 to 1."""
    data = kdt.datasets.load("mnist")
    train, other = (data.x_train, data.y_train), (data.x_test, data.y_test)
    if options.validate:
        other = data.validation_data
    else:
        train = [np.concatenate(p) for p in zip(data.validation_data, train, strict=True)]
    pairs = [(x[: options.rows], y[: options.rows]) for x, y in (train, other)]
    return [(x.reshape(-1, 784).astype("float32") / 255, y) for x, y in pairs]


def mnist_run(name, seed, options, data):
    """The errors in percent of one network, pruned by one saliency."""
    measured = "validation" if options.validate else "test"
    path = options.directory / f"mnist_{measured}_{name}_{seed}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    (x, y), other = data
    started = time.perf_counter()
    model = trained_lenet(seed, options, data)
    steps = -(-len(x) // options.batch_size)
    compile_(model, options.retrain_rate, options.retrain_epochs * steps)

    def fit(pruned):
        left = np.mean(np.concatenate([k.ravel() for k in pruned.get_weights()]) != 0)
        for layer in pruned.layers:
            if isinstance(layer, keras.layers.Dropout):
                # Han et al., equation 3: less dropout for a smaller network.
                layer.rate = options.dropout * float(np.sqrt(left))
        settings = {"batch_size": options.batch_size, "epochs": options.retrain_epochs}
        pruned.fit(x, y, **settings, verbose=0)

    rows = np.random.default_rng(seed).permutation(len(x))[: options.saliency_rows]
    saliencies = {
        "weight_magnitude": weight_magnitude,
        "optimal_brain_damage": lambda each: optimal_brain_damage(
            each, x[rows], y[rows], batch_size=500
        ),
    }
    _, rounds = iterative_pruning(
        model,
        fit,
        fractions=ROUNDS,
        saliency=saliencies[name],
        trained=True,
        evaluate=lambda each: {"error": error(each, other)},
    )
    found = {
        "sparsity": rounds.sparsities.tolist(),
        "error": rounds.figures("error").tolist(),
        "error before retraining": rounds.figures("error", "before").tolist(),
        "seconds": time.perf_counter() - started,
    }
    found["error before retraining"][0] = None
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def trained_lenet(seed, options, data):
    """LeNet-300-100, trained; read from the directory where it is there."""
    kind = "validation" if options.validate else "test"
    path = options.directory / f"mnist_{kind}_{seed}.keras"
    if path.exists():
        return keras.saving.load_model(path)
    x, y = data[0]
    model = dense_network(784, (300, 100), dropout=options.dropout, l2=options.l2, seed=seed)
    compile_(model, 1e-3, options.epochs * -(-len(x) // options.batch_size))
    model.fit(x, y, batch_size=options.batch_size, epochs=options.epochs, verbose=0)
    model.save(path)
    return model


def error(model, data):
    """The share of wrong classes in percent."""
    logs = model.evaluate(*data, batch_size=1000, verbose=0, return_dict=True)
    return 100 * (1 - logs["accuracy"])


def speed(options):
    """Prints the sizes and the paired times of networks with half of their units taken out."""
    rng = np.random.default_rng(0)
    networks = {
        "dense": (dense_network(784, (1000, 1000, 1000)), (784,)),
        "convolutions": (convolutional_network(), (28, 28, 1)),
    }
    for name, (model, shape) in networks.items():
        x = rng.normal(size=(options.batch_rows, *shape)).astype("float32")
        pruned = prune(model, incoming_weight_norm, fraction=0.5, scope="layer")
        small, report = shrink(pruned, report=True)
        twin = keras.models.clone_model(pruned)
        twin.set_weights(pruned.get_weights())
        before, after = report.parameters
        inner = [entry["parameters"] for entry in report.layers if entry["flops"][0]][1]
        print(
            f"{name}: {before:,} → {after:,} parameters, of the second layer {inner[0]:,} → "
            f"{inner[1]:,}, FLOPs {report.flops[0]:,} → {report.flops[1]:,}; largest difference "
            f"{largest_difference(pruned, small, x):.1e} of the largest prediction"
        )
        for label, other in (("itself", twin), ("shrunken", small)):
            ratios, _ = paired_ratios(pruned, other, x, options.batches, options.repeats)
            low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
            print(
                f"{keras.config.backend():10} {name} {label}: time × {median:.3f} (quartiles "
                f"{low:.3f}–{high:.3f}, {len(ratios)} pairs of {options.batches} batches of "
                f"{options.batch_rows})",
                flush=True,
            )


def convolutional_network():
    """A small network of convolutions with batch norm."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for filters in (64, 64, 128):
        model.add(keras.layers.Conv2D(filters, 3, use_bias=False))
        model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.ReLU())
        model.add(keras.layers.MaxPooling2D())
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(10, activation="softmax"))
    return model


def main(arguments=None):
    """Runs one of the three benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("digits", "mnist", "speed"))
    parser.add_argument("--directory", type=pathlib.Path, help="by default runs/pruning/WHAT")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="by default 300 to the minimum, 20 on MNIST")
    parser.add_argument("--l2", type=float, default=1e-5)
    parser.add_argument("--diagonal", default="exact", help="digits: exact or gauss_newton")
    parser.add_argument("--retrain-epochs", type=int, default=10, help="mnist: of each round")
    parser.add_argument("--retrain-rate", type=float, default=1e-3)
    parser.add_argument("--dropout", type=float, default=0.2, help="mnist")
    parser.add_argument("--batch-size", type=int, default=128, help="mnist")
    parser.add_argument("--saliency-rows", type=int, default=10000, help="mnist")
    parser.add_argument("--rows", type=int, help="mnist: at most so many images, for a trial")
    parser.add_argument("--validate", action="store_true", help="mnist: not on the test images")
    parser.add_argument("--batch-rows", type=int, default=256, help="speed: rows of a batch")
    parser.add_argument("--batches", type=int, default=10, help="speed: of one measurement")
    parser.add_argument("--repeats", type=int, default=20, help="speed: pairs of measurements")
    options = parser.parse_args(arguments)
    is_digits = options.what == "digits"
    options.epochs = options.epochs or (300 if is_digits else 20)
    options.directory = options.directory or pathlib.Path("runs/pruning") / options.what
    options.directory.mkdir(parents=True, exist_ok=True)
    {"digits": digits, "mnist": mnist, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()
