"""One thing that is wrong with a program, how it was seen, and how to mend it."""

import dataclasses
import textwrap

from keras_deeptricks.diagnostics.doctor.codes import CODES, SEVERITIES


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a model, its data or its training.

    Attributes:
        code: One of `keras_deeptricks.diagnostics.CODES`.
        severity: `"error"`: training fails or means nothing; `"warning"`: it goes worse than it
            need; `"note"`: worth knowing, and maybe meant.
        layer: Name of the layer, output or argument concerned, or None.
        evidence: What was measured or read, with its numbers.
        explanation: Why that is a fault.
        remedy: What to change.
    """

    code: str
    severity: str
    layer: str | None = None
    evidence: str = ""
    explanation: str = ""
    remedy: str = ""

    def __post_init__(self):
        if self.code not in CODES:
            raise ValueError(f"`code` must be one of CODES. Received: code={self.code!r}.")
        if self.severity not in SEVERITIES:
            raise ValueError(
                f"`severity` must be one of {SEVERITIES}. Received: severity={self.severity!r}."
            )

    def __str__(self):
        place = f" at {self.layer!r}" if self.layer else ""
        lines = [f"{self.severity.upper()} {self.code}{place}: {self.evidence}"]
        for label, text in (("why", self.explanation), ("mend", self.remedy)):
            if text:
                lines.append(f"  {label}: {text}")
        wrapped = [
            textwrap.fill(line, width=96, subsequent_indent="    ", break_long_words=False)
            for line in lines
        ]
        return "\n".join(wrapped)
