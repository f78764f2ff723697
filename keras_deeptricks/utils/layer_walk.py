"""Every layer inside a model, in the order from outside to inside."""

import keras


def walk_layers(model):
    """Yields `model` and every layer reachable through its attributes, outer layers first.

    Unlike `model.layers` this descends into nested models, wrappers (`TimeDistributed`,
    `Bidirectional`), subclassed models and layers that keep sub-layers in lists or dictionaries.
    A shared layer is yielded once.
    """
    seen = set()
    waiting = [model]
    while waiting:
        layer = waiting.pop(0)
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        waiting.extend(_children(layer))


def _children(layer):
    for value in list(vars(layer).values()):
        if isinstance(value, (keras.Layer, list, tuple, dict, set)):
            yield from _layers_in(value)
        elif hasattr(value, "values") and hasattr(value, "keys"):
            yield from _layers_in(dict(value))  # torch's ModuleDict and the like


def _layers_in(value, depth=0):
    if isinstance(value, keras.Layer):
        yield value
    elif depth < 4:
        if isinstance(value, dict):
            value = value.values()
        if isinstance(value, (list, tuple, set, type({}.values()))):
            for item in value:
                yield from _layers_in(item, depth + 1)
