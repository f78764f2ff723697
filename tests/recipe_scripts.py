"""The scripts in `recipes/` as modules."""

import importlib.util
import pathlib

FOLDER = pathlib.Path(__file__).parents[1] / "recipes"


def script(name):
    """The module of a script, such as `"pruning"`, made anew."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
