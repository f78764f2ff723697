"""Densely connected networks for small images, compiled."""

from keras_deeptricks.assembly.image_body import (
    augmented,
    average_pooled,
    check_depth,
    convolution,
    normalized,
)
from keras_deeptricks.assembly.parts import Seeds, assemble, regularizer
from keras_deeptricks.layers.dense_block import DenseBlock, DenseTransition
from keras_deeptricks.utils.checks import check_flag, check_integer

_BLOCKS = 3


def densenet(
    input_shape,
    outputs,
    depth=40,
    growth=12,
    bottleneck=True,
    compression=0.5,
    dropout=0.0,
    augmentation=(),
    l2=5e-5,
    momentum=0.9,
    seed=None,
    name="densenet",
    **options,
):
    """A densely connected network for small images: each layer gets the outputs of all before it.

    A 3×3 convolution and three dense blocks with transitions between them; few parameters for its
    accuracy, at the price of more memory and time for each. With the default bottlenecks and
    compression it is the paper's DenseNet-BC.

    Args:
        input_shape, outputs: As in `keras_deeptricks.recipes.resnet`.
        depth: 6n + 4 with bottlenecks (10, 16, 22, 40, 100, …), 3n + 4 without.
        growth: Channels that each unit adds. Defaults to `12`.
        bottleneck: Whether each 3×3 convolution has a 1×1 one before it. Defaults to `True`.
        compression: Share of the channels that a transition keeps. Defaults to `0.5`.
        dropout: Rate of dropout behind each convolution. Defaults to `0.0`; the paper takes 0.2
            where images are not augmented.
        augmentation, l2, momentum, seed, name, **options: As in `keras_deeptricks.recipes.resnet`.

    Returns:
        A compiled `keras.Model`. On 32×32×3 images and 10 classes DenseNet-BC-100-12 has 769,162
        trainable parameters.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    model = kdt.recipes.densenet((28, 28), 10, depth=16, growth=8)
    assert model.output_shape == (None, 10)
    ```

    Reference: Huang, Liu, van der Maaten & Weinberger, Densely connected convolutional networks,
    2017, section 3 and table 2.
    """
    check_flag("bottleneck", bottleneck)
    units = check_depth(depth, per_stage=_BLOCKS * (2 if bottleneck else 1), others=4)
    growth = check_integer("growth", growth, minimum=1)
    seeds = Seeds(seed)

    def body(tensor, policy):
        settings = {
            "dropout": dropout,
            "kernel_regularizer": regularizer(l2),
            "data_format": "channels_last",
            "dtype": policy,
        }
        filters = 2 * growth if bottleneck else 16
        tensor = convolution(tensor, filters, l2, policy, seeds, name="stem")
        for block in range(_BLOCKS):
            if block:
                tensor = DenseTransition(
                    compression, seed=seeds.next(), name=f"transition_{block}", **settings
                )(tensor)
            tensor = DenseBlock(
                units,
                growth,
                bottleneck=bottleneck,
                seed=seeds.next(),
                name=f"dense_block_{block + 1}",
                **settings,
            )(tensor)
        return average_pooled(normalized(tensor, policy, name="head"), policy)

    return assemble(
        input_shape,
        outputs,
        body,
        seeds,
        before=augmented(augmentation),
        l2=l2,
        momentum=momentum,
        name=name,
        **options,
    )
