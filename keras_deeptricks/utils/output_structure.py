"""Values in the structure of a model's outputs: one, or a dictionary or list of them.

The structure is that of `task`, whose leaves are strings: arrays in nested lists would leave open
where the structure ends.
"""


def as_lists(value, task):
    """`value` with lists for the tuples in the structure of `task`."""
    if isinstance(task, dict) and isinstance(value, dict):
        return {k: as_lists(v, task.get(k)) for k, v in value.items()}
    if isinstance(task, (list, tuple)) and isinstance(value, (list, tuple)):
        kinds = [*task, *[None] * len(value)]
        return [as_lists(v, kind) for v, kind in zip(value, kinds, strict=False)]
    return value


def check_structure(name, value, task):
    """Compares the structure of `value` with that of `task`; None stands for None everywhere.

    Raises:
        TypeError: it is another structure, or `task` is none.
    """
    if not isinstance(task, (str, dict, list)):
        raise TypeError(
            "`task` must be a string, or for several outputs a dictionary or list of strings. "
            f"Received: task={task!r}."
        )
    if value is None or isinstance(task, str):
        if isinstance(value, dict):
            raise TypeError(
                f"`{name}` must be of a single output, as `task` is: {task!r}. For several outputs "
                f"give each its task. Received: {name} with the keys {list(value)}."
            )
        return
    alike = type(value) is type(task) and set(_keys(value)) == set(_keys(task))
    if not alike:
        raise TypeError(
            f"`{name}` must have the structure of the outputs, as `task` has: {task!r}. Received: "
            f"{name} of type {type(value).__name__}"
            + (f" with the keys {_keys(value)}." if isinstance(value, (dict, list)) else ".")
        )
    for key in _keys(task):
        check_structure(name, value[key], task[key])


def map_outputs(function, task, *values):
    """`function(task, *values)` of every output, in the structure of `task`.

    Example:

    ```python
    from keras_deeptricks.utils.output_structure import map_outputs

    tasks = {"a": "binary", "b": "regression"}
    doubled = map_outputs(lambda task, value: (task, 2 * value), tasks, {"a": 1, "b": 2})
    assert doubled == {"a": ("binary", 2), "b": ("regression", 4)}
    ```
    """
    if isinstance(task, str):
        return function(task, *values)
    parts = {key: [part_of(value, key) for value in values] for key in _keys(task)}
    mapped = {key: map_outputs(function, task[key], *parts[key]) for key in parts}
    return mapped if isinstance(task, dict) else list(mapped.values())


def part_of(value, key):
    """The value of one output; None of None."""
    return None if value is None else value[key]


def _keys(structure):
    if isinstance(structure, dict):
        return list(structure)
    return list(range(len(structure))) if isinstance(structure, list) else None
