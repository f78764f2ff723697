"""Trials that train on several devices of a machine at once."""

import keras_tuner

from keras_deeptricks.utils.data_parallel import data_parallel


class OnDevices(keras_tuner.HyperModel):
    """A hypermodel whose networks are built and trained on several devices.

    Keras Tuner clears Keras' session before it builds a network, and with it what
    `keras_deeptricks.utils.data_parallel` has set up around the search. This sets it up anew.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a model.
        devices: As in `keras_deeptricks.utils.data_parallel.data_parallel`.
    """

    def __init__(self, hypermodel, devices):
        super().__init__()
        self.hypermodel = hypermodel
        self.devices = devices

    def build(self, hp):
        with data_parallel(self.devices):
            return self.build_on_one(hp)

    def build_on_one(self, hp):
        """The same network on one device."""
        if isinstance(self.hypermodel, keras_tuner.HyperModel):
            return self.hypermodel.build(hp)
        return self.hypermodel(hp)

    def fit(self, hp, model, *args, **options):
        with data_parallel(self.devices):
            if isinstance(self.hypermodel, keras_tuner.HyperModel):
                return self.hypermodel.fit(hp, model, *args, **options)
            return model.fit(*args, **options)


def inner(hypermodel):
    """The hypermodel itself, without its devices."""
    return hypermodel.hypermodel if isinstance(hypermodel, OnDevices) else hypermodel
