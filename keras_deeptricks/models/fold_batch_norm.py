"""Folding batch normalization into the layers beside it, for inference."""

import warnings

import keras

from keras_deeptricks.models.members import copy_model
from keras_deeptricks.utils.checks import check_flag
from keras_deeptricks.utils.rewriting import check_has_graph, graph_of


def fold_batch_norm(model, report=False, through_dropout=True):
    """A copy of a trained model that predicts the same, with fewer layers.

    For a model that is done training, to make it faster. In inference a batch norm is
    scale·x + shift for each channel, with scale γ/√(σ² + ε) and shift β − μ·scale of its moving
    statistics. A linear layer before it takes that up as W′ = W·scale, b′ = b·scale + shift; where
    there is none, or it has an activation inside, a linear layer behind it does, if that is
    exact: a shift does not pass through zeros that pad a convolution. Computed in float64 and
    rounded once. Predictions agree to about 1e-6 of the largest in float32.

    Folded into: `Dense`, `EinsumDense`, `Conv1D` to `Conv3D`, their transposed, depthwise and
    separable kinds, and another batch norm. Between the two may lie `Flatten`, `Reshape`,
    `Permute`, average pooling, maximum pooling (with scales that are not negative), dropout. Left
    alone: a batch norm called with `training=True`, or beside a layer whose output goes elsewhere
    too, that is called at other places, is a subclass, quantized, has LoRA or a constraint.

    The folded model shares nothing with the given one, which is left as it is. Nested models,
    and blocks such as `keras_deeptricks.layers.ResidualBlock`, stand in it as the layers they are
    made of; a layer whose name another one has gets the nested model's before it. A batch norm that
    is an output of the model leaves an `Identity` of its name. It is for inference: training it
    would be training a network without batch norm.

    Args:
        model: A built Functional or Sequential `keras.Model` that can be saved.
        report: Whether to return what was done as well. Defaults to `False`.
        through_dropout: Whether a batch norm may be moved across dropout and noise, which are
            identities in inference. Passes of `MonteCarlo` would then draw from another
            distribution: pass `False` for a model that is to run them. Defaults to `True`.

    Returns:
        A `keras.Model`, not compiled; with `report` the pair of it and a `BatchNormFolding`, whose
        `print` is a table. A warning tells of a model in which nothing was folded.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `model` is subclassed, so that it has no graph, is not built or cannot be
            saved.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    model = keras.Sequential([
        keras.Input((16, 16, 3)),
        keras.layers.Conv2D(8, 3, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2),
    ])
    folded, report = kdt.models.fold_batch_norm(model, report=True)
    print(report)
    assert len(folded.layers) == 5  # with the input
    ```

    Reference: Jacob et al., Quantization and training of neural networks for efficient
    integer-arithmetic-only inference, 2018, equation 14.
    """
    # Only now: the function itself is imported with the package.
    from keras_deeptricks.models.flat_calls import FlatCalls
    from keras_deeptricks.models.fold_report import BatchNormFolding
    from keras_deeptricks.models.folding_plan import FoldingPlan

    check_has_graph(model)
    report = check_flag("report", report)
    through_dropout = check_flag("through_dropout", through_dropout)
    flat = FlatCalls(copy_model(graph_of(model)))
    plan = FoldingPlan(flat, through_dropout)
    # A second copy: the layers of the first have been part of other graphs as well, whose
    # tensors would be what `layer.output` is.
    folded = copy_model(_build(flat, plan))
    if not plan.folded:
        warnings.warn(
            f"No batch normalization of '{model.name}' can be folded: the model is as before. "
            "`report=True` tells why.",
            stacklevel=2,
        )
    if not report:
        return folded
    return folded, BatchNormFolding(model.name, plan.folded, plan.kept)


def _build(flat, plan):
    """The graph without the calls that are taken out, and with the new layers in it."""
    targets = plan.changed()
    new_layers = {id(target.layer): target.new_layer() for target in targets}
    stand_ins = {}

    def call_again(call, tensor_of):
        if id(call) not in plan.removed:
            return call.again(tensor_of, new_layers.get(id(call.layer)))
        tensor, output = tensor_of(call.main_input), call.outputs[0]
        if tensor.dtype == output.dtype and not plan.is_output(call):
            return tensor
        if id(call.layer) not in stand_ins:
            stand_in = keras.layers.Identity(dtype=output.dtype, name=call.name)
            stand_ins[id(call.layer)] = stand_in
        return stand_ins[id(call.layer)](tensor)

    folded = flat.rebuild(call_again)
    for target in targets:
        target.give_weights(new_layers[id(target.layer)])
    return folded
