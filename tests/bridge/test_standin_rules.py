"""Show that the stand-in does what the framework's own bodies do, where the bridge does not depend on it."""

import hashlib
from ctypes import c_int8, c_uint32, c_uint64, c_void_p

import pytest

from support.bridge_programs import PATH, PROGRAM
from support.framework import FrameworkModel, call

pytest_plugins = ["support.standin"]

DOMAIN = "com.apple.appleneuralengine"
NONE = c_void_p(None)
QOS = c_uint32(21)
MIL = {"kANEFModelType": "kANEFModelMIL"}


@pytest.fixture
def model(standin):
    model = FrameworkModel(standin, PROGRAM.text, PROGRAM.weights)
    yield model
    model.release()


def sha256(data):
    return hashlib.sha256(data).hexdigest().upper()


def test_a_model_is_named_by_upper_case_hashes(standin, model):
    text, weights = PROGRAM.text.encode(), PROGRAM.weights[PATH]
    assert model.text("hexStringIdentifier") == "_".join(
        (sha256(text), sha256(bytes(4) + weights), sha256(b""))
    )
    assert model.load() is None
    assert model.unload() is None


def test_a_model_on_its_way(standin, model):
    assert (model.get("state", c_uint64), model.get("queueDepth", c_int8)) == (0, 0)
    with standin.pool():
        assert standin.to_value(standin.send(model.model, "modelAttributes")) == {}
        assert standin.send(model.model, "descriptor")
    assert model.compile() is None
    with standin.pool():
        assert standin.send(model.model, "descriptor") is None
        url = standin.send(model.model, "saveModelFiles")
        assert standin.to_value(standin.send(url, "path")) == str(model.folder)
    assert model.load() is None
    assert model.load() is None
    assert standin.alive().loaded_models == 2
    assert (model.get("state", c_uint64), model.get("queueDepth", c_int8)) == (3, 127)
    handle = model.get("programHandle", c_uint64)
    standin.send(model.model, "setPerfStatsMask:", c_uint32(7), returns=None)
    assert model.load() is None
    assert model.get("perfStatsMask", c_uint32) == 0
    assert model.get("programHandle", c_uint64) != handle
    with standin.faults("unload_fails"):
        assert model.unload() == (DOMAIN, 23, "_ANEModel: a test asked for it")
    assert not model.folder.exists()
    assert model.unload() is None
    assert model.unload() is None
    assert model.unload() == (DOMAIN, 23, "_ANEModel: not loaded")
    assert model.get("state", c_uint64) == 3
    assert model.get("programHandle", c_uint64) != 0


def test_what_makes_no_descriptor_and_no_model(standin):
    text, empty = (c_void_p(standin.to_object(value)) for value in (b"text", {"@model_path/w.bin": {}}))
    selector = "modelWithMILText:weights:optionsPlist:"
    with standin.pool():
        assert standin.send("_ANEInMemoryModelDescriptor", selector, text, empty, NONE) is None
        assert standin.send("_ANEInMemoryModel", "inMemoryModelWithDescriptor:", NONE)


def request(standin, statistics):
    """Return a request with no surfaces and these statistics."""
    empty = c_void_p(standin.to_object([]))
    selector = "requestWithInputs:inputIndices:outputs:outputIndices:perfStats:procedureIndex:"
    return standin.send("_ANERequest", selector, empty, empty, empty, empty, statistics, NONE)


def test_statistics_that_are_offered_are_not_statistics_that_are_given(standin):
    with standin.pool():
        offered = standin.to_object([])
        made = request(standin, c_void_p(offered))
        assert standin.send(made, "perfStatsArray") == offered
        assert standin.send(made, "perfStats") is None
        assert standin.send("_ANEPerformanceStats", "new") is None
        given = standin.send("_ANEPerformanceStats", "statsWithHardwareExecutionNS:", c_uint64(7))
        assert standin.send(given, "hwExecutionTime", returns=c_uint64) == 7


def test_a_chain_of_requests_is_never_prepared(standin):
    client = standin.send("_ANEClient", "sharedConnection")
    selector = "prepareChainingWithModel:options:chainingReq:qos:error:"
    assert call(standin, client, selector, NONE, NONE, NONE, QOS)[:2] == (DOMAIN, 15)


@pytest.fixture
def on_disk(standin, tmp_path):
    """Return a client's own folder as a _ANEModel, and its folder."""
    for name, data in {"model.mil": PROGRAM.text.encode(), **PROGRAM.weights}.items():
        file = tmp_path / name.removeprefix("@model_path/")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    path = c_void_p(standin.to_object(str(tmp_path / "model.mil")))
    with standin.pool():
        url = c_void_p(standin.send("NSURL", "fileURLWithPath:", path))
        model = standin.send(standin.send("_ANEModel", "modelAtURL:key:", url, NONE), "retain")
    yield model, tmp_path
    with standin.pool():
        standin.send(model, "release", returns=None)


def client_call(standin, verb, model, options):
    selector = f"{verb}Model:options:qos:error:"
    client = standin.send("_ANEClient", "sharedConnection")
    return call(standin, client, selector, c_void_p(model), c_void_p(standin.to_object(options)), QOS)


def test_the_client_takes_mil_only_if_it_is_told_so(standin, on_disk):
    model, _ = on_disk
    for verb in ("compile", "load"):
        assert client_call(standin, verb, model, {})[:2] == (f"{DOMAIN}.espresso", -1)
        assert client_call(standin, verb, model, MIL) is None
    assert standin.alive().loaded_models == 1
    assert standin.send(model, "state", returns=c_uint64) == 3
    with standin.pool():
        attributes = standin.to_value(standin.send(model, "modelAttributes"))
    assert attributes["ANEFModelDescription"]["kANEFModelInputSymbolsArrayKey"] == ["x"]
    assert client_call(standin, "unload", model, MIL) is None
    assert standin.compiles == 0


@pytest.mark.parametrize("system", ["26", "27"])
def test_the_client_refuses_links_on_macos27_alone(standin, monkeypatch, on_disk, system):
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    model, folder = on_disk
    (folder / "link").symlink_to(folder / "model.mil")
    error = client_call(standin, "compile", model, MIL)
    assert error == (
        None
        if system == "26"
        else (DOMAIN, 10, "verifyBundleAtPath: bundle entry link is a symbolic link; refusing")
    )


def test_the_client_has_the_limit_of_compiles_that_it_is_given(standin, monkeypatch, on_disk):
    model, _ = on_disk
    monkeypatch.setenv("ANE_STANDIN_CLIENT_BUDGET", "2")
    errors = [client_call(standin, "compile", model, MIL) for _ in range(3)]
    assert errors[:2] == [None, None]
    assert errors[2][0] == f"{DOMAIN}.compiler"
    monkeypatch.delenv("ANE_STANDIN_CLIENT_BUDGET")
    assert client_call(standin, "compile", model, MIL) is None


def test_a_virtual_machine_evaluates_nothing(standin, model):
    assert model.load() is None
    with standin.faults("virtual_machine"):
        selector = "evaluateWithQoS:options:request:error:"
        assert model.call(selector, QOS, NONE, NONE)[:2] == (DOMAIN, 22)
    assert model.unload() is None
