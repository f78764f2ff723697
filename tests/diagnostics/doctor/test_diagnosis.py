import html.parser

import numpy as np
import pytest

from keras_deeptricks.diagnostics.doctor.codes import CODES, SEVERITIES
from keras_deeptricks.diagnostics.doctor.diagnosis import Diagnosis
from keras_deeptricks.diagnostics.doctor.finding import Finding

NOTE = Finding("few_rows", "note", None, "40 rows", "few", "more")
ERROR = Finding("nan", "error", "dense", "NaN <b>", "why & how", "mend")
FACTS = {
    "learning_rate": 0.1,
    "trial_start_loss": 2.3,
    "trial_rates": np.array([0.01, 0.1, 1.0]),
    "trial_losses": [np.linspace(2.3, 1, 10), np.linspace(2.3, 0.5, 10), np.array([2.3, 90.0])],
    "trial_end_losses": np.array([1.0, 0.5, np.inf]),
    "signal_layers": ["dense", "out"],
    "signal_deviations": np.array([0.5, 0.2]),
    "gradient_layers": ["dense", "out"],
    "relative_gradients": np.array([0.01, 0.3]),
}


def diagnosis(*findings, **facts):
    return Diagnosis([*findings], facts or dict(FACTS), "Model 'm'", "quick", 1.25)


def test_worst_first_and_each_once():
    found = diagnosis(NOTE, ERROR, NOTE)
    assert found.findings == [ERROR, NOTE]
    assert found.codes == ["nan", "few_rows"]
    assert not found.ok
    assert found.of("note") == [NOTE]


def test_notes_are_fine():
    assert diagnosis(NOTE).ok
    assert diagnosis().ok


def test_text():
    text = str(diagnosis(NOTE, ERROR))
    assert "1 error, 1 note" in text
    assert text.index("ERROR nan at 'dense'") < text.index("NOTE few_rows")
    assert "nothing found" in str(diagnosis())


def test_save_and_load(tmp_path):
    found = diagnosis(NOTE, ERROR)
    for name in ("a.json", "a.npz"):
        found.save(tmp_path / name)
        again = Diagnosis.load(tmp_path / name)
        assert again.findings == found.findings
        np.testing.assert_array_equal(again.facts["trial_rates"], FACTS["trial_rates"])


@pytest.mark.parametrize("field, value", [("code", "nonsense"), ("severity", "bad")])
def test_words_of_the_vocabulary_only(field, value):
    with pytest.raises(ValueError, match=f"`{field}` must be one of"):
        Finding(**{"code": "nan", "severity": "error", field: value})


def test_vocabulary():
    assert SEVERITIES == ("error", "warning", "note")
    assert all(text.endswith(".") for text in CODES.values())
    wanted = """input_nan input_scale target_scale label_range label_shape labels_unrelated
        class_imbalance unshuffled_data data_leakage constant_feature output_activation_mismatch
        output_range constant_output loss_mismatch from_logits_mismatch metric_mismatch output_units
        missing_nonlinearity hidden_softmax double_softmax saturated_units dead_units
        initialization_constant initialization_scale initial_loss vanishing_gradient
        exploding_gradient nan learning_rate_too_high learning_rate_too_low oscillation underfitting
        overfitting over_regularization dropout_misuse batch_norm_misuse self_normalization_broken
        nothing_trainable architecture"""
    assert set(wanted.split()) <= set(CODES)


class _Page(html.parser.HTMLParser):
    """Counts tags and keeps what the page refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.references, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_html_is_one_file(tmp_path):
    path = diagnosis(NOTE, ERROR).to_html(tmp_path / "report.html")
    page = _Page(path.read_text(encoding="utf-8"))
    assert page.tags.count("article") == 2
    assert len(page.references) == 1
    assert page.references[0].startswith("data:image/png;base64,")
    assert "NaN <b>" in page.text  # shown, not taken for a tag
    assert "b" not in page.tags


def test_html_without_pictures(tmp_path):
    found = Diagnosis([NOTE], {}, "Model", "quick", 0.1)
    page = _Page(found.to_html(tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.references == []
    assert "Nothing worse than notes: 1 note." in page.text


def test_html_wants_its_ending(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.html"):
        diagnosis().to_html(tmp_path / "report.txt")
    assert not (tmp_path / "report.txt").exists()
