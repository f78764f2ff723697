"""Trains a self-normalizing network: LeCun, SELU, alpha dropout, momentum, 1cycle.

    python recipes/self_normalizing.py
    python recipes/self_normalizing.py --dataset fashion_mnist --seeds 3
    python recipes/self_normalizing.py --hidden-units 100 100 100 100 100 100 100 100

Prints the test metric, epochs, time, learning rate found and number of parameters, and saves the
model and a picture of the run.
"""

import os

# TensorFlow's start-up messages would drown the table.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_deeptricks import cli


def main(arguments=None):
    """Runs the script; returns the list of training runs."""
    parser = cli.argument_parser("Trains a self-normalizing network on a real data set.")
    parser.add_argument("--alpha-dropout", type=float, default=0.1)
    options = parser.parse_args(arguments)

    from keras_deeptricks.recipes import train_self_normalizing

    return cli.run_recipe(
        "self_normalizing",
        train_self_normalizing,
        options,
        alpha_dropout=options.alpha_dropout,
    )


if __name__ == "__main__":
    main()
