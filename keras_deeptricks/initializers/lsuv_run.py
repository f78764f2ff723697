"""The passes of layer-sequential unit variance: measuring layers, and scaling them in order."""

import math

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.patching import patched

_PLAIN = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
KINDS = (*_PLAIN, *_DEPTHWISE, *_SEPARABLE)


class KernelLayer:
    """A layer whose kernel is scaled, with what is measured of it.

    The kernels are kept here in full precision, and lent to the layer for its calls: inside them
    variables are read, and with torch written, in the precision that the layer computes in.
    """

    def __init__(self, layer):
        self.layer = layer
        separable = isinstance(layer, _SEPARABLE)
        self.kernel = layer.pointwise_kernel if separable else layer.kernel
        self.others = [layer.depthwise_kernel] if separable else []
        self.original = [_array(v) for v in self.variables]
        self.base = list(self.original)
        self.scale, self.iterations, self.reason = 1.0, 0, ""
        self.outputs, self.calls = [], 0

    @property
    def variables(self):
        return [self.kernel, *self.others]

    def orthogonalize(self, seeds):
        """Makes every kernel orthonormal, each group and channel of it by itself."""
        groups = getattr(self.layer, "groups", 1)
        if isinstance(self.layer, _DEPTHWISE):
            self.base = [_orthonormal_by_channel(self.base[0].shape, seeds)]
        else:
            self.base = [
                _orthonormal(self.base[0].shape, groups, seeds),
                *(_orthonormal_by_channel(value.shape, seeds) for value in self.base[1:]),
            ]

    def rescale(self, factor):
        self.scale *= factor

    def give_up(self, reason):
        """Goes back to the kernels that the layer had."""
        self.reason, self.scale, self.iterations = reason, 1.0, 0
        self.base = list(self.original)

    def kernels(self):
        """The variables with the values that they are to have."""
        values = [self.base[0] * self.scale, *self.base[1:]]
        return list(zip(self.variables, values, strict=True))

    def lent(self):
        """While it lasts, the variables have these values."""
        return keras.StatelessScope(
            [(v, ops.convert_to_tensor(value, dtype=v.dtype)) for v, value in self.kernels()]
        )

    def record(self, tensor):
        self.outputs.append(np.asarray(ops.convert_to_numpy(tensor), "float64"))

    def variance(self):
        """Of all outputs since the last time, which are forgotten."""
        values = np.concatenate([part.ravel() for part in self.outputs])
        self.outputs = []
        if not np.isfinite(values).all():
            return math.nan
        # A constant in the layer's precision varies by its last digit.
        digit = float(_last_digit(self.layer.compute_dtype)) * np.abs(values).max()
        variance = float(values.var())
        return variance if variance > digit**2 else 0.0


class LSUVRun:
    """Passes of a model that measure its layers, or scale them one after the other."""

    def __init__(self, layers, tolerance, max_iterations):
        self.layers = layers
        self.tolerance, self.max_iterations = tolerance, max_iterations
        self.order = []
        self.measured = None

    def measure(self, forward, only=None):
        """A pass that records the outputs of all layers; of one, within a pass that scales."""
        for layer in self.layers if only is None else [only]:
            layer.outputs, layer.calls = [], 0
        self.measured = only or "all"
        try:
            if only is not None:
                forward()
                return
            with self._patched():
                forward()
        finally:
            self.measured = None
        if self.order == []:
            called = [layer for layer in self.layers if layer.calls]
            self.order = sorted(called, key=lambda layer: layer.first_call)

    def variances(self):
        return [layer.variance() for layer in self.order]

    def normalize(self, forward):
        """Scales every layer when a pass comes to it; again where sharing undid it."""
        shared = [layer for layer in self.order if layer.calls > 1]
        for _ in range(self.max_iterations):
            self._reached = set()
            self._forward = forward
            with self._patched():
                forward()
            self.measure(forward)
            self.after = self.variances()
            if not shared or all(self._converged(layer, v) for layer, v in self._found()):
                return

    def _found(self):
        return zip(self.order, self.after, strict=True)

    def _converged(self, layer, variance):
        return bool(layer.reason) or abs(variance - 1) <= self.tolerance

    def _patched(self):
        self._clock = 0
        patches = [(layer.layer, "call", self._call_of(layer)) for layer in self.layers]
        return patched(patches)

    def _call_of(self, layer):
        own = layer.layer.call

        def original(*args, **kwargs):
            with layer.lent():
                return own(*args, **kwargs)

        def recorded(*args, **kwargs):
            activation = layer.layer.activation

            def before_activation(tensor):
                layer.record(tensor)
                return tensor if activation is None else activation(tensor)

            with patched([(layer.layer, "activation", before_activation)]):
                return original(*args, **kwargs)

        def call(*args, **kwargs):
            if self.measured is not None:
                if self.measured not in ("all", layer):
                    return original(*args, **kwargs)
                if not layer.calls:
                    layer.first_call = self._clock = self._clock + 1
                layer.calls += 1
                return recorded(*args, **kwargs)
            if id(layer) not in self._reached:
                self._reached.add(id(layer))
                self._fit(layer, lambda: self._variance_of(layer, recorded, args, kwargs))
            return original(*args, **kwargs)

        return call

    def _variance_of(self, layer, recorded, args, kwargs):
        if layer.calls > 1:
            # The outputs of a shared layer are known after a whole pass.
            self.measure(self._forward, only=layer)
        else:
            layer.outputs = []
            recorded(*args, **kwargs)
        return layer.variance()

    def _fit(self, layer, variance_now):
        if layer.reason:
            return
        while True:
            variance = variance_now()
            if math.isnan(variance):
                return layer.give_up("its output is not finite")
            if variance == 0:
                return layer.give_up("its output does not vary on the batch")
            if abs(variance - 1) <= self.tolerance or layer.iterations >= self.max_iterations:
                return None
            layer.rescale(1 / math.sqrt(variance))
            layer.iterations += 1


def kernel_layers(model):
    """The trainable layers with a kernel of their own, from outside to inside."""
    found = []
    for layer in walk_layers(model):
        if not isinstance(layer, KINDS) or not layer.built:
            continue
        names = ["pointwise_kernel", "depthwise_kernel"]
        kernels = [
            getattr(layer, name)
            for name in (names if isinstance(layer, _SEPARABLE) else ["kernel"])
        ]
        # Quantized layers, and those with LoRA, compute their kernel.
        if all(isinstance(v, keras.Variable) and v.trainable for v in kernels):
            found.append(KernelLayer(layer))
    return found


def _orthonormal(shape, groups, seeds):
    """A kernel whose matrix of all axes but the last by the last one is orthonormal."""
    draw = keras.initializers.Orthogonal(seed=seeds)
    part = (*shape[:-1], shape[-1] // groups)
    return np.concatenate([_array(draw(part, dtype="float32")) for _ in range(groups)], axis=-1)


def _orthonormal_by_channel(shape, seeds):
    """A depthwise kernel (…, channels, multiplier): every channel has its own outputs."""
    draw = keras.initializers.Orthogonal(seed=seeds)
    part = (*shape[:-2], shape[-1])
    return np.stack([_array(draw(part, dtype="float32")) for _ in range(shape[-2])], axis=-2)


def _array(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def _last_digit(dtype):
    """The distance from 1 to the next number of a float type."""
    known = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 2.0**-52}
    return known.get(dtype, 2.0**-23)
