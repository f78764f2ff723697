"""What every layer of a model takes and returns in one pass, and the gradients of its weights."""

import contextlib
import dataclasses

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.backend import (
    compiled,
    gradients_of,
    place_in_trace,
    random_order_preserved,
)
from keras_deeptricks.utils.batches import ensure_built
from keras_deeptricks.utils.compiled_step import check_compiled
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.one_batch import as_tensors
from keras_deeptricks.utils.patching import patched
from keras_deeptricks.utils.rewriting import has_graph
from keras_deeptricks.utils.training_state import preserved

# They call what they hold once per time step, in a loop of the backend.
_LOOPS = (keras.layers.RNN, keras.layers.TimeDistributed)


@dataclasses.dataclass(frozen=True, eq=False)
class ObservedCall:
    """One call of a layer that calls no other layer.

    Attributes:
        layer: The layer.
        name: Its name; with those of the layers around it (`"encoder/dense"`) where several layers
            of the model have this name, and with a number (`"dense:2"`) from its second call on.
        inputs: The tensor that it was called with, or a list of them: a NumPy array, of float32
            where it was of any float type.
        outputs: What it returned, likewise.
        kwargs: The other arguments, as given; tensors among them as NumPy arrays.
    """

    layer: keras.Layer
    name: str
    inputs: object
    outputs: object
    kwargs: dict


@contextlib.contextmanager
def leaf_calls_watched(model, watch, layers=None):
    """While it lasts, `watch` is told of every call of a layer inside `model` that calls no other.

    It works for models of every kind: functional, Sequential, nested, subclassed. What a recurrent
    layer, a `TimeDistributed`, a backend's loop or conditional calls inside is not told of, for its
    tensors are of no use outside; the layer around it counts as one that calls no other.

    Args:
        model: A built `keras.Model`, called in the block once or more.
        watch: A function of (layer, names of the layers around it, positional arguments, keyword
            arguments, outputs).
        layers: The `watchable_layers` of the model, where they are known already.
    """
    watcher = _Watcher(watch)
    layers = watchable_layers(model) if layers is None else layers
    with patched([(layer, "call", watcher.call_of(layer)) for layer in layers]):
        yield


def watchable_layers(model):
    """The model and all layers in it, but for the graphs that Sequential models keep of themselves.

    Such a graph is no layer around its layers.
    """
    layers = list(walk_layers(model))
    graphs = {id(graph) for layer in layers for graph in layers if _is_graph_of(graph, layer)}
    return [layer for layer in layers if id(layer) not in graphs]


def _is_graph_of(graph, layer):
    if not isinstance(layer, keras.Sequential) or not has_graph(graph) or graph is layer:
        return False
    inside = {id(inner) for inner in graph.layers}
    return bool(layer.layers) and all(id(inner) in inside for inner in layer.layers)


class _Watcher:
    def __init__(self, watch):
        self.watch = watch
        self.frames = []
        self.place = None
        self.loops = 0

    def call_of(self, layer):
        original = layer.call
        is_loop = isinstance(layer, _LOOPS)

        def call(*args, **kwargs):
            if not self.frames:
                self.place = place_in_trace()
            if self.loops or place_in_trace() != self.place:
                return original(*args, **kwargs)
            frame = _Frame(layer.name)
            self.frames.append(frame)
            self.loops += is_loop
            try:
                outputs = original(*args, **kwargs)
            finally:
                self.loops -= is_loop
                self.frames.pop()
            for outer in self.frames:
                outer.is_leaf = False
            if frame.is_leaf:
                around = [outer.name for outer in self.frames]
                self.watch(layer, around, args, kwargs, outputs)
            return outputs

        return call


@dataclasses.dataclass
class _Frame:
    """A call of a layer that is under way."""

    name: str
    is_leaf: bool = True


class CallNames:
    """Gives calls unique names, which are the same in every pass.

    Args:
        calls: The (layer, names of the layers around it) of all calls of a pass, in order.

    Attributes:
        names: The name of each call.
    """

    def __init__(self, calls):
        owners = {}
        for layer, _ in calls:
            owners.setdefault(layer.name, {})[id(layer)] = layer
        self.names, self.of_layer, taken = [], {}, {}
        for layer, around in calls:
            if id(layer) not in self.of_layer:
                # The outermost layer is the model itself.
                path = [layer.name] if len(owners[layer.name]) == 1 else [*around[1:], layer.name]
                name = "/".join(path)
                self.of_layer[id(layer)] = _numbered(name, taken, "#")
            self.names.append(_numbered(self.of_layer[id(layer)], taken, ":"))


def _numbered(name, taken, mark):
    """`name`, with a number from its second time on."""
    key = (name, mark)
    taken[key] = taken.get(key, 0) + 1
    return name if taken[key] == 1 else f"{name}{mark}{taken[key]}"


def variables_by_layer(variables, calls):
    """Groups variables by the layer that they belong to, in the order of computation.

    Args:
        variables: List of variables of a model.
        calls: The (layer, names of the layers around it) of all calls of a pass, in order.

    Returns:
        A dictionary of lists of variables, by the name that the layer has in `CallNames`. Variables
        of layers that call others go by the path of their layer, and come last.
    """
    names = CallNames(calls).of_layer
    owners = {}
    for layer, _ in calls:
        for variable in layer.variables:
            owners.setdefault(id(variable), names[id(layer)])
    groups = {names[id(layer)]: [] for layer, _ in calls}
    for variable in variables:
        outside = variable.path.rpartition("/")[0] or variable.path
        groups.setdefault(owners.get(id(variable), outside), []).append(variable)
    return {name: group for name, group in groups.items() if group}


def read_calls(model, batch, read, training=False):
    """What `read` returns for each call of a layer that calls no other, in one eager pass.

    Args:
        model, batch, training: As for `observed_layers`.
        read: A function of (layer, names of the layers around it, positional arguments, keyword
            arguments, outputs), the latter tensors of the backend.

    Returns:
        A list in the order of computation.
    """
    ensure_built(model, batch)
    found = []

    def watch(*call):
        found.append(read(*call))

    # Of what the pass assigns, nothing stays.
    with random_order_preserved(), keras.StatelessScope(), leaf_calls_watched(model, watch):
        model(tensors_of(batch), training=training)
    return found


def leaf_calls(model, batch, training=False):
    """The (layer, names of the layers around it) of the calls of one eager pass, in order."""
    return read_calls(model, batch, lambda *call: call[:2], training)


def observed_layers(model, batch, training=False):
    """Every call of a layer in one pass of the model over a batch, with its inputs and outputs.

    Only layers that call no other are observed, in the order of computation. The pass is computed
    eagerly, and nothing of the model changes: neither moving statistics nor seeds.

    Args:
        model: A `keras.Model`. If it is not built yet, it gets built.
        batch: Inputs of a few rows: an array or tensor, or a list or dictionary of them.
        training: Whether the layers are called as in training. Defaults to `False`.

    Returns:
        A list of `ObservedCall`.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.utils.layer_probe import observed_layers

    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3), keras.layers.Activation("relu", name="relu")]
    )
    dense, relu = observed_layers(model, np.ones((4, 2)))
    assert relu.name == "relu" and relu.outputs.shape == (4, 3)
    assert np.array_equal(relu.outputs, np.maximum(dense.outputs, 0))
    ```
    """

    def read(layer, around, args, kwargs, outputs):
        inputs = [leaf for leaf in keras.tree.flatten(args) if leaf is not None]
        if not inputs:
            # Called by keywords only.
            inputs = [leaf for leaf in keras.tree.flatten(kwargs) if ops.is_tensor(leaf)]
        others = keras.tree.map_structure(as_numpy, kwargs)
        return layer, around, _single(inputs), _single(outputs), others

    found = read_calls(model, batch, read, training)
    names = CallNames([call[:2] for call in found]).names
    return [
        ObservedCall(layer, name, inputs, outputs, kwargs)
        for name, (layer, _, inputs, outputs, kwargs) in zip(names, found, strict=True)
    ]


def observed_gradients(model, x, y=None, sample_weight=None, training=False):
    """The loss of a batch and its gradient for every trainable variable.

    The loss is that of training: with weights of samples, and penalties of regularizers and layers,
    but never scaled, as mixed precision does it. Nothing of the model changes.

    Args:
        model: A compiled `keras.Model`. If it is not built yet, it gets built.
        x, y, sample_weight: One batch: arrays, or lists or dictionaries of them.
        training: Whether the layers are called as in training. Defaults to `False`.

    Returns:
        The loss, a float, and a list of (variable, gradient) in the order of
        `model.trainable_variables`; gradients are NumPy arrays of float32, all zero where the loss
        does not depend on the variable.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: `model` is not compiled.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.utils.layer_probe import observed_gradients

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    model.set_weights([np.array([[3.0]])])
    loss, [(kernel, gradient)] = observed_gradients(model, np.array([[2.0]]), np.array([[5.0]]))
    assert loss == 1.0 and gradient == 4.0  # (3·2 − 5)² and 2·(3·2 − 5)·2
    ```
    """
    check_compiled(model)
    ensure_built(model, x)
    data = [tensors_of(part) for part in (x, y, sample_weight)]
    step = LossGradients(model, training)
    # The loss may count something, or build itself on its first call.
    with random_order_preserved(), preserved(model):
        step.prepare(*data)
        function = step if model.run_eagerly else compiled(step)
        loss, _, gradients = function(step.values(), data)
    pairs = zip(step.variables, gradients, strict=True)
    return float(as_numpy(loss)), [(variable, as_numpy(g)) for variable, g in pairs]


class LossGradients:
    """Computes loss and gradients of a compiled model as a function of its variables' values.

    Call it with the result of `values()` and (inputs, targets, weights); it returns the loss, what
    `observe` returns after the pass, and the gradients, in the order of `variables`.

    Args:
        model: A built and compiled `keras.Model`.
        training: Whether the layers are called as in training.
        watching: Returns a context in which the pass is made, or None.
        observe: A function that returns tensors after the pass, or None.

    Attributes:
        variables: The model's trainable variables.
    """

    def __init__(self, model, training, watching=contextlib.nullcontext, observe=list):
        self.model, self.training = model, training
        self.watching, self.observe = watching, observe
        self.variables = list(model.trainable_variables)
        known = {id(variable) for variable in self.variables}
        self.others = [v for v in model.variables if id(v) not in known]

    def prepare(self, x, y, sample_weight):
        """Makes the loss create its variables, which cannot be done in a compiled function."""
        with keras.StatelessScope():
            outputs = self.model(x, training=self.training)
        self.model.compute_loss(x, y, outputs, sample_weight, self.training)

    def values(self):
        """The values of all variables, trainable ones and others."""
        return [[v.value for v in part] for part in (self.variables, self.others)]

    def __call__(self, values, data):
        x, y, sample_weight = data
        trainable, others = values

        def loss_of(trainable):
            mapping = [*zip(self.variables, trainable, strict=True)]
            mapping += zip(self.others, others, strict=True)
            with keras.StatelessScope(mapping, collect_losses=True):
                with self.watching():
                    outputs = self.model(x, training=self.training)
                loss = self.model.compute_loss(x, y, outputs, sample_weight, self.training)
            return loss, self.observe()

        return gradients_of(loss_of, trainable)


def tensors_of(batch):
    """The arrays of a batch as tensors; what is a tensor stays as it is."""
    if batch is None:
        return None
    return keras.tree.map_structure(
        lambda leaf: leaf if leaf is None or ops.is_tensor(leaf) else as_tensors(np.asarray(leaf)),
        batch,
    )


def _single(structure):
    leaves = [as_numpy(leaf) for leaf in keras.tree.flatten(structure)]
    return leaves[0] if len(leaves) == 1 else leaves


def as_numpy(value):
    """A tensor as a NumPy array, of float32 if it is of any float type; anything else as it is."""
    if not ops.is_tensor(value):
        return value
    if is_float(value):
        value = ops.cast(value, "float32")
    return np.array(ops.convert_to_numpy(value))


def is_float(tensor):
    """Whether a tensor holds floating-point numbers."""
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))
