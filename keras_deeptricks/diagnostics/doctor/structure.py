"""The layers of a model in the order in which they compute, and what feeds what."""

import dataclasses

import keras

from keras_deeptricks.utils.batches import ensure_built
from keras_deeptricks.utils.graph_split import flatten, unique_names
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.one_batch import as_tensors
from keras_deeptricks.utils.patching import patched
from keras_deeptricks.utils.rewriting import has_graph
from keras_deeptricks.utils.training_state import preserved


@dataclasses.dataclass(eq=False)
class Stage:
    """One call of a layer, or of a plain operation such as `keras.ops.relu`.

    Attributes:
        layer: The layer or operation.
        sources: The stages whose outputs it takes. None stands for an input of the model, or for
            a tensor whose origin is not known.
        input_shapes, output_shapes: Shapes with the axis of rows; lists, one entry a tensor.
        users: The stages that take its outputs.
        is_output: Whether it yields an output of the model.
    """

    layer: object
    sources: list
    input_shapes: list
    output_shapes: list
    users: list = dataclasses.field(default_factory=list)
    is_output: bool = False

    @property
    def name(self):
        return self.layer.name

    @property
    def units(self):
        """The size of the last axis of the output; None where there is none."""
        shape = self.output_shapes[0] if self.output_shapes else ()
        return shape[-1] if shape else None


@dataclasses.dataclass(eq=False)
class Structure:
    """All stages of a model.

    Attributes:
        stages: In the order of computation.
        outputs: The stage of each output, in the order of `keras.tree.flatten`; None where the
            stage is not known.
        is_graph: True for a Functional or Sequential model: every operation is known. Of other
            models the layers are known, but not what the model's own `call` does between them.
    """

    stages: list
    outputs: list
    is_graph: bool

    def of(self, kind):
        """The stages whose layer is of a class, or one of several."""
        return [stage for stage in self.stages if isinstance(stage.layer, kind)]


def structure_of(model, batch):
    """The `Structure` of a model, which computes once on `batch`, or as KerasTensors."""
    ensure_built(model, batch)
    if has_graph(model):
        return _from_graph(model)
    return _from_calls(model, batch)


def _from_graph(model):
    calls = []

    def call(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        calls.append((layer, _symbols((args, kwargs)), _symbols(outputs)))
        return outputs

    with unique_names(model):
        graph = flatten(model)
        again = keras.models.clone_model(
            graph, clone_function=lambda layer: layer, call_function=call
        )
        calls = [c for c in calls if not isinstance(c[0], keras.layers.InputLayer)]
        return _linked(calls, _symbols(again.outputs), is_graph=True)


def _from_calls(model, batch):
    """By running the model eagerly: tensors are recognized as the same objects."""
    calls = []

    def recording(layer):
        original = layer.call

        def call(*args, **kwargs):
            place = len(calls)
            outputs = original(*args, **kwargs)
            # A layer that called others is told by these, but for those of Keras, such as RNNs.
            if len(calls) == place or _is_whole(layer):
                del calls[place:]
                calls.append((layer, _tensors((args, kwargs)), _tensors(outputs)))
            return outputs

        return call

    layers = [layer for layer in walk_layers(model) if layer is not model]
    with preserved(model), patched([(layer, "call", recording(layer)) for layer in layers]):
        outputs = model(as_tensors(batch), training=False)
        return _linked(calls, _tensors(outputs), is_graph=False)


def _is_whole(layer):
    return type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.Model)


def _linked(calls, outputs, is_graph):
    stages, origin = [], {}
    for layer, inputs, results in calls:
        sources = [origin.get(id(tensor)) for tensor in inputs]
        stage = Stage(
            layer,
            sources,
            [tuple(tensor.shape) for tensor in inputs],
            [tuple(tensor.shape) for tensor in results],
        )
        for source in {id(s): s for s in sources if s is not None}.values():
            source.users.append(stage)
        origin.update((id(tensor), stage) for tensor in results)
        stages.append(stage)
    ends = [origin.get(id(tensor)) for tensor in outputs]
    for end in ends:
        if end is not None:
            end.is_output = True
    return Structure(stages, ends, is_graph)


def _symbols(structure):
    return [t for t in keras.tree.flatten(structure) if isinstance(t, keras.KerasTensor)]


def _tensors(structure):
    return [t for t in keras.tree.flatten(structure) if keras.ops.is_tensor(t)]
