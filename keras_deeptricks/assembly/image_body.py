"""The parts that the convolutional networks of the recipes have in common."""

import keras

from keras_deeptricks.assembly.parts import regularizer
from keras_deeptricks.initializers.for_activation import for_activation
from keras_deeptricks.utils.checks import check_integer

# With Keras' momentum of 0.99 the statistics of a deep net lag behind in short trainings.
_MOMENTUM, _EPSILON = 0.9, 1e-5
_SMALLEST = 4


def check_depth(depth, per_stage, others):
    """The number n of blocks in each stage, from the number of layers with weights.

    Args:
        depth: per_stage·n + others.
        per_stage: Layers with weights that one more block in each stage adds.
        others: Layers outside the blocks.
    """
    depth = check_integer("depth", depth, minimum=1)
    blocks, rest = divmod(depth - others, per_stage)
    if rest or blocks < 1:
        below = others + per_stage * max(1, blocks)
        raise ValueError(
            f"`depth` must be {per_stage}n + {others}, such as {below} or {below + per_stage}. "
            f"Received: depth={depth}."
        )
    return blocks


def augmented(augmentation):
    """The function that gives raw images an axis for channels and changes them in training."""
    return lambda images: _augmented(images, augmentation)


def _augmented(tensor, augmentation):
    shape = tensor.shape[1:]
    if len(shape) not in (2, 3) or min(shape[:2]) < _SMALLEST:
        raise ValueError(
            "`input_shape` must be that of an image, (height, width) or (height, width, channels), "
            f"of at least {_SMALLEST} pixels each way. Received: input_shape={tuple(shape)}."
        )
    if len(shape) == 2:
        tensor = keras.layers.Reshape((*shape, 1), dtype="float32")(tensor)
    if isinstance(augmentation, keras.Layer):
        augmentation = [augmentation]
    for layer in augmentation:
        if not isinstance(layer, keras.Layer):
            raise TypeError(
                "`augmentation` must be a list of Keras layers. "
                f"Received: augmentation={augmentation!r}."
            )
        tensor = layer(tensor)
    return tensor


def convolution(tensor, filters, l2, policy, seeds, *, name, strides=1):
    """A 3×3 convolution without bias, initialized for ReLU."""
    return keras.layers.Conv2D(
        filters,
        3,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=for_activation("relu", seed=seeds.next()),
        kernel_regularizer=regularizer(l2),
        data_format="channels_last",
        dtype=policy,
        name=f"{name}_conv",
    )(tensor)


def normalized(tensor, policy, *, name):
    """Batch norm and ReLU."""
    tensor = keras.layers.BatchNormalization(
        axis=-1, momentum=_MOMENTUM, epsilon=_EPSILON, dtype=policy, name=f"{name}_norm"
    )(tensor)
    return keras.layers.Activation("relu", dtype=policy, name=f"{name}_activation")(tensor)


def average_pooled(tensor, policy):
    """Each channel's mean over the image."""
    return keras.layers.GlobalAveragePooling2D(
        data_format="channels_last", dtype=policy, name="pooling"
    )(tensor)
