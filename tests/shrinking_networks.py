"""Small random networks with dead and unused units."""

import keras
import numpy as np
from folding_models import randomize
from keras import layers

from keras_deeptricks.utils.layer_walk import walk_layers

_UNITS = 6
_OUTPUTS = 2
# The values come from NumPy, which compiles nothing for every new shape.
_ZEROS = {"kernel_initializer": "zeros"}
_DEPTHWISE_ZEROS = {"depthwise_initializer": "zeros"}
_STEPS = (
    *("units", "units", "norm", "activation", "prelu", "noise"),
    *("join", "join", "image", "again"),
)


def random_network(seed):
    """A network of rows (odd seeds) or images, with one or two outputs."""
    return _Network(seed).model()


class _Network:
    def __init__(self, seed):
        keras.utils.set_random_seed(seed)
        self.seed, self.rng, self.dense = seed, np.random.default_rng(seed), []
        self.inputs = keras.Input((5,) if seed % 2 else (6, 6, 3))
        self.tensors = [self.units(self.inputs)]
        for _ in range(self.rng.integers(3, 7)):
            self.tensors.append(self.next())

    def model(self):
        outputs = [self.head(self.tensors[-1])]
        if self.rng.random() < 0.3:
            outputs.append(self.head(self.any()))
        model = randomize(keras.Model(self.inputs, outputs, name="random"), self.seed)
        for layer in walk_layers(model):
            self.set_weights(layer)
        return model

    def any(self):
        return self.tensors[self.rng.integers(len(self.tensors))]

    def chance(self, probability):
        return bool(self.rng.random() < probability)

    def next(self):
        """One more tensor, from the last and perhaps an earlier one."""
        tensor, other, step = self.tensors[-1], self.any(), self.rng.choice(_STEPS)
        is_image = len(tensor.shape) == 4
        if step == "norm":
            return layers.BatchNormalization()(tensor)
        if step == "activation":
            return layers.Activation(self.rng.choice(["relu", "softplus", "elu"]))(tensor)
        if step == "prelu":
            shared = [1, 2] if is_image and self.chance(0.5) else None
            return layers.PReLU("zeros", shared_axes=shared)(tensor)
        if step == "noise":
            return layers.AlphaDropout(0.3)(tensor)
        if step == "join" and other.shape == tensor.shape:
            kinds = [layers.Add, layers.Multiply, layers.Maximum, layers.Average]
            branch = self.same_image(tensor) if is_image else tensor
            return self.rng.choice(kinds)()([branch, other])
        if step == "join" and other.shape[:-1] == tensor.shape[:-1]:
            return layers.Concatenate()([tensor, other])
        if step == "again":
            return self.called_again(tensor)
        if step == "image" and is_image:
            return self.image_step(tensor)
        return self.units(tensor)

    def units(self, tensor):
        options = {
            "activation": self.rng.choice([None, "relu", "tanh", "selu", "sigmoid"]),
            "use_bias": self.chance(0.7),
        }
        if len(tensor.shape) == 2:
            self.dense.append(layers.Dense(_UNITS, **options, **_ZEROS))
            return self.dense[-1](tensor)
        padding = self.rng.choice(["valid", "same"]) if tensor.shape[1] > 3 else "same"
        kind = self.rng.choice(["plain", "plain", "separable", "transposed"])
        if kind == "separable":
            options |= {"pointwise_initializer": "zeros", "depth_multiplier": 2, "padding": padding}
            return layers.SeparableConv2D(_UNITS, 3, **options, **_DEPTHWISE_ZEROS)(tensor)
        size = int(self.rng.choice([1, 3]))
        options |= _ZEROS
        if kind == "transposed":
            return layers.Conv2DTranspose(_UNITS, size, padding="same", **options)(tensor)
        return layers.Conv2D(_UNITS, size, padding=padding, **options)(tensor)

    def called_again(self, tensor):
        """What a layer of before makes of another tensor, where the shapes allow it."""
        for layer in self.dense:
            if len(tensor.shape) == 2 and layer.kernel.shape[0] == tensor.shape[-1]:
                return layer(tensor)
        return self.units(tensor)

    def same_image(self, tensor):
        filters = tensor.shape[-1]
        return layers.Conv2D(filters, 3, padding="same", activation="relu", **_ZEROS)(tensor)

    def image_step(self, tensor):
        kinds = [
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, **_DEPTHWISE_ZEROS),
            layers.ZeroPadding2D(1),
            layers.UpSampling2D(1),
        ]
        if tensor.shape[1] > 3:
            kinds += [
                layers.MaxPooling2D(padding="same"),
                layers.AveragePooling2D(2, padding="same"),
                layers.DepthwiseConv2D(2, activation="tanh", **_DEPTHWISE_ZEROS),
            ]
        tensor = self.rng.choice(kinds)(tensor)
        return layers.Flatten()(tensor) if self.chance(0.15) else tensor

    def head(self, tensor):
        if len(tensor.shape) == 4:
            kinds = [
                layers.Flatten,
                layers.GlobalAveragePooling2D,
                layers.GlobalMaxPooling2D,
            ]
            tensor = self.rng.choice(kinds)()(tensor)
        return layers.Dense(_OUTPUTS, activation=self.rng.choice([None, "softmax"]), **_ZEROS)(
            tensor
        )

    def set_weights(self, layer):
        """Random weights, of which some units get, and some inputs have, none but 0."""
        rng = self.rng
        if isinstance(layer, layers.BatchNormalization):
            gamma = np.array(layer.get_weights()[0])
            gamma[rng.random(len(gamma)) < rng.choice([0, 0.3])] = 0
            layer.gamma.assign(gamma)
            return
        for name in ("alpha", "kernel", "depthwise_kernel", "pointwise_kernel"):
            weight = getattr(layer, name, None)
            if isinstance(weight, keras.Variable):
                deviation = 1 / np.sqrt(max(np.prod(weight.shape[:-1]), 1))
                weights = rng.normal(0, deviation, weight.shape)
                weight.assign(weights if name == "alpha" else self.with_zeros(layer, weights))

    def with_zeros(self, layer, weights):
        rng = self.rng
        is_head = isinstance(layer, layers.Dense) and layer.units == _OUTPUTS
        # The outputs of the model stay.
        for axis, share in ((-2, 0.25),) if is_head else ((-1, 0.4), (-2, 0.25)):
            if not self.chance(0.7):
                continue
            gone = rng.random(weights.shape[axis]) < share
            np.moveaxis(weights, axis, 0)[gone] = 0
            if layer.bias is not None and gone.shape == tuple(layer.bias.shape):
                bias = layer.get_weights()[-1]
                layer.bias.assign(np.where(gone & (rng.random(len(gone)) < 0.5), 0, bias))
        return weights
