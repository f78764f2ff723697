"""Layers with kernels that follow on each other with nothing but affine functions between them."""

import dataclasses
import math

import keras

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths, roles

# What a pair of layers is for, where a nonlinearity between them may be left out on purpose.
_MEANT = {
    "pooled": "its output is averaged over all positions just before the output layer",
    "upsampled": "the next layer is a transposed convolution that only enlarges its output",
    "projected": "the next layer takes its output as a map of several positions",
    "factored": "the two kernels lie along different axes, as in a factored convolution",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Link:
    """Two layers with kernels without a nonlinearity between them.

    Attributes:
        first, second: Stages; the first one lacks an activation.
        between: The stages between them.
        width_in, width, width_out: What the first takes and yields, and what the second yields.
        meant: Why that may be meant, or None.
    """

    first: object
    second: object
    between: list
    width_in: int
    width: int
    width_out: int
    meant: str | None


def links(structure):
    """The pairs of layers that one layer could stand for, as a list of `Link`.

    A first layer that is narrower than what it takes and than what the second yields is a
    bottleneck on purpose (a low rank, a code, MobileNet's linear bottleneck) and no pair. Nor are
    depthwise and pointwise convolutions, nor a layer whose output is used elsewhere too.
    """
    found = {}
    for stage in structure.stages:
        link = _link(stage)
        if link is not None:
            found.setdefault((id(link.first.layer), id(link.second.layer)), link)
    return list(found.values())


def lacks_activation(stage):
    """True for a layer with a kernel, computing as Keras does, without an activation."""
    layer = stage.layer
    return (
        kinds.has_kernel(layer)
        and roles.activation_of(layer) == "linear"
        and roles.computes_as_keras(layer)
    )


def _link(first):
    if not lacks_activation(first) or kinds.is_depthwise(first.layer):
        return None
    ends, is_output = paths.ends_forward(first, paths.keeps_one_path)
    if is_output or not ends or not all(_is_plain_kernel(end) for end in ends):
        return None
    # Queries and keys of one layer are multiplied later; heads of several outputs are not.
    if len(ends) > 1 and not all(paths.leads_to_output(end) for end in ends):
        return None
    second = ends[0]
    between = _between(first, second)
    if between is None:
        return None
    widths = paths.width_in(first), paths.width_out(first), paths.width_out(second)
    if None in widths:
        return None
    before, width, after = widths[0], widths[1], widths[2] * len(ends)
    if width < min(before, after) or _is_smaller_map(first, second):
        return None
    return Link(first, second, between, before, width, after, _meant(first, second, between))


def _is_plain_kernel(stage):
    layer = stage.layer
    return (
        kinds.has_kernel(layer)
        and not kinds.is_depthwise(layer)
        and roles.computes_as_keras(layer)
        and len(stage.sources) == 1
    )


def _between(first, second):
    """The stages between two stages, None if the path forks in between."""
    found = []
    for stage in paths.backwards(paths.source_of(second)):
        if stage is first:
            return found[::-1]
        found.append(stage)
    return None


def _is_smaller_map(first, second):
    """Whether a convolution yields fewer values in all than go in and than come out."""
    if not kinds.is_convolution(kinds.inner_layer(first.layer)):
        return False
    if not kinds.is_convolution(kinds.inner_layer(second.layer)):
        return False
    shapes = first.input_shapes[0], first.output_shapes[0], second.output_shapes[0]
    if any(None in shape[1:] for shape in shapes):
        return False
    before, here, after = (math.prod(shape[1:]) for shape in shapes)
    return here < min(before, after)


def _meant(first, second, between):
    is_pooled = any(kinds.is_global_pooling(stage.layer) for stage in between)
    if is_pooled and paths.leads_to_output(second):
        return _MEANT["pooled"]
    if kinds.is_transposed(second.layer) and paths.leads_to_output(second):
        return _MEANT["upsampled"]
    is_reshaped = any(isinstance(stage.layer, keras.layers.Reshape) for stage in between)
    is_dense = kinds.is_dense(kinds.inner_layer(first.layer))
    if is_dense and is_reshaped and kinds.is_convolution(kinds.inner_layer(second.layer)):
        return _MEANT["projected"]
    sizes = [getattr(kinds.inner_layer(s.layer), "kernel_size", ()) for s in (first, second)]
    if all(len(size) > 1 and 1 in size and max(size) > 1 for size in sizes):
        return _MEANT["factored"]
    return None
