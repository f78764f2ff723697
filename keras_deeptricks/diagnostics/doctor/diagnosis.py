"""What the training doctor found, and what it measured."""

import dataclasses
import pathlib

from keras_deeptricks.diagnostics.doctor.codes import SEVERITIES
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.utils.results import Result


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis(Result):
    """The result of `check` and of `diagnose_history`.

    Attributes:
        findings: List of `Finding`, the worst first.
        facts: Dictionary of what was measured, arrays and numbers by name.
        title: What was examined, such as the model's name.
        level: `"quick"`, `"full"` or `"history"`.
        seconds: How long the examination took.
    """

    plot_function = "plot_diagnosis"

    findings: list
    facts: dict = dataclasses.field(default_factory=dict)
    title: str = ""
    level: str = "quick"
    seconds: float = 0.0

    def __post_init__(self):
        found = [item if isinstance(item, Finding) else Finding(**item) for item in self.findings]
        found = list(dict.fromkeys(found))
        found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
        object.__setattr__(self, "findings", found)
        super().__post_init__()

    @property
    def ok(self):
        """True if nothing worse than a note was found."""
        return all(finding.severity == "note" for finding in self.findings)

    @property
    def codes(self):
        """The codes of the findings, each once, the worst first."""
        return list(dict.fromkeys(finding.code for finding in self.findings))

    def of(self, severity):
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def __str__(self):
        counts = [
            f"{len(self.of(severity))} {severity}{'' if len(self.of(severity)) == 1 else 's'}"
            for severity in SEVERITIES
            if self.of(severity)
        ]
        verdict = ", ".join(counts) or "nothing found"
        head = f"{self.title or 'Diagnosis'}: {verdict} ({self.level}, {self.seconds:.1f} s)"
        return "\n\n".join([head, *map(str, self.findings)])

    def to_html(self, path):
        """Writes a report in one file that needs nothing else; needs Matplotlib for its pictures.

        Args:
            path: Where to write it, ending in `.html`.

        Returns:
            The path.

        Raises:
            ValueError: `path` does not end in `.html` or `.htm`.
        """
        from keras_deeptricks.visualization.html_report import html_report

        path = pathlib.Path(path)
        if path.suffix not in (".html", ".htm"):
            raise ValueError(f"`path` must end in .html. Received: path='{path}'.")
        path.write_text(html_report(self), encoding="utf-8")
        return path
