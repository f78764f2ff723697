"""What a project was searched with, so that it goes on with nothing else."""

import json
import pathlib

from keras_deeptricks.tuners.durable_oracle import write_json

_FILE = "search_arguments.json"


def check_same_arguments(folder, arguments):
    """Refuses to go on with a project that was searched with other arguments.

    Args:
        folder: The project's directory, which may not exist yet.
        arguments: Dictionary from names to texts, numbers or None.

    Raises:
        ValueError: The project was searched with others; it names them.

    Example:

    ```python
    from keras_deeptricks.tuners.search_project import check_same_arguments, keep_arguments

    check_same_arguments("project", {"epochs": 5})  # nothing there yet
    keep_arguments("project", {"epochs": 5})
    check_same_arguments("project", {"epochs": 5})
    ```
    """
    path = pathlib.Path(folder, _FILE)
    if not path.exists():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    # As they are read again: tuples are lists then.
    arguments = json.loads(json.dumps(arguments))
    different = [
        f"{name} was {_shown(before.get(name))} and is {_shown(value)}"
        for name, value in arguments.items()
        if before.get(name) != value
    ]
    if different:
        raise ValueError(
            f"The project in '{folder}' was searched with other arguments: {'; '.join(different)}. "
            "Its trials cannot be compared with new ones. Pass overwrite=True to begin anew, or "
            "another `project_name` or `directory`."
        )


def keep_arguments(folder, arguments):
    """Writes the arguments into a project's directory, if none are there.

    Args:
        folder: The project's directory.
        arguments: As in `check_same_arguments`.
    """
    path = pathlib.Path(folder, _FILE)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, arguments)
    # Of several processes that begin at once one was the first.
    check_same_arguments(folder, arguments)


def _shown(value):
    text = str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
