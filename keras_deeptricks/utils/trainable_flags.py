"""The `trainable` flags of layers and variables: read, set one by one, put back."""

import contextlib

from keras_deeptricks.utils.layer_walk import walk_layers


class TrainableFlags:
    """The flags of every layer inside a model and of its variables, as they were when made.

    Setting a layer's flag sets those of all layers and variables inside, so the outermost layers
    are set first and each one after them gets its own.
    """

    def __init__(self, model):
        # (The walk finds the graph of a Sequential model after the layers that are in it.)
        layers = sorted(walk_layers(model), key=_size, reverse=True)
        self.layers = [(layer, layer.trainable) for layer in layers]
        self.variables = [(v, v.trainable) for v in model.variables]

    def restore(self):
        """Gives each layer and variable the flag kept here."""
        for kept in (self.layers, self.variables):
            for owner, trainable in kept:
                if owner.trainable != trainable:
                    owner.trainable = trainable


@contextlib.contextmanager
def all_trainable(model):
    """Lets a block see the model with nothing frozen."""
    flags = TrainableFlags(model)
    try:
        for layer, _ in flags.layers:
            # One by one: on TensorFlow a flag set to what it is does not reach the layers inside.
            if not layer.trainable:
                layer.trainable = True
        yield
    finally:
        flags.restore()


def trainable_if_unfrozen(model):
    """The variables that training would change if nothing in `model` were frozen, in order."""
    with all_trainable(model):
        return list(model.trainable_variables)


def _size(layer):
    return sum(1 for _ in walk_layers(layer))
