"""What breaks self-normalization in a network of SELU layers."""

import dataclasses
import math
import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.batches import ensure_built
from keras_deeptricks.utils.graph_split import flatten, unique_names
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.one_batch import as_tensors, one_batch
from keras_deeptricks.utils.patching import patched
from keras_deeptricks.utils.rewriting import has_graph
from keras_deeptricks.utils.training_state import preserved

_NOISE = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.GaussianNoise)
_NORMALIZERS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.UnitNormalization,
)
# The domain that the theorem maps into itself (Klambauer et al., 2017, theorem 1), and the share
# of the inputs that may lie outside it.
_MEAN, _VARIANCE = (-0.1, 0.1), (0.8, 1.5)
_SHARE = 0.1


def check_self_normalization(model, x=None):
    """Warns of everything in a model that breaks the self-normalization of its SELU layers.

    SELU keeps activations at mean 0 and variance 1 through any number of layers, but only in a
    plain stack of layers, with LeCun initialization, alpha dropout, no penalty on the weights, and
    standardized inputs. Call it before training a deep SELU net. Nothing is trained or changed.

    What stands behind the last SELU layer, such as an output layer, does not count. Models
    without a graph of layers (subclassed ones) are judged by the layers that they hold.

    Args:
        model: A `keras.Model`.
        x: Inputs, whose mean and variance are looked at where they enter the first SELU layer
            (behind a standardization inside the model, then): an array, a tensor, a list or
            dictionary of them; or a data set that yields batches, whose first one is taken. The
            features of a table are judged one by one, the pixels of images together. By default
            inputs are not judged. A model that is not built is built on it.

    Returns:
        The list of problems, as texts; empty if there are none. Each has been a warning too.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: `x` is empty or not finite.

    Example:

    ```python
    import warnings
    import keras
    import keras_deeptricks as kdt

    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(32, activation="selu"),  # Glorot's initialization
            keras.layers.Dropout(0.2),
            keras.layers.Dense(32, activation="selu", kernel_initializer="lecun_normal"),
        ]
    )
    with warnings.catch_warnings(action="ignore"):
        problems = kdt.diagnostics.check_self_normalization(model)
    assert len(problems) == 2
    ```

    Reference: Klambauer, Unterthiner, Mayr & Hochreiter, Self-normalizing neural networks, 2017,
    section 2.
    """
    problems = self_normalization_problems(model, x)
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    return problems


def self_normalization_problems(model, x=None):
    """The problems of `check_self_normalization`, without the warnings.

    Args:
        model: A `keras.Model`.
        x: Inputs, or None.

    Returns:
        A list of texts.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: `x` is empty or not finite.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    model = kdt.recipes.self_normalizing_network((8,), 3, hidden_units=(50,) * 8)
    assert kdt.diagnostics.self_normalization_problems(model) == []
    ```

    Reference: Klambauer, Unterthiner, Mayr & Hochreiter, Self-normalizing neural networks, 2017,
    section 2.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}.")
    batch = None if x is None else one_batch(x)
    if batch is not None:
        ensure_built(model, batch)
    found = _from_graph(model) if has_graph(model) else _from_layers(model)
    if not found.selu:
        return [f"'{model.name}' has no layer with the activation SELU: nothing normalizes itself."]
    problems = [*_of_weights(found.feeding), *_of_structure(found)]
    if batch is not None:
        problems += _of_inputs(model, found.feeding, batch)
    return problems


@dataclasses.dataclass
class _Found:
    """The layers that matter, each list in the order of computation.

    Attributes:
        selu: Those that apply SELU.
        feeding: Those with a kernel whose output SELU is applied to.
        noise: Noise and dropout of other kinds than alpha dropout, before a SELU layer.
        normalizers: Normalization in the stack.
        merges: Layers that merge the stack with itself.
        recurrent: Recurrent layers in the stack.
        others: Layers in the stack with another activation.
    """

    selu: list = dataclasses.field(default_factory=list)
    feeding: list = dataclasses.field(default_factory=list)
    noise: list = dataclasses.field(default_factory=list)
    normalizers: list = dataclasses.field(default_factory=list)
    merges: list = dataclasses.field(default_factory=list)
    recurrent: list = dataclasses.field(default_factory=list)
    others: list = dataclasses.field(default_factory=list)

    def sort(self, parts, inside=True, merge=None):
        """Puts the parts of a layer in the stack where they belong."""
        for part in parts:
            if isinstance(part, _NOISE):
                strength = part.stddev if hasattr(part, "stddev") else part.rate
                self.noise += [part] if strength else []
            elif isinstance(part, _NORMALIZERS) and inside:
                self.normalizers.append(part)
            elif isinstance(part, keras.layers.RNN):
                self.recurrent.append(part)
            elif _has_other_activation(part):
                self.others.append(part)
        if merge is not None:
            self.merges.append(merge)


def _from_graph(model):
    """The layers by where they lie in the graph."""
    calls = []

    def call(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        calls.append((layer, _tensors((args, kwargs)), _tensors(outputs)))
        return outputs

    with unique_names(model):
        graph = flatten(model)
        keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)
    # The last layers with a kernel above each tensor, and whether SELU lies above and below it.
    kernels, above, below = {}, {}, {}
    for layer, inputs, outputs in calls:
        parts = _parts(layer)
        own = [part for part in parts if _has_kernel(part)]
        for tensor in outputs:
            kernels[id(tensor)] = own or [k for t in inputs for k in kernels.get(id(t), [])]
            above[id(tensor)] = any(map(_is_selu, parts)) or any(above.get(id(t)) for t in inputs)
    for layer, inputs, outputs in reversed(calls):
        for tensor in inputs:
            below[id(tensor)] = (
                below.get(id(tensor), False)
                or any(map(_is_selu, _parts(layer)))
                or any(below.get(id(t), False) for t in outputs)
            )
    found = _Found()
    for layer, inputs, outputs in calls:
        parts = _parts(layer)
        applies = [part for part in parts if _is_selu(part)]
        found.selu += applies
        for part in applies:
            above_it = [k for t in inputs for k in kernels.get(id(t), [])]
            found.feeding += [part] if _has_kernel(part) else above_it
        merges = len(inputs) > 1 and any(above.get(id(t)) for t in inputs)
        if any(below.get(id(t), False) for t in outputs):
            inside = any(kernels.get(id(t)) for t in inputs)
            found.sort(parts, inside, layer if merges else None)
    return _without_repeats(found)


def _from_layers(model):
    """The layers of a model whose graph is not known: all that it holds count."""
    parts = [part for part in walk_layers(model) if part is not model]
    found = _Found(selu=[part for part in parts if _is_selu(part)])
    found.feeding = [part for part in found.selu if _has_kernel(part)]
    # A softmax or a sigmoid is most likely the output's.
    found.sort([part for part in parts if not _has_other_activation(part)])
    merging = (keras.layers.Add, keras.layers.Average, keras.layers.Concatenate)
    found.merges = [part for part in parts if isinstance(part, merging)]
    return _without_repeats(found)


def _without_repeats(found):
    for field in dataclasses.fields(found):
        unique = {id(layer): layer for layer in getattr(found, field.name)}
        setattr(found, field.name, list(unique.values()))
    return found


def _of_weights(layers):
    wrong = [layer for layer in layers if not _is_lecun(_initializer(layer))]
    if wrong:
        kinds = sorted({type(_initializer(layer)).__name__ for layer in wrong})
        yield (
            f"The kernel initializer of {_names(wrong)} is {', '.join(kinds)}, not LeCun's of "
            "variance 1/fan_in: pass kernel_initializer='lecun_normal'."
        )
    limited = [
        layer
        for layer in layers
        if any(
            getattr(layer, name, None) is not None
            for name in ("kernel_regularizer", "kernel_constraint", "depthwise_regularizer")
        )
    ]
    if limited:
        yield (
            f"The weights of {_names(limited)} are held small by a regularizer or a constraint, "
            "which lowers the variance of the activations: use alpha dropout or early stopping "
            "instead."
        )


def _of_structure(found):
    if found.noise:
        kinds = sorted({type(layer).__name__ for layer in found.noise})
        yield (
            f"{', '.join(kinds)} ({_names(found.noise)}) changes the mean and variance of SELU "
            "activations: use keras.layers.AlphaDropout."
        )
    if found.normalizers:
        yield (
            f"Normalization layers ({_names(found.normalizers)}) in between: the activations "
            "normalize themselves, take the layers out."
        )
    if found.merges:
        yield (
            f"Skip connections (at {_names(found.merges)}): what merges the outputs of several "
            "layers has another mean and variance than each. Self-normalization holds for a plain "
            "stack of layers."
        )
    if found.recurrent:
        yield (
            f"Recurrent layers ({_names(found.recurrent)}): self-normalization holds for a plain "
            "stack of layers."
        )
    if found.others:
        yield (
            f"Other activations than SELU ({_names(found.others)}) in between: their outputs do "
            "not have mean 0 and variance 1."
        )


def _of_inputs(model, layers, batch):
    """Problems of what enters the first of the layers on a batch."""
    inputs = []

    def recording(layer):
        original = layer.call

        def call(tensor, *args, **kwargs):
            if not inputs:
                inputs.append(np.asarray(ops.convert_to_numpy(tensor), "float64"))
            return original(tensor, *args, **kwargs)

        return call

    with preserved(model), patched([(layer, "call", recording(layer)) for layer in layers]):
        model(as_tensors(batch), training=False)
    if not inputs:
        return []
    # The pixels of an image have one scale: they are judged together.
    is_image = any(len(leaf.shape) > 2 for leaf in keras.tree.flatten(batch))
    features = inputs[0].reshape(-1, 1 if is_image else inputs[0].shape[-1])
    means, variances = features.mean(axis=0), features.var(axis=0)
    # Few rows are off by chance: four standard errors of normal numbers.
    rows = len(inputs[0])
    about_mean, about_variance = 4 / math.sqrt(rows), 4 * math.sqrt(2 / rows)
    off = (
        (means < _MEAN[0] - about_mean)
        | (means > _MEAN[1] + about_mean)
        | (variances < _VARIANCE[0] - about_variance)
        | (variances > _VARIANCE[1] + about_variance)
    )
    if off.mean() <= _SHARE:
        return []
    return [
        f"The inputs of the first SELU layer are not standardized: "
        f"{'all pixels together' if is_image else f'{int(off.sum())} of {len(off)} features'} "
        f"have a mean or variance far from 0 and 1 (means from {means.min():.3g} to "
        f"{means.max():.3g}, variances from {variances.min():.3g} to {variances.max():.3g}). Begin "
        "with keras_deeptricks.layers.Standardization."
    ]


def _tensors(structure):
    return [t for t in keras.tree.flatten(structure) if isinstance(t, keras.KerasTensor)]


def _parts(layer):
    """A layer with the layers in it; a plain operation of a graph has none."""
    return list(walk_layers(layer)) if isinstance(layer, keras.Layer) else []


def _activation(layer):
    activation = getattr(layer, "activation", None)
    while isinstance(activation, keras.layers.Activation):
        activation = activation.activation
    return activation


def _is_selu(layer):
    return _activation(layer) is keras.activations.selu


def _has_other_activation(layer):
    if isinstance(layer, (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)):
        return True
    known = (None, keras.activations.linear, keras.activations.selu)
    return _activation(layer) not in known


def _initializer(layer):
    for name in ("kernel_initializer", "depthwise_initializer"):
        if getattr(layer, name, None) is not None:
            return getattr(layer, name)
    return None


def _has_kernel(layer):
    return _initializer(layer) is not None and not isinstance(layer, keras.layers.RNN)


def _is_lecun(initializer):
    return (
        isinstance(initializer, keras.initializers.VarianceScaling)
        and initializer.mode == "fan_in"
        and math.isclose(initializer.scale, 1.0)
    )


def _names(layers):
    names = [f"'{layer.name}'" for layer in layers]
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} others"]
    return ", ".join(names)
