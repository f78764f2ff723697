"""Shows how much of a trained network can be pruned, by which saliency, and what that saves.

    python recipes/pruning.py
    python recipes/pruning.py --dataset mnist --epochs 10 --learning-rate 0.02 --seeds 3
    python recipes/pruning.py --hidden-units 100 50 --retrain-epochs 5

Trains the default network, then measures the accuracy on the test images against the share of
weights pruned, in random order, by magnitude and by optimal brain damage, with and without
retraining; and against the share of neurons pruned, by their incoming weights and activations.
Then half of the neurons are pruned, the network is retrained, and `shrink` takes them out for good.
Prints tables, means ± standard errors over the seeds, and saves results and pictures; of the first
seed also the network and the smaller one.
"""

import os

# TensorFlow's start-up messages would drown the table.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib

import keras
import numpy as np

import keras_deeptricks as kdt
from keras_deeptricks import cli
from keras_deeptricks.models.pruning import mean_activation, prune, shrink, sparsity

DATASETS = ("digits", "mnist", "fashion_mnist")
FRACTIONS = (0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
QUICK_FRACTIONS = (0, 0.5, 0.9)
UNIT_SALIENCIES = ("random_units", "incoming_weight_norm", "mean_activation", "active_share")


def main(arguments=None):
    """Runs the script; returns what was measured, a dictionary of results."""
    parser = cli.argument_parser("What a trained network can do without.")
    parser.add_argument("--retrain-epochs", type=int, default=3, help="after each pruning")
    parser.add_argument("--saliency-rows", type=int, default=2000, help="rows for saliencies")
    options = parser.parse_args(arguments)
    if options.dataset not in DATASETS:
        parser.error(f"argument --dataset: choose from {', '.join(DATASETS)}")
    for name in ("retrain_epochs", "saliency_rows"):
        if getattr(options, name) < 1:
            parser.error(f"argument --{name.replace('_', '-')}: must be a whole number from 1 on")
    if options.quick:
        options.retrain_epochs = 1
    folder = options.output or pathlib.Path("runs") / f"pruning-{options.dataset}"
    found = []
    for seed in range(options.seed, options.seed + options.seeds):
        run, measured, small = study(options, seed)
        found.append(measured)
        if seed == options.seed:
            run.save(folder)
            small.save(folder / "small.keras")
    results = {
        "weights": kdt.diagnostics.PruningCurves.joined([one["weights"] for one in found]),
        "units": kdt.diagnostics.PruningCurves.joined([one["units"] for one in found]),
        "loss_increase": kdt.diagnostics.LossIncrease.joined([one["increase"] for one in found]),
        "sparsity": found[0]["sparsity"],
    }
    print(
        f"{options.dataset}, seeds: {options.seeds}, epochs of retraining: "
        f"{options.retrain_epochs}, Keras {keras.__version__} on {keras.config.backend()}"
    )
    for result in list(results.values())[:3]:
        print(f"\n{result}")
    print("\n" + small_table([one["small"] for one in found]))
    print("\n" + _saved(results, folder))
    return {**results, "small": [one["small"] for one in found]}


def study(options, seed):
    """Trains, prunes and measures: the run, the results by name, and the smaller model."""
    data = kdt.datasets.load(options.dataset, seed=seed)
    limit = cli.row_limit(options)
    train = data.x_train[:limit], data.y_train[:limit]
    run = kdt.recipes.train_default(
        *train, validation_data=data.validation_data, seed=seed, **cli.training_settings(options)
    )
    train = train[0], run.targets.encode(train[1])
    test = data.x_test[:limit], run.targets.encode(data.y_test[:limit])
    some = tuple(part[: options.saliency_rows] for part in train)
    model = run.model

    def retrain(pruned):
        # A new optimizer: the rate of the training before has come down to nothing.
        optimizer = keras.optimizers.Adam(1e-3)
        pruned.compile(optimizer, loss=model.loss, metrics=["accuracy"])
        pruned.fit(*train, batch_size=64, epochs=options.retrain_epochs, verbose=options.verbose)

    shares = {"fractions": QUICK_FRACTIONS if options.quick else FRACTIONS, "saliency_data": some}
    shares |= {"batch_size": 500, "seed": seed}
    measured = {
        "weights": kdt.diagnostics.pruning_curves(model, *test, retrain=retrain, **shares),
        # Layer by layer: activations of different layers have different scales.
        "units": kdt.diagnostics.pruning_curves(
            model, *test, saliencies=UNIT_SALIENCIES, scope="layer", **shares
        ),
        "increase": kdt.diagnostics.loss_increase(model, *some, seed=seed),
    }
    pruned = prune(model, mean_activation(model, some[0]), fraction=0.5, scope="layer")
    accuracies = [accuracy(each, test) for each in (model, pruned)]
    retrain(pruned)
    small, report = shrink(pruned, report=True)
    small.compile(keras.optimizers.Adam(1e-3), loss=model.loss, metrics=["accuracy"])
    small.optimizer.build(small.trainable_variables)  # else its file loads with a warning
    accuracies += [accuracy(each, test) for each in (pruned, small)]
    saved = sparsity(small, before=model, x=test[0][:256], repeats=5 if options.quick else 30)
    measured["small"] = {"accuracy": accuracies, "before": saved.before, "after": saved.after}
    measured["sparsity"] = sparsity(pruned, before=model)
    if seed == options.seed:
        print(f"{report}\n")
    return run, measured, small


def accuracy(model, test):
    """The accuracy on the test images."""
    return float(model.evaluate(*test, batch_size=500, verbose=0, return_dict=True)["accuracy"])


def small_table(found):
    """The network, and that with half of its neurons, as a table in markdown."""
    columns = zip(*(one["accuracy"] for one in found), strict=True)
    accuracies = " | ".join(mean_and_error(column) for column in columns)
    lines = [
        "| | whole | half of the neurons pruned | retrained | shrunken |",
        "|---|---|---|---|---|",
    ]
    lines.append(f"| accuracy | {accuracies} |")
    units = {"flops": "FLOPs of a row", "file_bytes": "bytes of the file", "seconds": "seconds"}
    for name in ("parameters", *units):
        before, after = (
            np.mean([one[when][name] for one in found]) for when in ("before", "after")
        )
        lines.append(f"| {units.get(name, name)} | {_number(before)} | | | {_number(after)} |")
    return "\n".join(lines)


def mean_and_error(values):
    """The mean as text, with its standard error where there are several values."""
    text = f"{np.mean(values):.4f}"
    if len(values) == 1:
        return text
    return f"{text} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.4f}"


def _number(value):
    return f"{value:,.0f}" if value >= 1 else f"{value:.2g}"


def _saved(results, folder):
    """Saves the results and draws them; says where."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, result in results.items():
        result.save(folder / f"{name}.json")
    said = f"models, history, results: {folder}"
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        return f"{said}; no pictures: {error}"
    sizes = {"loss_increase": (11, 4.2), "sparsity": (6.4, 2.8)}
    for name, result in results.items():
        figure = Figure(sizes.get(name, (6.4, 4.8)), layout="constrained")
        ax = figure.subplots(1, 2) if name == "loss_increase" else figure.subplots()
        result.plot(ax)
        figure.savefig(folder / f"{name}.png", dpi=120)
    return f"{said}; pictures: {', '.join(results)}"


if __name__ == "__main__":
    main()
