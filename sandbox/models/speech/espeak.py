"""espeak-ng's library: speech with the times of its words, and pronunciations.

Install the Debian package `espeak-ng` (Homebrew has it under the same name). The library keeps global state, so one
lock guards every call; a call runs about a hundred times faster than the speech it makes.
"""

import ctypes
import ctypes.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

MISSING = "The AI endpoints speak with espeak-ng, which is not installed: install the package 'espeak-ng'."

# Values of espeak-ng/speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_POSITION_CHARACTER = 1
_CHARACTERS_UTF8 = 1
_SSML = 0x10
_PHONEMES_IPA = 0x02
_RATE, _VOLUME, _PITCH = 1, 2, 3
_EVENT_END, _EVENT_WORD, _EVENT_SENTENCE, _EVENT_MARK, _EVENT_PHONEME = 0, 1, 2, 3, 7


class EspeakError(Exception):
    """espeak-ng is not there, or knows no such voice."""


@dataclass(frozen=True)
class Mark:
    """A word, sentence, named mark or phoneme: when it is spoken, and which characters of the text it covers.

    `time` is in seconds from the start of the audio, `length` in characters (0 where espeak-ng does not say: only of
    words it does), `name` the mark's name or the phoneme.
    """

    kind: str
    time: float
    start: int
    length: int
    name: str = ""


@dataclass(frozen=True)
class Speech:
    """16-bit mono samples at `rate`, with their marks in order of time."""

    pcm: bytes
    rate: int
    marks: tuple[Mark, ...]


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_KINDS = {_EVENT_WORD: "word", _EVENT_SENTENCE: "sentence", _EVENT_MARK: "mark", _EVENT_PHONEME: "phoneme"}


class Espeak:
    """The library, loaded once; take it from `espeak()`."""

    def __init__(self) -> None:
        path = ctypes.util.find_library("espeak-ng")
        if path is None:
            raise EspeakError(MISSING)
        self._library = ctypes.CDLL(path)
        # Phoneme events (option 1) give visemes.
        self._rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, None, 1)
        if self._rate <= 0:
            raise EspeakError("espeak-ng is installed without its data: install the package 'espeak-ng-data'.")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.argtypes = [
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.c_int,
            ctypes.c_int,
        ]
        self._lock = threading.Lock()
        self._chunks: list[bytes] = []
        self._marks: list[Mark] = []
        # Kept here: the library holds the only other reference.
        self._callback = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._chunks.append(ctypes.string_at(samples, count * 2))
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if kind := _KINDS.get(event.type):
                name = event.id.name if kind == "mark" else event.id.string if kind == "phoneme" else b""
                start = max(0, event.text_position - 1)
                text = (name or b"").decode(errors="replace")
                # After a longer text, a shorter one ends with the beginning of a word that it does not have.
                if kind != "word" or event.length:
                    self._marks.append(Mark(kind, event.audio_position / 1000, start, event.length, text))
            index += 1
        return 0

    def speak(
        self,
        text: str,
        voice: str,
        *,
        words_a_minute: int = 170,
        pitch: int = 50,
        volume: int = 100,
        ssml: bool = False,
    ) -> Speech:
        """Speak `text` (SSML when `ssml`) with an espeak-ng voice such as `en-us` or `vi+f3`.

        Raises `EspeakError` when there is no such voice.
        """
        encoded = text.encode()
        with self._lock:
            self._voice(voice)
            self._library.espeak_SetParameter(_RATE, words_a_minute, 0)
            self._library.espeak_SetParameter(_PITCH, pitch, 0)
            self._library.espeak_SetParameter(_VOLUME, volume, 0)
            self._chunks, self._marks = [], []
            flags = _CHARACTERS_UTF8 | (_SSML if ssml else 0)
            size = len(encoded) + 1
            status = self._library.espeak_Synth(encoded, size, 0, _POSITION_CHARACTER, 0, flags, None, None)
            if status != 0:
                raise EspeakError(f"espeak-ng could not speak: status {status}.")
            return Speech(b"".join(self._chunks), self._rate, tuple(self._marks))

    def phonemes(self, texts: Sequence[str], voice: str) -> list[str]:
        """The pronunciation of each text in the International Phonetic Alphabet, stress marked, words spaced."""
        found = []
        with self._lock:
            self._voice(voice)
            for text in texts:
                rest = ctypes.c_char_p(text.encode())
                parts = []
                while rest.value:
                    spoken = self._library.espeak_TextToPhonemes(ctypes.byref(rest), _CHARACTERS_UTF8, _PHONEMES_IPA)
                    parts.append((spoken or b"").decode())
                found.append(" ".join(parts).strip())
        return found

    def _voice(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise EspeakError(f"espeak-ng has no voice {voice!r}.")


@cache
def espeak() -> Espeak:
    """The library of this process. Raises `EspeakError` when it is not installed."""
    return Espeak()
