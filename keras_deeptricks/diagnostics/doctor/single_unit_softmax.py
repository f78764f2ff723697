"""Detects a softmax over one unit, which is 1 whatever goes in."""

from keras_deeptricks.diagnostics.doctor.finding import Finding


def single_unit_softmax(case):
    """Finds outputs that are the softmax of a single unit."""
    for output in case.outputs:
        if output.activation == "softmax" and output.units == 1:
            yield Finding(
                "output_activation_mismatch",
                "error",
                output.layer,
                "The output is a softmax over 1 unit: every prediction is exactly 1.",
                "A softmax shares 1 among its units, and one unit always gets all of it. The loss "
                "may fall all the same on TensorFlow, which looks behind the softmax.",
                "For two classes use activation='sigmoid' with binary_crossentropy, for an amount "
                "no activation.",
            )
