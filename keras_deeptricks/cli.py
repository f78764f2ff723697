"""The command line of the recipe scripts."""

import argparse
import math
import pathlib
import time

# Widths that suit the size of a data set; depth enough for the technique to show.
_SETTINGS = {
    "digits": {"epochs": 20},
    "mnist": {"epochs": 20},
    "fashion_mnist": {"epochs": 20},
    "diabetes": {"epochs": 40, "hidden_units": (32, 16), "l2": 1e-3},
    "breast_cancer": {"epochs": 20, "hidden_units": (64, 32)},
}
_IMAGES = ("digits", "mnist", "fashion_mnist")


def argument_parser(description, images=False):
    """A parser of the options that every recipe script has; a script may add its own.

    Args:
        description: Text for `--help`.
        images: Whether the recipe is for images alone, and not for dense networks.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    datasets = _IMAGES if images else tuple(_SETTINGS)
    parser.add_argument("--dataset", choices=datasets, default="digits")
    default_epochs = "by default 20" if images else "by default 20, 40 for diabetes"
    parser.add_argument("--epochs", type=positive, help=default_epochs)
    parser.add_argument("--seed", type=natural, default=0, help="the first seed")
    parser.add_argument("--seeds", type=positive, default=1, help="how many seeds to run")
    parser.add_argument(
        "--output", type=pathlib.Path, default=None, help="folder; by default runs/RECIPE-DATASET"
    )
    parser.add_argument("--quick", action="store_true", help="2 epochs on at most 2,000 rows")
    parser.add_argument("--batch-size", type=positive, help="by default chosen by the recipe")
    parser.add_argument("--learning-rate", type=float, help="by default found by the range test")
    if not images:
        parser.add_argument(
            "--hidden-units", type=positive, nargs="+", help="width of each hidden layer"
        )
    parser.add_argument(
        "--precision", choices=("float32", "mixed_bfloat16", "mixed_float16"), default="float32"
    )
    parser.add_argument("--verbose", type=int, choices=(0, 1, 2), default=0)
    return parser


def training_settings(options):
    """The arguments of a recipe that the command line and the data set decide."""
    settings = dict(_SETTINGS[options.dataset])
    settings["epochs"] = options.epochs or (2 if options.quick else settings["epochs"])
    if getattr(options, "hidden_units", None):
        settings["hidden_units"] = tuple(options.hidden_units)
    names = ("batch_size", "learning_rate", "precision", "verbose")
    return {**settings, **{name: getattr(options, name) for name in names}}


def row_limit(options):
    """How many training rows to use, or None for all."""
    return 2000 if options.quick else None


def run_recipe(recipe, train, options, **network_options):
    """Trains a recipe on a data set for each seed, prints a table, saves model and picture.

    Args:
        recipe: Name for the output folder.
        train: `keras_deeptricks.recipes.train_default` or `train_self_normalizing`.
        options: The parsed command line.
        **network_options: Passed on to `train`.

    Returns:
        The list of the `TrainingRun`s.
    """
    import keras_deeptricks as kdt

    settings = training_settings(options)
    folder = options.output or pathlib.Path("runs") / f"{recipe}-{options.dataset}"
    runs, rows = [], []
    for seed in range(options.seed, options.seed + options.seeds):
        data = kdt.datasets.load(options.dataset, seed=seed)
        limit = row_limit(options)
        started = time.perf_counter()
        run = train(
            data.x_train[:limit],
            data.y_train[:limit],
            validation_data=data.validation_data,
            seed=seed,
            **{**settings, **network_options},
        )
        rows.append(_row(run, data, seed, time.perf_counter() - started))
        runs.append(run)
    where = runs[0].settings
    print(f"{recipe} on {options.dataset}, {where['backend']} on {where['device']}")
    _print_table(rows)
    _save(runs[0], folder)
    return runs


def _row(run, data, seed, seconds):
    validation = run.evaluate(*data.validation_data)
    test = run.evaluate(data.x_test, data.y_test)
    metric = "rmse" if run.targets.task == "regression" else "accuracy"
    return {
        "seed": seed,
        f"test {metric}": test[metric],
        f"validation {metric}": validation[metric],
        "epochs": f"{run.settings['best_epoch']}/{run.settings['epochs_run']}",
        "seconds": round(seconds, 1),
        "learning rate": run.settings["learning_rate"],
        "batch": run.settings["batch_size"],
        "parameters": run.settings["parameters"],
    }


def _print_table(rows):
    names = list(rows[0])
    cells = [[_show(row[name]) for name in names] for row in rows]
    if len(rows) > 1:
        cells.append([_mean([row[name] for row in rows], name) for name in names])
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    for line in [names, ["-" * width for width in widths], *cells]:
        print("  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True)))


def _show(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mean(values, name):
    """Mean ± standard error of a column of figures."""
    if name == "seed":
        return "mean ± se"
    if not all(isinstance(value, float) for value in values):
        return ""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return f"{mean:.4g} ± {math.sqrt(variance / len(values)):.2g}"


def _save(run, folder):
    run.save(folder)
    saved = [f"model, history and settings: {folder}"]
    try:
        run.plot(folder / "run.png")
        saved.append(f"picture: {folder / 'run.png'}")
    except ImportError as error:
        saved.append(f"no picture: {error}")
    print(*saved, sep="\n")


def positive(text):
    """A whole number from 1 on, from the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text}")
    return value


def natural(text):
    """A whole number from 0 on, from the command line."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, not {text}")
    return value
