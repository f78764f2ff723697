"""Walks along the stages of a model, forwards and backwards."""

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import roles


def source_of(stage):
    """The one stage that a stage takes its one input from, or None."""
    return stage.sources[0] if len(stage.sources) == 1 else None


def backwards(stage):
    """Yields a stage, the one that feeds it, and so on, as long as each takes one tensor."""
    while stage is not None:
        yield stage
        stage = source_of(stage)


def ends_forward(stage, passes):
    """The first stages behind `stage` that `passes` is false of, through those it is true of.

    Args:
        stage: A `Stage`.
        passes: Function of a stage.

    Returns:
        (list of stages, each once; whether an output of the model lies on the way, `stage`
        included).
    """
    found, waiting, seen, is_output = {}, [stage], set(), False
    while waiting:
        current = waiting.pop()
        is_output |= current.is_output
        for user in current.users:
            if passes(user):
                if id(user) not in seen:
                    seen.add(id(user))
                    waiting.append(user)
            else:
                found[id(user)] = user
    return list(found.values()), is_output


def has_behind(stage, is_wanted):
    """Whether any stage behind `stage`, however far, is wanted."""
    waiting, seen = list(stage.users), set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        if is_wanted(current):
            return True
        seen.add(id(current))
        waiting += current.users
    return False


def leads_to_output(stage):
    """Whether a stage yields an output of the model, but for activations and reshaping."""

    def passes(user):
        return roles.passes_values(user.layer) or roles.is_pure_activation(user.layer)

    others, is_output = ends_forward(stage, passes)
    return is_output and not others


def keeps_one_path(stage):
    """True for stages that take one tensor and compute an affine function without a kernel."""
    layer = stage.layer
    if len(stage.sources) != 1 or kinds.has_kernel(layer):
        return False
    return roles.is_affine(layer) or roles.is_one_input_operation(layer)


def width_in(stage):
    """The features or channels that a layer with a kernel takes; None if unknown."""
    shape = stage.input_shapes[0] if stage.input_shapes else ()
    return _channels(stage.layer, shape)


def width_out(stage):
    """The features or channels that a layer with a kernel yields; None if unknown."""
    shape = stage.output_shapes[0] if stage.output_shapes else ()
    return _channels(stage.layer, shape)


def positions_in(stage):
    """The spatial sizes of a convolution's input: a tuple, with None for what is not known."""
    shape = stage.input_shapes[0] if stage.input_shapes else ()
    layer = kinds.inner_layer(stage.layer)
    first = getattr(layer, "data_format", None) == "channels_first"
    rank = len(getattr(layer, "kernel_size", ()) or getattr(layer, "pool_size", ()))
    return tuple(shape[-rank:] if first else shape[-rank - 1 : -1]) if rank else ()


def _channels(layer, shape):
    layer = kinds.inner_layer(layer)
    if not shape:
        return None
    if kinds.is_convolution(layer) and layer.data_format == "channels_first":
        return shape[-len(layer.kernel_size) - 1]
    return shape[-1]
