"""Every layer inside a model, in the order from outside to inside."""

import collections.abc

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
        yield from _layers_in(value)


def _layers_in(value, depth=0):
    if isinstance(value, keras.Layer):
        yield value
    elif depth < 4:
        if isinstance(value, collections.abc.Mapping):
            value = list(value.values())
        if isinstance(value, (list, tuple, set)):
            for item in value:
                yield from _layers_in(item, depth + 1)
