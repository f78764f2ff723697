"""Every Python code block of the README, the docs and the docstrings runs."""

import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import zlib

import keras
import pytest

import keras_deeptricks

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _runs_here(name):
    """Each example runs on TensorFlow and on one of the others; with ALL_EXAMPLES=1 on all."""
    backend = keras.config.backend()
    if backend == "tensorflow" or os.environ.get("ALL_EXAMPLES") == "1":
        return True
    return backend == ("jax" if zlib.crc32(name.encode()) % 4 == 0 else "torch")


def _documented():
    """The public functions, classes and methods of the package, by their full name."""
    found = {}
    for info in pkgutil.walk_packages(keras_deeptricks.__path__, "keras_deeptricks."):
        module = importlib.import_module(info.name)
        for name, member in vars(module).items():
            mine = getattr(member, "__module__", None) == info.name
            if name.startswith("_") or not mine:
                continue
            if inspect.isclass(member) or inspect.isfunction(member):
                found[f"{info.name}.{name}"] = member
    return found


DOCUMENTED = _documented()
WITH_EXAMPLE = [
    name
    for name, member in DOCUMENTED.items()
    if "```python" in (inspect.getdoc(member) or "") and _runs_here(name)
]
# What `import keras_deeptricks as kdt` offers, module by module.
PUBLIC = [
    (module, name)
    for module in keras_deeptricks.__all__
    if module != "__version__"
    for name in getattr(keras_deeptricks, module).__all__
    if inspect.isclass(getattr(getattr(keras_deeptricks, module), name))
    or inspect.isfunction(getattr(getattr(keras_deeptricks, module), name))
]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if _runs_here(page.name)], ids=lambda page: page.name
)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks
    namespace = {"__name__": "__main__"}
    for block in blocks:  # a page is read from top to bottom
        exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_docstring(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in BLOCK.findall(inspect.getdoc(DOCUMENTED[name])):
        exec(compile(block, name, "exec"), {"__name__": "__main__"})
    assert BLOCK.findall(inspect.getdoc(DOCUMENTED[name]))


@pytest.mark.parametrize("module, name", PUBLIC)
def test_everything_public_is_documented(module, name):
    member = getattr(getattr(keras_deeptricks, module), name)
    text = inspect.getdoc(member) or ""
    first_line = text.split("\n")[0]
    assert first_line.endswith(".")
    if not member.__module__.startswith("keras_deeptricks"):
        return  # Keras' own
    has_arguments = len(inspect.signature(member).parameters) > 0
    is_result = "Attributes:" in text
    assert not has_arguments or is_result or "Args:" in text or inspect.isabstract(member)
    assert "```python" in text or is_result


def test_nothing_heavy_is_imported():
    import subprocess
    import sys

    heavy = ("matplotlib", "sklearn", "keras_tuner", "pandas")
    show = f"; print([name for name in {heavy} if name in sys.modules])"
    # Keras and its backends import some of these themselves, where they are installed.
    outputs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for code in ("import sys, keras, keras_deeptricks" + show, "import sys, keras" + show)
    ]
    assert outputs[0].stdout.splitlines()[-1] == outputs[1].stdout.splitlines()[-1]


def test_no_private_keras():
    for path in (ROOT / "keras_deeptricks").rglob("*.py"):
        assert "keras" + ".src" not in path.read_text(encoding="utf-8"), path


FLOORS = (
    {"recipes", "cli"},
    {"tuners"},
    {"assembly"},
    {"callbacks", "models", "diagnostics", "datasets"},
    {
        "activations",
        "constraints",
        "initializers",
        "layers",
        "losses",
        "optimizers",
        "schedules",
    },
    {"utils"},
)


def test_imports_point_downward():
    floor_of = {module: level for level, floor in enumerate(FLOORS) for module in floor}
    for path in (ROOT / "keras_deeptricks").rglob("*.py"):
        module = path.relative_to(ROOT / "keras_deeptricks").parts[0].removesuffix(".py")
        text = path.read_text(encoding="utf-8")
        for imported in re.findall(r"^(?:from|import) keras_deeptricks\.(\w+)", text, re.MULTILINE):
            assert imported != "visualization" or module == "visualization", path
            if module in floor_of and imported in floor_of:
                assert floor_of[imported] >= floor_of[module], f"{path} imports {imported}"
