"""Shows the training doctor on a healthy and on a sick program.

    python recipes/doctor.py
    python recipes/doctor.py --level full --output reports

Both programs learn scikit-learn's digits. The healthy one is the library's default network. The
sick one has faults as they happen: raw inputs on an odd scale, sigmoids with large weights, an
output layer that does not suit its loss, and a rate far too high. Prints both reports, and writes
each as a self-contained HTML page and as a picture.
"""

import os

# TensorFlow's start-up messages would drown the reports.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import pathlib

import keras

import keras_deeptricks as kdt


def main(arguments=None):
    """Runs the script; returns the two diagnoses by name."""
    parser = argparse.ArgumentParser(description="The training doctor on two programs.")
    parser.add_argument("--level", choices=("quick", "full"), default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="the same as --level quick")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs") / "doctor")
    options = parser.parse_args(arguments)
    level = "quick" if options.quick else options.level
    data = kdt.datasets.load("digits", seed=options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, build in (("healthy", healthy), ("sick", sick)):
        keras.utils.set_random_seed(options.seed)
        model, x = build(data)
        diagnosis = kdt.diagnostics.check(model, x, data.y_train, level=level, seed=options.seed)
        print(f"{diagnosis}\n")
        page = diagnosis.to_html(options.output / f"{name}.html")
        picture = options.output / f"{name}.png"
        diagnosis.plot()[0].figure.savefig(picture, dpi=110)
        print(f"Report: {page}, picture: {picture}\n")
        found[name] = diagnosis
    return found


def healthy(data):
    """The default network, which standardizes its inputs."""
    model = kdt.recipes.default_network(
        data.x_train.shape[1:], 10, adapt_to=data.x_train, learning_rate=0.05
    )
    return model, data.x_train


def sick(data):
    """A network with several faults."""
    large = keras.initializers.RandomNormal(stddev=1.0)
    model = keras.Sequential(
        [
            keras.Input(data.x_train.shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(100, activation="sigmoid", kernel_initializer=large, name="first"),
            keras.layers.Dense(50, activation="sigmoid", kernel_initializer=large, name="second"),
            keras.layers.Dense(10, activation="relu", name="output"),
        ],
        name="sick",
    )
    model.compile(
        keras.optimizers.SGD(10.0),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model, 16 * data.x_train


if __name__ == "__main__":
    main()
