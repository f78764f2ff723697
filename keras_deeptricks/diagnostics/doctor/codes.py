"""The vocabulary of findings: what each code means."""

CODES = {
    # The data.
    "input_nan": "The inputs or targets hold NaN or infinite values.",
    "input_scale": "The inputs are far from mean 0 and deviation 1.",
    "target_scale": "The targets of a regression are far from the scale the output starts with.",
    "label_range": "Class labels lie outside the classes that the output has.",
    "label_shape": "The targets have another shape or coding than the loss takes.",
    "labels_unrelated": "Nothing learned from the inputs tells the targets better than chance.",
    "class_imbalance": "Some classes are far rarer than others.",
    "unshuffled_data": "The rows are sorted by their targets.",
    "data_leakage": "Rows of the validation data are also among the training data.",
    "data_shift": "The validation data are distributed differently from the training data.",
    "constant_feature": "Features are constant, or copies of others.",
    "few_rows": "There are very few rows for what is to be learned.",
    # The output, the loss and the metrics.
    "output_activation_mismatch": "The output's activation does not suit the loss.",
    "output_range": "The output cannot take on the values of the targets.",
    "output_units": "The output has another number of units than the targets ask for.",
    "constant_output": "The model predicts the same for every row.",
    "loss_mismatch": "The loss does not suit the kind of problem.",
    "from_logits_mismatch": "The loss takes logits for probabilities, or the other way round.",
    "metric_mismatch": "A metric does not suit the kind of problem, or the output.",
    # The architecture.
    "missing_nonlinearity": "Layers follow on each other without a nonlinearity between them.",
    "hidden_softmax": "A softmax is used inside the network.",
    "double_softmax": "A softmax is applied to probabilities.",
    "saturated_units": "Many units sit where their activation is flat.",
    "dead_units": "Many units are zero for every row.",
    "dropout_misuse": "Dropout is too strong, or stands where it harms.",
    "batch_norm_misuse": "Batch normalization stands where it harms, or gets too small batches.",
    "self_normalization_broken": "Something keeps SELU layers from normalizing themselves.",
    "architecture": "The shape of the network is unlikely to be meant.",
    # The start.
    "initialization_constant": "All units of a layer start alike and stay alike.",
    "initialization_scale": "Weights start far too small or far too large.",
    "initial_loss": "The loss before training is far from what guessing gives.",
    # The training.
    "vanishing_gradient": "Gradients shrink to nothing on their way back to the first layers.",
    "exploding_gradient": "Gradients grow enormous.",
    "nan": "The loss, a weight or an activation becomes NaN or infinite.",
    "learning_rate_too_high": "The learning rate is too high.",
    "learning_rate_too_low": "The learning rate is too low.",
    "oscillation": "The loss jumps up and down instead of falling.",
    "plateau": "The loss stopped falling long before the end.",
    "divergence": "The loss grows.",
    "underfitting": "The model does not fit its own training data.",
    "overfitting": "The model fits the training data far better than the validation data.",
    "over_regularization": "Penalties or dropout keep the model from fitting.",
    "optimizer_setting": "A setting of the optimizer is out of its useful range.",
    "batch_size": "The batch size does not suit the data or the learning rate.",
    "nothing_trainable": "Nothing, or next to nothing, of the model can be trained.",
    "check_incomplete": "A part of the examination could not be carried out.",
}
"""Every code that a `Finding` can have, with its meaning. Codes never change; new ones may come."""

SEVERITIES = ("error", "warning", "note")
"""From worst to mildest. An error makes training fail or mean nothing, a warning makes it worse
than it need be, a note is worth knowing and may be meant."""
