"""The layers that are random in Monte-Carlo passes, and how they draw there."""

import contextlib
import inspect
import math
import threading

import keras
from keras import ops

from keras_deeptricks.layers.mc_dropout import MCAlphaDropout, MCDropout
from keras_deeptricks.layers.rrelu import RReLU, leaky
from keras_deeptricks.layers.stochastic_depth import StochasticDepth
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.patching import patched


def _dropout(layer, draw, inputs):
    shape = _noise_shape(inputs, layer.noise_shape)
    return _drop(draw, inputs, layer.rate, shape, _is_shared(layer.noise_shape))


def _spatial_dropout(layer, draw, inputs):
    rank = len(inputs.shape)
    channels_first = getattr(layer, "data_format", "channels_last") == "channels_first"
    channels = 1 if channels_first else rank - 1
    dropped = [None if axis in (0, channels) else 1 for axis in range(rank)]
    return _drop(draw, inputs, layer.rate, _noise_shape(inputs, dropped))


def _alpha_dropout(layer, draw, inputs):
    if layer.rate == 0:
        return inputs
    rate = layer.rate
    shape = _noise_shape(inputs, layer.noise_shape)
    kept = draw.keep(shape, rate, _is_shared(layer.noise_shape))
    # Klambauer et al., 2017, section 2: SELU's saturation value, and the affine map that restores
    # mean and variance.
    saturation = -1.6732632423543772 * 1.0507009873554805
    a = ((1 - rate) * (1 + rate * saturation**2)) ** -0.5
    b = -a * saturation * rate
    return ops.where(kept, inputs, ops.cast(saturation, inputs.dtype)) * a + b


def _gaussian_dropout(layer, draw, inputs):
    deviation = math.sqrt(layer.rate / (1.0 - layer.rate))
    noise = draw.normal(ops.shape(inputs))
    return inputs * ops.cast(1.0 + deviation * noise, inputs.dtype)


def _gaussian_noise(layer, draw, inputs):
    noise = draw.normal(ops.shape(inputs))
    return inputs + ops.cast(layer.stddev * noise, inputs.dtype)


def _random_slope(layer, draw, inputs):
    share = draw.uniform(ops.shape(inputs))
    slopes = layer.lower + (layer.upper - layer.lower) * share
    return leaky(inputs, ops.cast(slopes, inputs.dtype))


def _stochastic_depth(layer, draw, inputs):
    shortcut, branch = inputs
    shape = [ops.shape(branch)[0]] + [1] * (len(branch.shape) - 1)
    kept = draw.keep(shape, 1.0 - layer.survival_probability, False)
    return ops.where(kept, shortcut + branch, shortcut)


# What each class does in a pass, by the `call` that it really has: a subclass with a `call` of its
# own is called as it is, with `training=True`.
_BY_CALL = {
    cls.call: noise
    for cls, noise in (
        (keras.layers.Dropout, _dropout),
        (keras.layers.SpatialDropout1D, _spatial_dropout),
        (keras.layers.AlphaDropout, _alpha_dropout),
        (keras.layers.GaussianDropout, _gaussian_dropout),
        (keras.layers.GaussianNoise, _gaussian_noise),
        (MCDropout, _dropout),
        (MCAlphaDropout, _alpha_dropout),
        (RReLU, _random_slope),
        (StochasticDepth, _stochastic_depth),
    )
}
_REGULARIZERS = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    RReLU,
    StochasticDepth,
)
_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
# One at a time may replace the layers' calls and put them back.
_LOCK = threading.RLock()
# They keep statistics, which `training=True` around them would change.
_NORMALIZERS = (keras.layers.BatchNormalization, keras.layers.SpectralNormalization)


class StochasticLayers:
    """The stochastic layers of a model, made random for the length of a pass.

    Args:
        model: A `keras.Model`.
        more: Further layer classes that are to be random: they are called with `training=True`.
    """

    def __init__(self, model, more=()):
        self.by_hash, self.by_generator, normalizers = [], [], []
        idle = _idle_dropout(model) | _certain(model)
        for layer in walk_layers(model):
            if id(layer) in idle:
                continue
            if type(layer).call in _BY_CALL:
                self.by_hash.append(layer)
            elif _is_stochastic(layer, more):
                self.by_generator.append(layer)
                normalizers += [x for x in walk_layers(layer) if isinstance(x, _NORMALIZERS)]
        self.normalizers = list({id(layer): layer for layer in normalizers}.values())
        self.key_sources = [
            (owner, name, _KeySource(generator, self, len(self.by_hash) + stream))
            for stream, layer in enumerate(self.by_generator)
            for owner, name, generator in _generators(layer)
        ]
        self.ids = {id(layer) for layer in self.by_hash + self.by_generator}
        self._local = threading.local()
        self._drawn = set()

    def __bool__(self):
        return bool(self.ids)

    def within(self, layer):
        """Whether `layer` is stochastic, or holds a layer that is."""
        return any(id(inner) in self.ids for inner in walk_layers(layer))

    @contextlib.contextmanager
    def drawing_from(self, noise):
        """While it lasts, calls of the layers from this thread draw from `noise`.

        The layers' `call` is replaced on the objects and put back in the end, whatever happens;
        calls from other threads find the layers as they are.
        """
        patches = [(owner, name, source) for owner, name, source in self.key_sources]
        for stream, layer in enumerate(self.by_hash):
            patches.append((layer, "call", self._hashed(layer, stream)))
        for layer in self.by_generator:
            # One that is always random may not take the argument.
            if _takes_training(layer.call):
                patches.append((layer, "call", self._with_training(layer.call, True)))
        for layer in self.normalizers:
            patches.append((layer, "call", self._with_training(layer.call, False)))
        with _LOCK, patched(patches):
            self._local.noise, self._local.calls = noise, {}
            try:
                yield
                self._drawn.update(self._local.calls)
            finally:
                self._local.noise = None

    @property
    def strengths(self):
        """The rates of all layers, which a compiled pass has for constants."""
        return tuple(_strengths(layer) for layer in self.by_hash + self.by_generator)

    def silent(self):
        """The layers with a rate above 0 that have drawn nothing in the passes so far."""
        layers = enumerate(self.by_hash + self.by_generator)
        return [x for stream, x in layers if any(_strengths(x)) and stream not in self._drawn]

    def draw(self, stream):
        """The noise for this call of a layer, or None outside a pass of this thread.

        A layer may be called several times in a pass.
        """
        noise = getattr(self._local, "noise", None)
        if noise is None:
            return None
        calls = self._local.calls
        calls[stream] = calls.get(stream, -1) + 1
        return _Draw(noise, calls[stream] * 2**20 + stream)

    def _hashed(self, layer, stream):
        original, function = layer.call, _BY_CALL[type(layer).call]

        def call(inputs, *args, **kwargs):
            draw = self.draw(stream)
            if draw is None:
                return original(inputs, *args, **kwargs)
            return function(layer, draw, inputs)

        return call

    def _with_training(self, original, training):
        def call(*args, **kwargs):
            if getattr(self._local, "noise", None) is not None:
                kwargs["training"] = training
            return original(*args, **kwargs)

        return call


class _Draw:
    """The noise of one call of one layer."""

    def __init__(self, noise, stream):
        self.noise, self.stream = noise, stream

    def keep(self, shape, rate, shared):
        return self.noise.keep(shape, rate, self.stream, shared)

    def uniform(self, shape):
        return self.noise.uniform(shape, self.stream)

    def normal(self, shape):
        return self.noise.normal(shape, self.stream)


class _KeySource(keras.random.SeedGenerator):
    """Stands for a layer's seed generator: in a pass its keys come from the pass's noise."""

    def __init__(self, original, layers, stream):
        # With a number: torch ignores the keys of a generator without one.
        super().__init__(seed=0)
        self.original, self.layers, self.stream = original, layers, stream

    def next(self, ordered=True):
        draw = self.layers.draw(self.stream)
        if draw is None:
            return self.original.next(ordered)
        return ops.cast(draw.noise.generator_key(draw.stream), self.state.dtype)


def _takes_training(function):
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)


def _idle_dropout(model):
    """The ids of the Dropout layers that attention layers hold also where they drop nothing."""
    attention = [layer for layer in walk_layers(model) if isinstance(layer, _ATTENTION)]
    inside = [inner for layer in attention for inner in walk_layers(layer)]
    return {id(x) for x in inside if isinstance(x, keras.layers.Dropout) and x.rate == 0}


def _certain(model):
    """The ids of the layers whose settings leave nothing to chance."""
    return {id(layer) for layer in walk_layers(model) if _is_certain(layer)}


def _is_certain(layer):
    if isinstance(layer, StochasticDepth):
        return layer.survival_probability == 1
    return isinstance(layer, RReLU) and layer.lower == layer.upper


def _strengths(layer):
    """How strong the noise of a layer is, by each of its arguments."""
    if isinstance(layer, RReLU):
        return layer.lower, layer.upper
    if isinstance(layer, StochasticDepth):
        return (1.0 - layer.survival_probability,)
    owners = [layer, getattr(layer, "cell", None)]
    names = ("rate", "stddev", "dropout", "recurrent_dropout")
    return tuple(_rate(owner, name) for owner in owners for name in names)


def _is_stochastic(layer, more):
    if isinstance(layer, (*_REGULARIZERS, *more)):
        return True
    if isinstance(layer, keras.layers.RNN):
        cells = [cell for cell in walk_layers(layer) if cell is not layer]
        return any(_rate(cell, "dropout") or _rate(cell, "recurrent_dropout") for cell in cells)
    # MultiHeadAttention and GroupedQueryAttention hold a Dropout layer of their own.
    return isinstance(layer, keras.layers.Attention) and bool(_rate(layer, "dropout"))


def _rate(layer, name):
    rate = getattr(layer, name, 0)
    return rate if isinstance(rate, (int, float)) else 0


def _generators(layer):
    """Owner, attribute and seed generator, of a layer and of the cells and layers inside it."""
    return [
        (inner, name, value)
        for inner in walk_layers(layer)
        for name, value in vars(inner).items()
        if isinstance(value, keras.random.SeedGenerator)
    ]


def _noise_shape(inputs, noise_shape):
    """The shape of a mask: the inputs', but 1 where it is shared along an axis."""
    shape = list(ops.shape(inputs))
    if noise_shape is None:
        return shape
    return [1 if given == 1 else size for given, size in zip(noise_shape, shape, strict=True)]


def _is_shared(noise_shape):
    """Whether all rows have one mask."""
    return noise_shape is not None and noise_shape[0] == 1


def _drop(draw, inputs, rate, shape, shared=False):
    """Inverted dropout. Chosen, not multiplied: a dropped NaN or infinity is gone."""
    if rate == 0:
        return inputs
    if rate == 1:
        return ops.zeros_like(inputs)
    return ops.where(draw.keep(shape, rate, shared), inputs * (1.0 / (1.0 - rate)), 0.0)
