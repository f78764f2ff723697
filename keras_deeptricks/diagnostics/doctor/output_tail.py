"""What stands between the last layer with weights and each output."""

import dataclasses

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths, roles


@dataclasses.dataclass(frozen=True, eq=False)
class Tail:
    """The stages behind the last layer with a kernel.

    Attributes:
        output: The `Output`.
        kernel: The stage of that layer, a recurrent one too.
        stages: What follows, in the order of computation.
    """

    output: object
    kernel: object
    stages: list


def tails(case):
    """The `Tail` of every output that ends in one; of branches that merge there is none.

    A hidden activation ends it as well: of ReLU and then average pooling, the layer before is no
    output layer.
    """
    for output in case.outputs:
        stages, activations = [], 0
        for stage in paths.backwards(output.stage):
            layer = stage.layer
            if kinds.has_kernel(layer) or kinds.is_recurrent(layer):
                own = roles.activation_of(layer)
                if activations == 0 or own in (None, "linear"):
                    yield Tail(output, stage, stages[::-1])
                break
            if len(stage.sources) != 1 or not _may_end_in(layer):
                break
            activations += (
                roles.is_pure_activation(layer) and roles.activation_of(layer) != "linear"
            )
            if activations > 1:
                break
            stages.append(stage)


def _may_end_in(layer):
    return (
        roles.passes_values(layer)
        or roles.is_pure_activation(layer)
        or kinds.is_normalization(layer)
        or roles.is_one_input_operation(layer)
    )
