"""What the speech engines speak, and how the cascade hears and speaks: the flags `transcribe` and `polly`."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stacks.flags import (
    Parser,
    Rejected,
    boolean,
    choice,
    given,
    json_object,
    optional,
    parse,
    quoted,
    refuse_unknown,
    text,
    texts,
)

# Nova 2 Sonic: docs.aws.amazon.com/nova/latest/nova2-userguide/sonic-language-support.html. The cascade speaks what
# Amazon Transcribe hears (streaming) and Amazon Polly speaks, by these voices. The runtime has the same lists in
# parley.speech.voices, and a test holds the two together.
_NOVA_SONIC_LANGUAGES = "de-DE en-AU en-GB en-IN en-US es-US fr-FR hi-IN it-IT pt-BR"
_POLLY_VOICES = {
    "ar-AE": "Hala Zayd",
    "ca-ES": "Arlet",
    "cs-CZ": "Jitka",
    "da-DK": "Sofie",
    "de-CH": "Sabrina",
    "de-DE": "Vicki Daniel Lennart",
    "en-AU": "Olivia",
    "en-GB": "Amy Brian Emma Arthur",
    "en-IE": "Niamh",
    "en-IN": "Kajal",
    "en-NZ": "Aria",
    "en-US": "Joanna Matthew Danielle Ruth Salli Stephen Tiffany Gregory Ivy Joey Justin Kendra Kevin Kimberly",
    "en-ZA": "Ayanda",
    "es-ES": "Lucia Sergio",
    "es-US": "Lupe Pedro",
    "fi-FI": "Suvi",
    "fr-CA": "Gabrielle Liam",
    "fr-FR": "Lea Remi Ambre Florian",
    "hi-IN": "Kajal",
    "it-IT": "Bianca Adriano Beatrice Lorenzo",
    "ja-JP": "Tomoko Kazuha Takumi",
    "ko-KR": "Seoyeon Jihye",
    "nl-NL": "Laura",
    "no-NO": "Ida",
    "pl-PL": "Ola",
    "pt-BR": "Camila Thiago Vitoria",
    "pt-PT": "Ines",
    "sv-SE": "Elin",
    "zh-CN": "Zhiyu",
}
CASCADE_VOICES: Mapping[str, tuple[str, ...]] = {
    language: tuple(voices.split()) for language, voices in _POLLY_VOICES.items()
}
ENGINE_LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "nova-sonic": tuple(_NOVA_SONIC_LANGUAGES.split()),
    "cascade": tuple(CASCADE_VOICES),
}


@dataclass(frozen=True, kw_only=True)
class Transcribe:
    """How the cascade hears. Vocabularies and filters are the account's, one for a language, by their names."""

    vocabularies: Mapping[str, str] = field(default_factory=dict)
    """Custom vocabularies: names and words of the trade."""
    vocabulary_filters: Mapping[str, str] = field(default_factory=dict)
    """Lists of words that are not to appear: profanity."""
    filter_method: str = "mask"
    identify_languages: bool = False
    """Find out which of the environment's languages is spoken, and answer in it."""
    speaker_labels: bool = False
    stability: str = "high"


@dataclass(frozen=True, kw_only=True)
class Polly:
    """How the cascade speaks."""

    engine: str = "generative"
    """For voices that have both engines."""
    voices: Mapping[str, str] = field(default_factory=dict)
    """The voice of a language, in place of its first one."""
    rate: str | None = None
    volume: str | None = None
    lexicons: tuple[str, ...] = ()
    word_marks: bool = False


def _by_language(pattern: str, description: str) -> Parser:
    """An object of names by language."""

    def read(value: Any) -> dict[str, str]:
        try:
            named = json_object(value)
        except Rejected:
            raise Rejected(description) from None
        for language, name in named.items():
            if language not in CASCADE_VOICES or not isinstance(name, str) or not re.fullmatch(pattern, name):
                raise Rejected(description)
        return named

    return read


_NAME = r"[0-9a-zA-Z._-]{1,200}"
_RATE = r"x-slow|slow|medium|fast|x-fast|([2-9]\d|1\d\d|200)%"
_VOLUME = r"silent|x-soft|soft|medium|loud|x-loud|[+-]\d{1,2}(\.\d)?dB"
_TRANSCRIBE: dict[str, Parser] = {
    "vocabularies": _by_language(_NAME, 'names of custom vocabularies by language such as {"en-US": "our-products"}'),
    "vocabularyFilters": _by_language(_NAME, 'names of vocabulary filters by language such as {"en-US": "profanity"}'),
    "filterMethod": choice("mask", "remove", "tag"),
    "identifyLanguages": boolean,
    "speakerLabels": boolean,
    "stability": choice("high", "medium", "low"),
}
_POLLY: dict[str, Parser] = {
    "engine": choice("generative", "neural"),
    "voices": _by_language(r"[A-Z][a-z]+", 'voices by language such as {"en-US": "Ruth"}'),
    "rate": optional(text(_RATE, 'a word from "x-slow" to "x-fast", or from "20%" to "200%"')),
    "volume": optional(text(_VOLUME, 'a word from "silent" to "x-loud", or decibels such as "+6dB"')),
    "lexicons": texts(r"[0-9A-Za-z]{1,20}", 'a list of pronunciation lexicons such as ["names"]'),
    "wordMarks": boolean,
}


def _settings[T](flag: str, parsers: Mapping[str, Parser], kind: Callable[..., T]) -> Callable[[Any], T]:
    def read(value: Any) -> T:
        given_settings = json_object(value)
        refuse_unknown(f"setting of {flag}", given_settings, parsers)
        return kind(
            **{
                re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", name): parse(
                    f"{flag}.{name}", parsers[name], setting
                )
                for name, setting in given_settings.items()
            }
        )

    return read


transcribe = _settings("transcribe", _TRANSCRIBE, Transcribe)
"""Reads the flag `transcribe`."""

polly = _settings("polly", _POLLY, Polly)
"""Reads the flag `polly`."""


def problems(engines: Sequence[str], languages: Sequence[str], hearing: Transcribe, speaking: Polly) -> Iterator[str]:
    """One sentence for each way in which the flags of speech do not fit each other."""
    for engine in engines:
        for language in languages:
            if language not in ENGINE_LANGUAGES[engine]:
                yield (
                    f"The speech engine {given(engine)} does not speak {given(language)}; "
                    f"allowed languages: {quoted(ENGINE_LANGUAGES[engine])}."
                )
    for flag, settings, unset in (("transcribe", hearing, Transcribe()), ("polly", speaking, Polly())):
        if settings != unset and "cascade" not in engines:
            yield (
                f"{flag} has settings while voiceEngine is {quoted(engines)}, which does not use them; "
                f'allowed: voiceEngine "cascade", or no {flag}.'
            )
    for language, voice in speaking.voices.items():
        if voice not in CASCADE_VOICES[language]:
            yield (
                f"polly.voices has no voice {given(voice)} for {given(language)}; "
                f"allowed: {quoted(CASCADE_VOICES[language])}."
            )
    spoken = {language.partition("-")[0] for language in languages}
    if hearing.identify_languages and (len(languages) < 2 or len(spoken) < len(languages)):
        yield (
            f"transcribe.identifyLanguages is true while languages are {quoted(languages)}; "
            'allowed: two languages or more, each once, such as "en-US", "de-DE".'
        )


def worker_environment(languages: Sequence[str], hearing: Transcribe, speaking: Polly) -> dict[str, str]:
    """What a session worker with the cascade is told of them (docs/speech-engines.md)."""
    transcribed = {
        "languages": list(languages) if hearing.identify_languages else [],
        "vocabularies": dict(hearing.vocabularies),
        "vocabulary_filters": dict(hearing.vocabulary_filters),
        "filter_method": hearing.filter_method,
        "speaker_labels": hearing.speaker_labels,
        "stability": hearing.stability,
    }
    spoken: dict[str, Any] = {
        "engine": speaking.engine,
        "prosody": {"rate": speaking.rate, "volume": speaking.volume},
        "lexicons": list(speaking.lexicons),
        "word_marks": speaking.word_marks,
    }
    return {
        "TRANSCRIBE_SETTINGS": json.dumps(transcribed),
        "POLLY_SETTINGS": json.dumps(spoken),
        "POLLY_VOICES": json.dumps(dict(speaking.voices)),
    }
