"""The MIL text of the stacks of convolutions that probes measure, from a row's parameters."""

from __future__ import annotations

from ...errors import ArgumentError
from ...kernels.conv_stack import ConvStack
from ...kernels.quantized_stack import QuantizedStack
from ...results import Row

_MOST_LAYERS = 512  # of a program worth reading; the deepest published one has 256
_FILE = 'path = string("@model_path/weights/weight.bin")'
_HEAD = """program(1.3)
[buildInfo = dict<string, string>({{{{"coremltools-version", "9.0"}}}})]
{{
    func main<ios18>({input} x) {{
        tensor<int32, [2]> ones = const()[name = string("ones"), val = tensor<int32, [2]>([1, 1])];
        tensor<int32, [4]> pad = const()[name = string("pad"), val = tensor<int32, [4]>([0, 0, 0, 0])];
        string valid = const()[name = string("valid"), val = string("valid")];
        int32 one = const()[name = string("one"), val = int32(1)];
        fp16 scale = const()[name = string("scale"), val = fp16(0x1p-5)];
        string int8 = const()[name = string("int8"), val = string("int8")];
        string fp16 = const()[name = string("fp16"), val = string("fp16")];
        string fp32 = const()[name = string("fp32"), val = string("fp32")];
"""


def stack_of(row: Row) -> ConvStack | None:
    """Return the stack that a row of peak, sweep, latency, sram or int8 measured; None for another kernel."""
    sizes = [row.params.get(name) for name in ("channels", "depth", "height", "width")]
    if not all(type(size) is int for size in sizes) or "/conv" not in row.key:
        return None
    channels, depth, height, width = (int(size) for size in sizes if size is not None)
    if depth > _MOST_LAYERS:
        return None
    try:
        if row.params.get("precision") == "w8a8":
            return QuantizedStack(channels, depth, height, width)
        ports = row.params.get("ports", "fp16")
        return ConvStack(channels, depth, height, width, port_dtype="fp32" if ports == "fp32" else "fp16")
    except ArgumentError:  # sizes that no engine takes
        return None


def stack_text(stack: ConvStack) -> str:
    """Return the text of the program, as `ConvStack.build` writes it but for names."""
    is_quantized = isinstance(stack, QuantizedStack)
    shape = f"[{', '.join(map(str, stack.shape))}]"
    tensor, port = f"tensor<fp16, {shape}>", f"tensor<{stack.port_dtype}, {shape}>"
    lines = [_HEAD.format(input=port)]
    now = "x"

    def add(kind: str, name: str, call: str) -> str:
        lines.append(f'        {kind} {name} = {call}[name = string("{name}")];\n')
        return name

    if stack.port_dtype == "fp32":
        now = add(tensor, "cast", f"cast(x = {now}, dtype = fp16)")
    each = stack.weight_bytes // stack.depth
    weight = f"[{stack.channels}, {stack.channels}, 1, 1]"
    for layer in range(stack.depth):
        blob = f"(BLOBFILE({_FILE}, offset = uint64({64 + layer * (64 + each)})))"
        if is_quantized:
            if layer:
                codes = f"tensor<int8, {shape}>"
                now = add(codes, f"q{layer}", f"quantize(input = {now}, scale = scale, output_dtype = int8)")
                now = add(tensor, f"d{layer}", f"dequantize(input = {now}, scale = scale)")
            value = (
                f"quantized_data = tensor<int8, {weight}>{blob}, scale = fp16(0x1p-8), zero_point = int8(0)"
            )
            made = f"constexpr_affine_dequantize()[axis = int32(0), {value}"
        else:
            made = f"const()[val = tensor<fp16, {weight}>{blob}"
        lines.append(f'        tensor<fp16, {weight}> w{layer} = {made}, name = string("w{layer}")];\n')
        settings = "strides = ones, pad_type = valid, pad = pad, dilations = ones, groups = one"
        is_last = layer == stack.depth - 1 and stack.port_dtype == "fp16"
        now = add(tensor, "y" if is_last else f"y{layer}", f"conv(x = {now}, weight = w{layer}, {settings})")
    if stack.port_dtype == "fp32":
        now = add(port, "y", f"cast(x = {now}, dtype = fp32)")
    return "".join([*lines, f"    }} -> ({now});\n}}\n"])
