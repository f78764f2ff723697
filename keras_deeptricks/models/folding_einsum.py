"""`EinsumDense` as the target of folding."""

import numpy as np

from keras_deeptricks.models.folding_target import NotFoldable, Target, float64


class EinsumDenseTarget(Target):
    """`values["bias"]` has one axis for each letter of the output."""

    def give_weights(self, layer):
        layer.kernel.assign(self.values["kernel"])
        if layer.bias is not None:
            layer.bias.assign(np.reshape(self.values["bias"], layer.bias.shape))

    def take(self, values):
        if self.layer.bias is not None or np.any(values["bias"] != 0):
            self.bias_letters |= set(self._kernel_outputs())
        super().take(values)

    def _read_bias(self):
        self.inputs, self.kernel, self.output = _letters(self.layer.equation)
        self.dots_first = self.layer.equation.startswith("...")
        self.bias_letters = set(self.layer.bias_axes or "")
        sizes = [1] * len(self.output)
        if self.layer.bias is not None:
            # Keras' bias begins at the first of its axes, and has ones for dots behind.
            first = min(map(self.output.index, self.bias_letters))
            sizes[first:] = self.layer.bias.shape[: len(self.output) - first]
            self.values["bias"] = float64(self.layer.bias).reshape(sizes)
        else:
            self.values["bias"] = np.zeros(sizes)

    def _new_options(self):
        axes = [letter for letter in self.output if letter in self.bias_letters]
        return {"bias_axes": "".join(axes) or None}

    def _kernel_outputs(self):
        return [letter for letter in self.output if letter in self.kernel]

    def _varying(self, pattern, letters):
        """The letters of the axes along which the batch norm's channels lie."""
        # Without the rows, whose letter is the first one unless the dots stand for them.
        offset = pattern.ndim - len(letters) if self.dots_first else -1
        found = []
        for axis, size in enumerate(pattern.shape):
            place = axis - offset
            letter = letters[place] if 0 <= place < len(letters) else None
            if size > 1 and (letter is None or letter not in self.kernel):
                raise NotFoldable(
                    f"it normalizes an axis of '{self.layer.name}' that its kernel does not have"
                )
            found += [letter] if size > 1 else []
        return found

    def _scale_outputs(self, values, pattern, scale, shift):
        letters, own = self._varying(pattern, self.output), self._kernel_outputs()
        if not own:
            raise NotFoldable(f"'{self.layer.name}' has no output axis of its own for a bias")
        scale, shift = scale[pattern].squeeze(), shift[pattern].squeeze()
        # The bias gets all of the kernel's output axes: it must have one at least.
        sizes = [values["kernel"].shape[self.kernel.index(letter)] for letter in own]
        ones = _along(own, self.output, np.ones(sizes))
        moved = values["bias"] * _along(letters, self.output, scale)
        return {
            "kernel": values["kernel"] * _along(letters, self.kernel, scale),
            "bias": (moved + _along(letters, self.output, shift)) * ones,
        }

    def _scale_inputs(self, values, pattern, scale, shift):
        letters, own = self._varying(pattern, self.inputs), self._kernel_outputs()
        summed = [x for x in self.inputs if x not in self.kernel and x not in self.output]
        if np.any(shift != 0) and (summed or not own):
            raise NotFoldable(f"the shift has no place in the equation of '{self.layer.name}'")
        scale, shift = scale[pattern].squeeze(), shift[pattern].squeeze()
        moved = values["kernel"] * _along(letters, self.kernel, shift)
        added = np.einsum(f"{self.kernel}->{''.join(own)}", moved)
        return {
            "kernel": values["kernel"] * _along(letters, self.kernel, scale),
            "bias": values["bias"] + _along(own, self.output, added),
        }


def _letters(equation):
    inputs, rest = equation.replace("...", "").replace(" ", "").split(",")
    kernel, output = rest.split("->")
    return inputs, kernel, output


def _along(letters, axes, values):
    """Values with an axis per letter, so that they are broadcast along `axes`."""
    order = sorted(range(len(letters)), key=lambda place: axes.index(letters[place]))
    sizes = dict(zip(letters, values.shape, strict=True))
    return values.transpose(order).reshape([sizes.get(letter, 1) for letter in axes])
