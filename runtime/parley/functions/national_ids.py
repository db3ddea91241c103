"""Numbers that name a person or an account, told from other numbers by their check digits."""

from collections.abc import Callable, Mapping

IBAN_LENGTHS: Mapping[str, int] = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FK", "FO", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK"), 20),
    **dict.fromkeys(("CH", "CR", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HN", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}
"""Characters of each country's account numbers: SWIFT's IBAN registry, release 100."""

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_CHINESE_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def has_luhn_digit(digits: str) -> bool:
    """Does the last digit fit the others, as on payment cards (ISO/IEC 7812)?"""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def is_iban(text: str) -> bool:
    """Is this an account number of a known country with valid check digits (ISO 13616)?"""
    compact = "".join(character for character in text.upper() if character.isascii() and character.isalnum())
    if IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def is_national_id(text: str) -> bool:
    """Is this an identity number of a form that its country can check, or one with letters where only ids have them?"""
    compact = "".join(character for character in text.upper() if character.isalnum())
    return any(fits(compact) for fits in _FORMS)


def _is_dni(text: str) -> bool:
    number, letter = text[:-1], text[-1]
    if number[:1] in {"X", "Y", "Z"}:
        number = str("XYZ".index(number[0])) + number[1:]
    return 7 <= len(number) <= 8 and number.isdecimal() and letter == _DNI_LETTERS[int(number) % 23]


def _is_lettered(text: str) -> bool:
    """British, Italian, Mexican and Indian ones: so many letters between digits are nothing else."""
    shape = "".join("9" if character.isdecimal() else "A" for character in text)
    return shape in {"AA999999A", "AAAAAA99A99A999A", "AAAA999999AAAAAA99", "AAAA999999AAAAAAA9", "AAAAA9999A"}


def _is_chinese(text: str) -> bool:
    if len(text) != 18 or not text[:17].isdecimal():
        return False
    total = sum(int(digit) * weight for digit, weight in zip(text, _CHINESE_WEIGHTS, strict=False))
    return text[17] == "10X98765432"[total % 11]


def _is_french(text: str) -> bool:
    return len(text) == 15 and text.isdecimal() and text[0] in "1234" and 97 - int(text[:13]) % 97 == int(text[13:])


def _is_korean(text: str) -> bool:
    return (
        len(text) == 13
        and text.isdecimal()
        and 1 <= int(text[2:4]) <= 12
        and 1 <= int(text[4:6]) <= 31
        and text[6] in "12345678"
    )


_FORMS: tuple[Callable[[str], bool], ...] = (_is_dni, _is_lettered, _is_chinese, _is_french, _is_korean)
