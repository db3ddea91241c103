"""What schemathesis is told of Parley: loaded by its command through `SCHEMATHESIS_HOOKS`, configured by environment.

Every other case names something of the victim's, or something that is the attacker's own: random ids alone would
end at the first look-up.
"""

import atexit
import json
import os
import threading
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import schemathesis

from attacks.victim import OWN, TALLY, TARGETS, Targets

HIDDEN = frozenset({400, 401, 403, 404, 405, 413, 415, 422, 429})
"""How a request may be refused that names what is another's; with all else right, it is 404."""

_victim = Targets.loads(os.environ[TARGETS])
_own = Targets.loads(os.environ[OWN])
_tally: Counter[str] = Counter()
_lock = threading.Lock()


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Let most cases name something that exists: the victim's, or the attacker's own."""
    chosen = _pick(case)
    if chosen is None:
        return
    if "id" in (case.path_parameters or {}):
        case.path_parameters["id"] = _of_kind(chosen, case.path)
    if isinstance(body := case.body, dict):
        for name, ids in (("conversation_id", chosen.conversations), ("session_id", chosen.sessions)):
            if name in body and ids:
                body[name] = ids[0]
        if "filter" in body and chosen is _victim:
            body["filter"] = {"document_id": [*chosen.documents]}


@schemathesis.hook
def after_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], response: schemathesis.Response
) -> None:
    """Count what was answered."""
    with _lock:
        _tally[f"{case.method} {case.path} {response.status_code}"] += 1


@schemathesis.hook
def after_network_error(context: schemathesis.HookContext, case: schemathesis.Case[Any], request: Any) -> None:
    """Count what was not: schemathesis reports it as an error."""
    with _lock:
        _tally[f"{case.method} {case.path} unanswered"] += 1


@schemathesis.check
def tells_nothing_of_others(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """No answer holds the victim's marker, and what is the victim's does not exist for others."""
    if _victim.marker.encode() in response.content or _victim.marker in str(dict(response.headers)):
        raise AssertionError("The answer holds what is another user's.")
    identifier = (case.path_parameters or {}).get("id")
    if identifier in _victim.ids and response.status_code not in HIDDEN:
        raise AssertionError(f"What is another user's answers {response.status_code}.")


def _pick(case: schemathesis.Case[Any]) -> Targets | None:
    """The victim's ids for a third of the cases, the attacker's for another; the same ones whenever a case is sent."""
    seed = repr((case.method, case.path, dict(case.path_parameters or {}), dict(case.query or {}), _text(case.body)))
    return (_victim, _own, None)[zlib.crc32(seed.encode("utf-8", "replace")) % 3]


def _text(body: object) -> str:
    # What this module writes into a body must not change what it picks for the same case the next time.
    if isinstance(body, Mapping):
        return repr([(name, value) for name, value in body.items() if name not in {"filter", "conversation_id"}])
    return repr(body)


def _of_kind(ids: Targets, path: str) -> str:
    kinds = {"/conversations": ids.conversations, "/knowledge": ids.documents, "/recordings": ids.recordings}
    found = [kind[0] for prefix, kind in kinds.items() if path.startswith(prefix) and kind]
    return found[0] if found else ids.ids[0]


@atexit.register
def _write_tally() -> None:
    Path(os.environ[TALLY]).write_text(json.dumps(_tally))
