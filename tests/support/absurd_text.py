"""Write MIL text of programs of absurd sizes."""

X = "tensor<fp16, [1, 4, 1, 8]>"


def text(body, outputs="y", inputs=f"{X} x"):
    """Return a program around these statements."""
    return (
        'program(1.3)\n[buildInfo = dict<string, string>({{"coremltools-version", "9.0"}})]\n'
        f"{{ func main<ios18>({inputs}) {{\n{body}\n}} -> ({outputs}); }}"
    )


def relus(sources):
    """Return statements that define y0, y1, ... from these values."""
    return "\n".join(f"{X} y{i} = relu(x = {source});" for i, source in enumerate(sources))
