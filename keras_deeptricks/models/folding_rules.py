"""Which layers a batch norm can be folded into."""

import keras

from keras_deeptricks.models.folding_einsum import EinsumDenseTarget
from keras_deeptricks.models.folding_linear import (
    ConvolutionTarget,
    DenseTarget,
    DepthwiseConvolutionTarget,
    SeparableConvolutionTarget,
    TransposedConvolutionTarget,
)
from keras_deeptricks.models.folding_normalization import BatchNormTarget
from keras_deeptricks.models.folding_target import NotFoldable

_TARGETS = {
    keras.layers.Dense: DenseTarget,
    keras.layers.EinsumDense: EinsumDenseTarget,
    keras.layers.BatchNormalization: BatchNormTarget,
    keras.layers.Conv1D: ConvolutionTarget,
    keras.layers.Conv2D: ConvolutionTarget,
    keras.layers.Conv3D: ConvolutionTarget,
    keras.layers.Conv1DTranspose: TransposedConvolutionTarget,
    keras.layers.Conv2DTranspose: TransposedConvolutionTarget,
    keras.layers.Conv3DTranspose: TransposedConvolutionTarget,
    keras.layers.DepthwiseConv1D: DepthwiseConvolutionTarget,
    keras.layers.DepthwiseConv2D: DepthwiseConvolutionTarget,
    keras.layers.SeparableConv1D: SeparableConvolutionTarget,
    keras.layers.SeparableConv2D: SeparableConvolutionTarget,
}


def target_of(layer):
    """A `Target` for a layer that is linear, but for its activation.

    Raises:
        NotFoldable: It is none, or more than its plain class.
    """
    for kind, target in _TARGETS.items():
        if type(layer) is kind:
            _check_plain(layer)
            return target(layer)
    for kind in _TARGETS:
        if isinstance(layer, kind):
            raise NotFoldable(
                f"'{layer.name}' is a {type(layer).__name__}, a subclass of {kind.__name__} that "
                "may compute something else"
            )
    return None


def _check_plain(layer):
    if isinstance(layer, keras.layers.BatchNormalization):
        return
    for name, value in vars(layer).items():
        if name.endswith("_constraint") and value is not None:
            raise NotFoldable(f"'{layer.name}' has a constraint ({name})")
    if getattr(layer, "lora_enabled", False):
        raise NotFoldable(f"'{layer.name}' has LoRA enabled")
    if getattr(layer, "quantization_mode", None) is not None:
        raise NotFoldable(f"'{layer.name}' is quantized")
    expected = len(_TARGETS[type(layer)].kernels) + (layer.bias is not None)
    if len(layer.weights) != expected:
        raise NotFoldable(f"'{layer.name}' has more weights than its class")
