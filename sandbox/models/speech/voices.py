"""The voices of Polly and Nova 2 Sonic, and the espeak-ng voices that speak for them.

From "Available voices" in Polly's developer guide and "Language support" in the Nova 2 user guide, as of November 2026.
Which engines a voice has, and no more, is true to them: how a voice sounds is espeak-ng's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ENGINES = ("standard", "neural", "long-form", "generative")
_ENGINES = {"s": "standard", "n": "neural", "l": "long-form", "g": "generative"}

# Language: its name, espeak-ng's voice, and Polly's voices as Id/gender/engines.
_LANGUAGES = {
    "ar-AE": ("Gulf Arabic", "ar", "Hala/F/n Zayd/M/n"),
    "arb": ("Arabic", "ar", "Zeina/F/s"),
    "ca-ES": ("Catalan", "ca", "Arlet/F/n"),
    "cmn-CN": ("Chinese Mandarin", "cmn", "Zhiyu/F/ns"),
    "cs-CZ": ("Czech", "cs", "Jitka/F/n"),
    "cy-GB": ("Welsh", "cy", "Gwyneth/F/s"),
    "da-DK": ("Danish", "da", "Mads/M/s Naja/F/s Sofie/F/n"),
    "de-AT": ("Austrian German", "de", "Hannah/F/gn"),
    "de-CH": ("Swiss Standard German", "de", "Sabrina/F/gn"),
    "de-DE": ("German", "de", "Daniel/M/gn Hans/M/s Lennart/M/g Marlene/F/s Vicki/F/gns"),
    "en-AU": ("Australian English", "en-gb-x-rp", "Nicole/F/s Olivia/F/gn Russell/M/s"),
    "en-GB": ("British English", "en-gb-x-rp", "Amy/F/gns Arthur/M/n Brian/M/gns Emma/F/ns"),
    "en-GB-WLS": ("Welsh English", "en-gb-x-rp", "Geraint/M/s"),
    "en-IE": ("Irish English", "en-gb-scotland", "Niamh/F/gn"),
    "en-IN": ("Indian English", "en-gb-x-rp", "Aditi/F/s Kajal/F/gn Raveena/F/s"),
    "en-NZ": ("New Zealand English", "en-gb-x-rp", "Aria/F/gn"),
    "en-SG": ("Singaporean English", "en-gb-x-rp", "Jasmine/F/gn"),
    "en-US": (
        "US English",
        "en-us",
        "Danielle/F/gln Gregory/M/ln Ivy/F/ns Joanna/F/gns Joey/M/ns Justin/M/ns Kendra/F/ns Kevin/M/n Kimberly/F/ns "
        "Matthew/M/gns Ruth/F/gln Salli/F/gns Stephen/M/gn Tiffany/F/g",
    ),
    "en-ZA": ("South African English", "en-gb-x-rp", "Ayanda/F/gn"),
    "es-ES": ("Castilian Spanish", "es", "Conchita/F/s Enrique/M/s Lucia/F/gns Sergio/M/gn"),
    "es-MX": ("Mexican Spanish", "es-419", "Andres/M/gn Mia/F/gns"),
    "es-US": ("US Spanish", "es-419", "Lupe/F/gns Miguel/M/s Pedro/M/gn Penelope/F/s"),
    "fi-FI": ("Finnish", "fi", "Suvi/F/n"),
    "fr-BE": ("Belgian French", "fr-be", "Isabelle/F/gn"),
    "fr-CA": ("Canadian French", "fr", "Chantal/F/s Gabrielle/F/gn Liam/M/gn"),
    "fr-FR": ("French", "fr", "Ambre/F/g Celine/F/s Florian/M/g Lea/F/gns Mathieu/M/s Remi/M/gn"),
    "is-IS": ("Icelandic", "is", "Dora/F/s Karl/M/s"),
    "it-IT": ("Italian", "it", "Adriano/M/n Beatrice/F/g Bianca/F/gns Carla/F/s Giorgio/M/s Lorenzo/M/g"),
    "ja-JP": ("Japanese", "ja", "Kazuha/F/n Mizuki/F/s Takumi/M/ns Tomoko/F/n"),
    "ko-KR": ("Korean", "ko", "Jihye/F/n Seoyeon/F/gns"),
    "nb-NO": ("Norwegian", "nb", "Ida/F/n Liv/F/s"),
    "nl-BE": ("Belgian Dutch", "nl", "Lisa/F/gn"),
    "nl-NL": ("Dutch", "nl", "Laura/F/gn Lotte/F/s Ruben/M/s"),
    "pl-PL": ("Polish", "pl", "Ewa/F/s Jacek/M/s Jan/M/s Maja/F/s Ola/F/gn"),
    "pt-BR": ("Brazilian Portuguese", "pt-br", "Camila/F/gns Ricardo/M/s Thiago/M/n Vitoria/F/ns"),
    "pt-PT": ("Portuguese", "pt", "Cristiano/M/s Ines/F/ns"),
    "ro-RO": ("Romanian", "ro", "Carmen/F/s"),
    "ru-RU": ("Russian", "ru", "Maxim/M/s Tatyana/F/s"),
    "sv-SE": ("Swedish", "sv", "Astrid/F/s Elin/F/n"),
    "tr-TR": ("Turkish", "tr", "Burcu/F/n Filiz/F/s"),
    "yue-CN": ("Chinese Cantonese", "yue", "Hiujin/F/n"),
}
# Voices that speak a second language.
_BILINGUAL = {"Aditi": ("hi-IN",), "Kajal": ("hi-IN",), "Hala": ("arb",), "Zayd": ("arb",)}
_HINDI = ("Hindi", "hi")

_NOVA = (
    "en-US/tiffany/F en-US/matthew/M en-GB/amy/F en-AU/olivia/F en-IN/kiara/F en-IN/arjun/M fr-FR/ambre/F "
    "fr-FR/florian/M it-IT/beatrice/F it-IT/lorenzo/M de-DE/tina/F de-DE/lennart/M es-US/lupe/F es-US/carlos/M "
    "pt-BR/carolina/F pt-BR/leo/M"
)


@dataclass(frozen=True)
class Voice:
    """One voice; `languages` begins with its own."""

    id: str
    gender: str
    languages: tuple[str, ...]
    engines: tuple[str, ...] = ()

    def espeak(self, language: str | None = None) -> str:
        """espeak-ng's voice for it in one of its languages."""
        spoken = language or self.languages[0]
        base = _HINDI[1] if spoken == "hi-IN" else _LANGUAGES[spoken][1]
        return f"{base}+f2" if self.gender == "Female" else base


def language_name(code: str) -> str:
    """What Polly calls a language."""
    return _HINDI[0] if code == "hi-IN" else _LANGUAGES[code][0]


def language_codes() -> frozenset[str]:
    """Every language that a voice of Polly speaks."""
    return frozenset({*_LANGUAGES, "hi-IN"})


def _polly() -> dict[str, Voice]:
    found = {}
    for code, (_, _, listed) in _LANGUAGES.items():
        for entry in listed.split():
            name, gender, letters = entry.split("/")
            engines = tuple(engine for letter, engine in _ENGINES.items() if letter in letters)
            languages = (code, *_BILINGUAL.get(name, ()))
            found[name] = Voice(name, "Female" if gender == "F" else "Male", languages, engines)
    return found


def _nova() -> dict[str, Voice]:
    entries = (entry.split("/") for entry in _NOVA.split())
    return {name: Voice(name, "Female" if gender == "F" else "Male", (code,)) for code, name, gender in entries}


POLLY: Mapping[str, Voice] = _polly()
NOVA: Mapping[str, Voice] = _nova()
