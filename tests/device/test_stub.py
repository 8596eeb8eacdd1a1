"""The extension's .pyi says what the extension has: names, parameters and docstrings."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import aneperf
from aneperf import _ane_native as native

STUB = ast.parse((Path(aneperf.__file__).parent / "_ane_native.pyi").read_text())


def stub_functions():
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", member


FUNCTIONS = dict(stub_functions())
METHODS = {
    name: node
    for name, node in FUNCTIONS.items()
    if not any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
}


SPECIAL = ("__version__", "__init__", "__enter__", "__exit__")


def resolve(name):
    target = native
    for part in name.split("."):
        target = inspect.getattr_static(target, part)
    return target


def public(namespace):
    return {name for name in namespace if not name.startswith("_") or name in SPECIAL}


def test_the_module_and_its_stub_have_the_same_names():
    declared = {node.name for node in STUB.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    declared |= {node.target.id for node in STUB.body if isinstance(node, ast.AnnAssign)}
    assert declared == public(vars(native))


@pytest.mark.parametrize("node", [n for n in STUB.body if isinstance(n, ast.ClassDef)], ids=lambda n: n.name)
def test_classes_have_the_same_members_and_docstring(node):
    cls = getattr(native, node.name)
    declared = {member.name for member in node.body if isinstance(member, ast.FunctionDef)}
    declared |= {member.target.id for member in node.body if isinstance(member, ast.AnnAssign)}
    members = public(vars(cls))
    if not issubclass(cls, Exception) and "__init__" not in declared:
        members.discard("__init__")
        with pytest.raises(TypeError, match="No constructor"):
            cls()
    assert declared == members
    assert ast.get_docstring(node) == inspect.getdoc(cls)


@pytest.mark.parametrize("name", METHODS)
def test_functions_have_the_same_parameters(name):
    node, signature = METHODS[name], resolve(name).__doc__.splitlines()[0]
    stub = [argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]]
    stub += ["args"] if node.args.vararg else []
    stub += ["kwargs"] if node.args.kwarg else []
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    actual = re.findall(r"(?:^|, )\*{0,2}(\w+)(?::|$)", inside)
    assert actual == stub
    required = len(node.args.args) - len(node.args.defaults)
    assert [" = " in part for part in re.split(r", (?=\w+: )", inside)][:required] == [False] * required


@pytest.mark.parametrize("name", [n for n in METHODS if not n.endswith("__")])
def test_functions_have_the_same_docstring(name):
    text = inspect.getdoc(resolve(name)).split("\n\n", 1)
    assert ast.get_docstring(METHODS[name]) == text[1].strip()
