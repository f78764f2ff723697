"""Measures how the signal's size changes from layer to layer before training."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import roles


def first_signals(case):
    """Notes the deviation over the rows of what every layer with a kernel or activation puts out.

    Nothing is found here: it is what the picture shows beside the findings about signals.
    """
    names, deviations = [], []
    for call in case.calls:
        acting = kinds.has_kernel(call.layer) or roles.is_pure_activation(call.layer)
        recurrent = isinstance(call.layer, (keras.layers.RNN, keras.layers.Bidirectional))
        if (acting or recurrent) and isinstance(call.outputs, np.ndarray):
            names.append(call.name)
            deviations.append(float(np.mean(np.std(call.outputs.astype("float64"), axis=0))))
    case.facts["signal_layers"] = names
    case.facts["signal_deviations"] = np.array(deviations)
    return ()
