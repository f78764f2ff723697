"""Attributes of objects replaced for a while."""

import contextlib

_ABSENT = object()


@contextlib.contextmanager
def patched(replacements):
    """While it lasts, objects have other attributes; then their own again, whatever happens.

    Attributes are set past Keras' tracking, which would take a layer or a variable for a part of
    the layer. One that came from the class is not left on the object.

    Args:
        replacements: List of (object, name of the attribute, value).

    Example:

    ```python
    import keras
    from keras_deeptricks.utils.patching import patched

    layer, x = keras.layers.Dropout(0.5), keras.ops.ones((1,))
    with patched([(layer, "call", lambda inputs, training=False: 2 * inputs)]):
        assert float(layer(x)[0]) == 2.0
    assert float(layer(x)[0]) == 1.0 and "call" not in vars(layer)
    ```
    """
    undo = []
    try:
        for owner, name, value in replacements:
            undo.append((owner, name, vars(owner).get(name, _ABSENT)))
            object.__setattr__(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(undo):
            if value is _ABSENT:
                vars(owner).pop(name, None)
            else:
                object.__setattr__(owner, name, value)
