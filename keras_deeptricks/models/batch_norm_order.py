"""In which order the statistics of batch normalization can be taken."""

import keras

from keras_deeptricks.utils.graph_split import flatten, unique_names
from keras_deeptricks.utils.rewriting import has_graph


def norms_by_depth(model, norms):
    """Groups of batch normalization that do not depend on each other, first ones first.

    Nested models and composite layers are entered. Between layers that depend on each other (one
    is called before and after another), the order of their first calls counts.

    Args:
        model: A built `keras.Model`.
        norms: Its `BatchNormalization` layers in question.

    Returns:
        A list of (network, layers): a Functional model that computes what is needed to call these
        layers, and no more. None where the graph does not show all of `norms`: for subclassed
        models, and for layers inside other layers.
    """
    if not has_graph(model):
        return None
    with unique_names(model):
        return _norms_by_depth(flatten(model), norms)


def _norms_by_depth(graph, norms):
    walk = _Walk(norms)
    marked = keras.models.clone_model(graph, clone_function=_same, call_function=walk.call)
    if len(walk.outputs) < len(norms):
        return None
    groups = {}
    for key, depth in walk.depths().items():
        groups.setdefault(depth, []).append(key)
    return [
        (
            keras.Model(marked.input, [t for key in groups[depth] for t in walk.outputs[key]]),
            [walk.norms[key] for key in groups[depth]],
        )
        for depth in sorted(groups)
    ]


class _Walk:
    """Calls the layers of a graph again and notes which norms stand before which."""

    def __init__(self, norms):
        self.norms = {id(norm): norm for norm in norms}
        # By the id of a norm, in the order of the first calls.
        self.outputs, self.before = {}, {}
        # By the id of a tensor, which is kept so that the id stays its own.
        self.behind = {}

    def call(self, layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        behind = set()
        for tensor in keras.tree.flatten((args, kwargs)):
            behind |= self.behind.get(id(tensor), (None, set()))[1]
        if id(layer) in self.norms:
            self.outputs.setdefault(id(layer), []).append(outputs)
            self.before.setdefault(id(layer), set()).update(behind)
            behind = behind | {id(layer)}
        for tensor in keras.tree.flatten(outputs):
            self.behind[id(tensor)] = tensor, behind
        return outputs

    def depths(self):
        depths = {}
        for key, before in self.before.items():
            depths[key] = 1 + max((depths[other] for other in before if other in depths), default=0)
        return depths


def _same(layer):
    return layer
