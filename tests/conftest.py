"""Every test starts from the same seed, in float32, on an idle Matplotlib backend."""

import gc
import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Several processes of several threads each wait for one another: torch takes four times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras
import pytest

os.environ["KERAS_BACKEND"] = keras.config.backend()  # of the programs that tests start, too


@pytest.fixture(autouse=True)
def _same_start():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session(free_memory=False)  # a garbage collection takes half a second


_tests = itertools.count(1)


@pytest.fixture(autouse=True)
def _short_garbage_collections():
    # Backends keep what they have compiled. Without this each collection, and short trainings on
    # TensorFlow ask for some, goes through all of that: seconds in the end.
    yield
    if next(_tests) % 20 == 0:
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import sys

    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
