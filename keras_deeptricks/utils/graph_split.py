"""Cutting a model's graph in two: what is the same in every pass, and what is random."""

import contextlib
import math

import keras

from keras_deeptricks.utils.composite import Composite
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.patching import patched
from keras_deeptricks.utils.rewriting import graph_of, has_graph


class GraphSplit:
    """A model in two parts over the same layers: `suffix(prefix(x))` is the model.

    The prefix holds all that does not depend on a layer that `is_random` names, on any branch;
    the suffix all the rest. Nested Functional and Sequential models and composite layers are
    entered.

    Args:
        model: A built Functional or Sequential model.
        is_random: Function of a layer.

    Attributes:
        prefix: A Functional model from the inputs to the list of tensors that cross the cut.
        suffix: A Functional model from that list to the outputs, in the model's structure.
        prefix_size, suffix_size: Entries of the largest tensor per row in each part.
        row_count: The number of rows that the model is bound to, or None.
        rows_everywhere: False where a tensor that enters the suffix has no axis of rows.
    """

    def __init__(self, model, is_random):
        with unique_names(model):
            self._split(flatten(model), is_random)

    def _split(self, graph, is_random):
        walk = _Walk(is_random, any(t.sparse for t in graph.inputs))
        marked = keras.models.clone_model(graph, clone_function=_same, call_function=walk.call)
        outputs = keras.tree.map_structure(walk.in_suffix, _outputs(marked))
        crossing = [handed_over for _, handed_over in walk.cut.values()]
        self.prefix = keras.Model(marked.input, crossing)
        self.suffix = keras.Model(crossing, outputs)
        inputs = keras.tree.flatten(marked.input)
        self.prefix_size = max(map(_size, [*inputs, *walk.fixed]))
        self.suffix_size = max(map(_size, [*crossing, *walk.random.values()]))
        rows = {t.shape[0] for t in inputs if t.shape}
        self.row_count = max(rows - {None}, default=None)
        self.rows_everywhere = all(t.shape and t.shape[0] is None for t in crossing)


def flatten(model):
    """The graph of a model without nested models and composite layers: their layers stand in it.

    The layers are the model's own, shared. A `training` that the graph was built with is left
    out: each layer is told by the call of the whole. Where layers of nested models may have equal
    names, `unique_names` has to last as long as graphs are made of the result.
    """
    with unique_names(model):
        return _flatten(model)


@contextlib.contextmanager
def unique_names(model):
    """While it lasts, no two layers of a model have the same name, as one graph wants it.

    Nested models may hold layers of equal names; the later ones have a number behind theirs.
    """
    patches, taken = [], set()
    for part in _named_parts(model):
        name, number = part.name, 0
        while name in taken:
            number += 1
            name = f"{part.name}_{number}"
        taken.add(name)
        if name != part.name:
            patches.append((part, "name", name))
    with patched(patches):
        yield


def _named_parts(model):
    """Every layer in a model, and every plain operation of its graphs."""
    parts = {}
    for layer in walk_layers(model):
        operations = getattr(layer, "operations", ()) if has_graph(layer) else ()
        parts.update((id(part), part) for part in (layer, *operations))
    return parts.values()


def _flatten(model):
    graph = graph_of(model)
    try:
        # A model that was built by a call has the number of rows of that call, for no reason.
        inputs = keras.tree.map_structure(_without_row_count, graph.input)
        free = keras.models.clone_model(
            graph, inputs, clone_function=_same, call_function=_call_flat
        )
        if all(t.shape and t.shape[0] is None for t in free.outputs):
            return free
    except (ValueError, TypeError):
        pass
    return keras.models.clone_model(graph, clone_function=_same, call_function=_call_flat)


def _without_row_count(tensor):
    return keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)


def _call_flat(layer, *args, **kwargs):
    if has_graph(layer):
        inner = _flatten(layer)
        # A Function, unlike a Model, runs its operations on the tensors of the outer graph.
        function = keras.Function(inner.input, inner.output)
        given = keras.tree.flatten(args[0] if args else kwargs["inputs"])
        # A model with a list of one input is called with that input alone, too.
        return function.call(keras.tree.pack_sequence_as(inner.input, given))
    kwargs.pop("training", None)
    if isinstance(layer, Composite):
        # Its mask is that of the tensor, which the parts find there themselves.
        return layer.call_parts(_call_flat, args[0] if args else kwargs["inputs"])
    return layer(*args, **kwargs)


class _Walk:
    """Calls the layers of a graph again and notes which tensors are random."""

    def __init__(self, is_random, may_be_sparse):
        self.is_random, self.may_be_sparse = is_random, may_be_sparse
        # By id; the tensors are kept with it so that ids stay theirs.
        self.random, self.cut, self.fixed, self.ends = {}, {}, [], set()

    def call(self, layer, *args, **kwargs):
        tensors = [t for t in keras.tree.flatten((args, kwargs)) if _is_tensor(t)]
        is_random = any(id(t) in self.random for t in tensors) or (
            isinstance(layer, keras.Layer) and self.is_random(layer)
        )
        if is_random:
            args, kwargs = keras.tree.map_structure(self._crossing, (args, kwargs))
        outputs = layer(*args, **kwargs)
        results = [t for t in keras.tree.flatten(outputs) if _is_tensor(t)]
        if is_random:
            self.random.update((id(t), t) for t in results)
        else:
            self.fixed += results
        return outputs

    def in_suffix(self, output):
        """An output of the model as one of the suffix, also if it is not random."""
        if id(output) in self.random and id(output) not in self.ends:
            self.ends.add(id(output))
            return output
        # No output of a graph may be one of its inputs itself, or the same tensor as another.
        return keras.layers.Identity(dtype=output.dtype)(self._crossing(output))

    def _crossing(self, tensor):
        """The tensor as one that the suffix gets, unless it is random."""
        if not _is_tensor(tensor) or id(tensor) in self.random:
            return tensor
        if id(tensor) not in self.cut:
            self.cut[id(tensor)] = tensor, _Handover(tensor.sparse and self.may_be_sparse)(tensor)
        return self.cut[id(tensor)][1]


class _Handover(keras.Layer):
    """Makes a tensor that no layer makes elsewhere too: Keras takes a graph apart by layers.

    Keras says of every product with a number that it is sparse, which torch refuses as an input.
    """

    def __init__(self, sparse):
        super().__init__(autocast=False)
        self.sparse = sparse
        self.supports_masking = True

    def call(self, inputs):
        return inputs

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype, sparse=self.sparse)


def _outputs(graph):
    """The outputs in the model's structure, a list of one without its list."""
    outputs = graph.output
    return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs


def _same(layer):
    return layer


def _is_tensor(value):
    return isinstance(value, keras.KerasTensor)


def _size(tensor):
    """Entries of a tensor per row; an axis of unknown length counts as 128."""
    return math.prod(128 if size is None else size for size in tensor.shape[1:])
