"""Writes docs/PYTHON-API.md from the sources and the stub: reference.py > docs/PYTHON-API.md. A test compares them."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from typing import Iterator, NoReturn, Union

Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
PACKAGE = Path(__file__).resolve().parent / "kms"
BEGINNING = """# Python: reference

Made from the sources by `bindings/python/reference.py`. [PYTHON.md](PYTHON.md) is where to begin; `spec/API.md` says what the operations mean. `kms.aio.Client` has
the methods of `kms.Client`, to be awaited, but for those on streams; `kms.rpc.Client` has them but for those on streams and `identity`.
"""
NATIVE = "_native.pyi"


def undocumented(name: str) -> NoReturn:
    sys.exit(f"{name} has no documentation")


def documentation(of: ast.Module | ast.ClassDef | Function, name: str) -> str:
    """What it says about itself, as Markdown: the docstrings are reStructuredText, but only a little."""
    text = ast.get_docstring(of) or undocumented(name)
    for role in (":class:", ":mod:"):
        text = text.replace(role, "")
    lines: list[str] = []
    is_code = False
    for line in text.splitlines():
        if line == "::":
            lines.append("```python")
            is_code = True
        elif is_code and line and not line.startswith(" "):
            while lines[-1] == "":
                lines.pop()
            lines += ["```", "", line.replace("``", "`")]
            is_code = False
        elif is_code:
            lines += [line[4:]] if line or lines[-1] != "```python" else []
        else:
            lines.append(line.replace("``", "`"))
    return "\n".join(lines + ["```"] * is_code)


def parsed(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text())


def members(of: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | Function | ast.AnnAssign]:
    """What is public in it, in the order of the source."""
    for it in of.body:
        if isinstance(it, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not it.name.startswith("_"):
            yield it
        elif isinstance(it, ast.AnnAssign) and isinstance(it.target, ast.Name) and not it.target.id.startswith("_"):
            yield it


def signature(of: Function, is_method: bool) -> str:
    arguments = ast.unparse(of.args)
    decorators = {ast.unparse(it) for it in of.decorator_list}
    if is_method and "staticmethod" not in decorators:
        arguments = arguments.removeprefix("self").removeprefix(", ")
    given = f" -> {ast.unparse(of.returns)}" if of.returns is not None else ""
    if "property" in decorators:
        return f"{of.name}{given.replace(' ->', ':')}"
    return f"{of.name}({arguments}){given}"


def methods(of: ast.ClassDef) -> Iterator[str]:
    for it in members(of):
        if isinstance(it, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text = documentation(it, f"{of.name}.{it.name}")
            static = f"{of.name}." if "staticmethod" in map(ast.unparse, it.decorator_list) else ""
            yield f"* `{static}{signature(it, True)}`  \n  " + text.replace("\n", "\n  ")


def described(of: ast.ClassDef) -> Iterator[str]:
    """A class: what it is opened with, what it says, its methods."""
    made = [it for it in of.body if isinstance(it, ast.FunctionDef) and it.name == "__init__"]
    yield f"### `{of.name}{signature(made[0], True)[8:].removesuffix(' -> None') if made else ''}`"
    yield documentation(of, of.name)
    yield "\n".join(methods(of))


def client() -> Iterator[str]:
    module = parsed("client.py")
    yield "## `kms`"
    yield documentation(parsed("__init__.py"), "kms")
    for it in members(module):
        if isinstance(it, ast.FunctionDef) and it.name in ("generate_key",):
            yield f"### `{signature(it, False)}`"
            yield documentation(it, it.name)
        elif isinstance(it, ast.ClassDef):
            yield from described(it)
    [operations] = [it for it in members(parsed("_sync.py")) if isinstance(it, ast.ClassDef)]
    yield "\n".join(methods(operations))


def awaited() -> Iterator[str]:
    """asyncio's client has the same methods with the same words: only that is said."""
    [same] = [it for it in members(parsed("_sync.py")) if isinstance(it, ast.ClassDef)]
    module = parsed("aio.py")
    [cls] = [it for it in members(module) if isinstance(it, ast.ClassDef)]
    here, there = list(methods(cls)), list(methods(same))
    if here != there:
        sys.exit(f"kms.aio.Client differs from kms.Client: {set(here) ^ set(there)}")
    yield "## `kms.aio`"
    yield documentation(module, "kms.aio")


def over_rpc() -> Iterator[str]:
    module = parsed("rpc.py")
    yield "## `kms.rpc`"
    yield documentation(module, "kms.rpc")
    for it in members(module):
        if isinstance(it, ast.ClassDef):
            yield from described(it)


def results() -> Iterator[str]:
    yield "## What operations give"
    yield "Dictionaries; times are seconds since 1970."
    rows = ["| | | members |", "|---|---|---|"]
    for it in members(parsed("_operations.py")):
        if isinstance(it, ast.ClassDef):
            fields = [f"`{field.target.id}: {ast.unparse(field.annotation)}`" for field in it.body
                      if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)]
            bases = [ast.unparse(base) for base in it.bases if ast.unparse(base) != "TypedDict"]
            inherited = [f"those of `{base}`" for base in bases]
            rows.append(f"| `{it.name}` | {documentation(it, it.name)} | {' '.join(inherited + fields)} |")
    yield "\n".join(rows)


def errors() -> Iterator[str]:
    module = parsed("errors.py")
    yield "## `kms.errors`"
    yield documentation(module, "kms.errors")
    rows = ["| | also | |", "|---|---|---|"]
    for it in members(module):
        if isinstance(it, ast.ClassDef):
            also = [f"`{ast.unparse(base)}`" for base in it.bases if ast.unparse(base) != "Error"]
            rows.append(f"| `{it.name}` | {' '.join(also)} | {documentation(it, it.name)} |".replace("|  |", "| |"))
    yield "\n".join(rows)
    [base] = [it for it in members(module) if isinstance(it, ast.ClassDef) and it.name == "Error"]
    fields = [it for it in base.body if isinstance(it, (ast.AnnAssign, ast.Expr))]
    told = []
    for field, said in zip(fields, fields[1:]):
        if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant):
            told.append(f"* `{ast.unparse(field.target)}: {ast.unparse(field.annotation)}`  \n  {said.value.value!s}".replace("``", "`"))
    yield "Every one has, besides what an `OSError` has:\n\n" + "\n".join(told)


def umbral() -> Iterator[str]:
    module = parsed("umbral.py")
    yield "## `kms.umbral`"
    yield documentation(module, "kms.umbral")
    for it in members(parsed(NATIVE)):
        if isinstance(it, ast.ClassDef) and it.name not in ("Core", "Task"):
            yield from (part for part in described(it) if part)
        elif isinstance(it, ast.FunctionDef):
            yield f"### `{signature(it, False)}`"
            yield documentation(it, it.name)


def main() -> None:
    parts = [BEGINNING.rstrip()]
    for section in (client, awaited, over_rpc, results, errors, umbral):
        parts += [inspect.cleandoc(part) if not part.startswith(("*", "|", "`")) else part for part in section() if part]
    print("\n\n".join(parts))


main()
