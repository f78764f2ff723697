"""Trains the default configuration: He, ELU, batch norm by depth, momentum, 1cycle.

    python recipes/default_config.py
    python recipes/default_config.py --dataset fashion_mnist --seeds 3
    python recipes/default_config.py --normalization batch --hidden-units 300 100

Prints the test metric, epochs, time, learning rate found and number of parameters, and saves the
model and a picture of the run.
"""

import os

# TensorFlow's start-up messages would drown the table.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_deeptricks import cli


def main(arguments=None):
    """Runs the script; returns the list of training runs."""
    parser = cli.argument_parser("Trains the default configuration on a real data set.")
    parser.add_argument(
        "--normalization",
        choices=("auto", "batch", "none"),
        default="auto",
        help="auto: batch norm from three hidden layers on",
    )
    parser.add_argument("--batch-norm-position", choices=("before", "after"), default="before")
    parser.add_argument("--dropout", type=float, default=0.0)
    options = parser.parse_args(arguments)

    from keras_deeptricks.recipes import train_default

    return cli.run_recipe(
        "default_config",
        train_default,
        options,
        normalization=None if options.normalization == "none" else options.normalization,
        batch_norm_position=options.batch_norm_position,
        dropout=options.dropout,
    )


if __name__ == "__main__":
    main()
