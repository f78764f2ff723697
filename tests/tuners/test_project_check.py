"""Projects of unknown origin are refused before Keras Tuner reads them."""

import json

import pytest
from tuners.cluster_search import Sleeper, oracle

from keras_deeptricks.tuners import cluster
from keras_deeptricks.tuners.project_check import check_project

# Keras Tuner asks for the name of the thread in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:.*(currentThread|getName).*:DeprecationWarning")


@pytest.fixture
def project(tmp_path):
    for_all = {"directory": str(tmp_path), "project_name": "search"}
    cluster.run(Sleeper(oracle=oracle("hyperband", 3), **for_all), 0.0, verbose=0)
    return tmp_path / "search"


def changed(path, change):
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


def test_what_a_search_writes_is_accepted(project):
    (project / "tuner0.json").write_text("")
    check_project(project)
    assert not (project / "tuner0.json").exists()  # empty: Keras Tuner would fail on it
    check_project(project / "nothing")


CODE = {"class_name": "keras_deeptricks>Ensemble", "config": {"models": []}}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state["hyperparameters"]["space"].append(CODE), "keras_deeptricks>Ensemble"),
        (
            lambda state: state["hyperparameters"]["space"].append(
                {"class_name": "Float", "module": "os", "config": {}}
            ),
            "names the class",
        ),
        (lambda state: state["start_order"].append("../../victim"), "'../../victim'"),
        (lambda state: state["ongoing_trials"].update(worker0=3), "holds 3"),
        (lambda state: state.update(end_order="a b"), "holds 'a b'"),
    ],
)
def test_a_prepared_oracle(change, message, project):
    changed(project / "oracle.json", change)
    with pytest.raises(ValueError, match=message):
        check_project(project)


def test_prepared_trials(project, tmp_path):
    path = sorted(project.glob("trial_*"))[0] / "trial.json"
    before = path.read_text()
    changed(path, lambda state: state.update(trial_id="a/../../../victim"))
    with pytest.raises(ValueError, match="victim"):
        check_project(project)
    path.write_text(before)
    changed(path, lambda state: state.update(trial_id="other"))
    with pytest.raises(ValueError, match="names another trial"):
        check_project(project)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="holds no dictionary"):
        check_project(project)
    path.write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        check_project(project)
    path.write_text(before)
    (project / "trial_link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="is a link"):
        check_project(project)
