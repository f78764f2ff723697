"""Layers that are made of other layers, and can show them."""

import abc

import keras

from keras_deeptricks.utils.layer_walk import walk_layers


class Composite(keras.Layer, abc.ABC):
    """A layer that only calls other layers, so that a graph of those says the same.

    What works on graphs (cutting, folding, statistics of every layer) looks inside such a layer
    by `keras_deeptricks.utils.graph_split.flatten`.
    """

    def build(self, input_shape):
        if not self.trainable:
            # The layers in it did not exist yet when a configuration told it so.
            for layer in walk_layers(self):
                layer.trainable = False
        super().build(input_shape)

    @abc.abstractmethod
    def call_parts(self, call, inputs):
        """The output, computed by `call(layer, inputs)` for each layer in it.

        It is what the layer computes in inference, and in training where nothing is skipped.
        """
