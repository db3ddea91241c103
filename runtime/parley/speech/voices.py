"""What each speech engine speaks: languages, voices and models.

Nova 2 Sonic: "Language support" of its user guide (docs.aws.amazon.com/nova/latest/nova2-userguide/
sonic-language-support.html). The cascade speaks what Amazon Transcribe hears as a stream ("Supported languages" of its
developer guide) and Amazon Polly has a neural or generative voice for ("Available voices" of its). Read in November
2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from parley.errors import LanguageUnsupported


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of an engine: its id as the service knows it."""

    id: str
    language: str
    """The language as the service that speaks names it."""
    generative: bool = False
    """Whether it has Polly's generative engine, which alone can be streamed."""
    neural: bool = True
    """Whether it has Polly's neural engine."""


@dataclass(frozen=True, slots=True)
class SpeechEngineVoices:
    """What one engine speaks."""

    engine: str
    models: tuple[str, ...]
    """Bedrock models that it runs on; none where it takes the conversation's."""
    voices: Mapping[str, tuple[Voice, ...]]
    """By language (BCP 47), each language's first voice being the one that speaks when none is chosen."""

    def preferring(self, chosen: Mapping[str, str]) -> "SpeechEngineVoices":
        """The same with these languages' first voices. Raises LanguageUnsupported."""
        preferred = {language: self.voice(language, name) for language, name in chosen.items()}
        voices = {
            language: (voice, *(other for other in self.voices[language] if other != voice))
            for language, voice in preferred.items()
        }
        return replace(self, voices={**self.voices, **voices})

    @property
    def languages(self) -> tuple[str, ...]:
        """Every language, sorted."""
        return tuple(sorted(self.voices))

    def voice(self, language: str, chosen: str | None = None) -> Voice:
        """The voice of a language: the chosen one, whatever its case, or the first. Raises LanguageUnsupported."""
        voices = self.voices.get(language)
        if voices is None:
            raise LanguageUnsupported(
                f'The speech engine {self.engine} does not speak "{language}"; it speaks {", ".join(self.languages)}.'
            )
        if chosen is None:
            return voices[0]
        for voice in voices:
            if voice.id.lower() == chosen.lower():
                return voice
        known = ", ".join(voice.id for voice in voices)
        raise LanguageUnsupported(f'There is no voice "{chosen}" for {language}; its voices: {known}.')


_NOVA_SONIC = {
    "de-DE": "tina lennart",
    "en-AU": "olivia",
    "en-GB": "amy",
    "en-IN": "kiara arjun",
    "en-US": "matthew tiffany",
    "es-US": "lupe carlos",
    "fr-FR": "ambre florian",
    "hi-IN": "kiara arjun",
    "it-IT": "beatrice lorenzo",
    "pt-BR": "carolina leo",
}

# A voice with * has Polly's generative engine beside its neural one, with ! it has that alone; the others are neural.
_POLLY = {
    "ar-AE": "Hala Zayd",
    "ca-ES": "Arlet",
    "cs-CZ": "Jitka",
    "da-DK": "Sofie",
    "de-CH": "Sabrina*",
    "de-DE": "Vicki* Daniel* Lennart!",
    "en-AU": "Olivia*",
    "en-GB": "Amy* Brian* Emma Arthur",
    "en-IE": "Niamh*",
    "en-IN": "Kajal*",
    "en-NZ": "Aria*",
    "en-US": "Joanna* Matthew* Danielle* Ruth* Salli* Stephen* Tiffany! Gregory Ivy Joey Justin Kendra Kevin Kimberly",
    "en-ZA": "Ayanda*",
    "es-ES": "Lucia* Sergio*",
    "es-US": "Lupe* Pedro*",
    "fi-FI": "Suvi",
    "fr-CA": "Gabrielle* Liam*",
    "fr-FR": "Lea* Remi* Ambre! Florian!",
    "hi-IN": "Kajal*",
    "it-IT": "Bianca* Adriano Beatrice! Lorenzo!",
    "ja-JP": "Tomoko Kazuha Takumi",
    "ko-KR": "Seoyeon* Jihye",
    "nl-NL": "Laura*",
    "no-NO": "Ida",
    "pl-PL": "Ola*",
    "pt-BR": "Camila* Thiago Vitoria",
    "pt-PT": "Ines",
    "sv-SE": "Elin",
    "zh-CN": "Zhiyu",
}
# What Transcribe and Polly call differently; the language is named as Transcribe does.
_POLLY_NAMES = {"no-NO": "nb-NO", "zh-CN": "cmn-CN"}


def _polly_voices(language: str, listed: str) -> tuple[Voice, ...]:
    name = _POLLY_NAMES.get(language, language)
    return tuple(
        Voice(entry.rstrip("*!"), name, generative=entry[-1] in "*!", neural=entry[-1] != "!")
        for entry in listed.split()
    )


NOVA_SONIC = SpeechEngineVoices(
    engine="nova-sonic",
    models=("amazon.nova-2-sonic-v1:0",),
    voices={
        language: tuple(Voice(name, language) for name in names.split()) for language, names in _NOVA_SONIC.items()
    },
)

CASCADE = SpeechEngineVoices(
    engine="cascade",
    models=(),
    voices={language: _polly_voices(language, listed) for language, listed in _POLLY.items()},
)

ENGINES: Mapping[str, SpeechEngineVoices] = {each.engine: each for each in (NOVA_SONIC, CASCADE)}
"""Every engine by its name, as the flag `voiceEngine` and `session.start` give it."""
