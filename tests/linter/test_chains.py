"""Chains of convolutions that are too deep for the compiler for two engines."""

import pytest

import aneperf
from aneperf import mil
from support.linting import findings, ones


def chain(depth: int, channels: int, between: str = "") -> str:
    """Write a chain of 1x1 convolutions with one weight, and an operation between them."""
    x, ones = f"tensor<fp16, [1, {channels}, 1, 32]>", "tensor<int32, [2]>([1, 1])"
    fixed = f"strides = {ones}, dilations = {ones}, groups = int32(1), pad = tensor<int32, [4]>([0, 0, 0, 0])"
    lines, last = [], "x"
    for i in range(depth):
        lines.append(f'{x} y{i} = conv(x = {last}, weight = w, pad_type = string("valid"), {fixed});')
        last = f"y{i}"
        if between:
            lines.append(f"{x} z{i} = {between}(x = y{i});")
            last = f"z{i}"
    return f"""program(1.3)
[buildInfo = dict<string, string>({{{{"coremlc-version", "3505.4.1"}}}})]
{{
    func main<ios18>({x} x, tensor<fp16, [{channels}, {channels}, 1, 1]> w) {{
        {" ".join(lines)}
    }} -> ({last});
}}
"""


@pytest.mark.parametrize(
    ("chip", "channels", "between", "longest"),
    [
        ("M6", 64, "relu", 386),
        ("h18g", 512, "", 384),
        ("M6", 1024, "", 767),
        ("A20 Pro", 64, "", 386),
    ],
)
def test_long_chains_fail_on_two_engines(chip: str, channels: int, between: str, longest: int) -> None:
    found = aneperf.lint(chain(longest + 1, channels, between), chip)
    (reason,) = [each.reason for each in found if each.severity == "fails"]
    assert f"number {longest + 1} in a chain" in reason


def test_a_long_chain_fails_whose_last_convolution_has_more_channels() -> None:
    def define(x: mil.Tensor) -> mil.Tensor:
        for _ in range(386):
            x = mil.conv(x, ones(1, 1, 1, 1))
        return mil.conv(mil.conv(x, ones(512, 1, 1, 1)), ones(512, 512, 1, 1))

    assert findings(define, (1, 1, 1, 32), chip="M6") == [("conv", "fails")]


def test_long_chains_do_not_fail_on_one_engine() -> None:
    assert not [each for each in aneperf.lint(chain(400, 64), "A19 Pro") if each.severity == "fails"]


def test_convolutions_beside_each_other_are_no_chain() -> None:
    def define(x: mil.Tensor) -> mil.Tensor:
        return mil.concat([mil.conv(x, ones(1, 1, 1, 1)) for _ in range(388)], 1)

    assert findings(define, (1, 1, 1, 32), chip="M6") == []
