"""Tools: how one is defined and found, its schema, and what becomes of whatever happens while it runs."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from parley.conversation import tools as package
from parley.conversation.deadline import Deadline
from parley.conversation.tools import registry, running
from parley.conversation.tools.running import RESULT_CHARACTERS, run_tool
from parley.conversation.tools.search_knowledge import PASSAGES_CHARACTERS, search_knowledge
from parley.conversation.tools.tool import Tool, ToolCall, ToolDefinitionError, ToolResult, tool
from parley.errors import StoreUnavailable

from tests.unit.conversation_doubles import Library, passage

TOOL_FILE = """
import msgspec

from parley.conversation.tools.tool import ToolCall, ToolResult, tool


class Order(msgspec.Struct):
    number: int


@tool(description="Tells where an order is.")
def {name}(arguments: Order, call: ToolCall) -> ToolResult:
    return ToolResult(content={{"order": arguments.number, "owner": call.subject}})
"""


class Arguments(msgspec.Struct):
    number: int = 1


def made(handler: Callable[[Arguments, ToolCall], ToolResult], **options: Any) -> dict[str, Tool]:
    def probe(arguments: Arguments, call: ToolCall) -> ToolResult:
        return handler(arguments, call)

    return {"probe": tool(description="A probe.", **options)(probe)}


def call(arguments: Any = None, *, name: str = "probe", seconds: float = 20.0, **more: Any) -> ToolCall:
    given = {} if arguments is None else arguments
    deadline = Deadline.after(seconds)
    return ToolCall(name=name, arguments=given, subject="ada", conversation_id="c", deadline=deadline, **more)


# Finding


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files are modules of the package of tools."""
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.tools.cache_clear()
    yield tmp_path
    registry.tools.cache_clear()


def test_a_file_is_all_that_a_tool_takes(folder: Path) -> None:
    before = set(registry.offered(knowledge=True))
    registry.tools.cache_clear()
    (folder / "order_status_of_a_test.py").write_text(TOOL_FILE.format(name="order_status"))

    found = registry.offered(knowledge=True)

    assert set(found) == before | {"order_status"}
    assert found["order_status"].spec.input_schema == {
        "type": "object",
        "properties": {"number": {"type": "integer"}},
        "required": ["number"],
    }
    result = run_tool(call({"number": 7}, name="order_status"), found)
    assert (result.content, result.is_error) == ({"order": 7, "owner": "ada"}, False)


def test_the_documented_example_works_as_it_stands(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/add-a-tool.md").read_text()
    (folder / "days_until_of_the_page.py").write_text(page.split("```python\n")[1].split("```")[0])

    tools = registry.offered(knowledge=False)

    schema = tools["days_until"].spec.input_schema
    assert schema["properties"]["day"]["format"] == "date"
    result = run_tool(call({"day": "2999-12-31"}, name="days_until"), tools)
    assert result.content["days"] > 300_000
    assert run_tool(call({"day": "soon"}, name="days_until"), tools).error_kind == "bad_arguments"


def test_two_tools_of_one_name_are_a_mistake_that_is_named(folder: Path) -> None:
    (folder / "one_of_two_tools.py").write_text(TOOL_FILE.format(name="twin"))
    (folder / "other_of_two_tools.py").write_text(TOOL_FILE.format(name="twin"))
    with pytest.raises(ToolDefinitionError, match="Two tools are called twin"):
        registry.tools()


def test_a_tool_that_a_module_only_imports_is_not_found_twice(folder: Path) -> None:
    (folder / "borrows_a_tool.py").write_text(
        "from parley.conversation.tools.search_knowledge import search_knowledge as borrowed\n"
    )
    assert list(registry.tools()).count("search_knowledge") == 1


def test_a_search_is_offered_only_where_there_is_knowledge() -> None:
    assert "search_knowledge" in registry.offered(knowledge=True)
    assert "search_knowledge" not in registry.offered(knowledge=False)


@pytest.mark.parametrize("name", list(registry.tools()))
def test_every_tool_is_as_all_models_take_it(name: str) -> None:
    spec = registry.tools()[name].spec
    assert spec.name == name
    assert len(spec.description) > 20
    assert set(spec.input_schema) == {"type", "properties", "required"}
    assert "$ref" not in msgspec.json.encode(spec.input_schema).decode()


# Defining


def test_a_schema_says_what_the_arguments_are() -> None:
    class Place(msgspec.Struct):
        """Somewhere."""

        city: Annotated[str, msgspec.Meta(description="Its name.")]

    class Trip(msgspec.Struct, forbid_unknown_fields=True):
        stops: list[Place]
        days: Annotated[int, msgspec.Meta(ge=1)] = 1

    def plan(arguments: Trip, call: ToolCall) -> ToolResult:
        return ToolResult(content={})

    plan.__annotations__["arguments"] = Trip
    schema = tool(description="Plans.")(plan).spec.input_schema
    assert schema["required"] == ["stops"]
    assert schema["properties"]["days"] == {"type": "integer", "minimum": 1, "default": 1}
    place = schema["properties"]["stops"]["items"]
    assert place["properties"] == {"city": {"type": "string", "description": "Its name."}}


class Nested(msgspec.Struct):
    inner: "Nested | None" = None


def holds_itself(arguments: Nested, call: ToolCall) -> ToolResult:
    return ToolResult(content={})


def not_a_struct(arguments: dict[str, Any], call: ToolCall) -> ToolResult:
    return ToolResult(content={})


def one_parameter(arguments: Arguments) -> ToolResult:
    return ToolResult(content={})


def _hidden(arguments: Arguments, call: ToolCall) -> ToolResult:
    return ToolResult(content={})


@pytest.mark.parametrize(
    ("handler", "description", "says"),
    [
        (not_a_struct, "Does.", "msgspec.Struct"),
        (one_parameter, "Does.", "two parameters"),
        (_hidden, "Does.", "letters, digits and underscores"),
        (holds_itself, " ", "no description"),
    ],
)
def test_what_is_no_tool_is_refused_in_a_sentence(handler: Any, description: str, says: str) -> None:
    with pytest.raises(ToolDefinitionError, match=says):
        tool(description=description)(handler)


def test_arguments_that_hold_themselves_have_no_schema() -> None:
    with pytest.raises(ToolDefinitionError, match="cannot hold themselves"):
        _ = tool(description="Does.")(holds_itself).spec


# Running


def test_a_handler_gets_checked_arguments_and_the_verified_user() -> None:
    seen: list[Any] = []

    def handler(arguments: Arguments, call: ToolCall) -> ToolResult:
        seen.append((arguments, call.subject, call.deadline.remaining <= 2.0))
        return ToolResult(content={"at": datetime(2026, 11, 21, tzinfo=UTC), "pair": (1, 2)}, passages=(passage(),))

    result = run_tool(call({"number": "5", "subject": "bob"}), made(handler), timeout_seconds=2.0)
    assert seen == [(Arguments(number=5), "ada", True)]
    assert result.content == {"at": "2026-11-21T00:00:00Z", "pair": [1, 2]}
    assert (result.passages, result.is_error) == ((passage(),), False)


@pytest.mark.parametrize("arguments", [{"number": "five"}, {"number": None}, "{not json", [1], 3, None])
def test_arguments_that_do_not_fit_are_told_to_the_model(arguments: Any) -> None:
    def handler(arguments: Arguments, call: ToolCall) -> ToolResult:
        raise AssertionError("must not run")

    result = run_tool(
        ToolCall(name="probe", arguments=arguments, subject="a", conversation_id=None, deadline=Deadline.after(5)),
        made(handler),
    )
    assert (result.is_error, result.error_kind) == (True, "bad_arguments")
    assert "schema" in result.content["error"]


def test_a_tool_that_was_not_offered_does_not_run() -> None:
    result = run_tool(call(name="search_knowledge"), {})
    assert (result.is_error, result.error_kind) == (True, "unknown_tool")


def test_a_slow_tool_ends_at_its_time_and_the_model_is_told() -> None:
    stop, was_told = threading.Event(), threading.Event()

    def handler(arguments: Arguments, call: ToolCall) -> ToolResult:
        stop.wait(30)
        was_told.set()
        return ToolResult(content={})

    result = run_tool(call(), made(handler), timeout_seconds=0.05)
    assert (result.is_error, result.error_kind) == (True, "timeout")
    assert not was_told.is_set()
    stop.set()
    assert was_told.wait(5)


def test_a_tool_does_not_begin_when_the_turns_time_is_up() -> None:
    began: list[int] = []

    def handler(arguments: Arguments, call: ToolCall) -> ToolResult:
        began.append(1)
        return ToolResult(content={})

    assert run_tool(call(seconds=0), made(handler)).error_kind == "timeout"
    assert began == []


def test_tools_that_never_end_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_places", threading.BoundedSemaphore(1))
    stop, ended = threading.Event(), threading.Event()

    def handler(arguments: Arguments, call: ToolCall) -> ToolResult:
        stop.wait(30)
        return ToolResult(content={})

    tools = made(handler)
    assert run_tool(call(), tools, timeout_seconds=0.01).error_kind == "timeout"
    assert "Too many" in run_tool(call(), tools).content["error"]
    stop.set()
    for _ in range(500):
        if not run_tool(call(), tools).is_error:
            ended.set()
            break
        threading.Event().wait(0.01)
    assert ended.is_set()


@pytest.mark.parametrize(
    ("failure", "kind", "told"),
    [
        (ZeroDivisionError("a secret"), "ZeroDivisionError", "The tool failed"),
        (StoreUnavailable("The orders cannot be read."), "StoreUnavailable", "The orders cannot be read."),
    ],
)
def test_an_exception_is_a_result_that_gives_nothing_away(failure: Exception, kind: str, told: str) -> None:
    def handler(arguments: Arguments, call: ToolCall) -> ToolResult:
        raise failure

    result = run_tool(call(), made(handler))
    assert (result.is_error, result.error_kind) == (True, kind)
    assert result.content["error"].startswith(told)
    assert "secret" not in str(result)


@pytest.mark.parametrize("returned", [None, ToolResult(content={"x": object()}), ToolResult(content=[1])])  # type: ignore[arg-type]  # a mistake on purpose
def test_what_is_no_result_is_an_error_as_well(returned: Any) -> None:
    result = run_tool(call(), made(lambda *_: returned))
    assert result.is_error
    assert result.content == {"error": "The tool failed; go on without it."}


def test_a_result_is_bounded() -> None:
    def handler(arguments: Arguments, call: ToolCall) -> ToolResult:
        return ToolResult(content={"text": "x" * arguments.number}, passages=(passage(),))

    whole = run_tool(call({"number": RESULT_CHARACTERS - 11}), made(handler))
    assert not whole.is_error
    large = run_tool(call({"number": RESULT_CHARACTERS}), made(handler))
    assert (large.is_error, large.error_kind, large.passages) == (True, "too_large", ())
    assert len(large.content["error"]) < 200


# search_knowledge


def search(library: Library | None, *known: Any, query: str = "tickets") -> ToolResult:
    asked = call({"query": query}, name="search_knowledge", retriever=library, passages=known)
    return run_tool(asked, {"search_knowledge": search_knowledge})


def test_a_search_numbers_its_passages_on_and_leaves_out_what_is_known() -> None:
    library = Library([passage(1), passage(2), passage(3)])
    result = search(library, passage(2), passage(9))
    assert [item["id"] for item in result.content["passages"]] == [3, 4]
    assert [item["text"] for item in result.content["passages"]] == ["Text 1.", "Text 3."]
    assert [found.document_id for found in result.passages] == ["doc-1", "doc-3"]
    [(subject, query, seconds)] = library.asked
    assert (subject, query) == ("ada", "tickets")
    assert seconds is not None
    assert 0 < seconds <= running.TOOL_SECONDS


def test_a_search_says_when_there_is_nothing_new() -> None:
    assert "near" in search(Library([])).content["note"]
    assert "already" in search(Library([passage(1)]), passage(1)).content["note"]


def test_a_search_gives_no_more_than_a_model_takes() -> None:
    long = "word " * (PASSAGES_CHARACTERS // 10)
    result = search(Library([passage(n, text=f"{n} {long}") for n in range(1, 6)]))
    assert not result.is_error
    assert len(result.passages) == len(result.content["passages"]) == 1


@pytest.mark.parametrize("library", [None, Library(None)])
def test_a_search_that_cannot_look_says_so(library: Library | None) -> None:
    result = search(library)
    assert (result.is_error, result.error_kind) == (True, "KnowledgeUnavailable")


@pytest.mark.parametrize("query", ["", "x" * 1001])
def test_a_query_has_a_length(query: str) -> None:
    assert search(Library([]), query=query).error_kind == "bad_arguments"
