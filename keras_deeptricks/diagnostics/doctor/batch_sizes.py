"""Notes on batch sizes."""

from keras_deeptricks.diagnostics.doctor.finding import Finding

# With fewer rows, batches of all of them are not large.
_LEAST_ROWS = 500
_FEW_STEPS = 4
# Single rows: from so many rows on, an epoch of steps of one row takes long for what it yields.
_SINGLE_ROWS = 100


def batch_size(case):
    """Batches of all the rows, of a large part of them, or of one."""
    size, total = case.sample.batch_size, case.sample.total_rows
    if size == 1 and (total is None or total >= _SINGLE_ROWS):
        yield _note(
            "Each step sees a single row.",
            "Gradients are as noisy as they can be, which only a low learning rate averages out, "
            "and most of the time is overhead.",
            "Use 16 to 128 rows in a batch, and a learning rate that is higher in proportion.",
        )
    if not total or total < _LEAST_ROWS or size * _FEW_STEPS <= total:
        return
    if size >= total:
        evidence = f"All {total:,} rows are one batch: one step in each epoch."
    else:
        evidence = f"{size:,} of {total:,} rows are one batch: {-(-total // size)} steps an epoch."
    yield _note(
        evidence,
        "Few steps for the same computation; with less noise training often ends in worse minima. "
        "A rate found for small batches is too low here.",
        "Use 32 to 256 rows in a batch.",
    )


def _note(evidence, explanation, remedy):
    return Finding("batch_size", "note", "batch_size", evidence, explanation, remedy)
