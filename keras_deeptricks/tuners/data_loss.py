"""The validation loss without the penalties of the weights, by which trials can be compared."""

import keras

DATA_LOSS = "val_data_loss"


class DataLoss(keras.callbacks.Callback):
    """Adds `"val_data_loss"` to the logs: `"val_loss"` without the weights' penalties.

    Keras counts the penalties of regularizers in every loss. Trials that differ in the strength of
    a penalty cannot be ranked by it: the weakest would win, however well the others predict.

    It stands before the callbacks that read the figure.
    """

    def on_epoch_end(self, epoch, logs=None):
        if logs and "val_loss" in logs:
            logs[DATA_LOSS] = float(logs["val_loss"]) - penalty(self.model)


def penalty(model):
    """The sum of the penalties of a model's trainable weights, a float."""
    return sum(
        float(keras.ops.convert_to_numpy(variable.regularizer(variable)))
        for variable in model.trainable_variables
        if variable.regularizer is not None
    )
