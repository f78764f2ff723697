"""The outputs of a model: their structure, tasks and shapes."""

import dataclasses

import keras


@dataclasses.dataclass(frozen=True)
class ModelOutputs:
    """What is known of a model's outputs once some were computed.

    Args:
        example: Some rows of outputs as arrays, in the model's structure.
        names: The outputs' names, or None.
        tasks: The task of each output, in a flat list.
        shapes: The shape of a row of each output, in a flat list.
    """

    example: object
    names: list | None
    tasks: list
    shapes: list

    @property
    def is_single(self):
        return not isinstance(self.example, (list, tuple, dict))

    @property
    def keys(self):
        """What each output is called in the structure: a key, an index, or None for a single."""
        if self.is_single:
            return [None]
        return sorted(self.example) if isinstance(self.example, dict) else range(len(self.tasks))

    def packed(self, values):
        """One value an output, in the outputs' structure."""
        return values[0] if self.is_single else keras.tree.pack_sequence_as(self.example, values)

    def flattened_targets(self, targets):
        """Targets as a flat list, one array an output.

        Raises:
            ValueError: they have another structure.
        """
        if isinstance(targets, dict) and self.names and not isinstance(self.example, dict):
            targets = [targets[name] for name in self.names if name in targets]
        leaves = keras.tree.flatten(targets)
        if len(leaves) != len(self.tasks):
            raise ValueError(
                f"`y` must hold one array for each of the {len(self.tasks)} output(s). Received: "
                f"{len(leaves)} array(s)."
            )
        return leaves
