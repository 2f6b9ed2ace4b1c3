"""What the project's asgi.py says: read, and not run.

To import it would set Django and its logging up once more, in every command that runs the checks, and begin whatever
else a server begins.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.abc import InspectLoader
from importlib.util import find_spec

# What makes Django's own handler.
BARE = {"get_asgi_application", "ASGIHandler"}


def is_bare(path: str) -> bool:
    """Return whether "yourproject.asgi.application" is, beyond doubt, Django's own handler as startproject writes it.

    Raises what keeps it from being read: ValueError, ModuleNotFoundError, SyntaxError, or what its package raises.
    """
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError("no module is named")
    spec = find_spec(module)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    if not isinstance(spec.loader, InspectLoader) or (source := spec.loader.get_source(module)) is None:
        return False
    return _is_bare(ast.parse(source, spec.origin or module), name)


def _is_bare(tree: ast.Module, name: str) -> bool:
    """Return whether the name is made in that way, and is nowhere spoken of again: it may be wrapped there."""
    made = [
        target
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _called(node.value) in BARE
        for target in node.targets
    ]
    spoken_of = list(_spoken_of(tree, name))
    return bool(spoken_of) and all(node in made for node in spoken_of)


def _spoken_of(tree: ast.Module, name: str) -> Iterator[ast.AST]:
    """Yield where the name is written: to be read or assigned to, or as that of a function, a class or an import."""
    for node in ast.walk(tree):
        if name in (getattr(node, field, None) for field in ("id", "name", "asname")):
            yield node


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
