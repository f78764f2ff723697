"""Results of several models side by side, and their figures as text."""

import dataclasses

import numpy as np


def joined_results(kind, results, axes):
    """Results of one class as one: some arrays are joined, all else must agree.

    Args:
        kind: The class.
        results: A list of its instances.
        axes: For each field that is joined its axis.

    Raises:
        ValueError: The list is empty, or the results do not agree.
    """
    results = list(results)
    if not results or not all(isinstance(one, kind) for one in results):
        raise ValueError(
            f"`results` must be a list of {kind.__name__}, at least one. "
            f"Received: {[type(one).__name__ for one in results]}."
        )
    found = {}
    for field in dataclasses.fields(kind):
        parts = [getattr(one, field.name) for one in results]
        missing = [part is None for part in parts]
        joins = field.name in axes and not any(missing)
        if joins:
            found[field.name] = np.concatenate(parts, axis=axes[field.name])
        elif all(missing) or all(_equal(part, parts[0]) for part in parts):
            found[field.name] = parts[0]
        else:
            raise ValueError(
                f"`results` must have the same `{field.name}`. Received: "
                f"{'some without' if field.name in axes else parts}."
            )
    return kind(**found)


def mean_and_error(values, digits=4):
    """The mean as text, with its standard error where there are several values."""
    text = f"{np.mean(values):.{digits}g}"
    if len(values) == 1:
        return text
    return f"{text} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2g}"


def aligned(rows):
    """Rows of cells as lines, the cells flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _equal(one, other):
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)
