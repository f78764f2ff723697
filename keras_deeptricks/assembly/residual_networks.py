"""Residual networks for small images, compiled, and the plain network they are compared with."""

from keras_deeptricks.assembly.image_body import (
    augmented,
    average_pooled,
    check_depth,
    convolution,
    normalized,
)
from keras_deeptricks.assembly.parts import Seeds, assemble, regularizer
from keras_deeptricks.layers.residual_block import ResidualBlock
from keras_deeptricks.layers.stochastic_depth import survival_probabilities
from keras_deeptricks.utils.checks import check_choice, check_flag, check_integer, check_number

# Channels double and sizes halve from stage to stage.
_STAGES = 3
_FILTERS = 16


def resnet(
    input_shape,
    outputs,
    depth=20,
    filters=_FILTERS,
    kind="basic",
    pre_activation=False,
    shortcut="padding",
    stochastic_depth=None,
    skip="auto",
    zero_init_residual=False,
    dropout=0.0,
    augmentation=(),
    l2=5e-5,
    momentum=0.9,
    seed=None,
    name="resnet",
    **options,
):
    """A residual network for small images, as He et al. trained on CIFAR-10.

    A 3×3 convolution, three stages of n residual blocks with 16, 32 and 64 channels on the whole,
    half and quarter image size, global average pooling, one dense layer: 6n + 2 layers with
    weights (9n + 2 with bottlenecks). The inputs are standardized inside the model.

    Args:
        input_shape: `(height, width)` or `(height, width, channels)`, at least 4 pixels each way.
        outputs: Number of classes, labels or targets; 1 for a binary task.
        depth: 6n + 2 for basic blocks (8, 14, 20, 32, 44, 56, 110, …), 9n + 2 for bottlenecks
            (11, 20, 29, 164, …). Defaults to `20`.
        filters: Channels of the first stage. Defaults to `16`.
        kind, pre_activation, shortcut, zero_init_residual, dropout, skip: As in
            `keras_deeptricks.layers.ResidualBlock`. The shortcuts have no weights by default, as
            in the paper's networks for CIFAR-10.
        stochastic_depth: Survival probability of the last block, to which those of the blocks
            fall linearly from 1, or None for none. The paper's is 0.5.
        augmentation: Keras layers that change the images in training, such as
            `[keras.layers.RandomTranslation(0.1, 0.1)]`; they get the raw images, before
            standardization.
        l2: Strength of the l2 penalty on the kernels. Defaults to `5e-5`, the paper's weight
            decay of 1e-4.
        momentum: Defaults to `0.9`.
        seed: Whole number that fixes the initial weights and what is drawn in training, or None.
        name: Name of the model.
        **options: `task`, `adapt_to`, `adapt_targets_to`, `optimizer`, `learning_rate`,
            `adaptive_clip_factor`, `precision` and `steps_per_execution` of
            `keras_deeptricks.recipes.default_network`.

    Returns:
        A compiled `keras.Model`. On 32×32×3 images and 10 classes it has 269,722 trainable
        parameters at depth 20, 853,018 at 56 and 1,727,962 at 110.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(32, 8, 8))
    model = kdt.recipes.resnet((8, 8), 3, depth=8, stochastic_depth=0.5, adapt_to=x, seed=1)
    model.fit(x, np.arange(32) % 3, verbose=0)
    ```

    Reference: He, Zhang, Ren & Sun, Deep residual learning, 2015, section 4.2, table 6; Identity
    mappings in deep residual networks, 2016; Huang et al., Deep networks with stochastic depth,
    2016.
    """
    check_choice("kind", kind, ("basic", "bottleneck"))
    check_flag("pre_activation", pre_activation)
    per_block = 2 if kind == "basic" else 3
    blocks = check_depth(depth, per_stage=_STAGES * per_block, others=2)
    seeds = Seeds(seed)

    def body(tensor, policy):
        tensor = convolution(tensor, filters, l2, policy, seeds, name="stem")
        if not pre_activation:
            tensor = normalized(tensor, policy, name="stem")
        tensor = _stages(
            tensor,
            blocks,
            [filters * 2**stage for stage in range(_STAGES)],
            stochastic_depth,
            seeds,
            kind=kind,
            pre_activation=pre_activation,
            shortcut=shortcut,
            zero_init_residual=zero_init_residual,
            dropout=dropout,
            skip=skip,
            kernel_regularizer=regularizer(l2),
            dtype=policy,
        )
        if pre_activation:
            tensor = normalized(tensor, policy, name="head")
        return average_pooled(tensor, policy)

    check_integer("filters", filters, minimum=1)
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


def wide_resnet(
    input_shape,
    outputs,
    depth=16,
    widen=4,
    dropout=0.0,
    stochastic_depth=None,
    skip="auto",
    zero_init_residual=False,
    augmentation=(),
    l2=2.5e-4,
    momentum=0.9,
    seed=None,
    name="wide_resnet",
    **options,
):
    """A wide residual network: few pre-activation blocks with many channels.

    Faster than a thin, deep network of the same accuracy, since wide convolutions make better use
    of the hardware.

    Args:
        input_shape, outputs: As in `resnet`.
        depth: 6n + 4: 10, 16, 22, 28, 40, … Defaults to `16`.
        widen: Factor of the channels: the stages have 16, 32 and 64 times it. Defaults to `4`.
        dropout: Rate of dropout between the two convolutions of a block. Defaults to `0.0`.
        stochastic_depth, skip, zero_init_residual, augmentation, momentum, seed, name: As in
            `resnet`.
        l2: Defaults to `2.5e-4`, the paper's weight decay of 5e-4.
        **options: As in `resnet`.

    Returns:
        A compiled `keras.Model`. On 32×32×3 images and 10 classes WRN-16-4 has 2,748,890
        trainable parameters, WRN-28-10 36,479,194.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    model = kdt.recipes.wide_resnet((28, 28), 10, depth=10, widen=2)
    assert model.output_shape == (None, 10)
    ```

    Reference: Zagoruyko & Komodakis, Wide residual networks, 2016, table 1.
    """
    blocks = check_depth(depth, per_stage=6, others=4)
    widen = check_integer("widen", widen, minimum=1)
    seeds = Seeds(seed)

    def body(tensor, policy):
        tensor = convolution(tensor, _FILTERS, l2, policy, seeds, name="stem")
        tensor = _stages(
            tensor,
            blocks,
            [_FILTERS * widen * 2**stage for stage in range(_STAGES)],
            stochastic_depth,
            seeds,
            pre_activation=True,
            zero_init_residual=zero_init_residual,
            dropout=dropout,
            skip=skip,
            kernel_regularizer=regularizer(l2),
            dtype=policy,
        )
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


def plain_net(
    input_shape,
    outputs,
    depth=20,
    filters=_FILTERS,
    augmentation=(),
    l2=5e-5,
    momentum=0.9,
    seed=None,
    name="plain_net",
    **options,
):
    """The residual network without its shortcuts: the same layers with weights, one after another.

    To see what the shortcuts are for: a deep plain net is worse than a shallow one, in training
    too, though batch norm keeps its signals and gradients in range.

    Args:
        input_shape, outputs, filters, augmentation, l2, momentum, seed, name, **options: As in
            `resnet`.
        depth: 6n + 2, as in `resnet`. Defaults to `20`.

    Returns:
        A compiled `keras.Model` with exactly the parameters of `resnet` at the same depth.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    plain = kdt.recipes.plain_net((8, 8), 3, depth=8)
    assert plain.count_params() == kdt.recipes.resnet((8, 8), 3, depth=8).count_params()
    ```

    Reference: He, Zhang, Ren & Sun, Deep residual learning, 2015, section 4.2, figure 6.
    """
    blocks = check_depth(depth, per_stage=6, others=2)
    check_integer("filters", filters, minimum=1)
    seeds = Seeds(seed)

    def body(tensor, policy):
        tensor = convolution(tensor, filters, l2, policy, seeds, name="stem")
        tensor = normalized(tensor, policy, name="stem")
        for stage in range(_STAGES):
            for layer in range(2 * blocks):
                tensor = convolution(
                    tensor,
                    filters * 2**stage,
                    l2,
                    policy,
                    seeds,
                    strides=2 if stage > 0 and layer == 0 else 1,
                    name=f"stage_{stage + 1}_{layer + 1}",
                )
                tensor = normalized(tensor, policy, name=f"stage_{stage + 1}_{layer + 1}")
        return average_pooled(tensor, policy)

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


def _stages(tensor, blocks, widths, stochastic_depth, seeds, **settings):
    """The stages of residual blocks; `blocks` in each."""
    probabilities = [1.0] * (blocks * len(widths))
    if stochastic_depth is not None:
        last = check_number("stochastic_depth", stochastic_depth, minimum=0, maximum=1)
        probabilities = survival_probabilities(len(probabilities), last)
    for stage, filters in enumerate(widths):
        for block in range(blocks):
            tensor = ResidualBlock(
                filters,
                strides=2 if stage > 0 and block == 0 else 1,
                survival_probability=probabilities[stage * blocks + block],
                data_format="channels_last",
                seed=seeds.next(),
                name=f"block_{stage + 1}_{block + 1}",
                **settings,
            )(tensor)
    return tensor
