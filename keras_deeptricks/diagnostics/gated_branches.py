"""A model whose residual branches can be switched on and off without tracing anew."""

import keras
from keras import ops

from keras_deeptricks.utils.rewriting import rewrite


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class BranchGate(keras.layers.Layer):
    """Lets the first of two tensors through while it is open, else the second."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def build(self, input_shape):
        self.open = self.add_weight(name="open", initializer="ones", trainable=False)
        super().build(input_shape)

    def call(self, inputs):
        whole, rest = inputs
        # Chosen, not multiplied: a NaN of a branch that is cut is gone.
        return ops.where(self.open > 0.5, whole, ops.cast(rest, whole.dtype))


def gate_branches(model, blocks):
    """A model over the same layers and a gate for each block; all of them open.

    Closing a gate, `gate.open.assign(0)`, gives the model of `keras_deeptricks.models.lesion`.

    Args:
        model: A built Functional or Sequential model.
        blocks: What `keras_deeptricks.models.lesion.choose_blocks` returns.

    Returns:
        The model, not compiled, and the list of the gates.
    """
    gated = {id(found.layer): _Gated(found) for found in blocks}
    network = rewrite(model, lambda layer: gated.get(id(layer), layer))
    return network, [gated[id(found.layer)].gate for found in blocks]


class _Gated(keras.Layer):
    """Stands for a block while the graph is called again: block, rest and gate are called."""

    def __init__(self, found):
        super().__init__()
        self.found = found
        self.rest = found.rest(f"{found.name}_rest")
        self.gate = BranchGate(name=f"{found.name}_gate")

    def __call__(self, *args, **kwargs):
        whole = self.found.layer(*args, **kwargs)
        return self.gate([whole, self.found.call_rest(self.rest, args, kwargs)])
