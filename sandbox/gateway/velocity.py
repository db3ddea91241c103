"""Velocity templates: airspeed parses them, and what is made of its tree once renders them for each message.

airspeed itself walks its tree anew each time, through a dozen calls for a name and an exception for each name that is
a method: a third of what the gateway does for a frame of audio. What is not known here it does as before.
"""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import airspeed

# Velocity hands a string literal to Java as it is written; airspeed unescapes it first, which turns the regular
# expression of the usual `.replaceAll("\\'", "'")` from "a backslash and a quote" into "a quote".
_NOTHING = re.compile(r"(?!)")
airspeed.StringLiteral.ESCAPED_CHAR = _NOTHING
airspeed.InterpolatedStringLiteral.ESCAPED_CHAR = _NOTHING

_NO_TEMPLATES = airspeed.NullLoader()

type _Calculation = Callable[[dict[str, Any]], Any]
type _Call = tuple[str, Sequence[_Calculation] | None]
"""A name, and what it is called with, where it is called."""


class TemplateFailure(Exception):
    """The template could not be rendered; API Gateway answers "Internal server error" for it."""


class VelocityTemplate:
    """A template whose own strings become `text`s. Raises TemplateFailure where it is none."""

    def __init__(self, template: str, text: Callable[[str], str]) -> None:
        parsed = airspeed.Template(template)
        try:
            parsed.ensure_compiled()
        except airspeed.TemplateError as error:
            raise TemplateFailure(str(error)) from error
        self._text = text
        try:
            self._render = self._block(parsed.root_element.block)
        except _Unknown:
            self._render = parsed.merge

    def render(self, names: Mapping[str, Any]) -> str:
        """The text for these names. Raises TemplateFailure, whatever their methods raise."""
        own = airspeed.LocalNamespace({})
        own.update(names)
        try:
            return str(self._render(own))
        except Exception as error:
            raise TemplateFailure(f"{type(error).__name__}: {error}") from error

    def _block(self, block: Any) -> Callable[[dict[str, Any]], str]:
        pieces = [self._piece(element) for element in block.children if not isinstance(element, airspeed.Comment)]

        def rendered(names: dict[str, Any]) -> str:
            return "".join([piece if isinstance(piece, str) else piece(names) for piece in pieces])

        return rendered

    def _piece(self, element: Any) -> str | Callable[[dict[str, Any]], str]:
        """What an element leaves in the text. Raises _Unknown."""
        match element:
            case airspeed.Text() | airspeed.FallthroughHashText():
                return str(element.text)
            case airspeed.FormalReference(expression=airspeed.VariableExpression(), alternate=None):
                calculate, nothing = self._value(element), "" if element.silent else element.my_text()
                return lambda names: nothing if (value := calculate(names)) is None else str(value)
            case airspeed.SetDirective(terms=[name]):
                return partial(_set, name, self._expression(element.value.expression))
            case _:
                raise _Unknown

    def _expression(self, terms: Sequence[Any]) -> _Calculation:
        """Values and the operators between them, in airspeed's order of precedence."""
        values = [self._value(terms[0])]
        operators: list[Any] = []
        waiting = list(zip(terms[1::2], terms[2::2], strict=True))
        while waiting or operators:
            if waiting and (not operators or waiting[0][0].greater_precedence_than(operators[-1])):
                operator, operand = waiting.pop(0)
                operators.append(operator)
                values.append(self._value(operand))
            else:
                right, left = values.pop(), values.pop()
                values.append(partial(_apply, operators.pop().apply_to, left, right))
        return values[0]

    def _value(self, element: Any) -> _Calculation:
        match element:
            case airspeed.Value():
                return self._value(element.expression)
            case airspeed.InterpolatedStringLiteral():
                render, text = self._block(element.block), self._text
                return lambda names: text(render(names))
            case airspeed.StringLiteral() | airspeed.IntegerLiteral():
                constant = element.value
                return lambda names: constant
            case airspeed.FormalReference(expression=airspeed.VariableExpression()):
                with contextlib.suppress(_Unknown):
                    return self._variable(element.expression)
        return lambda names: element.calculate(names, _NO_TEMPLATES)

    def _variable(self, variable: Any) -> _Calculation:
        """Raises _Unknown."""
        (name, arguments), *further = self._calls(variable)
        if arguments is not None:
            raise _Unknown
        return partial(_follow, name, further) if further else lambda names: names.get(name)

    def _calls(self, variable: Any) -> list[_Call]:
        """The names on the way to a value. Raises _Unknown where an index is among them."""
        part = variable.part
        further = variable.subexpression
        if part.index is not None or (further and not isinstance(further.expression, airspeed.VariableExpression)):
            raise _Unknown
        listed = getattr(part.parameters and part.parameters.values, "values", ())
        arguments = None if part.parameters is None else [self._value(value) for value in listed]
        return [(part.name, arguments), *(self._calls(further.expression) if further else ())]


class _Unknown(Exception):
    """There is something that only airspeed does."""


def _set(name: str, calculate: _Calculation, names: dict[str, Any]) -> str:
    names[name] = calculate(names)
    return ""


def _apply(operator: Callable[[Any, Any], Any], left: _Calculation, right: _Calculation, names: dict[str, Any]) -> Any:
    return operator(left(names), right(names))


def _follow(first: str, further: Sequence[_Call], names: dict[str, Any]) -> Any:
    value = names.get(first)
    for name, arguments in further:
        value = _member(value, name)
        if arguments is not None and value is not None:
            value = value(*[calculate(names) for calculate in arguments])
    return value


def _member(owner: Any, name: str) -> Any:
    """What a name means to a value: an entry, an attribute, or one of the methods that airspeed gives it."""
    found = None
    if isinstance(owner, dict):
        with contextlib.suppress(KeyError):
            found = owner[name]
    if found is None:
        found = getattr(owner, name, None)
    if found is None and (method := airspeed.__additional_methods__.get(type(owner), {}).get(name)):
        found = partial(method, owner)
    return found
