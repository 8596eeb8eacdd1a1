"""Measure how many products of a training step's gradient kernels the engine drops, against the loss scale.

Each loss scale trains one step on the emulator. The operands of the kernels' products come from the same
programs with more outputs. Prints the tables of docs/training.md, in percent: for each kernel the share that
is dropped, of the products of gradients, and the error of its worst output against plain arithmetic on the
same input; and the error of the whole gradient.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

import aneperf
from aneperf.kernels import Kernel, TransformerConfig, schedule
from aneperf.kernels.presets import PRESETS
from aneperf.mil.graph import Operation, Tensor
from aneperf.mil.text import parse, write
from aneperf.mil.weights import write_weights
from aneperf.training.data import open_data
from aneperf.training.kernels import Floats
from aneperf.training.llama2c import load_llama2c
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.pipeline import StaticPipeline

Halves = NDArray[np.float16]

# Biased exponents whose product is dropped: those of the factors sum up to -17 or less.
DROPPED = np.add.outer(np.arange(32), np.arange(32)) - 2 * 15 <= -17
PLAIN_SCALE = 16384  # of the plain gradient that others are compared with


@dataclass
class Tally:
    """Sums over the layers of a kernel."""

    products: int = 0  # of factors that are not 0
    dropped: int = 0
    # Squared lengths by output: of the difference from plain arithmetic, and of its result.
    squares: dict[str, NDArray[np.float64]] = field(default_factory=lambda: defaultdict(lambda: np.zeros(2)))
    largest: float = 0  # of the outputs

    def add_product(self, x: Halves, y: Halves) -> None:
        """Count the products of x [B, K, M] and y [B, K, N], summed over K."""
        by_x, by_y = by_exponent(x), by_exponent(y)
        self.products += int((by_x.sum(-1) * by_y.sum(-1)).sum())
        self.dropped += int(((by_x @ DROPPED) * by_y).sum())

    def add_output(self, name: str, got: Halves, plain: Halves) -> None:
        """Compare an output with that of plain arithmetic on the same input."""
        self.squares[name] += [np.square(x, dtype=np.float64).sum() for x in (np.float64(got) - plain, plain)]
        self.largest = max(self.largest, float(np.abs(got).max()))

    def __str__(self) -> str:
        if not self.products:
            return "all 0"
        error = max((difference / length) ** 0.5 for difference, length in self.squares.values() if length)
        return f"{percent(self.dropped / self.products)} / {percent(error)}"


def by_exponent(x: Halves) -> NDArray[np.int64]:
    """Count the values of x [B, K, M] that are not 0 by biased exponent: [B, K, 32]."""
    rows = x.reshape(-1, x.shape[-1])
    exponents = np.maximum((rows.view(np.uint16) >> 10) & 31, 1)  # subnormals have that of 2^-14
    bins = (exponents + 32 * np.arange(len(rows))[:, None])[rows != 0]
    return np.bincount(bins, minlength=32 * len(rows)).reshape(*x.shape[:2], 32)


class Observed:
    """A gradient kernel whose program also returns the operands of its products."""

    def __init__(self, kernel: Kernel, device: aneperf.Device, plain: aneperf.Device) -> None:
        self.kernel = kernel
        graph = parse(kernel.program.text, kernel.program.weights)
        operations = [s for s in graph.statements if isinstance(s, Operation)]
        gradients = gradients_of(kernel, operations)
        products = [s for s in operations if s.op in ("conv", "matmul")]
        self.products = [product for product in products if gradients.intersection(factors(product))]
        operands = (t for product in self.products for t in factors(product) if t.constant is None)
        outputs = tuple(dict.fromkeys((*graph.outputs, *operands)))
        weights, blobs = write_weights(graph.statements)
        self.program = device.compile(write(replace(graph, outputs=outputs, blobs=blobs)), weights)
        self.plain = kernel.program.compile(plain)

    def tally(self, x: Halves, tally: Tally) -> None:
        """Add the products and the outputs for an input [1, C, 1, S]."""
        values, plain = self.program.run(x=x), self.plain.run(x=x)["y"]
        for product in self.products:
            a, b = (np.asarray(values.get(t.name, t.constant)) for t in factors(product))
            if product.op == "conv":  # 1 x 1
                tally.add_product(a.reshape(1, a.shape[1], -1), b.reshape(1, len(b), -1).swapaxes(1, 2))
                continue
            a = a if constant(product, "transpose_x") else a.swapaxes(-1, -2)
            b = b.swapaxes(-1, -2) if constant(product, "transpose_y") else b
            tally.add_product(*(np.ascontiguousarray(m.reshape(-1, *m.shape[-2:])) for m in (a, b)))
        ends = np.cumsum([0, *self.kernel.outputs.values()])
        for name, (begin, end) in zip(self.kernel.outputs, pairwise(ends), strict=True):
            if name.startswith("d"):  # a gradient
                tally.add_output(name, values["y"][:, begin:end], plain[:, begin:end])


def gradients_of(kernel: Kernel, operations: list[Operation]) -> set[Tensor]:
    """Return the values that depend on a gradient: on a part of the input whose name begins with d."""
    begins = np.cumsum([0, *kernel.inputs.values()])
    parts = {begin for name, begin in zip(kernel.inputs, begins, strict=False) if name.startswith("d")}
    found: set[Tensor] = set()
    for operation in operations:
        if operation.op == "slice_by_size" and tensor(operation, "x").name == "x":
            depends = constant(operation, "begin")[1] in parts
        else:
            depends = any(operand in found for _, operand in operation.operands())
        if depends:
            found.update(operation.results)
    return found


def factors(product: Operation) -> tuple[Tensor, Tensor]:
    return tensor(product, "x"), tensor(product, "weight" if product.op == "conv" else "y")


def tensor(operation: Operation, name: str) -> Tensor:
    found = operation.arguments[name]
    assert isinstance(found, Tensor)
    return found


def constant(operation: Operation, name: str) -> NDArray[np.int64]:
    return np.asarray(tensor(operation, name).constant)


class ObservedStep(StaticPipeline):
    """A training step whose gradient kernels can be looked at afterwards."""

    def __init__(self, chip: str, config: TransformerConfig, parameters: Parameters) -> None:
        device, plain = (aneperf.open(chip=each, compile_budget=10_000) for each in (chip, "none"))
        super().__init__(device, config, parameters)
        self.load_fixed()
        self.load()
        self.observed = {
            scheduled.name: Observed(scheduled.build(config, parameters), device, plain)
            for scheduled in schedule(config)
            if "backward" in scheduled.name
        }

    def tallies(self) -> dict[str, Tally]:
        """Return what the last step did, by kernel."""
        tallies: dict[str, Tally] = defaultdict(Tally)
        for name, observed in self.observed.items():
            parts = observed.kernel.inputs
            x = np.empty((sum(parts.values()), self.config.seq), np.float32)
            self._kernels[name].input(*parts).read(x)
            observed.tally(x.astype(np.float16)[None, :, None], tallies[name.rpartition(".")[2]])
        return tallies


def gradient(step: StaticPipeline, text: NDArray[np.int64], parameters: Parameters, scale: float) -> Floats:
    """Run a step and return the gradient of the layers' parameters; the host adds most of the others."""
    gradients = {name: np.zeros_like(value) for name, value in parameters.items()}
    step.step(text[:-1], text[1:], gradients, loss_scale=scale)
    layers = [g.ravel() for name, g in gradients.items() if name.startswith("layers.")]
    return np.concatenate(layers) / np.float32(scale)


def rows(arguments: argparse.Namespace) -> Iterator[list[str]]:
    preset = PRESETS[arguments.model]
    file = arguments.checkpoint
    config, parameters = load_llama2c(file) if file else (preset, random_parameters(preset))
    config = replace(config, seq=arguments.seq or config.seq)
    text = open_data(arguments.data, config.vocab, config.seq, seed=0).sequence(0)
    exact = gradient(ObservedStep("none", config, parameters), text, parameters, PLAIN_SCALE)
    step = ObservedStep("h16", config, parameters)
    for index, scale in enumerate(arguments.scales):
        got = gradient(step, text, parameters, scale)
        tallies = step.tallies()
        if index == 0:
            yield from (["loss scale", *tallies, "largest", "gradient"], ["---"] * (len(tallies) + 3))
        error = percent(float(np.linalg.norm(got - exact) / np.linalg.norm(exact)))
        largest = float(f"{max(tally.largest for tally in tallies.values()):.2g}")
        yield [f"{scale:,g}", *map(str, tallies.values()), f"{largest:,g}", error]


def percent(share: float) -> str:
    return f"{100 * share:.2g}" if share < 0.1 else f"{100 * share:.0f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=PRESETS, default="stories15m", help="its random weights")
    parser.add_argument("--checkpoint", help="a llama2.c model instead")
    parser.add_argument("--seq", type=int, help="shorter sequences")
    parser.add_argument("--data", default="synthetic", help="tokens as `aneperf train` reads them")
    parser.add_argument("--scales", type=float, nargs="+", default=[1, 16, 256, 1024, 4096, 16384, 65536])
    for row in rows(parser.parse_args()):
        print(f"| {' | '.join(row)} |", flush=True)
