"""What several detectors say of targets, in the same words."""

from keras_deeptricks.diagnostics.doctor.finding import Finding


def shape_by_rows(array):
    """The shape of an array as text, with a word for the first axis: `"(rows, 3)"`."""
    return str(("rows", *array.shape[1:])).replace("'", "")


def text_for_numbers(output, into):
    """The finding that targets are text where the loss takes numbers.

    Args:
        output: The output concerned.
        into: What to turn them into.
    """
    return Finding(
        "label_shape",
        "error",
        output.layer,
        "The targets are text.",
        "The loss takes numbers.",
        f"Turn them into {into}.",
    )
