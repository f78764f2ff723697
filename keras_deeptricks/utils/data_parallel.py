"""Training one model on several devices of this machine, each on its part of every batch."""

import contextlib
import dataclasses

import keras
import numpy as np

from keras_deeptricks.utils import backend
from keras_deeptricks.utils.checks import check_integer
from keras_deeptricks.utils.layer_walk import walk_layers


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices that share each batch; what `data_parallel` gives.

    Attributes:
        names: Their names, such as `("gpu:0", "gpu:1")`.
    """

    names: tuple

    @property
    def count(self):
        """How many there are."""
        return len(self.names)

    def batch_size(self, batch_size):
        """The smallest number of rows from `batch_size` on that all devices share evenly."""
        batch_size = check_integer("batch_size", batch_size, minimum=1)
        return -(-batch_size // self.count) * self.count

    def whole(self, *arrays):
        """The arrays without the last rows that the devices could not share evenly.

        Args:
            *arrays: Arrays of one length. At most `count - 1` rows are left off.

        Returns:
            The array, or a tuple of them if there are several.

        Raises:
            ValueError: there are fewer rows than devices, or the lengths differ.
        """
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1 or min(lengths) < self.count:
            raise ValueError(
                f"`arrays` must have one length, at least the {self.count} devices. "
                f"Received: lengths {[len(array) for array in arrays]}."
            )
        rows = lengths.pop() // self.count * self.count
        cut = tuple(array[:rows] for array in arrays)
        return cut[0] if len(cut) == 1 else cut


@contextlib.contextmanager
def data_parallel(devices=None):
    """Lets models be built and trained on several devices of this machine at once.

    Each device has a copy of the weights and computes the gradients of its part of every batch;
    their sum makes the step. With the same batches the weights are those of one device, to
    rounding. On JAX this is `keras.distribution.DataParallel`, on TensorFlow
    `tf.distribute.MirroredStrategy`; on one device it does nothing. Build, compile and train
    inside the block. A search takes `devices` itself (`keras_deeptricks.tuners.search`).

    `batch_size` stays the size of the whole batch. Every batch, also the last one and those of
    the validation data, must divide by the number of devices: JAX refuses others, TensorFlow
    fails or weighs their rows unequally. `Devices.batch_size` and `Devices.whole` see to that.

    Args:
        devices: Names as of `keras.distribution.list_devices`, at least one and each once, or a
            number of them. By default all of the fastest kind.

    Yields:
        `Devices`: their `names` and `count`.

    Raises:
        TypeError: `devices` is neither a number nor a list of names.
        ValueError: a device is not there or is named twice, or there are fewer than asked for.
        RuntimeError: several devices on torch, whose Keras has no data parallelism.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt
    from keras_deeptricks.utils.data_parallel import data_parallel

    x, y = np.random.default_rng(0).normal(size=(101, 8)), np.arange(101) % 3
    with data_parallel(devices=1) as devices:
        x, y = devices.whole(x, y)
        model = kdt.recipes.default_network((8,), 3, adapt_to=x)
        model.fit(x, y, batch_size=devices.batch_size(32), verbose=0)
    ```

    Reference: Goyal et al., Accurate, large minibatch SGD: training ImageNet in 1 hour, 2017,
    section 2 (the sum over workers).
    """
    names = _chosen(devices)
    if len(names) == 1:
        # Not even for a device that is not the first: `keras.device` does that.
        yield Devices(names)
        return
    with backend.replicated(names):
        yield Devices(names)


def synchronize_batch_norm(model):
    """Makes batch norms take the statistics of whole batches, also where devices share them.

    Where that needs to be asked for (TensorFlow, inside `data_parallel`); elsewhere nothing is
    changed. Layers inside layers are reached too.

    Args:
        model: A `keras.Model` or layer, not trained yet.

    Example:

    ```python
    import keras
    from keras_deeptricks.utils.data_parallel import synchronize_batch_norm

    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    synchronize_batch_norm(model)
    assert not model.layers[0].synchronized  # one device
    ```
    """
    if not backend.normalizes_by_replica():
        return
    for layer in walk_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def _chosen(devices):
    there = backend.devices()
    if devices is None:
        names = there
    elif isinstance(devices, (int, np.integer)) and not isinstance(devices, bool):
        names = there[: check_integer("devices", devices, minimum=1)]
        if len(names) < devices and backend.has_data_parallel():
            raise ValueError(
                f"`devices`={devices} are more than there are: {', '.join(there)}. A processor is "
                "one device unless it is split before the first computation: on JAX by "
                "XLA_FLAGS=--xla_force_host_platform_device_count=2."
            )
    else:
        names = _named(devices, there)
    asked = devices if isinstance(devices, (int, np.integer)) else len(names)
    if asked > 1 and not backend.has_data_parallel():
        raise RuntimeError(
            "Keras trains on several devices of one process on JAX and TensorFlow only, not on "
            f"{keras.config.backend()}. Received: devices={devices!r}. Set KERAS_BACKEND=jax, or "
            "pass devices=1."
        )
    return names


def _named(devices, there):
    if not isinstance(devices, (tuple, list)) or not all(isinstance(d, str) for d in devices):
        raise TypeError(
            "`devices` must be a number or a list of names such as ['gpu:0', 'gpu:1']. "
            f"Received: devices={devices!r}."
        )
    names = tuple(name.lower() for name in devices)
    if {name.split(":")[0] for name in names} == {"cpu"}:
        there = backend.devices("cpu")
    if not names or len(set(names)) < len(names) or not set(names) <= set(there):
        raise ValueError(
            "`devices` must name at least one device, each once and all of one kind, out of "
            f"{', '.join(there)}. Received: devices={devices!r}."
        )
    return names
