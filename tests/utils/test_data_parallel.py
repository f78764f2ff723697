"""Two devices give the weights of one, with all that the recipes use at work."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_deeptricks.utils import backend
from keras_deeptricks.utils.data_parallel import Devices, data_parallel, synchronize_batch_norm

ROOT = pathlib.Path(__file__).parents[2]
ON_TENSORFLOW = keras.config.backend() == "tensorflow"

several_devices = pytest.mark.skipif(
    not backend.has_data_parallel(), reason="Keras has no data parallelism on torch"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What `data_parallel_program` puts down; a process of its own, for it has two devices."""
    path = tmp_path_factory.mktemp("runs") / "runs.npz"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": keras.config.backend()}
    command = [sys.executable, str(ROOT / "tests" / "data_parallel_program.py"), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(np.load(path))


def distance(runs, first, second, what="last"):
    return np.abs(runs[f"{first}.{what}"] - runs[f"{second}.{what}"]).max()


@several_devices
@pytest.mark.parametrize("name", ["plain", "batch_norm"])
def test_two_devices_train_as_one(runs, name):
    one, two = f"{name}.1", f"{name}.2"
    assert (runs[f"{one}.copies"], runs[f"{two}.copies"]) == (1, 2)
    assert runs[f"{one}.steps"] == runs[f"{two}.steps"] == 50
    # Rounding: the sums over rows have another order.
    assert distance(runs, one, two) < 1e-4
    assert distance(runs, one, two, "restored") < 1e-4
    assert distance(runs, one, two, "val_loss") < 1e-4
    np.testing.assert_array_equal(runs[f"{one}.momenta"], runs[f"{two}.momenta"])
    assert runs[f"{one}.best_epoch"] == runs[f"{two}.best_epoch"]


@several_devices
def test_what_is_compared_was_at_work(runs):
    assert distance(runs, "plain.1", "free.1") > 1e-2  # the gradients are clipped
    assert runs["free.1.norms"].max() == pytest.approx(1.0, abs=1e-6)  # some units at the limit
    for name in ("plain.2", "batch_norm.2"):
        assert runs[f"{name}.norms"].max() < 1 + 1e-6
        assert np.ptp(runs[f"{name}.momenta"]) == pytest.approx(0.1, abs=2e-3)  # 0.95 to 0.85
        assert runs[f"{name}.best_epoch"] < 4  # other weights than the last are restored
        assert np.abs(runs[f"{name}.last"] - runs[f"{name}.restored"]).max() > 1e-3


@several_devices
@pytest.mark.skipif(not ON_TENSORFLOW, reason="JAX computes with whole batches wherever they lie")
def test_what_each_device_does_by_itself_would_be_seen(runs):
    # 1e-4 would not hold if each device clipped, or normalized, by its own rows.
    assert distance(runs, "clips_early.1", "clips_early.2") > 1e-3
    assert distance(runs, "batch_norm.1", "unsynchronized.2") > 1e-3


@several_devices
def test_learning_rate_search_outside_the_block(runs):
    # The losses grow with the rate and with them the rounding.
    np.testing.assert_allclose(runs["search.1"], runs["search.2"], rtol=1e-4)


@several_devices
def test_a_search_on_two_devices(runs):
    assert set(runs["tune.1.trained_on"]) == {1}
    assert set(runs["tune.2.trained_on"]) == {2}
    assert len(runs["tune.2.trained_on"]) >= 3  # two epochs of the trial, and the refit
    assert runs["tune.2.kept_on"].tolist() == [1, 1]
    # One row fewer to train on, which two devices could not share.
    assert runs["tune.1.score"] == pytest.approx(runs["tune.2.score"], rel=0.05)
    assert distance(runs, "tune.1", "tune.2", "weights") < 0.1


@several_devices
def test_the_block_ends(runs):
    assert runs["count"] == 2
    assert not runs["distribution_left"]


def test_one_device_changes_nothing():
    with data_parallel(1) as devices:
        assert devices.count == 1
        assert keras.distribution.distribution() is None
        assert backend.replicas() == 1
        layer = keras.layers.BatchNormalization()
        synchronize_batch_norm(keras.Sequential([keras.Input((2,)), layer]))
    assert not layer.synchronized


@several_devices
def test_a_device_by_its_name():
    with data_parallel(["CPU:0"]) as devices:
        assert devices.names == ("cpu:0",)


@several_devices
def test_bad_devices():
    with pytest.raises(ValueError, match="more than there are"), data_parallel(99):
        pass
    for names in ([], ["cpu:0", "cpu:0"], ["gpu:77"], ["cpu:0", "tpu:1"]):
        with pytest.raises(ValueError, match="`devices` must name"), data_parallel(names):
            pass


def test_devices_of_a_wrong_type():
    for wrong in ("cpu:0", 2.0, [0, 1], True):
        with pytest.raises(TypeError, match="`devices` must be"), data_parallel(wrong):
            pass
    with pytest.raises(ValueError, match="`devices`"), data_parallel(0):
        pass


@pytest.mark.skipif(backend.has_data_parallel(), reason="for backends without data parallelism")
def test_torch_refuses_several_devices():
    with pytest.raises(RuntimeError, match="JAX and TensorFlow only"), data_parallel(2):
        pass


def test_batches_that_divide():
    devices = Devices(("a", "b", "c"))
    assert [devices.batch_size(size) for size in (1, 3, 32, 33)] == [3, 3, 33, 33]
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    whole_x, whole_y = devices.whole(x, y)
    np.testing.assert_array_equal(whole_x, x[:9])
    np.testing.assert_array_equal(whole_y, y[:9])
    assert len(devices.whole(y)) == 9
    for wrong in ((x, y[:9]), (y[:2],)):
        with pytest.raises(ValueError, match="`arrays` must have one length"):
            devices.whole(*wrong)
