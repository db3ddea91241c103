"""Compiled templates say what airspeed says."""

from typing import Any

import airspeed
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.gateway.velocity import TemplateFailure, VelocityTemplate


class Shop:
    """Something with methods and attributes."""

    name = "corner"

    def price(self, thing: str, times: int = 1) -> int:
        return len(thing) * times

    def owner(self) -> dict[str, Any]:
        return {"name": "Ana", "age": 41, "pets": ["cat", "dog"]}

    def fail(self) -> None:
        raise ValueError("closed")


def names() -> dict[str, Any]:
    return {"shop": Shop(), "word": "a.b", "number": 7, "nothing": None, "list": [1, 2], "map": {"a": {"b": "deep"}}}


@pytest.mark.parametrize(
    "template",
    [
        "",
        "plain # text, 5 $ and \\$word",
        "$word $!word ${word} $!{word}x",
        "$missing $!missing ${missing} $!{missing} $missing.at.all $!missing.at.all",
        "$nothing $!nothing ${nothing|'else'} ${word|'else'}",
        "$map.a.b $map.a.c $!map.a.c $map.missing.b",
        "$shop.name $shop.owner().name $shop.price('apple')",
        "$shop.price($word, 3) $shop.price($shop.owner().name, $number)",
        "$shop.nothing() $shop.name.nothing",
        "$list[1] $list.size() $shop.owner().pets[0] $map['a'] $map.keySet()",
        "$word.length() $word.replaceAll('.', '-') $word.startsWith('a')",
        "#set($x = 'one')$x #set($y = \"$x and $word\")$y #set($x = $shop.price($y))$x",
        "#set($x = 1 + 2 * 3 - 4 / 2)$x #set($x = ($number + 1) * 2)$x #set($x = 8 - 2 - 1)$x #set($x = 7 % 4 + 1)$x",
        "#set($x = $number > 3 && $number < 5)$x #set($x = !$nothing)$x #set($x = $number == 7 || false)$x",
        "#set($x = [1, 'two', $word])$x #set($x = {'k': $word})$x.k",
        "#set($x = 1.5)$x #set($x = null)$x #set($x = true)$x",
        "#set($map.z = 3)$map.z",
        "## a comment\n$word#* and\nanother *#\n$word",
        "#if($number > 3)more#elseif($word)word#{else}less#end $word",
        "#foreach($each in $list)$each,$foreach.count;#end",
        "#macro(twice $what)$what$what#end#twice($word)",
        "#define($later)<$word>#end$later",
        "before#stop after",
        "$word.contains('a')#evaluate('$word')",
    ],
)
def test_the_text_is_airspeeds(template: str) -> None:
    expected = airspeed.Template(template).merge(names())

    assert VelocityTemplate(template, str).render(names()) == expected


VALUES = st.sampled_from(["$number", "$word.length()", "3", "2", "($number - 2)", "$shop.price('abc')"])
OPERATORS = st.sampled_from([" + ", " - ", " * ", " / ", " % ", " > ", " == ", " && ", " || "])


@given(VALUES, st.lists(st.tuples(OPERATORS, VALUES), max_size=6))
def test_operators_bind_as_in_airspeed(first: str, others: list[tuple[str, str]]) -> None:
    template = f"#set($x = {first}{''.join(operator + value for operator, value in others)})$x"
    try:
        expected = airspeed.Template(template).merge(names())
    except airspeed.TemplateError:
        with pytest.raises(TemplateFailure):
            VelocityTemplate(template, str).render(names())
    else:
        assert VelocityTemplate(template, str).render(names()) == expected


@pytest.mark.parametrize("template", ["$shop.fail()", "$shop.price()", "#set($x = $word - 1)", "#if($shop.fail())#end"])
def test_what_a_method_raises_is_a_failure_of_the_template(template: str) -> None:
    with pytest.raises(TemplateFailure):
        VelocityTemplate(template, str).render(names())


def test_nothing_is_left_behind_for_the_next_rendering() -> None:
    template = VelocityTemplate("$!x#set($x = 'set')$x", str)

    assert [template.render({}), template.render({})] == ["set", "set"]


def test_strings_that_the_template_makes_are_of_the_type_asked_for() -> None:
    class Loud(str):
        def shout(self) -> str:
            return self.upper()

    assert VelocityTemplate('#set($x = "$word!")$x.shout()', Loud).render(names()) == "A.B!"
