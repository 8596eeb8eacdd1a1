"""Opening the Neural Engine: what the framework lacks is named, and what may be absent is said to be."""

import pytest

import aneperf

pytest_plugins = ["support.standin"]

CLASSES = {
    "_ANEInMemoryModelDescriptor": ["modelWithMILText:weights:optionsPlist:"],
    "_ANEInMemoryModel": [
        "inMemoryModelWithDescriptor:",
        "hexStringIdentifier",
        "compileWithQoS:options:error:",
        "loadWithQoS:options:error:",
        "evaluateWithQoS:options:request:error:",
        "unloadWithQoS:error:",
    ],
    "_ANEIOSurfaceObject": ["objectWithIOSurface:"],
    "_ANERequest": [
        "requestWithInputs:inputIndices:outputs:outputIndices:weightsBuffer:perfStats:procedureIndex:"
    ],
    "_ANEDeviceInfo": ["hasANE"],
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_missing_class_is_named(standin, name):
    with standin.faults(f"missing_class={name}"), pytest.raises(aneperf.DeviceUnavailable) as caught:
        aneperf.open("ane")
    assert f"has no class {name}: " in str(caught.value)
    assert aneperf.open("ane").info()["kind"] == "ane"


@pytest.mark.parametrize(
    ("name", "selector"), [(name, selector) for name in CLASSES for selector in CLASSES[name]]
)
def test_a_missing_method_is_named(standin, name, selector):
    with (
        standin.faults(f"missing_selector={name}.{selector}"),
        pytest.raises(aneperf.DeviceUnavailable) as caught,
    ):
        aneperf.open("ane")
    assert f"{name} has no method {selector}: " in str(caught.value)


OPTIONAL = {
    "aneSubType": "subtype",
    "aneArchitectureType": "architecture",
    "numANEs": "engines",
    "numANECores": "engine cores",
    "productName": "system",
    "buildVersion": "system build",
    "isVirtualMachine": "virtual machine",
}


@pytest.mark.parametrize("selector", OPTIONAL)
def test_info_without_an_optional_method_says_unavailable(standin, selector):
    whole = aneperf.open("ane").info()
    assert "unavailable" not in whole.values()
    with standin.faults(f"missing_selector=_ANEDeviceInfo.{selector}"):
        assert aneperf.open("ane").info() == {**whole, OPTIONAL[selector]: "unavailable"}


def test_a_machine_without_the_engine(standin):
    with (
        standin.replaced("+[_ANEDeviceInfo hasANE]", lambda call: 0),
        pytest.raises(aneperf.DeviceUnavailable, match=r"^no Neural Engine on this machine$"),
    ):
        aneperf.open("ane")


def test_a_missing_framework_is_named(standin):
    path = "/System/Library/PrivateFrameworks/AppleNeuralEngine.framework"
    with (
        standin.faults("missing_framework"),
        pytest.raises(aneperf.DeviceUnavailable, match=f"no Neural Engine on this machine: {path}"),
    ):
        aneperf.open("ane")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing_framework", "no Neural Engine on this machine"),
        ("a typo", "no Neural Engine on this machine"),
        ("missing_class=_ANERequest", "has no class _ANERequest"),
        ("missing_selector=_ANERequest.requestWithInputs", "opened"),
    ],
)
def test_faults_of_the_environment_hold_from_the_start(standin, fault, message):
    assert message in standin.child("open_engine()", ANE_STANDIN_FAULT=fault)
