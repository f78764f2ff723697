"""The doctor on whole programs: it finds each fault, and is silent where there is none."""

import os
import re

import doctor_programs
import keras
import numpy as np
import pytest
from doctor_programs import data_programs

from keras_deeptricks.diagnostics import CODES, check

HISTORICAL = {"divergence", "plateau", "oscillation"}
"""Codes that are read from the history of a training."""

PAIRS, TWINS, HEALTHY = doctor_programs.PAIRS, doctor_programs.PAIRS, doctor_programs.HEALTHY
if not os.environ.get("ALL_PROGRAMS"):  # without it half of the faults, and fewer others
    if keras.config.backend() == "torch":  # there only what does not depend on the model
        PAIRS, TWINS, HEALTHY = data_programs.PAIRS, data_programs.PAIRS[::2], HEALTHY[:3]
    elif keras.config.backend() == "jax":  # where a check costs twice as much
        PAIRS, TWINS, HEALTHY = PAIRS[1::6], PAIRS[1::12], HEALTHY[1::16]
    else:
        PAIRS, TWINS, HEALTHY = PAIRS[::2], PAIRS[1::4], HEALTHY[::4]
SEVERITIES = {"warning": ("error", "warning"), "note": ("error", "warning", "note")}

each_pair = pytest.mark.parametrize("pair", PAIRS, ids=[pair.name for pair in PAIRS])
each_twin = pytest.mark.parametrize("pair", TWINS, ids=[pair.name for pair in TWINS])
each_healthy = pytest.mark.parametrize(
    "build", [build for _, build in HEALTHY], ids=[name for name, _ in HEALTHY]
)


def _examined(program):
    """The diagnosis of a program, whose model must stay as it was."""
    before = [np.array(value) for value in program.model.get_weights()]
    diagnosis = check(program.model, program.x, program.y, **{"seed": 0, **program.options})
    if before:  # a subclassed model may have got its weights only now
        after = program.model.get_weights()
        assert len(after) == len(before)
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(new, old)
    return diagnosis


def _names(finding, layer):
    """Whether a finding names a layer, alone, in a list or in a path of nested models."""
    return layer in re.split(r"[\s,/'\"()]+", finding.layer or "")


def _listed(findings):
    return "\n".join(str(finding) for finding in findings) or "no findings"


@each_pair
def test_a_fault_is_found(pair):
    if (pair.name, keras.config.backend()) == ("root_of_zero_between_twins", "tensorflow"):
        pytest.skip("TensorFlow's gradient of a root times 0 is 0: it trains, nothing is wrong.")
    findings = _examined(pair.faulty()).findings
    found = [
        finding
        for finding in findings
        if finding.code in pair.codes and finding.severity in SEVERITIES[pair.severity]
    ]
    assert found, f"none of {pair.codes} among:\n{_listed(findings)}"
    if pair.layer:
        layers = (pair.layer,) if isinstance(pair.layer, str) else pair.layer
        named = any(_names(finding, layer) for finding in found for layer in layers)
        assert named, f"none of {layers} is named by:\n{_listed(found)}"


@each_twin
def test_its_mended_twin_is_not_complained_of(pair):
    findings = _examined(pair.healthy()).findings
    complaints = [finding for finding in findings if finding.severity != "note"]
    assert not complaints, _listed(findings)


@each_healthy
def test_a_healthy_program_is_not_complained_of(build):
    findings = _examined(build()).findings
    complaints = [finding for finding in findings if finding.severity != "note"]
    assert not complaints, _listed(findings)


def test_the_programs_cover_the_vocabulary():
    pairs = doctor_programs.PAIRS
    names = [pair.name for pair in pairs] + [name for name, _ in doctor_programs.HEALTHY]
    assert len(set(names)) == len(names)
    covered = {code for pair in pairs for code in pair.codes}
    assert covered == set(CODES) - HISTORICAL - {"check_incomplete"}
