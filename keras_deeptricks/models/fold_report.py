"""What folding batch normalization did to a model."""

import dataclasses

from keras_deeptricks.utils.results import Result


@dataclasses.dataclass(frozen=True, eq=False)
class BatchNormFolding(Result):
    """Which batch norms of a model were folded into which layers, and why others were not.

    `print` shows a table. Layers have the names that they have in the folded model.

    Attributes:
        model: Name of the model.
        folded: A dictionary for each fold: `batch_norm`; the layer it went `into`; `direction`,
            `"backward"` into a layer before it or `"forward"` into one behind it; `across`, the
            names of the layers between the two. A batch norm before several layers has several.
        kept: A dictionary for each batch norm that is still there: `batch_norm` and `reason`.
    """

    model: str
    folded: list
    kept: list

    @property
    def folded_names(self):
        """The names of the batch norms that are gone."""
        kept = {entry["batch_norm"] for entry in self.kept}
        names = dict.fromkeys(entry["batch_norm"] for entry in self.folded)
        return [name for name in names if name not in kept]

    def __str__(self):
        total = len({entry["batch_norm"] for entry in [*self.folded, *self.kept]})
        lines = [f"{len(self.folded_names)} of {total} batch norms of '{self.model}' folded"]
        rows = [
            (entry["batch_norm"], entry["into"], _direction(entry)) for entry in self.folded
        ] + [(entry["batch_norm"], "kept", entry["reason"]) for entry in self.kept]
        widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
        lines += [f"{a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in rows]
        return "\n".join(lines)


def _direction(entry):
    across = f" across {', '.join(entry['across'])}" if entry["across"] else ""
    return entry["direction"] + across
