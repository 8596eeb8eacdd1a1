"""Keys of rows and of published figures, as data: what they mean, and their parameters.

Every key in `published.csv` has one of the `FORMS`. Probes make keys of some of them, and others.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_CONV = r"conv(?P<channels>\d+)x(?P<layers>\d+)"
_KERNEL = r"conv(?P<kernel>\d+)x\d+-(?P<channels>\d+)(?:x(?P<layers>\d+))?"
_SP = r"sp(?:(?P<height>\d+)x)?(?P<width>\d+)"
_DTYPE = r"(?P<dtype>fp16|fp8|int8|w8|w8a8|lut6)"


@dataclass(frozen=True)
class Form:
    """A form of keys: a pattern whose named groups are the parameters, and what is measured."""

    pattern: str
    meaning: str


# Every form of the published keys.
FORMS: tuple[Form, ...] = (
    Form(
        rf"(?P<probe>peak|sweep|sustained)/{_CONV}/{_SP}/(?P<ports>fp32)-ports",
        "A stack of 1x1 convolutions: channels x layers, at sp positions. Time of a call.",
    ),
    Form(
        rf"(?P<probe>sram|latency)/{_CONV}/{_SP}/(?P<ports>fp32)-ports",
        "A single 1x1 convolution. Time of a call.",
    ),
    Form(
        rf"int8/{_CONV}/{_SP}/{_DTYPE}",
        "A stack of 1x1 convolutions in fp16, or with 8-bit weights and activations (w8a8). Time of a call.",
    ),
    Form(
        rf"dispatch/{_CONV}/{_SP}/(?P<path>[a-z0-9-]+)",
        "A small convolution by a path of calls, or what it costs to compile, load and unload it.",
    ),
    Form(r"dispatch/(?P<path>intercept)", "Time of a call without work, by a line through several sizes."),
    Form(r"dispatch/(?P<path>tiny)", "Time of a call of a tiny program."),
    Form(
        r"dispatch/rustane/(?P<path>one-set|two-sets)",
        "Calls a second in training, of one set of programs or two.",
    ),
    Form(
        r"dispatch/coreml/(?P<path>floor|one-program|two-programs)",
        "The least time of a call through Core ML, and calls a second of one or two programs.",
    ),
    Form(
        rf"qos/(?P<qos>\d+)/{_CONV}/{_SP}(?:/(?P<phase>first|compile|load))?",
        "A small convolution at a quality of service. Time of a call, of the first, of compiling or loading.",
    ),
    Form(
        r"training/(?P<pipeline>static|static-ane|dynamic)/(?P<model>[a-z0-9.-]+)/(?P<component>[a-z_-]+)",
        "A component of a training step of 256 tokens; compile: of 10 steps; ane-rate: operations over the "
        "step's time.",
    ),
    Form(
        r"training/(?P<pipeline>rustane)/(?P<model>\d+m)/(?P<component>step)",
        "A training step of ncdrone/rustane's models. Another program than the static and dynamic pipelines.",
    ),
    Form(
        r"matmul/k(?P<inner>\d+)n(?P<columns>\d+)s(?P<rows>\d+)/(?P<ports>fp16)-ports",
        "A product of two inputs: [s, k] and [k, n]. Time of a call.",
    ),
    Form(r"matmul/peak/(?P<engines>one-engine|two-engines)", "The highest rate of such products."),
    Form(
        r"omlx/(?P<model>qwen27b)-gate-up/share(?P<percent>\d+)/s(?P<rows>\d+)/(?P<dtype>w8)",
        "Gate and up projections of a layer: the engine's share of the channels in percent, and tokens.",
    ),
    Form(r"bandwidth/weights", "The rate at which weights stream from memory."),
    Form(r"clock/full-load", "The clock of the engine's cores under load."),
    Form(
        r"wake/idle-(?P<idle>[0-9.-]+)s",
        "Time of the first call after a pause of that length, in seconds.",
    ),
    Form(
        rf"coreml/lm-head/{_DTYPE}(?:/(?P<quantity>bandwidth))?",
        "The classifier of a language model: 1.05 GB in fp16, 0.40 GB in 6-bit codes. Time of a call, and "
        "the rate at which weights are read.",
    ),
    Form(
        rf"coreml/{_CONV}/{_SP}/{_DTYPE}/(?P<weights>shared|unique)",
        "A stack of 1x1 convolutions whose layers have one weight, or each its own. Time of a call.",
    ),
    Form(
        rf"coreml/sum(?P<inputs>\d+)/{_CONV}/{_SP}/{_DTYPE}",
        "The sum of several inputs, then a stack of 1x1 convolutions. Time of a call.",
    ),
    Form(
        rf"coreml/{_KERNEL}/{_SP}/{_DTYPE}(?:/(?P<quantity>task|rate))?",
        "Convolutions of larger kernels: kernel-channels x layers. Time of a call or of the engine's task, "
        "or a rate.",
    ),
    Form(
        rf"marginal/conv(?:(?P<kernel>\d+)x\d+-)?(?P<channels>\d+)/{_SP}/{_DTYPE}",
        "Time of one more layer of a deep stack, without what a call costs.",
    ),
    Form(rf"mpsgraph/{_KERNEL}/{_DTYPE}", "A stack of convolutions; its positions are not in the key."),
    Form(
        rf"mpsgraph/(?P<op>conv|gemm(?P<inner>\d+)x(?P<layers>\d+))/{_DTYPE}",
        "The report's default convolutions, and its chains of matrix products.",
    ),
    Form(
        rf"e5rt/gemm(?P<inner>\d+)/{_DTYPE}",
        "A product of two square matrices, one constant. Time of a call.",
    ),
    Form(
        rf"e5rt/conv(?P<kernel>3)x3/c(?P<channels>\d+)b(?P<batch>\d+)/{_SP}/{_DTYPE}",
        "A 3x3 convolution of c channels and a batch of b. Time of a call.",
    ),
    Form(
        r"e5rt/(?P<op>relu|gelu|reduce_sum|softmax|layer_norm)/(?P<rows>\d+)x(?P<columns>\d+)",
        "One operation on a matrix. Time of a call.",
    ),
    Form(
        r"e5rt/(?P<op>decode/d1024l4/(?:fp16|int8)|attention/h12s512d64|gemv4096/fp16|conv-block3)",
        "Larger programs: four layers that decode a token, attention, a product with one column, three "
        "convolutions. Time of a call.",
    ),
    Form(r"pmu/(?P<model>resnet50|mobilenetv2)", "A whole network. Time of a call."),
    Form(r"power/(?P<load>[A-Za-z0-9/-]+)", "The power of the engine under a load."),
    Form(
        r"energy/fp16-mac/(?P<engines>one-engine|two-engines)",
        "The energy of one product and its addition in fp16.",
    ),
)
_PATTERNS = tuple((re.compile(form.pattern, re.ASCII), form) for form in FORMS)
_LONGEST = 100  # characters of a key, so that its numbers stay small


@dataclass(frozen=True)
class Key:
    """A key taken apart: its form, and its parameters by name, whole numbers as such."""

    text: str
    form: Form
    parameters: Mapping[str, int | str]

    @property
    def family(self) -> str:
        """Return the first part, such as "peak"."""
        return self.text.partition("/")[0]

    @property
    def gflop(self) -> float | None:
        """Return the operations of a call in 10^9, products and additions. None if the key does not tell."""
        sizes = {name: value for name, value in self.parameters.items() if isinstance(value, int)}
        if self.family == "e5rt" and "inner" in sizes:
            return 2 * sizes["inner"] ** 3 / 1e9
        if self.family == "matmul" and "inner" in sizes:
            return 2 * sizes["inner"] * sizes["columns"] * sizes["rows"] / 1e9
        if "channels" not in sizes or "width" not in sizes:
            return None
        products = sizes["channels"] ** 2 * sizes.get("kernel", 1) ** 2
        positions = sizes.get("height", 1) * sizes["width"] * sizes.get("batch", 1)
        return 2 * products * positions * sizes.get("layers", 1) / 1e9


def read_key(text: str) -> Key | None:
    """Return what a key says. None for a key that has none of the published forms."""
    if len(text) > _LONGEST:
        return None
    for pattern, form in _PATTERNS:
        if found := pattern.fullmatch(text):
            parameters = {
                name: int(value) if value.isdecimal() else value
                for name, value in found.groupdict().items()
                if value is not None
            }
            return Key(text, form, parameters)
    return None
