"""The floors agree on the operations: table, builder functions, reference, and the tests' generators."""

import inspect
from typing import get_type_hints

import pytest

from aneperf import mil, reference
from aneperf._ane_native import OpSpec, operations
from aneperf.mil.call import argument_name
from support.deep_programs import OPERATIONS as DEEP

FAMILIES = ("elementwise", "product", "reduction", "movement", "window", "storage")
# Its result is fp32, which no operation takes: MIL text may hold it, a builder has no use for it.
WITHOUT_A_FUNCTION = {"constexpr_cast"}
# MIL drops reduced axes by default, the builder keeps them: the engine's tensors have four axes.
BUILDER_DEFAULTS = {"keep_dims": True}
OPERATIONS = {name: spec for name, spec in operations().items() if name not in WITHOUT_A_FUNCTION}


def test_families_have_the_same_operations_on_every_floor() -> None:
    assert len(OPERATIONS) > 100
    for family in FAMILIES:
        of_family = {name for name, spec in OPERATIONS.items() if spec.family == family}
        assert set(getattr(mil, family).__all__) == of_family
        assert set(getattr(reference, family).OPERATIONS) == of_family
    assert set(reference.OPERATIONS) == set(OPERATIONS)
    assert set(DEEP) == set(OPERATIONS)


def test_every_name_is_exported_once() -> None:
    assert len(mil.__all__) == len(set(mil.__all__))
    assert set(OPERATIONS) < set(mil.__all__)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_function_has_the_parameters_of_the_table(name: str) -> None:
    spec: OpSpec = OPERATIONS[name]
    signature = inspect.signature(getattr(mil, name))
    given = {argument_name(name, key): p for key, p in signature.parameters.items() if key != "name"}
    assert given.keys() <= spec.parameters.keys()
    assert given.keys() >= {key for key, parameter in spec.parameters.items() if parameter.required}
    for key, parameter in given.items():
        default = spec.parameters[key].default
        if parameter.default is parameter.empty:
            assert default is None
        elif parameter.default is None:  # left out
            assert not spec.parameters[key].required
        else:
            assert parameter.default == BUILDER_DEFAULTS.get(key, default)
            assert isinstance(parameter.default, type(default)) or isinstance(default, float)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_function_documents_itself(name: str) -> None:
    function = getattr(mil, name)
    assert function.__doc__
    assert function.__name__ == name
    result = get_type_hints(function)["return"]
    assert result == (mil.Tensor if OPERATIONS[name].results == 1 else tuple[mil.Tensor, ...])
    keyword = inspect.signature(function).parameters["name"]
    assert keyword.kind is inspect.Parameter.KEYWORD_ONLY
    assert keyword.default is None


def test_a_record_of_the_table() -> None:
    spec = operations()["layer_norm"]
    assert (spec.name, spec.family, spec.opset, spec.results) == ("layer_norm", "reduction", "ios15", 1)
    assert list(spec.parameters) == ["x", "axes", "gamma", "beta", "epsilon"]
    epsilon = spec.parameters["epsilon"]
    assert (epsilon.role, epsilon.dtypes, epsilon.required, epsilon.default) == (
        "constant",
        ("fp16",),
        False,
        1e-5,
    )
    assert operations()["concat"].parameters["values"].role == "tuple"
    assert operations()["conv"].parameters["pad_type"].default == "valid"
    assert operations()["conv"].parameters["strides"].default is None
    assert operations()["quantize"].parameters["zero_point"].dtypes == ("int8", "uint8")


def test_wrong_calls_name_the_operation() -> None:
    with pytest.raises(TypeError, match=r"^leaky_relu: missing a required argument: 'alpha'"):
        mil.leaky_relu(mil.Builder().input("x", (1,)))  # type: ignore[call-arg]
