"""Write MIL text around a few statements."""


def program(body: str) -> str:
    """Return a program whose function's body begins on line 4."""
    return f"program(1.3)\n{{\nfunc main<ios18>(tensor<fp16, [1, 4]> x) {{\n{body}\n}} -> (y);\n}}\n"
