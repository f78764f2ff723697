import pytest
from doctor_architectures import ARCHITECTURES
from structural_cases import case_of

from keras_deeptricks.diagnostics.doctor import architecture, optimizer

# Binary targets as floats, and probabilities of pixels, go with a cross-entropy.
LOSSES = {"u_net": "binary_crossentropy", "siamese": "binary_crossentropy"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_healthy_architectures_get_notes_at_most(name):
    case = case_of(*ARCHITECTURES[name](), loss=LOSSES.get(name))
    found = [f for detect in architecture.DETECTORS + optimizer.DETECTORS for f in detect(case)]
    assert [str(f) for f in found if f.severity != "note"] == []
