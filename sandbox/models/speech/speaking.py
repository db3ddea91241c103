"""Text to speech off the event loop: espeak-ng in a thread, at the rate that is asked for."""

import asyncio
import re
from dataclasses import replace
from functools import lru_cache

from sandbox.models.speech.audio import resample
from sandbox.models.speech.espeak import Speech, espeak

_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+|(?<=[\u3002\uff01\uff1f])|\n+")


async def speak(text: str, voice: str, rate: int, *, ssml: bool = False) -> Speech:
    """Speak a text (SSML when `ssml`) with one of espeak-ng's voices, as 16-bit mono samples at `rate`."""
    return await asyncio.to_thread(_speak, text, voice, rate, ssml)


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


@lru_cache(maxsize=64)
def _speak(text: str, voice: str, rate: int, ssml: bool) -> Speech:
    speech = espeak().speak(text, voice, ssml=ssml)
    return replace(speech, pcm=resample(speech.pcm, speech.rate, rate), rate=rate)
