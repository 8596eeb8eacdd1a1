"""A child of fork has the parent's objects of the framework, but neither its threads nor its connections."""

import json

import numpy as np

import aneperf
from support.bridge_children import refused
from support.bridge_programs import WEIGHTS, X, product
from support.processes import in_a_fork, needs_fork
from support.programs import NO_BUDGET

pytest_plugins = ["support.standin"]
pytestmark = needs_fork


def test_every_call_is_refused_in_a_forked_child(engine):
    compiled = product(WEIGHTS[0]).compile(engine)
    x, y = (engine.make_surface(ports[0]) for ports in (compiled.inputs, compiled.outputs))
    request = compiled.bind({"x": x}, {"y": y})

    def work():
        refused(aneperf.open, "ane", compile_budget=NO_BUDGET)
        refused(engine.info)
        refused(product(WEIGHTS[1]).compile, engine)
        refused(engine.make_surface, 64)
        refused(compiled.run, x=X)
        refused(compiled.bind, {"x": x}, {"y": y})
        refused(compiled.unload)
        refused(request.evaluate)
        refused(request.time, 3)
        refused(x.write, X)
        refused(y.read)

    assert in_a_fork(work) == 0
    # And the parent continues.
    x.write(X)
    request.evaluate()
    assert np.isfinite(y.read()).all()


def test_what_a_forked_child_drops_stays_the_parents(ane, standin):
    held = {"program": product(WEIGHTS[0]).compile(ane)}
    held["surfaces"] = x, y = tuple(
        ane.make_surface(ports[0]) for ports in (held["program"].inputs, held["program"].outputs)
    )
    held["request"] = held["program"].bind({"x": x}, {"y": y})
    del x, y
    before = standin.alive()

    def work():
        held.clear()
        assert standin.alive() == before  # the folder on the disk among them

    assert in_a_fork(work) == 0
    assert standin.alive() == before
    held["request"].evaluate()


def test_a_child_forked_amid_calls_does_not_hang(standin, tmp_path):
    assert json.loads(standin.child("fork_amid_calls()", TMP=str(tmp_path))) == [0] * 10
    assert list(tmp_path.glob("*/*")) == []


def test_a_process_forked_before_the_engine_opens_may_use_it(standin, tmp_path):
    assert standin.child("fork_before_opening()", TMP=str(tmp_path)) == "0\n"
