"""TensorBoard's event files, written on every backend."""


def import_writer():
    """The class that writes them, of the package `tensorboard`.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise ImportError(
            "`log_dir` needs TensorBoard to write its files: pip install tensorboard."
        ) from error
    return Writer
