"""The sandbox of templates: jinja2, imported only where a manifest has any."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import StrictUndefined, Template
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Sandbox(ImmutableSandboxedEnvironment):
    """Numbers and texts, no products of texts: ``"x" * 1000000000`` is no value of anybody's."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse powers, and products of anything but numbers."""
        if operator == "**" or not all(isinstance(each, (int, float)) for each in (left, right)):
            raise SecurityError("products are for numbers alone, and there are no powers")
        return super().call_binop(context, operator, left, right)


_SANDBOX = Sandbox(undefined=StrictUndefined, autoescape=False)


@cache
def template(text: str) -> Template:
    """Return a compiled template. Raises jinja2.TemplateError."""
    return _SANDBOX.from_string(text)
