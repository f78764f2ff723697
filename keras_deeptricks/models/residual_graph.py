"""The residual blocks of a model's graph: where they end, and which input is the shortcut."""

import keras

from keras_deeptricks.layers.residual import Residual
from keras_deeptricks.layers.residual_block import ResidualBlock
from keras_deeptricks.layers.stochastic_depth import StochasticDepth
from keras_deeptricks.utils.rewriting import graph_of, has_graph


class FoundBlock:
    """A residual block, or a sum of which it is not known whether it ends one.

    Attributes:
        layer: The block, or the layer that adds branch and shortcut.
        shortcut: Which input of the layer is the shortcut, a number from 0 on.
        is_projected: Whether the shortcut is something else than the block's input: a
            projection, padding or pooling.
        obstacle: Why the branch cannot be cut, in words, or None.
    """

    def __init__(self, layer, shortcut=0, is_projected=False, obstacle=None):
        self.layer, self.shortcut, self.is_projected = layer, shortcut, is_projected
        self.obstacle = obstacle

    @property
    def name(self):
        return self.layer.name

    def rest(self, name):
        """A layer of that name, to be called by `call_rest`: what is left without the branch."""
        if isinstance(self.layer, (Residual, ResidualBlock)):
            layers = self.layer.without_branch()
            if layers:
                return keras.Sequential(layers, name=name)
        # An output of a model may not be its input itself.
        merge = self.layer.merge if isinstance(self.layer, Residual) else self.layer
        return keras.layers.Identity(dtype=merge.compute_dtype, name=name)

    def call_rest(self, rest, args, kwargs):
        """Calls what is left on the shortcut among the arguments of the block's call."""
        options = {name: kwargs[name] for name in ("training",) if name in kwargs}
        return rest(_tensors((args, kwargs))[self.shortcut], **options)


def find_blocks(model):
    """The residual blocks of a model, in the order of computation, as a list of `FoundBlock`.

    Nested Functional and Sequential models are entered.
    """
    calls = {}
    _collect_calls(model, calls, set())
    return [_found(layer, of_layer) for layer, of_layer in calls.values()]


def _collect_calls(model, calls, entered):
    """Adds to `calls` by the id of the layer: layer and list of (graph, inputs, output)."""
    graph = _Graph(model)
    for layer, inputs, outputs in graph.calls:
        if has_graph(layer):
            if id(layer) not in entered:
                entered.add(id(layer))
                _collect_calls(layer, calls, entered)
        elif isinstance(layer, (Residual, ResidualBlock, keras.layers.Add, StochasticDepth)):
            calls.setdefault(id(layer), (layer, []))[1].append((graph, inputs, outputs[0]))


def _found(layer, calls):
    if isinstance(layer, (Residual, ResidualBlock)):
        residual = layer if isinstance(layer, Residual) else layer.residual
        return FoundBlock(layer, is_projected=residual.shortcut is not None)
    try:
        found = {_shortcut(layer, *call) for call in calls}
        if len({shortcut for shortcut, _ in found}) > 1:
            raise _Undecided("it is called several times, with the shortcut at different places")
    except _Undecided as reason:
        return FoundBlock(layer, obstacle=str(reason))
    return FoundBlock(layer, min(found)[0], any(is_projected for _, is_projected in found))


def _shortcut(layer, graph, inputs, output):
    """Which input of a sum is the shortcut, and whether it is projected."""
    if len(inputs) != 2:
        raise _Undecided(f"it adds {len(inputs)} tensors, not a shortcut and one branch")
    if isinstance(layer, StochasticDepth):
        shortcut, is_projected = 0, not graph.depends(inputs[1], on=inputs[0])
    else:
        shortcut, is_projected = _shorter(graph, inputs)
    if inputs[shortcut].shape != output.shape:
        raise _Undecided(
            f"its shortcut has the shape {inputs[shortcut].shape}, its output {output.shape}"
        )
    return shortcut, is_projected


def _shorter(graph, inputs):
    first, second = inputs
    if first is second:
        raise _Undecided("it adds a tensor to itself")
    if graph.depends(second, on=first):
        return 0, False
    if graph.depends(first, on=second):
        return 1, False
    lengths = graph.layers_apart(first, second), graph.layers_apart(second, first)
    if not graph.share_an_origin(first, second):
        raise _Undecided("its two inputs do not come from one tensor")
    if lengths[0] == lengths[1]:
        raise _Undecided(
            f"both of its inputs are made by {lengths[0]} layers, so that none is the shortcut"
        )
    return int(lengths[1] < lengths[0]), True


class _Undecided(Exception):
    """Says why a sum cannot be taken apart into shortcut and branch."""


class _Graph:
    """The calls of a model, and for each tensor all those that it is made from."""

    def __init__(self, model):
        self.calls = []
        clone = keras.models.clone_model(
            graph_of(model), clone_function=_same, call_function=self._record
        )
        # Bit n of a number stands for the n-th tensor; a tensor is made from itself too.
        self._bits, self._origins, self._sizes = {}, {}, []
        for tensor in clone.inputs:
            self._add(tensor, 0, 0)
        for layer, inputs, outputs in self.calls:
            origins = 0
            for tensor in inputs:
                origins |= self._origins[id(tensor)]
            for tensor in outputs:
                self._add(tensor, origins, _size(layer))

    def depends(self, tensor, on):
        """Whether `tensor` is made from the tensor `on`."""
        return bool(self._origins[id(tensor)] & self._bits[id(on)])

    def share_an_origin(self, first, second):
        return bool(self._origins[id(first)] & self._origins[id(second)])

    def layers_apart(self, tensor, other):
        """The number of layers that `tensor` is made by, but not `other`."""
        apart = self._origins[id(tensor)] & ~self._origins[id(other)]
        return sum(size for place, size in enumerate(self._sizes) if apart >> place & 1)

    def _record(self, layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        self.calls.append((layer, _tensors((args, kwargs)), _tensors(outputs)))
        return outputs

    def _add(self, tensor, origins, size):
        self._bits[id(tensor)] = 1 << len(self._sizes)
        self._origins[id(tensor)] = origins | self._bits[id(tensor)]
        self._sizes.append(size)


def _size(layer):
    """The number of layers that a layer stands for, those of a nested model one by one."""
    if not has_graph(layer):
        return 0 if isinstance(layer, keras.layers.InputLayer) else 1
    return sum(map(_size, layer.layers))


def _tensors(structure):
    return [leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, keras.KerasTensor)]


def _same(layer):
    return layer
