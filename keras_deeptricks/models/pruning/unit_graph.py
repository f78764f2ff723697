"""Where the units of a model's layers go next: outputs, batch norms, activations."""

import itertools

import keras

from keras_deeptricks.models.flat_calls import FlatCalls
from keras_deeptricks.models.members import copy_model
from keras_deeptricks.models.pruning.kernels import kernels_of, unit_axes
from keras_deeptricks.models.pruning.unit_constants import is_elementwise
from keras_deeptricks.models.pruning.unit_paths import channel_axis
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.rewriting import graph_of, has_graph


class UnitGraph:
    """What a model's graph tells of its units. Of a subclassed model nothing is known.

    Args:
        model: A built model; it is only read.

    Attributes:
        output_kernels: The paths of the kernels from which a way leads to an output that passes no
            other kernel. Kernels of layers without units, such as recurrent ones, count as others
            too.
        batch_norms: By the `id` of a layer, the batch norm that alone takes its outputs, and takes
            nothing else.
        operations: By the `id` of a layer, the call of the elementwise operation, such as
            `keras.activations.relu(tensor)`, that alone takes its outputs.
    """

    def __init__(self, model):
        self.output_kernels, self.batch_norms, self.operations = set(), {}, {}
        if not has_graph(model):
            return
        graph = graph_of(model)
        # A copy: its layers are called once more, and some renamed.
        copy = copy_model(graph)
        self._originals = _originals(copy, graph)
        paths = {kernel.place: path for path, kernel in kernels_of(model).items()}
        owners = {}
        # In the order of the weights, which is that of the model.
        for kernel in kernels_of(copy).values():
            known = owners.setdefault(id(kernel.layer), [])
            known.append((paths[kernel.place], unit_axes(kernel)))
        flat = FlatCalls(copy)
        self._find_outputs(flat, owners)
        self._find_followers(flat)

    def _find_outputs(self, flat, owners):
        needed = {id(tensor) for tensor in keras.tree.flatten(flat.outputs)}
        for call in reversed(flat.calls):
            if not needed & {id(tensor) for tensor in call.outputs}:
                continue
            # Of a layer around others, such as a recurrent one, all kernels inside.
            inside = walk_layers(call.layer) if isinstance(call.layer, keras.Layer) else ()
            own = [entry for layer in inside for entry in owners.get(id(layer), ())]
            self.output_kernels.update(path for path, axes in own if axes is not None)
            if not own:
                needed |= {id(tensor) for tensor in call.tensors}

    def _find_followers(self, flat):
        takers, counts = {id(tensor): [None] for tensor in keras.tree.flatten(flat.outputs)}, {}
        for call in flat.calls:
            counts[id(call.layer)] = counts.get(id(call.layer), 0) + 1
            for tensor in call.tensors:
                takers.setdefault(id(tensor), []).append(call)
        for call in flat.calls:
            layer = self._originals.get(id(call.layer))
            if layer is None or counts[id(call.layer)] > 1 or len(call.outputs) != 1:
                continue
            after = takers.get(id(call.outputs[0]), ())
            if len(after) != 1 or after[0] is None or len(after[0].tensors) != 1:
                continue
            follower = after[0].layer
            if type(follower) is keras.layers.BatchNormalization:
                rank = len(call.outputs[0].shape)
                of_units = isinstance(follower.axis, int)
                of_units = of_units and follower.axis % rank == channel_axis(layer, rank)
                if of_units and counts[id(follower)] == 1:
                    self.batch_norms[id(layer)] = self._originals[id(follower)]
            elif not isinstance(follower, keras.Layer) and is_elementwise(follower):
                self.operations[id(layer)] = after[0]


def _originals(copy, model):
    """The layers of a model by the `id` of those of its copy; none where they do not correspond."""
    pairs = list(itertools.zip_longest(walk_layers(copy), walk_layers(model)))
    if any(type(copied) is not type(layer) for copied, layer in pairs):
        return {}
    return {id(copied): layer for copied, layer in pairs}
