"""What goes out: in which order, how far ahead, and what a client that is slow or gone makes of it."""

import asyncio
from collections.abc import Awaitable, Callable

from parley.server_messages import (
    Ack,
    AudioMessage,
    ErrorMessage,
    InterruptedMessage,
    Pong,
    SessionReady,
    Transcript,
)
from parley.speech.audio import output_bytes
from parley.speech.playback import Outbound

from tests.unit.virtual_time import VirtualClock, run_virtual
from tests.unit.voice_doubles import MemoryChannel


class Line:
    """An outbound line to a client."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.channel = MemoryChannel(self.clock)
        self.outbound = Outbound(self.channel, self.clock)
        self.began = self.clock.now()
        self.running = asyncio.ensure_future(self.outbound.run())

    def voice(self) -> list[tuple[float, float]]:
        """When each piece of voice arrived, and how long it is, in seconds."""
        return [
            (post.at - self.began, len(post.message.data) * 3 / 4 / 48_000)
            for post in self.channel.posts
            if isinstance(post.message, AudioMessage)
        ]


def line(play: Callable[[Line], Awaitable[None]]) -> Line:
    async def main() -> Line:
        one = Line()
        await play(one)
        one.running.cancel()
        return one

    return run_virtual(main())


def seconds(length: float) -> bytes:
    return bytes(output_bytes(length))


def test_the_first_voice_goes_at_once_and_the_rest_a_second_ahead() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        one.outbound.speak("t-1", seconds(0.02))
        await one.clock.sleep(0.01)
        assert len(one.voice()) == 1
        one.outbound.speak("t-1", seconds(10))
        one.outbound.finish("t-1")
        await one.clock.sleep(12)

    one = line(play)
    pieces = one.voice()
    assert abs(sum(length for _, length in pieces) - 10.02) < 0.001
    total = 0.0
    for at, length in pieces:
        total += length
        assert total - at <= 1.1, "more than a second ahead"
        assert total - length - at >= -0.1, "the playback ran dry"


def test_voice_that_comes_slowly_is_not_gathered_while_the_client_has_little() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        for _ in range(20):
            one.outbound.speak("t-1", seconds(0.05))
            await one.clock.sleep(0.05)

    one = line(play)
    assert len(one.voice()) >= 15


def test_an_interruption_overtakes_everything_and_drops_the_voice() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        one.outbound.speak("t-1", seconds(20))
        await one.clock.sleep(3)
        for number in range(5):
            one.outbound.send(Transcript(turn_id="t-2", role="user", text=str(number), final=False))
        heard = one.outbound.interrupt("t-1")
        one.outbound.send(InterruptedMessage(turn_id="t-1", heard_ms=heard), urgent=True)
        assert 2900 < heard < 3100
        assert one.outbound.seconds_left("t-1") == 0
        one.channel.posts.clear()
        await one.clock.sleep(3)

    one = line(play)
    assert isinstance(one.channel.posts[0].message, InterruptedMessage)
    assert not one.voice()
    assert [said.text for said in one.channel.of(Transcript)] == ["0", "1", "2", "3", "4"]


def test_an_interruption_in_the_middle_of_a_post_counts_only_what_was_played() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        one.outbound.speak("t-1", seconds(5))
        await one.clock.sleep(0.002)
        assert one.outbound.interrupt("t-1") == 0
        await one.clock.sleep(1)
        one.outbound.speak("t-2", seconds(0.4))
        one.outbound.finish("t-2")
        await one.clock.sleep(1)
        assert one.outbound.played_ms("t-1") == 0
        assert one.outbound.played_ms("t-2") == 400

    line(play)


def test_of_several_acks_only_the_newest_goes() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        for seq in range(1, 10):
            one.outbound.ack(seq)
        await one.clock.sleep(1)

    assert line(play).channel.of(Ack) == [Ack(seq=9)]


def test_what_waits_for_a_client_goes_to_its_next_connection() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        one.outbound.speak("t-1", seconds(3))
        await one.clock.sleep(0.5)
        one.channel.gone.add("c-1")
        await one.clock.sleep(5)
        assert one.outbound.connection_id is None
        assert one.outbound.gone_since is not None
        one.outbound.send(Pong())
        one.outbound.finish("t-1")
        one.outbound.connect("c-2")
        one.outbound.send(SessionReady(session_id="s"), urgent=True)
        await one.clock.sleep(5)

    one = line(play)
    second = [type(post.message) for post in one.channel.posts if post.connection_id == "c-2"]
    assert second[:2] == [SessionReady, Pong]
    assert abs(sum(length for _, length in one.voice()) - 3) < 0.001


def test_a_busy_client_gets_each_message_once_in_order() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        one.channel.busy = 4
        for number in range(3):
            one.outbound.send(Transcript(turn_id="t-1", role="user", text=str(number), final=True))
        await one.clock.sleep(5)

    assert [said.text for said in line(play).channel.of(Transcript)] == ["0", "1", "2"]


def test_a_client_that_stays_busy_is_as_good_as_gone() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        one.channel.busy = 1000
        one.outbound.send(Pong())
        await one.clock.sleep(15)

    one = line(play)
    assert one.outbound.connection_id is None


def test_a_client_that_plays_late_is_given_no_more_than_it_can_hold() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        one.outbound.speak("t-1", seconds(20))
        await one.clock.sleep(5)
        # It was stopped for four seconds: it has the second that was ahead, and four more.
        one.outbound.report("t-1", 1000)
        one.outbound.report("t-0", 0)
        one.channel.posts.clear()
        await one.clock.sleep(3.5)
        assert not one.voice()
        assert one.outbound.played_ms("t-1") < 5000
        await one.clock.sleep(2)
        assert one.voice()

    line(play)


def test_a_message_that_is_too_large_is_replaced_by_an_error() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        one.outbound.send(Transcript(turn_id="t-1", role="assistant", text="x" * 40_000, final=True))
        one.outbound.send(Pong())
        await one.outbound.flush(1.0)

    one = line(play)
    assert [error.code for error in one.channel.of(ErrorMessage)] == ["payload_too_large"]
    assert one.channel.of(Pong)


def test_nobody_waits_longer_for_a_silent_client_than_was_said() -> None:
    async def play(one: Line) -> None:
        one.outbound.connect("c-1")
        one.channel.busy = 1000
        one.outbound.send(Pong())
        before = one.clock.now()
        await one.outbound.flush(1.0)
        assert one.clock.now() - before < 1.1

    line(play)
