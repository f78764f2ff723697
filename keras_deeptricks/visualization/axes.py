"""Matplotlib, imported only where something is drawn."""


def new_axes():
    """The axes of a new figure."""
    return new_figure(1, 1)[1]


def new_figure(rows, columns, **options):
    """A new figure and its axes; needs no display.

    Raises:
        ImportError: Matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'Drawing needs Matplotlib: pip install "keras_deeptricks[viz]".'
        ) from error
    return plt.subplots(rows, columns, layout="constrained", **options)
