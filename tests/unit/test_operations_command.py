"""What every operator's command shares: options, results, endings."""

import argparse
import io
import json
import signal
import subprocess
import sys

import pytest
from botocore.exceptions import NoCredentialsError

from operations import command
from operations.command import Check, Mark, OperationError
from sandbox.state import SandboxError
from tests.unit.aws_double import refusal


def options(*arguments: str) -> argparse.Namespace:
    parser = command.parser("try", description="Try it.", examples="  scripts/try")
    command.add_flags(parser)
    return parser.parse_args(arguments)


def test_every_command_has_the_same_options() -> None:
    found = options("--env", "dev", "--region", "eu-west-1", "--json", "-c", "enableRag=false", "-c", "domain=a=b")

    assert (found.env, found.region, found.json) == ("dev", "eu-west-1", True)
    assert found.flags == [("enableRag", "false"), ("domain", "a=b")]
    assert options().env == "local"


@pytest.mark.parametrize("flag", ["enableRag", "=true"])
def test_a_flag_needs_a_name_and_a_value(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options("-c", flag)

    assert ended.value.code == command.WRONG_USAGE
    assert "FLAG=VALUE" in capsys.readouterr().err


def test_the_help_has_examples_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--help")

    said = capsys.readouterr().out
    assert "examples:\n  scripts/try" in said
    assert "exit status:" in said


@pytest.mark.parametrize(
    ("trouble", "status", "said"),
    [
        (OperationError("No such thing."), 1, "No such thing.\n"),
        (SandboxError("No sandbox is up."), 1, "No sandbox is up.\n"),
        (NoCredentialsError(), 1, "There are no AWS credentials for local"),
        (refusal("ExpiredToken"), 1, "have expired"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
    ],
)
def test_what_stops_a_command_is_one_sentence(
    trouble: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: argparse.Namespace) -> int:
        raise trouble

    assert command.run(work, options(), interrupted="Stopped.") == status
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_reader_that_has_enough_is_no_failure() -> None:
    code = (
        "import argparse, sys\nfrom operations import command\n"
        "def work(_):\n    [print('x' * 1000) for _ in range(10_000)]\n    return 0\n"
        "sys.exit(command.run(work, argparse.Namespace(env='local')))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_also_in_the_background(number: signal.Signals) -> None:
    code = (
        "import argparse, signal, sys, time\nfrom operations import command\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "def work(_):\n    print('at work', flush=True)\n    time.sleep(60)\n    return 0\n"
        "sys.exit(command.run(work, argparse.Namespace(env='local'), interrupted='Run it again.'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "Run it again.\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("typed", ["prod\n", "\n", ""])
def test_nothing_is_done_unless_the_name_is_typed(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    with pytest.raises(OperationError, match=r"Nothing was done\."):
        command.confirm("Sure?", "dev", instead="--yes dev")


def test_the_typed_name_lets_it_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(" dev \n"))
    command.confirm("Sure?", "dev", instead="--yes dev")

    out, err = capsys.readouterr()
    assert (out, err) == ("", "Sure? ")


def test_where_nobody_can_be_asked_the_option_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("dev\n"))
    with pytest.raises(OperationError, match="give --yes dev"):
        command.confirm("Sure?", "dev", instead="--yes dev")


def test_a_table_in_a_pipe_is_whole_and_has_no_spaces_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 150
    command.print_table(("name", "value"), [("a", long), ("[red]b", None)])

    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"a       {long}"
    assert lines[2] == "[red]b"


def test_a_check_says_what_helps_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [Check("one", Mark.OK, "fine", seconds=1.5), Check("two", Mark.FAILED, "broken", "Mend it.")]
    command.print_checks(checks)

    said = capsys.readouterr().out
    assert "1.50 s" in said
    assert "-> Mend it." in said
    assert command.is_failed(checks)
    assert not command.is_failed(checks[:1])
    assert checks[0].document() == {"what": "one", "mark": "ok", "said": "fine", "seconds": 1.5}


def test_json_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    command.print_json({"größe": 1})
    assert json.loads(capsys.readouterr().out) == {"größe": 1}
