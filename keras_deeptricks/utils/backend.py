"""The one module that knows what differs between the backends."""

import contextlib
import functools
import gc
import logging

import keras

from keras_deeptricks.utils.checks import check_integer


def runs_eagerly():
    """True where Keras runs a training step as Python code (torch), not as a compiled graph."""
    return keras.config.backend() == "torch"


def jit_for_few_calls():
    """The `jit_compile` of a function that runs too few times to earn a long compilation.

    On TensorFlow it is XLA that costs a lot; JAX without it would run operation by operation.
    """
    return False if keras.config.backend() == "tensorflow" else "auto"


@contextlib.contextmanager
def tracing_warnings_hidden():
    """Keeps TensorFlow from logging that many functions are traced, where each one is needed."""
    log = logging.getLogger("tensorflow")

    def is_other(record):
        return "tf.function retracing" not in record.getMessage()

    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)


def computes_at_once():
    """True where operations are computed as they are called: torch, TensorFlow outside a graph."""
    if keras.config.backend() != "tensorflow":
        return runs_eagerly()
    import tensorflow as tf

    return tf.executing_eagerly()


def skips_quickly():
    """False where a conditional costs more than computing what it could skip: JAX on a CPU.

    There XLA runs convolutions inside a conditional on one core and without its fast kernels.
    """
    if keras.config.backend() != "jax":
        return True
    import jax

    return jax.default_backend() != "cpu"


def instantiated_class(optimizer_class):
    """The class that Keras instantiates when `optimizer_class` is called.

    On torch `keras.optimizers.SGD(...)` is an instance of a subclass that updates all variables
    with one fused call. A subclass of ours has to derive from that one: derived from the public
    class it would lose the fused update and a fifth of the speed.
    """
    if keras.config.backend() != "torch":
        return optimizer_class
    with keras.device("cpu"):
        return type(optimizer_class())


@contextlib.contextmanager
def random_order_preserved():
    """Lets a block train, in order, without changing the order that a later `fit` shuffles in.

    Torch's data loaders draw a number from the global generator even where nothing is shuffled.
    """
    if keras.config.backend() != "torch":
        yield
        return
    import torch

    state = torch.get_rng_state()
    # The generators of other devices, which only random layers draw from.
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if devices:
            torch.cuda.set_rng_state_all(devices)


def free_abandoned_iterators():
    """Frees what a `fit` that was stopped within an epoch leaves behind, on TensorFlow.

    There the iterator over the data waits for Python's garbage collection with threads that sleep
    the longer the older they are. Collecting one of some minutes blocks the program for up to a
    minute.
    """
    if keras.config.backend() == "tensorflow":
        gc.collect()


def added_losses_dropped():
    """While it lasts, losses that layers add in `call` are not kept on them.

    In a compiled function they would be symbols, which the layer's owner finds there later. On
    JAX a model runs in such a scope anyway, and one inside it would hide the weights.
    """
    if keras.config.backend() == "jax":
        return contextlib.nullcontext()
    return keras.StatelessScope()


def bring_weights_home(model):
    """Gives the model's variables their values where a `fit` under way (JAX) holds them."""
    if keras.config.backend() == "jax":
        model.jax_state_sync()


def place_in_trace():
    """Where in a graph that is being traced the program is; None where it runs eagerly.

    Tensors of one place are of no use in another, such as outside a loop or a conditional.
    """
    if keras.config.backend() == "jax":
        from jax.extend.core import get_opaque_trace_state

        return get_opaque_trace_state(convention="nnx")
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    import torch

    # Inside torch.vmap; torch has no public function that tells.
    level = getattr(getattr(torch._C, "_functorch", None), "maybe_current_level", None)
    return level() if level else None


def compiled(function):
    """`function` of tensors, compiled where the backend does that; for few calls.

    It must take all values that change as arguments, also those of variables.
    """
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        graph = tf.function(function, jit_compile=jit_for_few_calls(), autograph=False)

        def call(*args):
            # By their values: for each variable object it would be traced anew.
            return graph(*keras.tree.map_structure(_tensorflow_tensor, args))

        return call
    return function


def gradients_of(function, values):
    """The result of `function` and its gradients, eagerly or inside a compiled function.

    Args:
        function: Takes a list of tensors like `values`, returns a scalar tensor and any others.
        values: List of tensors of float type, such as the values of variables.

    Returns:
        The scalar, the others, and a list of gradients: zeros where the scalar does not depend on
        a value.

    Example:

    ```python
    from keras import ops
    from keras_deeptricks.utils.backend import gradients_of

    square = lambda values: (ops.sum(values[0] ** 2), values[0])
    found, others, (gradient,) = gradients_of(square, [ops.convert_to_tensor([3.0])])
    assert float(found) == 9.0 and float(gradient[0]) == 6.0
    ```
    """
    names = {"tensorflow": _tensorflow_gradients, "jax": _jax_gradients, "torch": _torch_gradients}
    return names[keras.config.backend()](function, list(values))


def _tensorflow_gradients(function, values):
    import tensorflow as tf

    values = [_tensorflow_tensor(value) for value in values]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        result, others = function(values)
    gradients = tape.gradient(result, values, unconnected_gradients="zero")
    # Those of embeddings are sparse.
    return result, others, [tf.convert_to_tensor(gradient) for gradient in gradients]


def _tensorflow_tensor(value):
    import tensorflow as tf

    return tf.convert_to_tensor(value) if isinstance(value, tf.Variable) else value


def _jax_gradients(function, values):
    import jax

    (result, others), gradients = jax.value_and_grad(function, has_aux=True)(values)
    return result, others, gradients


def _torch_gradients(function, values):
    import torch

    with torch.enable_grad():
        # Parameters themselves: modules of torch inside the model use them past Keras.
        values = [v if v.requires_grad else v.detach().requires_grad_() for v in values]
        result, others = function(values)
        if values and result.requires_grad:
            gradients = torch.autograd.grad(result, values, allow_unused=True)
        else:
            gradients = [None] * len(values)
    gradients = [
        torch.zeros_like(v) if g is None else g for v, g in zip(values, gradients, strict=True)
    ]
    return result.detach(), others, gradients


def hessian_vector_product(function, values, vectors):
    """The product of the Hessian of a scalar with a vector, eagerly or in a compiled function.

    Args:
        function: Takes a list of tensors like `values`, returns a scalar tensor.
        values: List of tensors of float type.
        vectors: List of tensors of the shapes and types of `values`, together the vector.

    Returns:
        A list of tensors like `values`: the gradient of (gradient · vector).

    Example:

    ```python
    from keras import ops
    from keras_deeptricks.utils.backend import hessian_vector_product

    product = lambda values: values[0][0] ** 2 * values[0][1]  # H = [[2b, 2a], [2a, 0]]
    point, vector = ops.convert_to_tensor([3.0, 5.0]), ops.convert_to_tensor([1.0, 0.0])
    (found,) = hessian_vector_product(product, [point], [vector])
    assert float(found[0]) == 10.0 and float(found[1]) == 6.0
    ```
    """
    names = {"tensorflow": _tensorflow_product, "jax": _jax_product, "torch": _torch_product}
    return names[keras.config.backend()](function, list(values), list(vectors))


def _tensorflow_product(function, values, vectors):
    import tensorflow as tf

    values = [_tensorflow_tensor(value) for value in values]
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(values)
        _, _, gradients = _tensorflow_gradients(lambda v: (function(v), None), values)
    return outer.gradient(gradients, values, output_gradients=vectors, unconnected_gradients="zero")


def _jax_product(function, values, vectors):
    import jax

    return jax.jvp(jax.grad(function), (values,), (vectors,))[1]


def _torch_product(function, values, vectors):
    import torch

    with torch.enable_grad():
        values = [v if v.requires_grad else v.detach().requires_grad_() for v in values]
        products, result = [None] * len(values), function(values)
        if result.requires_grad:
            gradients = torch.autograd.grad(result, values, create_graph=True, allow_unused=True)
            # A gradient that is constant, or zero, has no gradient of its own.
            pairs = zip(gradients, vectors, strict=True)
            pairs = [(g, v) for g, v in pairs if g is not None and g.requires_grad]
            if pairs:
                dot = sum((g * v).sum() for g, v in pairs)
                products = torch.autograd.grad(dot, values, allow_unused=True)
    return [torch.zeros_like(v) if p is None else p for v, p in zip(values, products, strict=True)]


def row_gradients(function, values, rows):
    """The gradients of a scalar of each row, in one pass, eagerly or in a compiled function.

    Args:
        function: Takes a list of tensors like `values` and one row of `rows`, returns a scalar.
        values: List of tensors of float type.
        rows: A structure of tensors with rows along their first axis.

    Returns:
        A list of tensors like `values` with an axis of rows before the others.

    Example:

    ```python
    from keras import ops
    from keras_deeptricks.utils.backend import row_gradients

    dot = lambda values, row: ops.sum(values[0] * row)
    rows = ops.convert_to_tensor([[1.0, 2.0], [3.0, 4.0]])
    (found,) = row_gradients(dot, [ops.zeros(2)], rows)
    assert ops.convert_to_numpy(found).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    ```
    """
    if keras.config.backend() == "jax":
        import jax

        return jax.vmap(jax.grad(function), (None, 0))(list(values), rows)
    if keras.config.backend() == "torch":
        return _torch_row_gradients(function, [value.detach() for value in values], rows)
    import tensorflow as tf

    values = [_tensorflow_tensor(value) for value in values]
    return tf.vectorized_map(
        lambda row: _tensorflow_gradients(lambda v: (function(v, row), None), values)[2],
        rows,
        warn=False,
    )


def _torch_row_gradients(function, values, rows):
    import torch

    try:
        return torch.func.vmap(torch.func.grad(function), (None, 0))(values, rows)
    except RuntimeError:
        # Keras' convolutions change their memory format, which torch cannot do for all rows at
        # once. What is wrong with the function itself, the loop will say too.
        found = []
        for number in range(len(keras.tree.flatten(rows)[0])):
            row = keras.tree.map_structure(lambda leaf, n=number: leaf[n], rows)
            found.append(_torch_gradients(lambda v, row=row: (function(v, row), None), values)[2])
    return [torch.stack(each) for each in zip(*found, strict=True)]


def steps_per_execution_for(steps_per_epoch):
    """How many steps a compiled call should run: 16, or fewer for a short epoch.

    TensorFlow spends about half the time of a small dense step on starting it, which
    `steps_per_execution` saves. JAX loops over the steps in Python and gains nothing;
    torch refuses more than one, and so does TensorFlow for a model on several devices.
    """
    if keras.config.backend() != "tensorflow" or steps_per_epoch is None or replicas() > 1:
        return 1
    check_integer("steps_per_epoch", steps_per_epoch, minimum=1)
    return min(16, steps_per_epoch)


def has_data_parallel():
    """True where Keras trains one model on several devices of one process."""
    return keras.config.backend() in ("jax", "tensorflow")


def devices(kind=None):
    """The names of the devices of a kind, by default the fastest, such as `("gpu:0", "gpu:1")`."""
    if has_data_parallel():
        return tuple(keras.distribution.list_devices(kind))
    if keras.config.backend() == "torch" and kind != "cpu":
        import torch

        if torch.cuda.is_available():
            return tuple(f"cuda:{place}" for place in range(torch.cuda.device_count()))
    return ("cpu:0",)


def replicated(names):
    """A scope in which models are built, and trained, as equal copies on several devices."""
    if keras.config.backend() == "jax":
        return keras.distribution.DataParallel(devices=list(names)).scope()
    return _mirrored_strategy(tuple(name.upper() for name in names)).scope()


@functools.cache
def _mirrored_strategy(devices):
    # One for each set of devices: two would number their messages alike, and models of different
    # shapes would receive each other's.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(list(devices))


def replicas():
    """On how many devices a model that is built here computes, each on its part of a batch."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    if not isinstance(distribution, keras.distribution.DataParallel):
        return 1
    return distribution.device_mesh.devices.size


def normalizes_by_replica():
    """True where a batch norm takes the statistics of one device's rows, unless told otherwise.

    JAX computes with whole batches, however they lie on the devices.
    """
    return keras.config.backend() == "tensorflow" and replicas() > 1


def home_of(model):
    """The scope that the variables of `model` were made in, where new ones have to be (TensorFlow).

    Keras' `fit` enters it, but not for callbacks, nor does Keras Tuner for what is around `fit`.
    """
    if keras.config.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    home = getattr(model, "distribute_strategy", None)
    if home is None or home is tf.distribute.get_strategy():
        return contextlib.nullcontext()
    return home.scope()


def device_name():
    """The device that models train on here, in words, such as `"GPU (NVIDIA H200)"` or `"CPU"`."""
    return {"tensorflow": _tensorflow_device, "jax": _jax_device, "torch": _torch_device}.get(
        keras.config.backend(), lambda: "unknown"
    )()


def _tensorflow_device():
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "TPU" if tf.config.list_logical_devices("TPU") else "CPU"
    details = tf.config.experimental.get_device_details(gpus[0])
    return _describe("GPU", details.get("device_name"), len(gpus))


def _jax_device():
    import jax

    devices = jax.devices()
    kind = devices[0].platform.upper()
    return _describe(kind, None if kind == "CPU" else devices[0].device_kind, len(devices))


def _torch_device():
    import torch

    if torch.cuda.is_available():
        return _describe("GPU", torch.cuda.get_device_name(0), 1)
    return "GPU (Apple)" if torch.backends.mps.is_available() else "CPU"


def _describe(kind, name, count):
    inside = ", ".join(part for part in (name, f"{count} of them" if count > 1 else None) if part)
    return f"{kind} ({inside})" if inside else kind
