"""Whether a project's files are what a search writes, before Keras Tuner reads them."""

import json
import pathlib
import re

# What the space of a search is made of. Keras Tuner itself would make an object of any class that
# is registered with Keras, with any arguments.
_CLASSES = {"Fixed", "Float", "Int", "Choice", "Boolean", "Parent"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


def check_project(folder):
    """Refuses the files of a project that no search has written.

    Keras Tuner makes objects of the classes that the files name, and writes to paths made of the
    names of trials. A project of unknown origin could so run code or overwrite other files. Call it
    before a tuner is made; `keras_deeptricks.tuners.search` does.

    An empty file of a tuner, left by a process that was killed while it wrote, is removed: it
    holds nothing.

    Args:
        folder: The project's directory, `directory/project_name`; it may not exist yet.

    Raises:
        ValueError: A file is not what a search writes.

    Example:

    ```python
    from keras_deeptricks.tuners.project_check import check_project

    check_project("no/such/folder")
    ```
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return
    for path in folder.glob("*.json"):
        if not path.stat().st_size and path.name != "oracle.json":
            path.unlink()
    oracle = folder / "oracle.json"
    if oracle.exists():
        state = _read(oracle)
        _check_classes(state, oracle)
        for key in ("ongoing_trials", "start_order", "end_order", "retry_queue"):
            names = state.get(key, [])
            names = list(names.values()) if isinstance(names, dict) else names
            for name in names if isinstance(names, list) else [names]:
                _check_name(name, oracle)
    for trial in folder.glob("trial_*"):
        if trial.is_symlink():
            raise ValueError(_refusal(trial, "is a link"))
        path = trial / "trial.json"
        if path.exists():
            state = _read(path)
            _check_classes(state, path)
            _check_name(state.get("trial_id"), path)
            if trial.name != f"trial_{state['trial_id']}":
                raise ValueError(_refusal(path, f"names another trial: {state['trial_id']!r}"))


def _read(path):
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(_refusal(path, f"cannot be read ({error})")) from error
    if not isinstance(state, dict):
        raise ValueError(_refusal(path, "holds no dictionary"))
    return state


def _check_classes(state, path):
    open_parts = [state]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, list):
            open_parts += part
        if not isinstance(part, dict):
            continue
        names = {"class_name", "module", "registered_name"} & set(part)
        if (names and part.get("class_name") not in _CLASSES) or names > {"class_name"}:
            raise ValueError(_refusal(path, f"names the class {part.get('class_name')!r}"))
        open_parts += part.values()


def _check_name(name, path):
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(_refusal(path, f"holds {name!r} as the name of a trial"))


def _refusal(path, what):
    return (
        f"'{path}' {what}, which no search writes. If you do not know where the project comes "
        "from, do not use it; else begin anew in another directory."
    )
