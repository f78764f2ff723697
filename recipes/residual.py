"""Trains a residual network on small images: batch norm, augmentation, 1cycle, stochastic depth.

    python recipes/residual.py
    python recipes/residual.py --dataset fashion_mnist --depth 20 --stochastic-depth 0.5
    python recipes/residual.py --network wide_resnet --depth 16 --precision mixed_bfloat16

Images are shifted at random in training, those of Fashion-MNIST also mirrored. Prints the test
metric, epochs, time, learning rate found and number of parameters, and saves the model and a
picture of the run.
"""

import os

# TensorFlow's start-up messages would drown the table.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_deeptricks import cli

# The smallest of each kind that is worth its name.
_DEPTHS = {"resnet": 20, "plain_net": 20, "wide_resnet": 16, "densenet": 40}
_QUICK_DEPTHS = {"resnet": 8, "plain_net": 8, "wide_resnet": 10, "densenet": 10}


def main(arguments=None):
    """Runs the script; returns the list of training runs."""
    parser = cli.argument_parser("Trains a residual network on a real data set.", images=True)
    parser.add_argument("--network", choices=tuple(_DEPTHS), default="resnet")
    parser.add_argument("--depth", type=int, help="layers with weights; by default 20, 16 or 40")
    parser.add_argument(
        "--stochastic-depth", type=float, help="survival probability of the last block"
    )
    parser.add_argument("--no-augmentation", action="store_true")
    options = parser.parse_args(arguments)
    stochastic = {}
    if options.stochastic_depth is not None:
        if options.network not in ("resnet", "wide_resnet"):
            parser.error(f"--stochastic-depth: a {options.network} has no residual blocks")
        stochastic = {"stochastic_depth": options.stochastic_depth}

    from keras_deeptricks.recipes import train_residual

    depths = _QUICK_DEPTHS if options.quick else _DEPTHS
    return cli.run_recipe(
        "residual",
        train_residual,
        options,
        network=options.network,
        depth=options.depth or depths[options.network],
        augmentation=[] if options.no_augmentation else _augmentation(options.dataset),
        **stochastic,
    )


def _augmentation(dataset):
    """Changes that keep what the image shows; a mirrored digit is none."""
    import keras

    shift = keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", dtype="float32")
    if dataset != "fashion_mnist":
        return [shift]
    return [keras.layers.RandomFlip("horizontal", dtype="float32"), shift]


if __name__ == "__main__":
    main()
