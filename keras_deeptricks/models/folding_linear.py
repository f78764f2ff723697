"""Dense and convolutional layers as targets of folding."""

import numpy as np

from keras_deeptricks.models.folding_target import Target


class DenseTarget(Target):
    """`Dense`: a kernel of (inputs, outputs)."""

    def _scale_outputs(self, values, pattern, scale, shift):
        scale, shift = self._channels(pattern, scale), self._channels(pattern, shift)
        return self._with_outputs_scaled(values, scale, shift)

    def _scale_inputs(self, values, pattern, scale, shift):
        kernel = values["kernel"]
        scale, shift = self._spread(pattern, (scale, shift), kernel.shape[0])
        return {"kernel": kernel * scale[:, None], "bias": values["bias"] + shift @ kernel}

    def _with_outputs_scaled(self, values, scale, shift):
        return {"kernel": values["kernel"] * scale, "bias": values["bias"] * scale + shift}

    def _spread(self, pattern, vectors, size):
        return [np.broadcast_to(self._channels(pattern, vector), size) for vector in vectors]


class ConvolutionTarget(DenseTarget):
    """`Conv1D` to `Conv3D`: a kernel of (…, inputs of a group, outputs)."""

    def _scale_inputs(self, values, pattern, scale, shift):
        kernel, groups = values["kernel"], self.layer.groups
        per_group, filters = kernel.shape[-2:]
        # A filter sees the input channels of its group only: one column for each.
        vectors = self._spread(pattern, (scale, shift), per_group * groups)
        scale, shift = (
            np.repeat(vector.reshape(groups, per_group).T, filters // groups, axis=1)
            for vector in vectors
        )
        bias = values["bias"] + (kernel * shift).reshape(-1, filters).sum(axis=0)
        return {"kernel": kernel * scale, "bias": bias}

    def _adds_zeros(self):
        return self.layer.padding != "valid" and max(self.layer.kernel_size) > 1


class TransposedConvolutionTarget(ConvolutionTarget):
    """`Conv1DTranspose` to `Conv3DTranspose`: a kernel of (…, outputs, inputs)."""

    def _with_outputs_scaled(self, values, scale, shift):
        scale = np.broadcast_to(scale, values["kernel"].shape[-2])
        return {
            "kernel": values["kernel"] * scale[:, None],
            "bias": values["bias"] * scale + shift,
        }

    def _scale_inputs(self, values, pattern, scale, shift):
        kernel = values["kernel"]
        filters, channels = kernel.shape[-2:]
        scale, shift = self._spread(pattern, (scale, shift), channels)
        added = np.moveaxis(kernel * shift, -2, 0).reshape(filters, -1).sum(axis=1)
        return {"kernel": kernel * scale, "bias": values["bias"] + added}

    def _adds_zeros(self):
        # Pixels of the output are made of different shares of the kernel.
        return max(self.layer.kernel_size) > 1 or max(self.layer.strides) > 1


class DepthwiseConvolutionTarget(ConvolutionTarget):
    """`DepthwiseConv1D` and `2D`: a kernel of (…, inputs, outputs of each)."""

    def _with_outputs_scaled(self, values, scale, shift):
        channels, multiplier = values["kernel"].shape[-2:]
        scale = np.broadcast_to(scale, channels * multiplier)
        return {
            "kernel": values["kernel"] * scale.reshape(channels, multiplier),
            "bias": values["bias"] * scale + shift,
        }

    def _scale_inputs(self, values, pattern, scale, shift):
        kernel, added = self._depthwise(values["kernel"], pattern, scale, shift)
        return {"kernel": kernel, "bias": values["bias"] + added}

    def _depthwise(self, kernel, pattern, scale, shift):
        """The new depthwise kernel, and what the shift adds to each of its outputs."""
        channels, multiplier = kernel.shape[-2:]
        scale, shift = self._spread(pattern, (scale, shift), channels)
        added = (kernel * shift[:, None]).reshape(-1, channels * multiplier).sum(axis=0)
        return kernel * scale[:, None], added


class SeparableConvolutionTarget(DepthwiseConvolutionTarget):
    """`SeparableConv1D` and `2D`: the output is the pointwise kernel's, the input the other's."""

    kernels = ("depthwise_kernel", "pointwise_kernel")

    def _with_outputs_scaled(self, values, scale, shift):
        return {
            "depthwise_kernel": values["depthwise_kernel"],
            "pointwise_kernel": values["pointwise_kernel"] * scale,
            "bias": values["bias"] * scale + shift,
        }

    def _scale_inputs(self, values, pattern, scale, shift):
        pointwise = values["pointwise_kernel"]
        depthwise, added = self._depthwise(values["depthwise_kernel"], pattern, scale, shift)
        bias = values["bias"] + added @ pointwise.reshape(len(added), -1)
        return {"depthwise_kernel": depthwise, "pointwise_kernel": pointwise, "bias": bias}
