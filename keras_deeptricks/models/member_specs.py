"""What the members of an ensemble take and give, compared."""

import keras

from keras_deeptricks.utils.rewriting import has_graph


def check_same_specs(members):
    """Returns the members' inputs as `KerasTensor`s, if all take and give the same.

    Raises:
        ValueError: Structures or shapes of the inputs or outputs differ, or a subclassed member
            does not know what it was built for.
    """
    specs = [_input_spec(member) for member in members]
    # Those of a graph are exact; a subclassed model knows the shapes of one call only.
    exact = [place for place, member in enumerate(members) if has_graph(member)]
    first = exact[0] if exact else 0
    spec = specs[first]
    if spec is None:
        raise ValueError(
            f"`models` must know their inputs. '{members[first].name}' (models[{first}]) was built "
            "without a call on a single structure of inputs: call it on a batch."
        )
    for place in exact:
        _check_same("inputs", (first, spec), (place, specs[place]))
    outputs = [_outputs(member, spec, place, first) for place, member in enumerate(members)]
    for place, output in enumerate(outputs):
        _check_same("outputs", (0, outputs[0]), (place, output))
    return spec


def _input_spec(model):
    """The inputs of a model as fresh tensors, in their structure, or None if it tells nothing."""
    if has_graph(model):
        # Fresh ones: a call on the model's own would be remembered by its layers.
        return keras.tree.map_structure(_fresh, _graph_inputs(model))
    shape = (model.get_build_config() or {}).get("input_shape")
    return None if shape is None else _tensors(shape)


def _graph_inputs(model):
    if not isinstance(model, keras.Sequential):
        return model.input
    # There `input` is that of the first call, in a nested model a tensor of the outer one.
    return model.inputs[0] if len(model.inputs) == 1 else model.inputs


def _fresh(tensor):
    return keras.KerasTensor(tensor.shape, tensor.dtype, name=tensor.name)


def _tensors(shape):
    """Tensors of a structure of shapes, with any number of rows."""
    if isinstance(shape, dict):
        return {name: _tensors(inner) for name, inner in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return keras.KerasTensor((None, *shape[1:]))
    return type(shape)(_tensors(inner) for inner in shape)


def _outputs(member, spec, place, first):
    try:
        return member.compute_output_spec(spec)
    except Exception as error:
        raise ValueError(
            f"`models` must take the same inputs. '{member.name}' (models[{place}]) cannot take "
            f"those of models[{first}], {_told(spec)}: {error}"
        ) from error


def _check_same(what, first, other):
    (a, expected), (b, found) = first, other
    if _told(expected) != _told(found):
        raise ValueError(
            f"`models` must have the same {what}. Received: models[{a}] has {_told(expected)}, "
            f"models[{b}] has {_told(found)}."
        )


def _told(structure):
    """The shapes as text, without the number of rows; dictionaries by their sorted keys."""
    if isinstance(structure, dict):
        return "{" + ", ".join(f"{k}: {_told(structure[k])}" for k in sorted(structure)) + "}"
    if isinstance(structure, (list, tuple)):
        return "[" + ", ".join(map(_told, structure)) + "]"
    return str((None, *tuple(structure.shape)[1:]))
