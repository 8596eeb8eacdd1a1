"""Networks of published figures as work on the engine, by their public architectures.

ResNet-50 is that of torchvision, whose bottlenecks have their stride in the 3x3 convolution; MobileNetV2 has
a width of 1. Both take an image of 224 x 224. Normalizations are folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ..stalls import stalls
from .cost import Call, Layer

IMAGE, CLASSES = (3, 224, 224), 1000


@dataclass(frozen=True)
class Step:
    """An operation of a network on [1, channels, side, side].

    `source` is the step whose result an "add" adds to the last one, or which a "conv" takes instead of it.
    """

    op: Literal["conv", "relu", "add", "pool", "mean"]
    channels: int  # of the result
    side: int  # of the result
    inputs: int = 0  # channels that a convolution reads
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    source: int | None = None

    @property
    def weight(self) -> tuple[int, int, int, int]:
        """Return the shape of a convolution's weights."""
        return self.channels, self.inputs // self.groups, self.kernel, self.kernel


@dataclass
class _Builder:
    steps: list[Step]
    channels: int
    side: int

    @property
    def last(self) -> int:
        return len(self.steps) - 1

    def conv(
        self, channels: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, activated: bool = True
    ) -> None:
        self.side = -(-self.side // stride)
        step = Step("conv", channels, self.side, self.channels, kernel, stride, groups)
        self.steps.append(step)
        self.channels = channels
        if activated:
            self.steps.append(Step("relu", channels, self.side))

    def add(self, source: int) -> None:
        self.steps.append(Step("add", self.channels, self.side, source=source))


def resnet50() -> list[Step]:
    """Return the steps of ResNet-50."""
    b = _Builder([], IMAGE[0], IMAGE[1])
    b.conv(64, 7, 2)
    b.side //= 2
    b.steps.append(Step("pool", 64, b.side, kernel=3, stride=2))
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            step = stride if block == 0 else 1
            source, inputs, side = b.last, b.channels, b.side
            b.conv(width)
            b.conv(width, 3, step)
            b.conv(4 * width, activated=False)
            if block == 0:  # the sum's other part has as many channels and positions
                main = b.last
                b.steps.append(Step("conv", 4 * width, -(-side // step), inputs, 1, step, source=source))
                source = main
            b.add(source)
            b.steps.append(Step("relu", b.channels, b.side))
    return _classified(b)


def mobilenet_v2() -> list[Step]:
    """Return the steps of MobileNetV2."""
    b = _Builder([], IMAGE[0], IMAGE[1])
    b.conv(32, 3, 2)
    for expansion, channels, blocks, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for block in range(blocks):
            source, inputs = b.last, b.channels
            if expansion > 1:
                b.conv(expansion * inputs)
            b.conv(expansion * inputs, 3, stride if block == 0 else 1, groups=expansion * inputs)
            b.conv(channels, activated=False)
            if block:
                b.add(source)
    b.conv(1280)
    return _classified(b)


def _classified(b: _Builder) -> list[Step]:
    b.steps.append(Step("mean", b.channels, 1))
    return [*b.steps, Step("conv", CLASSES, 1, b.channels)]


def call_of(steps: list[Step], tool_ms: float = 0.0) -> Call:
    """Return the work of a network: of a call with an image and scores in fp16."""
    first, *others, last = _layers(steps)
    image, scores = 2.0 * IMAGE[0] * IMAGE[1] * IMAGE[2], 2.0 * CLASSES
    ends = replace(first, port_bytes=image), replace(last, port_bytes=scores)
    return Call((ends[0], *others, ends[1]), tool_ms=tool_ms)


def _layers(steps: list[Step]) -> Iterator[Layer]:
    for place, step in enumerate(steps):
        before = steps[place - 1] if step.source is None or step.op == "add" else steps[step.source]
        elements = float(step.channels * step.side**2)
        read = float(before.channels * before.side**2) if place else float(IMAGE[0] * IMAGE[1] * IMAGE[2])
        if step.op == "conv":
            yield _convolution(step, read, elements)
        elif step.op != "relu" or before.op != "conv":  # else done on the convolution's way out
            work = {"pool": step.kernel**2 * elements, "mean": read}.get(step.op, elements)
            taken = 2 * read if step.op == "add" else read
            yield Layer(
                "pointwise",
                elements=work,
                largest_bytes=2 * max(read, elements),
                read_bytes=2 * taken,
                written_bytes=2 * elements,
            )


def _convolution(step: Step, read: float, written: float) -> Layer:
    outputs, inputs, kernel, _ = step.weight
    products = written * inputs * kernel**2
    return Layer(
        "product",
        flops=2 * products,
        positions=float(step.side**2),
        outputs=written,
        is_winograd=kernel == 3 and step.stride == 1 and inputs > 1,
        weight_bytes=2.0 * outputs * (inputs * kernel**2 + 1),  # with a bias
        is_stalled=stalls(step.weight),
        group_channels=inputs if step.groups > 1 else 0,
        largest_bytes=2 * max(read, written),
        elements=2 * products,
    )


NETWORKS = {"resnet50": resnet50, "mobilenetv2": mobilenet_v2}
