"""Audio that is not what a session takes, over a whole call in virtual time: what answers it.

What else clients do wrong is tried where it is answered: test_gateway_audio and tests/sandbox/test_audio_frames (no
base64, no number), test_speech_session_clients (lengths, floods, silence), test_voice_routes (texts, two connections).
"""

import asyncio

from parley.server_messages import ErrorMessage, SessionReady

from tests.unit.scripted_engine import FRAME, frame_pcm
from tests.unit.voice_call import Call, call

FRAME_BYTES = len(frame_pcm(0, 1))


async def microphone(one: Call, *, seconds: float, frame: bytes, every: float) -> None:
    for _ in range(round(seconds / every)):
        one.seq += 1
        one.relay.put(one.seq, frame)
        await asyncio.sleep(every)


def codes(one: Call) -> list[str]:
    return [error.code for error in one.channel.of(ErrorMessage)]


def test_a_microphone_at_48_khz_is_told_and_its_session_fails() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await microphone(one, seconds=10, frame=bytes(3 * FRAME_BYTES), every=FRAME)

    one = call(play)
    assert set(codes(one)) == {"audio_invalid"}
    assert one.channel.ended() == "failed"


def test_a_microphone_at_48_khz_in_frames_of_the_right_size_is_a_flood() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await microphone(one, seconds=60, frame=bytes(FRAME_BYTES), every=FRAME / 3)

    one = call(play)
    assert codes(one) == ["audio_flood"]
    assert one.channel.ended() == "flood"


def test_half_the_rate_is_heard_as_what_it_is_and_the_next_utterance_is_answered() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await microphone(one, seconds=5, frame=bytes(FRAME_BYTES // 2), every=FRAME)
        await one.say(1, then=6.0)

    one = call(play)
    assert codes(one) == []
    assert one.engine.answered == [1]


def test_audio_before_the_session_starts_belongs_to_it() -> None:
    async def play(one: Call) -> None:
        await one.send(1, 12)
        one.connect()
        await one.send(0, 60)

    one = call(play)
    assert one.engine.answered == [1]
    assert one.frames_heard(1) == list(range(1, 13))
    assert one.channel.of(SessionReady)[0].next_seq is not None
    assert codes(one) == []
