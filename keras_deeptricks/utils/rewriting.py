"""Graph rewriting: the same model with some layers replaced, over the same weights."""

import keras


def rewrite(model, replace):
    """A model that shares every layer with `model` but for the ones that `replace` exchanges.

    Monte-Carlo dropout, folding batch normalization, cutting a head: each is a function from a
    layer to its replacement. `model` is left as it is, weights are shared, not copied: training
    either trains both. Nested Functional and Sequential models are rewritten inside, and kept as
    the same object where nothing in them changes; a layer used several times is replaced once.

    Args:
        model: A built Functional or Sequential `keras.Model`.
        replace: Function of a layer. It returns that layer to keep it, another layer to put in
            its place, or `None` to take it out (its single input becomes its output). It is
            called once per layer, nested models excepted, which are entered.

    Returns:
        A `keras.Model`, not compiled; `model` itself is never returned.

    Raises:
        TypeError: `model` is no Keras model, or `replace` returns something else than above.
        ValueError: `model` is subclassed, so that it has no graph, or is not built yet.

    Example:

    ```python
    import keras
    from keras_deeptricks.utils.rewriting import rewrite

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    )
    plain = rewrite(model, lambda l: None if isinstance(l, keras.layers.Dropout) else l)
    assert [type(layer).__name__ for layer in plain.layers] == ["InputLayer", "Dense", "Dense"]
    assert plain.layers[-1] is model.layers[-1]
    ```
    """
    check_has_graph(model)
    return _rewrite(model, _Replacements(replace))


def has_graph(model):
    """True for a built Functional or Sequential model, whose layers form a known graph."""
    if not isinstance(model, keras.Model) or not model.built:
        return False
    try:
        # A subclassed model may define a Functional one's attributes and still call otherwise.
        return bool(model.inputs) and bool(model.outputs) and _calls_its_graph(model)
    except (AttributeError, ValueError):
        return False


def check_has_graph(model):
    """Raises a clear error unless `model` is a built Functional or Sequential model."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}.")
    if has_graph(model):
        return
    if isinstance(model, keras.Sequential) and not model.built:
        raise ValueError(
            f"`model` must be built, so that it has a graph. '{model.name}' does not know its "
            "input shape yet: begin it with keras.Input(shape) or call it on a batch first."
        )
    raise ValueError(
        "`model` must be a Functional or Sequential model. "
        f"'{model.name}' is a subclassed {type(model).__name__}, which has no graph of layers to "
        "rewrite. Build it with keras.Model(inputs, outputs) instead."
    )


def graph_of(model):
    """A plain Functional model over the tensors and layers of one that `has_graph`.

    Cloning a compiled model itself would compile the clone, with a new optimizer.
    """
    return keras.Model(*_ends(model), name=model.name)


def _calls_its_graph(model):
    if isinstance(model, keras.Sequential):
        return type(model).call is keras.Sequential.call
    plain = keras.Model(model.inputs, model.outputs)
    return type(model).call is type(plain).call


def _rewrite(model, replacements):
    return keras.models.clone_model(
        graph_of(model), clone_function=replacements.of, call_function=_call_or_pass
    )


def _ends(model):
    """The inputs and outputs of a model in their structure, whatever it was called on since."""
    if not isinstance(model, keras.Sequential):
        return model.input, model.output
    # There `input` is that of the first call, in a nested model a tensor of the outer one.
    return [ends[0] if len(ends) == 1 else ends for ends in (model.inputs, model.outputs)]


class _Replacements:
    """Remembers what each layer is replaced by, nested models included."""

    def __init__(self, replace):
        self.replace = replace
        self.known = {}

    def of(self, layer):
        if id(layer) not in self.known:
            # The layer is kept beside its replacement so that its id stays its own.
            self.known[id(layer)] = (layer, self._find(layer))
        return self.known[id(layer)][1]

    def _find(self, layer):
        # A graph also holds plain operations, such as the product of two tensors.
        if isinstance(layer, keras.layers.InputLayer) or not isinstance(layer, keras.Layer):
            return layer
        if has_graph(layer):
            changed = [self.of(inner) is not inner for inner in layer.layers]
            return _rewrite(layer, self) if any(changed) else layer
        new = self.replace(layer)
        if new is None:
            return _Removed(layer)
        if not isinstance(new, keras.Layer):
            raise TypeError(
                "`replace` must return a layer, or None to take the layer out. "
                f"Received: {new!r} for the layer '{layer.name}'."
            )
        return new


class _Removed:
    """Stands for a layer that is taken out while the graph is called again."""

    def __init__(self, layer):
        self.layer = layer


def _call_or_pass(layer, *args, **kwargs):
    if not isinstance(layer, _Removed):
        return layer(*args, **kwargs)
    inputs = args, {name: value for name, value in kwargs.items() if name != "mask"}
    tensors = [leaf for leaf in keras.tree.flatten(inputs) if isinstance(leaf, keras.KerasTensor)]
    if len(tensors) != 1:
        raise ValueError(
            f"The layer '{layer.layer.name}' cannot be taken out: it has {len(tensors)} inputs. "
            "Replace it by a layer that merges them."
        )
    return tensors[0]
