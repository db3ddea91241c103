"""A masker for logs: what looks like personal data or a credential becomes the name of its kind, as in `[email]`.

Logs are written without content in the first place; this stands behind every logger for what slips through, such as an
exception's message. It knows forms, not meanings: a name or an address passes.

Rules of its own, because the ready ones cost too much here: Presidio brings spaCy and seconds of start-up, scrubadub
and commonregex are unmaintained, and none has Vietnam's numbers. Each pattern reads a text once: no quantifier can give
back what it took (possessive), or it is bounded by a small number.
"""

import logging
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from parley.functions.national_ids import IBAN_LENGTHS, has_luhn_digit, is_iban, is_national_id

LONGEST_TEXT = 16_384
"""Characters of one text that are looked at; the rest is cut off. A line of CloudWatch Logs ends at 256 KB."""

DEEPEST = 8
"""Levels of a structure that are looked at; what lies deeper is left out."""

OWN_FIELDS = frozenset(
    {"correlation_id", "function_arn", "function_name", "function_request_id", "location", "timestamp", "xray_trace_id"}
)
"""Fields that the service itself makes, by which lines are found: they stay as they are."""

_GUARDED_FIELD = (
    r"(?i)(?:authorization|cookie|password|passwd|secret|token|ticket|api[-_]?key|credentials?|signature|policy)$"
)

# Patterns stand as texts: the first line that needs one compiles it, and `re` keeps it. A cold start is spared that.

# Credentials that can be told by their form; then `name=value` and `"name": "value"`.
_CREDENTIAL = r"""(?xi)
      \beyJ[\w-]{8,}+\.[\w-]++(?:\.[\w-]*+)?                 # JSON Web Token
    | \bparley_[\w-]++ | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b       # keys, of this API and of AWS
    | (?P<scheme>\b(?:Bearer|Basic)[ ])[\w.~+/=-]++
    | (?P<name>
        (?:\b|(?<=_))(?:X-Amz-(?:Signature|Credential|Security-Token)|Authorization|Set-Cookie|Cookie|Signature
        |AWSAccessKeyId|password|passwd|secret|(?:access|refresh|id)_token|token|ticket|api[-_]?key|policy)
        ["']?\s{0,2}(?:=|:|%3D)\s{0,2}["']?
      )[^\s"'&,;}\]]++
"""
_SIGNS_OF_CREDENTIALS = ("=", ":", "eyJ", "parley_", "AKIA", "ASIA", "earer ", "asic ", "%3D")

# The query of any address: a presigned link is a key to a file, and people type what they like into the others.
_QUERY = r"(?P<address>\b(?:https?|wss?)://[^\s\"'<>?]++)\?[^\s\"'<>]++"

# `\w` is a letter of any script: addresses are no longer ASCII only.
_EMAIL = r"(?<![\w.!#$&*+?^~-])[\w.!#$&*+?^~-]++(?:@|%40|\uff20)[\w-]++(?:\.[\w-]++)++"
_SIGNS_OF_ADDRESSES = ("@", "%40", "\uff20")

_IBAN_BEGINS = r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ \u00a0-]?[A-Za-z0-9])"
_IN_IBANS = " \u00a0-"

# With letters, which tell them from other numbers.
_LETTERED_ID = r"""(?x)
      (?<![A-Za-z0-9_-])(?:
        \d{1,2}\.?\d{3}\.?\d{3}[- ]?[A-Za-z]                                          # Spain: DNI
      | [XYZxyz][- ]?\d{7}[- ]?[A-Za-z]                                               # Spain: NIE
      | [A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z]{2}[ ]?\d{2}[ ]?\d{2}[ ]?\d{2}[ ]?[A-Da-d]    # United Kingdom: NINO
      | [A-Za-z]{6}\d{2}[A-Za-z]\d{2}[A-Za-z]\d{3}[A-Za-z]                            # Italy: codice fiscale
      | [A-Za-z]{4}\d{6}[HMhm][A-Za-z]{5}[A-Za-z0-9]\d                                # Mexico: CURP
      | [A-Za-z]{5}\d{4}[A-Za-z]                                                      # India: PAN
      | \d{17}[Xx]                                                                    # China: resident identity card
      )(?![A-Za-z0-9_-])
"""

_UUID = r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"

_SEPARATOR = r"[ \u00a0\u2007\u202f.\-\u2010-\u2013/()]"

# What is no number of a person comes first, and stays: then runs of digits and groups of them.
_NUMBER = rf"""(?x)
      {_UUID}
    | \b1-[0-9a-f]{{8}}-[0-9a-f]{{24}}\b                                                              # trace
    | \barn:[\w:/.*-]++
    | \bhttps?://sqs\.[\w.-]++/\d{{12}}/
    | \b\d{{4}}-\d{{2}}-\d{{2}}
      (?:[T ]\d{{2}}:\d{{2}}(?::\d{{2}}(?:[.,]\d{{1,9}})?)?(?:Z|[ ]?[+-]\d{{2}}:?\d{{2}})?)?(?!\d)    # a time
    | \b\d{{8}}T\d{{6,9}}Z\b
    | (?<![\d.])\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![\d.])                                                # IPv4
    | (?<![\w.])\d{{1,19}}(?:\.\d{{1,9}})?[ ]?(?:ns|us|µs|bytes?)\b                                    # an amount
    | (?<![\w.])\d{{1,8}}(?:\.\d{{1,9}})?[ ]?(?:ms|s|seconds?|[kKMG]i?B|B|tokens?|characters?)\b        # a small one
    | (?<![\w.])\d{{1,15}}\.\d{{1,17}}(?![\w.])                                                       # a decimal
    | (?P<number>(?<![A-Za-z0-9_])[+(]{{0,2}}\d++(?:{_SEPARATOR}{{1,3}}\d++){{0,9}}(?![A-Za-z0-9_]))
"""

_DIGITS = r"\d++"
_ENOUGH_DIGITS = rf"\d(?:{_SEPARATOR}{{0,3}}\d){{6}}"


def mask(text: str) -> str:
    """`text` with personal data and credentials replaced by the names of their kinds. Never raises."""
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}[cut]"
    if "?" in text:
        text = re.sub(_QUERY, r"\g<address>?[query]", text)
    if _holds(text, _SIGNS_OF_CREDENTIALS):
        text = re.sub(_CREDENTIAL, _masked_credential, text)
    if _holds(text, _SIGNS_OF_ADDRESSES):
        text = re.sub(_EMAIL, "[email]", text)
    if re.search(_DIGITS, text) is None:
        return text
    text = re.sub(_LETTERED_ID, _masked_id, _without_ibans(text))
    return text if re.search(_ENOUGH_DIGITS, text) is None else re.sub(_NUMBER, _masked_number, text)


def mask_value(value: Any, name: str = "", *, depth: int = 0) -> Any:
    """A log field's value, masked in whatever it holds. Numbers stay: they are measured, not typed, but for cards."""
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if name and re.search(_GUARDED_FIELD, name) is not None:
        return "[secret]"
    if isinstance(value, int):
        return "[card]" if _is_card(str(value)) else value
    if isinstance(value, str):
        return value if name in OWN_FIELDS else mask(value)
    if depth >= DEEPEST:
        return "[cut]"
    if isinstance(value, Mapping):
        return {mask(str(key)): mask_value(inner, str(key), depth=depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask_value(inner, name, depth=depth + 1) for inner in value]
    return mask(str(value))


class MaskingFormatter(LambdaPowertoolsFormatter):
    """Powertools' JSON lines, masked: messages, further fields, and exceptions with their tracebacks."""

    def serialize(self, log: Any) -> str:
        """The line."""
        return super().serialize(mask_value(log))


def mask_all_loggers() -> None:
    """Mask what every logger of this process says, libraries' and the root's among them, whoever prints it."""
    make: Callable[..., logging.LogRecord] = logging.getLogRecordFactory()
    if getattr(make, "masks", False):
        return

    def make_masked(*args: Any, **keywords: Any) -> logging.LogRecord:
        return _masked_record(make(*args, **keywords))

    make_masked.masks = True  # type: ignore[attr-defined]  # a mark, so that it is put in place once
    logging.setLogRecordFactory(make_masked)


def mask_exception(error: BaseException) -> None:
    """Mask an exception's texts in place, and those of what caused it: Lambda prints an error that ends a function."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        current.args = tuple(mask_value(argument) if _holds_text(argument) else argument for argument in current.args)
        if hasattr(current, "__notes__"):
            current.__notes__ = [mask(note) for note in current.__notes__]
        waiting += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions


def _holds_text(argument: object) -> bool:
    return isinstance(argument, str | Mapping | list)


def _masked_record(record: logging.LogRecord) -> logging.LogRecord:
    if isinstance(record.msg, str):
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # Arguments that do not fit the message: logging would complain, and print both.
            text = record.msg
        record.msg, record.args = mask(text), ()
    elif not isinstance(record.msg, Mapping | list):
        record.msg = mask(str(record.msg))
    else:
        record.msg = mask_value(record.msg)
    if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
        # What a formatter finds here it does not write itself.
        record.exc_text = mask("".join(traceback.format_exception(*record.exc_info)).rstrip())
    if record.stack_info:
        record.stack_info = mask(record.stack_info)
    return record


def _masked_credential(found: re.Match[str]) -> str:
    return f"{found['scheme'] or found['name'] or ''}[secret]"


def _holds(text: str, signs: tuple[str, ...]) -> bool:
    return any(sign in text for sign in signs)


def _without_ibans(text: str) -> str:
    parts: list[str] = []
    done = 0
    for found in re.finditer(_IBAN_BEGINS, text):
        length = IBAN_LENGTHS.get(found[0][:2].upper())
        if length is None or found.start() < done:
            continue
        end, left = found.start(), length
        # No more than one separator beside each character.
        for character in text[found.start() : found.start() + 2 * length]:
            left -= character not in _IN_IBANS
            end += 1
            if left == 0:
                break
        is_whole = is_iban(text[found.start() : end]) and not text[end : end + 1].isalnum()
        if is_whole and not _is_in_uuid(text, found.start()):
            parts += [text[done : found.start()], "[iban]"]
            done = end
    return "".join([*parts, text[done:]]) if parts else text


def _is_in_uuid(text: str, position: int) -> bool:
    return any(found.start() <= position < found.end() for found in re.finditer(_UUID, text))


def _masked_id(found: re.Match[str]) -> str:
    return "[id]" if is_national_id(found[0]) else found[0]


def _masked_number(found: re.Match[str]) -> str:
    text = found[0]
    if found["number"] is None:
        return text
    # Digits of any script, as numbers are typed in many.
    runs = [
        (run.start(), run.end(), "".join(str(int(digit)) for digit in run[0])) for run in re.finditer(_DIGITS, text)
    ]
    # Several numbers may stand beside each other: the longest that is one, from the left.
    parts: list[str] = []
    done = first = 0
    while first < len(runs):
        # A sign or bracket before the digits belongs to the number.
        begin = runs[first][0]
        while begin > done and text[begin - 1] in "+(":
            begin -= 1
        for last in range(len(runs) - 1, first - 1, -1):
            kind = _kind(text[begin : runs[first][0]], [run[2] for run in runs[first : last + 1]])
            if kind is not None:
                parts += [text[done:begin], f"[{kind}]"]
                done, first = runs[last][1], last
                break
        first += 1
    return "".join([*parts, text[done:]]) if parts else text


def _kind(before: str, groups: Sequence[str]) -> str | None:
    """What a run of digits, or groups of them, looks like; None for nothing of a person's."""
    digits = "".join(groups)
    count = len(digits)
    if not 8 <= count <= 19:
        return None
    if _is_card(digits):
        return "card"
    if "+" in before or (digits.startswith("00") and 10 <= count <= 17):
        return "phone"
    if len(groups) == 1:
        return _kind_of_run(digits)
    sizes = [len(group) for group in groups]
    if sizes == [3, 2, 4] or (count in (13, 15, 18) and is_national_id(digits)):
        return "id"
    if count <= 15 and len(groups) <= 6 and max(sizes) <= 9 and ("(" in before or digits[0] == "0"):
        return "phone"
    if 9 <= count <= 12 and 3 <= len(groups) <= 5 and min(sizes) >= 2 and max(sizes) <= 4:
        return "phone"
    return None


def _kind_of_run(digits: str) -> str | None:
    """Plain digits. Ten that begin with 1 are a time in seconds, thirteen in milliseconds, and so on."""
    count = len(digits)
    if digits[0] == "1" and count in (10, 13, 16, 19):
        return None
    if count in (9, 11, 12):
        return "id"
    if count == 10:
        return "phone"
    return "id" if count in (13, 15, 18) and is_national_id(digits) else None


def _is_card(digits: str) -> bool:
    # No issuer's numbers begin with another digit; times and counters do.
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and has_luhn_digit(digits)
