"""A model's graph as a list of layer calls, which can be read, changed and called again."""

import keras

from keras_deeptricks.utils.composite import Composite
from keras_deeptricks.utils.rewriting import graph_of, has_graph


class FlatCall:
    """One call of a layer, or of a plain operation such as the sum of two tensors.

    Attributes:
        layer: The layer.
        args, kwargs: What it is called with; without `training`.
        training: The `training` that the graph was built with, or None.
        tensors: Every tensor in `args` and `kwargs`.
        outputs: The list of tensors it returns.
    """

    def __init__(self, layer, args, kwargs, training, outputs):
        self.layer, self.args, self.kwargs, self.training = layer, args, kwargs, training
        self.tensors = _tensors((args, kwargs))
        self.outputs = _tensors(outputs)

    @property
    def name(self):
        return self.layer.name

    @property
    def main_input(self):
        """What it is called with first: a tensor, or a list of some."""
        return self.args[0] if self.args else self.kwargs["inputs"]

    def again(self, tensor_of, layer=None):
        """Calls the layer, or another one in its place, on `tensor_of(tensor)` of each tensor."""
        args, kwargs = keras.tree.map_structure(
            lambda leaf: tensor_of(leaf) if _is_tensor(leaf) else leaf, (self.args, self.kwargs)
        )
        if self.training is not None and isinstance(self.layer, keras.Layer):
            kwargs["training"] = self.training
        return (self.layer if layer is None else layer)(*args, **kwargs)


class FlatCalls:
    """The calls of a model in the order of its graph, nested models and composites entered.

    The layers are the model's own. Where two of them have the same name, which one graph cannot
    hold, the inner one is renamed.

    Args:
        model: A built Functional or Sequential model.

    Attributes:
        inputs, outputs: Tensors in the structures of the model's.
        calls: List of `FlatCall`; only those that an output depends on.
    """

    def __init__(self, model):
        graph = graph_of(model)
        self.name = model.name
        self._names = {operation.name: operation for operation in graph.operations}
        self._input_layers = {
            layer.name: layer
            for layer in graph.layers
            if isinstance(layer, keras.layers.InputLayer)
        }
        recorded = self._record(graph, None)
        self.inputs, self.outputs = recorded.inputs, recorded.outputs
        self.calls = _needed(recorded.calls, self.outputs)

    def rebuild(self, call_again):
        """A new model of these calls.

        Args:
            call_again: Function of a call and of a function from its tensors to the new ones; it
                returns the new outputs.
        """
        known = {}
        inputs = keras.tree.map_structure(self._new_input, self.inputs)
        for old, new in zip(_tensors(self.inputs), _tensors(inputs), strict=True):
            known[id(old)] = new
        for call in self.calls:
            results = _tensors(call_again(call, lambda tensor: known[id(tensor)]))
            known.update((id(old), new) for old, new in zip(call.outputs, results, strict=True))
        outputs = keras.tree.map_structure(lambda tensor: known[id(tensor)], self.outputs)
        return keras.Model(inputs, outputs, name=self.name)

    def _new_input(self, tensor):
        layer = self._input_layers.get(tensor.name)
        options = {"optional": True} if getattr(layer, "optional", False) else {}
        return keras.Input(
            batch_shape=tensor.shape,
            dtype=tensor.dtype,
            name=tensor.name,
            sparse=tensor.sparse,
            **options,
        )

    def _record(self, graph, training, prefix=""):
        record = _Record(self, training, prefix)
        inputs = keras.tree.map_structure(self._new_input, graph.input)
        clone = keras.models.clone_model(
            graph, inputs, clone_function=_same, call_function=record.call
        )
        record.inputs, record.outputs = clone.input, clone.output
        return record

    def _make_unique(self, layer, prefix):
        name, number = layer.name, 0
        while self._names.setdefault(name, layer) is not layer:
            name = f"{prefix}{layer.name}" + (f"_{number}" if number else "")
            number += 1
        if name != layer.name:
            layer.name = name


class _Record:
    """Notes the calls of one graph while it is called again; enters what can be entered."""

    def __init__(self, flat, training, prefix):
        self.flat, self.training, self.prefix = flat, training, prefix
        self.calls, self.inputs, self.outputs = [], None, None

    def call(self, layer, *args, training=None, **kwargs):
        training = self.training if training is None else training
        graph = _graph_inside(layer, training, args, kwargs)
        if graph is not None:
            inner = self.flat._record(graph, training, f"{layer.name}_")
            return self._inline(inner, args[0] if args else kwargs["inputs"])
        self.flat._make_unique(layer, self.prefix)
        outputs = layer(*args, **kwargs)
        self.calls.append(FlatCall(layer, args, kwargs, training, outputs))
        return outputs

    def _inline(self, inner, inputs):
        known = {
            id(old): new for old, new in zip(_tensors(inner.inputs), _tensors(inputs), strict=True)
        }
        for call in inner.calls:
            args, kwargs = keras.tree.map_structure(
                lambda leaf: known.get(id(leaf), leaf), (call.args, call.kwargs)
            )
            outputs = call.layer(*args, **kwargs)
            self.calls.append(FlatCall(call.layer, args, kwargs, call.training, outputs))
            known.update(
                (id(old), new) for old, new in zip(call.outputs, _tensors(outputs), strict=True)
            )
        outputs = keras.tree.map_structure(lambda tensor: known[id(tensor)], inner.outputs)
        return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs


def _graph_inside(layer, training, args, kwargs):
    """The graph of a nested model or of a composite layer, None of any other layer."""
    if has_graph(layer):
        return graph_of(layer)
    # In training a composite may compute something else than its parts.
    if not isinstance(layer, Composite) or training:
        return None
    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype),
        args[0] if args else kwargs["inputs"],
    )
    outputs = layer.call_parts(lambda part, *a, **k: part(*a, **k), inputs)
    return keras.Model(inputs, outputs)


def _needed(calls, outputs):
    """The calls that the outputs depend on."""
    needed, wanted = [], {id(tensor) for tensor in _tensors(outputs)}
    for call in reversed(calls):
        if any(id(tensor) in wanted for tensor in call.outputs):
            wanted.update(id(tensor) for tensor in call.tensors)
            needed.append(call)
    return needed[::-1]


def _tensors(structure):
    return [leaf for leaf in keras.tree.flatten(structure) if _is_tensor(leaf)]


def _is_tensor(value):
    return isinstance(value, keras.KerasTensor)


def _same(layer):
    return layer
