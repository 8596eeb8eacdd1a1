"""The extension's .pyi says what the extension has: names, signatures with types and defaults, docstrings.

It is written by hand, since a generated stub loses what callers need: final classes, the attributes of
exceptions, numbers as int and float instead of protocols.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

import aneperf
from aneperf import _ane_native as native

STUB = ast.parse((Path(aneperf.__file__).parent / "_ane_native.pyi").read_text())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {
    **{node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)},
    **{
        f"{cls}.{member.name}": member
        for cls, node in CLASSES.items()
        for member in node.body
        if isinstance(member, ast.FunctionDef)
    },
}
SPECIAL = ("__version__", "__init__", "__enter__", "__exit__")


def resolve(name):
    target = native
    for part in name.split("."):
        target = inspect.getattr_static(target, part)
    return target


def documented(target):
    """Return the signature and the docstring that pybind11 writes."""
    if isinstance(target, property):
        return f"get{target.fget.__doc__.strip()}", target.__doc__ or ""
    signature, _, text = target.__doc__.partition("\n\n")
    return signature.strip(), text


def public(namespace):
    return {name for name in namespace if not name.startswith("_") or name in SPECIAL}


def simplified(signature):
    """Spell a signature of pybind11 as the stub does."""
    for pattern, plain in {
        r"typing\.SupportsInt \| typing\.SupportsIndex": "int",
        r"typing\.SupportsFloat \| typing\.SupportsIndex": "float",
        r"= [A-Z]\w+\(.*?\)": "= ...",
        r"\*\*kwargs": "**inputs: NDArray[Any]",  # pybind11 shows neither their name nor their type
        r"aneperf\._ane_native\.|typing\.|collections\.abc\.": "",
    }.items():
        signature = re.sub(pattern, plain, signature)
    node = ast.parse(f"def {signature}: ...").body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def spelled(node, *, is_method):
    """Return the parameters and the result, without self."""
    arguments = node.args
    if is_method:
        (arguments.posonlyargs or arguments.args).pop(0)
    return ast.unparse(arguments), ast.unparse(node.returns)


def test_the_module_and_its_stub_have_the_same_names():
    declared = {node.name for node in STUB.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    declared |= {node.target.id for node in STUB.body if isinstance(node, ast.AnnAssign)}
    assert declared == public(vars(native))


@pytest.mark.parametrize("name", CLASSES)
def test_classes_have_the_same_members_and_docstring(name):
    cls, node = getattr(native, name), CLASSES[name]
    declared = {member.name for member in node.body if isinstance(member, ast.FunctionDef)}
    declared |= {member.target.id for member in node.body if isinstance(member, ast.AnnAssign)}
    members = public(vars(cls))
    if not issubclass(cls, Exception):
        assert [ast.unparse(decorator) for decorator in node.decorator_list] == ["final"]
        if "__init__" not in declared:
            members.discard("__init__")
            with pytest.raises(TypeError, match="No constructor"):
                cls()
    assert declared == members
    assert ast.get_docstring(node) == inspect.getdoc(cls)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.endswith("__exit__")])
def test_functions_have_the_same_signature_and_docstring(name):
    node, (signature, text) = FUNCTIONS[name], documented(resolve(name))
    is_method = "." in name
    assert spelled(simplified(signature), is_method=is_method) == spelled(node, is_method=is_method)
    assert (ast.get_docstring(node) or "") == inspect.cleandoc(text)
