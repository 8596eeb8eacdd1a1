"""Predictions of programs: their layers, bounds, and what they say of themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aneperf
from aneperf import mil
from aneperf.chips import find_chip
from aneperf.chips.parameters import parameters_of
from aneperf.errors import ArgumentError, ProgramError
from aneperf.kernels import ConvStack, QuantizedStack
from aneperf.kernels.presets import PRESETS
from aneperf.prediction import Prediction, predict_training
from aneperf.prediction.layers import layers_of
from aneperf.prediction.notes import unmeasured_note
from aneperf.prediction.stack import predict_stack

SPARSE = mil.constexpr_sparse_to_dense(np.ones(64 * 64, np.float16), np.ones((64, 64, 1, 1), np.uint8))


def layers(program: mil.Program) -> list[tuple[str, list[object]]]:
    return [(one.op, list(found)) for one, _, found in layers_of(mil.parse(program.text))]


def test_layers_of_a_stack() -> None:
    program = ConvStack(128, 2, width=64).build()
    found = dict(enumerate(layers(program)))
    assert [op for op, _ in found.values()] == ["cast", "conv", "conv", "cast"]
    (conv,) = found[1][1]
    assert (conv.kind, conv.flops, conv.weight_bytes) == ("product", 2 * 128 * 128 * 64, 2 * 128 * 128)
    assert not conv.is_int8
    assert [found[at][1][0].port_bytes for at in (1, 2)] == [4 * 128 * 64] * 2  # in fp32


def test_layers_with_one_weight_stream_it_once() -> None:
    b = mil.Builder()
    weight = mil.const(np.ones((64, 64, 1, 1), np.float16), name="w")
    x = b.input("x", (1, 64, 1, 64))
    b.output("y", mil.conv(mil.conv(x, weight), weight))
    (first,), (second,) = (found for _, found in layers(b.build()))
    assert (first.weight_bytes, first.reused_bytes) == (2 * 64 * 64, 0)
    assert (second.weight_bytes, second.reused_bytes) == (0, 2 * 64 * 64)


def test_eight_bit_products_need_both_operands() -> None:
    convolutions = [found[0] for op, found in layers(QuantizedStack(64, 3).build()) if op == "conv"]
    assert [one.is_int8 for one in convolutions] == [False, True, True]
    assert [one.weight_bytes for one in convolutions] == [pytest.approx(64 * 64, abs=64)] * 3


def test_products_of_two_inputs_stream_the_second() -> None:
    b = mil.Builder()
    x, y = b.input("a", (1, 1, 256, 512)), b.input("b", (1, 1, 512, 128))
    b.output("c", mil.matmul(x, y))
    program = b.build()
    ((_, (product,)),) = layers(program)
    assert product.operand_bytes == 2 * 512 * 128
    assert product.largest_bytes == 2 * 256 * 512
    assert product.port_bytes == 2 * (256 * 512 + 256 * 128)
    assert product.positions == 256


def test_what_is_fused_costs_nothing() -> None:
    b = mil.Builder()
    x = b.input("x", (1, 64, 1, 64))
    y = mil.conv(x, np.ones((64, 64, 1, 1), np.float16))
    z = mil.relu(y)
    b.output("y", mil.mul(z, mil.sigmoid(z)))
    kinds = [(op, found[0].kind) for op, found in layers(b.build())]
    assert kinds == [("conv", "product"), ("relu", "free"), ("sigmoid", "pointwise"), ("mul", "pointwise")]


def test_a_prediction_adds_up_and_says_what_bounds_it() -> None:
    found = aneperf.predict(ConvStack(1024, 8).build(), "M4 Max")
    assert isinstance(found, Prediction)
    assert (found.chip, found.bound) == ("M4 Max", "weights")
    assert found.ms.low < found.ms.value < found.ms.high
    assert found.ms.value == pytest.approx(sum(found.parts.values()))
    weights_ms = 2 * 1024 * 1024 / parameters_of("M4 Max").values["weights"] / 1e6
    fixed_ms = parameters_of("M4 Max").values["layer"] / 1e3
    convolutions = [one for one in found.operations if one.op == "conv"]
    assert [one.ms.value for one in convolutions] == [pytest.approx(weights_ms + fixed_ms)] * 8
    assert {one.bound for one in convolutions} == {"weights"}
    assert "M4 Max" in repr(found)
    assert "not a measurement" in repr(found)
    assert "<table" in found._repr_html_()
    whole, *operations = found.to_dicts()
    assert whole["ms"] == found.ms.value
    assert whole["notes"] == ""
    assert len(operations) == len(found.operations)


def test_a_chip_without_figures_says_so() -> None:
    program = ConvStack(512, 4).build()
    assert "A17 Pro: no figure" in str(aneperf.predict(program, "A17 Pro").notes)
    assert "M6: the figures are of other libraries" in str(aneperf.predict(program, "M6").notes)
    assert aneperf.predict(program, "M4").notes == ()


def test_a_generation_without_figures_says_so() -> None:
    found = aneperf.predict(ConvStack(512, 4).build(), "A19 Pro")
    (note,) = found.notes
    assert "nor of its generation" in note
    assert found.to_dicts()[0]["notes"] == note


@pytest.mark.parametrize(("chip", "is_known"), [("A20", False), ("A20 Pro", True), ("M3 Ultra", True)])
def test_an_unknown_number_of_engines_is_noted(chip: str, is_known: bool) -> None:
    notes = " ".join(aneperf.predict(ConvStack(64, 1).build(), chip).notes)
    assert ("the number of its engines is not known" not in notes) == is_known


@pytest.mark.parametrize("groups", [1, 64])
def test_grouped_convolutions_are_noted(groups: int) -> None:
    b = mil.Builder()
    x = b.input("x", (1, 64, 8, 8))
    b.output("y", mil.conv(x, np.ones((64, 64 // groups, 3, 3), np.float16), groups=groups))
    notes = " ".join(aneperf.predict(b.build(), "M4").notes)
    assert ("grouped convolutions" in notes) == (groups > 1)


def test_operations_of_no_figure_are_noted() -> None:
    b = mil.Builder()
    y = mil.conv(b.input("x", (1, 512, 1, 512)), np.ones((512, 512, 1, 1), np.float16))
    b.output("y", mil.transpose(y, (0, 3, 2, 1)))
    (note,) = aneperf.predict(b.build(), "M4").notes
    assert "operations that no published figure has: transpose. They" in note


def test_a_small_part_is_not_noted() -> None:
    assert unmeasured_note("M4", [("conv", 9.5), ("transpose", 0.5)], 10.0) is None
    assert unmeasured_note("M4", [("transpose", 0.5)], 10.0) is None  # the rest is the call
    assert unmeasured_note("M4", [], 1.0) is None
    times = [("tile", 1.0), ("pad", 1.0), ("topk", 1.0), ("stack", 1.0), ("conv", 5.0)]
    note = unmeasured_note("M4", times, 10.0)
    assert note is not None
    assert "figure has: pad, stack, tile, others. They" in note


def test_templates_take_axes(tmp_path: Path) -> None:
    file = tmp_path / "t.py"
    file.write_text(
        "from aneperf.kernels import ConvStack\ndef stack(n=64):\n    return ConvStack(n, 1).build()\n"
    )
    small = aneperf.predict(str(file), "M4")
    large = aneperf.predict(str(file), "M4", axes={"n": 1024})
    assert large.program == "t.py:stack/n=1024"
    assert large.ms.value > small.ms.value
    with pytest.raises(ArgumentError, match="no parameter"):
        aneperf.predict(str(file), "M4", axes={"m": 1})


def test_what_is_no_program_or_chip_is_refused() -> None:
    with pytest.raises(ArgumentError, match="choose from"):
        aneperf.predict(ConvStack(64, 1).build(), "M99")
    with pytest.raises(ArgumentError, match="a program is"):
        aneperf.predict(3, "M4")  # type: ignore[arg-type]
    with pytest.raises(ProgramError):
        aneperf.predict(lambda: 1, "M4")
    with pytest.raises(ArgumentError, match="a chip is a name"):
        aneperf.predict(ConvStack(64, 1).build(), 3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="no chip is called 'M99'"):
        aneperf.predict(ConvStack(64, 1).build(), replace(find_chip("M4"), name="M99"))
    with pytest.raises(ArgumentError, match="'M4' differs from the chip of this name"):
        aneperf.predict(ConvStack(64, 1).build(), replace(find_chip("M4"), engines=2))
    with pytest.raises(ArgumentError, match="axes are a mapping of names to values, not 3"):
        aneperf.predict(ConvStack(64, 1).build(), "M4", axes=3)  # type: ignore[arg-type]


def test_a_training_step_has_a_row_for_each_kernel() -> None:
    step = predict_training("stories110m", "M4")
    assert step == predict_training(PRESETS["stories110m"], find_chip("M4"))
    assert sum(one.count for one in step.operations) == 72
    assert sum(one.ms.value for one in step.operations) == pytest.approx(step.ms.value)
    assert any("host" in note for note in step.notes)
    assert not any("compile" in note for note in step.notes)
    extended = predict_training(PRESETS["stories110m"], "M4", "static-ane")
    assert sum(one.count for one in extended.operations) == 99
    dynamic = predict_training(PRESETS["stories260k"], "M4", "dynamic")
    assert len(dynamic.operations) == 10


def test_a_pipeline_that_train_refuses_is_noted() -> None:
    config = PRESETS["qwen3-0.6b"]
    notes = " ".join(predict_training(config, "M4").notes)
    assert "A process may compile 100 programs, and this pipeline has 168" in notes
    assert "A process may" not in " ".join(predict_training(config, "M4", "dynamic").notes)


def test_a_kernel_that_the_compiler_refuses_is_noted() -> None:
    wide = replace(PRESETS["stories260k"], vocab=70000)
    notes = " ".join(predict_training(wide, "M4", "static-ane").notes)
    assert "M4: the compiler refuses classifier_forward: " in notes
    assert "an axis of h16 has at most 65536" in notes
    assert "refuses" not in " ".join(predict_training("stories260k", "M4", "static-ane").notes)


@pytest.mark.parametrize(
    "kernel",
    [
        ConvStack(256, 3, height=2, width=32),
        ConvStack(256, 3, port_dtype="fp16"),
        QuantizedStack(512, 4, height=32, width=32),
    ],
    ids=lambda kernel: f"{type(kernel).__name__} {kernel.port_dtype}",
)
def test_a_stack_is_predicted_without_being_built(kernel: ConvStack) -> None:
    found, expected = predict_stack(kernel, "M4"), aneperf.predict(kernel.build(), "M4").ms
    for part in ("value", "low", "high"):
        assert getattr(found, part) == pytest.approx(getattr(expected, part), rel=0.01)


def test_tables_and_sparse_weights_are_not_of_8_bits() -> None:
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 256, (64, 64, 1, 1)).astype(np.uint8)
    table = rng.standard_normal((1, 1, 1, 1, 256, 1)).astype(np.float16)
    found = []
    for weight in (
        mil.constexpr_lut_to_dense(indices, table),
        mil.constexpr_affine_dequantize(indices, 0.01),
        mil.constexpr_blockwise_shift_scale(indices, np.ones((64, 1, 1, 1), np.float16)),
        SPARSE,
    ):
        b = mil.Builder()
        b.output("y", mil.conv(mil.dequantize(mil.quantize(b.input("x", (1, 64, 8, 8)), 0.1), 0.1), weight))
        found += [one.is_int8 for op, (one, *_) in layers(b.build()) if op == "conv"]
    assert found == [False, True, True, False]


def test_sparse_weights_are_noted_and_not_transformed() -> None:
    b = mil.Builder()
    x = b.input("x", (1, 64, 8, 8))
    weight = np.ones((64, 64, 3, 3), np.float16)
    sparse = mil.constexpr_sparse_to_dense(weight.reshape(-1), weight.astype(np.uint8))
    b.output("y", mil.conv(x, sparse))
    b.output("z", mil.conv(x, weight))
    assert "zeros of sparse weights" in " ".join(aneperf.predict(b.build(), "M6").notes)
    assert [one.is_winograd for op, (one, *_) in layers(b.build()) if op == "conv"] == [False, True]
