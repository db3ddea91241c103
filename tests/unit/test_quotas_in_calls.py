"""Minutes of calls: counted as they pass, by whoever owns the session, and the end of a call when they are spent."""

from collections.abc import Awaitable, Callable

from parley.errors import QuotaExceeded
from parley.server_messages import ErrorMessage
from parley.speech.session import COUNT_SECONDS

from tests.unit.virtual_time import run_virtual
from tests.unit.voice_call import Call


def call(play: Callable[[Call], Awaitable[None]], *, limit: float, worker_seconds: float = 900.0) -> tuple[Call, int]:
    """A call, and how many seconds of it were counted."""
    counted = 0

    async def spend(seconds: int) -> None:
        nonlocal counted
        counted += seconds
        if counted >= limit:
            raise QuotaExceeded("Your minutes are used up.", retry_after=3600)

    async def main() -> Call:
        one = Call(spend_seconds=spend, worker_seconds=worker_seconds)
        await play(one)
        await one.close()
        return one

    return run_virtual(main()), counted


def test_a_call_ends_with_a_sentence_when_the_minutes_are_spent() -> None:
    async def play(one: Call) -> None:
        one.connect()
        for utterance in range(1, 20):
            await one.say(utterance)

    one, counted = call(play, limit=60)
    [error] = one.channel.of(ErrorMessage)
    assert (error.code, error.message, error.retry_after) == ("quota_exceeded", "Your minutes are used up.", 3600)
    assert one.channel.ended() == "limit"
    assert one.outcomes == ["ended"]
    assert 60 <= counted < 60 + COUNT_SECONDS + 10
    # What was said is stored as ever.
    assert len(one.exchanges()) == len(one.channel.done())


def test_all_of_a_call_is_counted_once_over_its_workers() -> None:
    async def play(one: Call) -> None:
        began = one.clock.now()
        one.connect()
        for utterance in range(1, 60):
            await one.say(utterance)
        one.hang_up()
        lasted.append(one.clock.now() - began)
        await one.clock.sleep(20)

    lasted: list[float] = []
    one, counted = call(play, limit=float("inf"), worker_seconds=200.0)
    assert one.outcomes[-1] == "ended"
    assert len(one.outcomes) > 1
    # A worker counts from when it has the session until it has said goodbye.
    assert 0.95 * lasted[0] < counted <= lasted[0] + 5
