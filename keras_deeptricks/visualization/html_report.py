"""A diagnosis as one self-contained HTML page."""

import base64
import html
import io

from keras_deeptricks.visualization.diagnosis import diagnosis_panels, plot_diagnosis

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: #1c2430; background: #fff; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
.about { color: #5a6472; margin-top: 0; }
.verdict { padding: .6rem 1rem; border-radius: .4rem; font-weight: 600; background: #eef2f6; }
.verdict.error { background: #fde7e6; } .verdict.warning { background: #fdf3dc; }
.verdict.ok { background: #e3f4e6; }
article { border-left: .35rem solid #9aa5b1; padding: .1rem 1rem .4rem; margin: 1rem 0;
  background: #f7f9fb; }
article.error { border-color: #c62828; } article.warning { border-color: #e09b00; }
article h3 { font-size: 1rem; margin: .5rem 0 .2rem; }
.severity { text-transform: uppercase; font-size: .75rem; letter-spacing: .05em; }
.error .severity { color: #c62828; } .warning .severity { color: #9a6a00; }
code { background: #e8edf2; padding: .05rem .3rem; border-radius: .2rem; }
dl { margin: .3rem 0; display: grid; grid-template-columns: 4.5rem 1fr; }
dt { color: #5a6472; } dd { margin: 0; overflow-wrap: anywhere; }
img { max-width: 100%; } table { border-collapse: collapse; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
"""


def html_report(diagnosis):
    """The report as a text: findings, pictures and numbers; nothing is loaded from elsewhere.

    Args:
        diagnosis: A `keras_deeptricks.diagnostics.Diagnosis`.
    """
    worst = diagnosis.findings[0].severity if not diagnosis.ok else "ok"
    counts = {s: len(diagnosis.of(s)) for s in ("error", "warning", "note")}
    said = ", ".join(f"{n} {s}{'' if n == 1 else 's'}" for s, n in counts.items() if n)
    verdict = said or "Nothing found."
    if diagnosis.ok and said:
        verdict = f"Nothing worse than notes: {said}."
    title = html.escape(diagnosis.title or "Diagnosis")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f'<p class="about">Level {html.escape(diagnosis.level)}, {diagnosis.seconds:.1f} s</p>',
        f'<p class="verdict {worst}">{html.escape(verdict)}</p>',
    ]
    if diagnosis.findings:
        parts.append("<h2>Findings</h2>")
        parts += [_article(finding) for finding in diagnosis.findings]
    if diagnosis_panels(diagnosis):
        parts += ["<h2>Measurements</h2>", _picture(diagnosis)]
    numbers = _numbers(diagnosis.facts)
    if numbers:
        parts += ["<h2>Numbers</h2>", numbers]
    return "\n".join([*parts, "</body></html>", ""])


def _article(finding):
    place = f" at <code>{html.escape(str(finding.layer))}</code>" if finding.layer else ""
    rows = [
        f"<dt>{label}</dt><dd>{html.escape(text)}</dd>"
        for label, text in (
            ("seen", finding.evidence),
            ("why", finding.explanation),
            ("mend", finding.remedy),
        )
        if text
    ]
    return (
        f'<article class="{finding.severity}"><h3><span class="severity">{finding.severity}</span> '
        f"<code>{finding.code}</code>{place}</h3><dl>{''.join(rows)}</dl></article>"
    )


def _picture(diagnosis):
    import matplotlib.pyplot as plt

    figure = plot_diagnosis(diagnosis)[0].figure
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format="png", dpi=110)
    finally:
        plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<p><img alt="What was measured" src="data:image/png;base64,{data}"></p>'


def _numbers(facts):
    rows = [
        f"<tr><td>{html.escape(name.replace('_', ' '))}</td>"
        f"<td>{html.escape(_said(value))}</td></tr>"
        for name, value in facts.items()
        if isinstance(value, (int, float, str))
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _said(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
