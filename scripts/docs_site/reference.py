"""How the reference shows arrays and dataclasses: an extension of Griffe, which reads the code (mkdocs.yml)."""

import ast
from dataclasses import fields, replace
from typing import Any

import griffe

_SHAPED = {"Bool", "Float", "Float32", "Float64", "Int", "Int32", "Int64", "Integer", "Num", "Shaped", "UInt8"}


class Reference(griffe.Extension):
    """Shapes as they are in the code, and what a dataclass's fields mean as one list below its signature.

    Griffe takes strings in annotations for names of types; those of jaxtyping are shapes: `Float[ndarray, "frames 3"]`.
    """

    def on_attribute_instance(self, *, node: Any, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Fields and constants."""
        if isinstance(node, ast.AnnAssign):
            attr.annotation = _read_again(node.annotation, attr.annotation, attr.parent)

    def on_function_instance(self, *, node: Any, func: griffe.Function, **kwargs: Any) -> None:
        """Arguments and what comes back."""
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        named = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
        for argument in filter(None, named):
            parameter = func.parameters[argument.arg]
            parameter.annotation = _read_again(argument.annotation, parameter.annotation, func.parent)
        func.returns = _read_again(node.returns, func.returns, func.parent)

    def on_class_members(self, *, node: Any, cls: griffe.Class, **kwargs: Any) -> None:
        """Moves the docstrings of a dataclass's fields into one section of the class."""
        if not any(str(decorator.value).startswith("dataclass") for decorator in cls.decorators):
            return
        told = {f.name: f.docstring.value for f in cls.attributes.values() if f.docstring and not f.is_private}
        if cls.docstring and told:
            listed = [griffe.DocstringAttribute(name, description=text) for name, text in told.items()]
            sections = griffe.parse_google(cls.docstring)
            cls.docstring.parsed = [*sections, griffe.DocstringSectionAttributes(listed, title="Fields:")]
            for name in told:
                cls.attributes[name].docstring = None


def _read_again(node: ast.expr | None, before: Any, parent: Any) -> Any:
    """The annotation with its strings left alone, where it holds a shape; else as it was."""
    if node is None or not any(_is_shaped(part) for part in ast.walk(node)):
        return before
    return _quoted(griffe.safe_get_expression(node, parent=parent, parse_strings=False))


def _quoted(part: Any) -> Any:
    """The expression with double quotes around its strings, as the code has them."""
    if isinstance(part, griffe.Expr):
        inner = {field.name: _quoted(getattr(part, field.name)) for field in fields(part) if field.name != "parent"}
        return replace(part, **inner)
    if isinstance(part, list | tuple):
        return [_quoted(each) for each in part]
    return f'"{part[1:-1]}"' if isinstance(part, str) and part.startswith("'") else part


def _is_shaped(part: ast.AST) -> bool:
    return isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name) and part.value.id in _SHAPED
