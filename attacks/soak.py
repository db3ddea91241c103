"""`scripts/soak`: mixed traffic while functions are killed; afterwards nothing that was acknowledged may be lost."""

import argparse
import secrets
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from attacks.soak_clients import Caller, Client, HttpTalker, Ledger, Librarian, SocketTalker
from attacks.soak_speech import HEARD, Speaker, marked_speech
from operations.command import DONE, FAILED, console, parser, print_json, print_table, run
from sandbox.killer import Killer, impatient_queue
from sandbox.people import Person, Sandbox
from sandbox.state import State

_EXAMPLES = """\
  scripts/soak                               ten minutes, a function killed every 5 seconds
  scripts/soak --minutes 30 --seed 7         longer, with the same kills and pauses as another run with this seed
  scripts/soak --minutes 1 --kill-every 1    short and rough"""

MINUTES, KILL_EVERY = 10.0, 5.0
LONGEST_MINUTES = 45.0
"""The users' tokens last an hour."""
MIX: dict[type[Client], int] = {
    HttpTalker: 2,
    SocketTalker: 2,
    Librarian: 1,
    Caller: 1,
    Speaker: 2,
}
"""How many clients of each kind are at it at once."""

INDEXED_WITHIN = 600.0
"""Seconds after the last document within which all of them must be ready."""

_LOOKING_AT_ONCE = 4


@dataclass
class Outcome:
    """What a soak saw, and what it found afterwards."""

    ledger: Ledger
    killed: Counter[str]
    seconds: float
    lost: list[str] = field(default_factory=list)
    """What was acknowledged and is not there, or is there twice."""

    @property
    def failures(self) -> list[str]:
        """Everything that must not be."""
        return [*self.lost, *(f"given up: {what}" for what in self.ledger.unanswered)]

    def document(self) -> dict[str, Any]:
        """As JSON. Latencies are seconds."""
        return {
            "seconds": round(self.seconds),
            "turns": len(self.ledger.turns),
            "utterances": self.ledger.spoken.total(),
            "documents": len(self.ledger.documents),
            "kills": dict(self.killed.most_common()),
            "latency": {kind: _percentiles(values) for kind, values in sorted(self.ledger.seconds.items())},
            "retries": dict(self.ledger.retries),
            "given_up": self.ledger.unanswered,
            "lost": self.lost,
        }


def soak(sandbox: Sandbox, *, seconds: float, kill_every: float = KILL_EVERY, seed: int) -> Outcome:
    """Traffic for so long, then a look at what is there."""
    ledger, person = Ledger(), sandbox.new_user()
    kinds = [kind for kind, count in MIX.items() for _ in range(count)]
    # Each has connections of its own, as users have.
    clients = [kind(sandbox.person(_token(person)), ledger, seed + number) for number, kind in enumerate(kinds)]
    started = time.monotonic()
    with impatient_queue(sandbox), marked_speech(sandbox.outputs["models_url"]):
        killer = Killer(sandbox, pause=lambda _: kill_every, seed=seed)
        with killer, ThreadPoolExecutor(len(clients)) as pool:
            running = [pool.submit(client.run, started + seconds) for client in clients]
            wait(running, timeout=seconds, return_when=FIRST_EXCEPTION)
            # What has begun is brought to its end in peace: a turn that is killed is answered only when its time is up.
            killer.stop()
            for done in running:
                done.result()
        outcome = Outcome(ledger, killer.killed, time.monotonic() - started)
        outcome.lost += lost_turns(person, ledger)
        outcome.lost += lost_documents(person, ledger)
    return outcome


def lost_turns(person: Person, ledger: Ledger) -> list[str]:
    """Each answered question stands in its conversation once, and so does its answer, as it was given."""
    lost = []
    for conversation in sorted({turn.conversation_id for turn in ledger.turns} | ledger.spoken.keys()):
        answer = person.http.get(f"/conversations/{conversation}")
        if not answer.is_success:
            lost.append(f"conversation {conversation}: {answer.status_code}")
            continue
        stored = answer.json()["turns"]
        questions = Counter(turn["message"] for turn in stored if turn["role"] == "user")
        answers = Counter((turn["turn_id"], turn["message"]) for turn in stored if turn["role"] == "assistant")
        for turn in (turn for turn in ledger.turns if turn.conversation_id == conversation):
            if questions[turn.question] != 1:
                lost.append(f"{turn.question!r} stands {questions[turn.question]} times in {conversation}")
            if answers[(turn.turn_id, turn.answer)] != 1:
                lost.append(f"the answer to {turn.question!r} stands not once, as it was given, in {conversation}")
        if questions[HEARD] != ledger.spoken[conversation]:
            lost.append(f"{conversation} has {questions[HEARD]} utterances, not {ledger.spoken[conversation]}")
        if questions.total() != answers.total():
            lost.append(f"{conversation} has {questions.total()} questions and {answers.total()} answers")
    return lost


def lost_documents(person: Person, ledger: Ledger) -> list[str]:
    """Each document is ready, and found once by the word that it alone has."""
    end = time.monotonic() + INDEXED_WITHIN

    def look_at(document: str, word: str) -> str | None:
        while (state := person.http.get(f"/knowledge/documents/{document}").json().get("state")) != "ready":
            if state == "failed" or time.monotonic() > end:
                break
            time.sleep(1)
        query = {"query": f"Which book is blue: {word}?", "filter": {"document_id": document}}
        passages = person.http.post("/rag/query", json=query).json().get("passages", [])
        found = sum(word in passage["text"] for passage in passages)
        return None if (state, found) == ("ready", 1) else f"{document} is {state} and was found {found} times"

    with ThreadPoolExecutor(_LOOKING_AT_ONCE) as pool:
        looked = pool.map(look_at, ledger.documents.keys(), ledger.documents.values())
        return [f"document {trouble}" for trouble in looked if trouble is not None]


def _token(person: Person) -> str:
    return str(person.http.headers["Authorization"]).removeprefix("Bearer ")


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [*seconds] * 99
    return {
        "count": len(seconds),
        **{f"p{percent}": round(cuts[percent - 1], 2) for percent in (50, 90, 99)},
        "most": round(max(seconds), 2),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    made = parser(
        "soak",
        description="Mixed text, documents and calls in the running sandbox, at the rate that the machine holds, while "
        "processes of functions are killed. Afterwards nothing that was acknowledged to a client may be lost.",
        examples=_EXAMPLES,
        deployed=False,
    )
    made.add_argument("--minutes", type=float, default=MINUTES, metavar="N", help=f"how long (default {MINUTES:g})")
    every = f"seconds between two kills (default {KILL_EVERY:g})"
    made.add_argument("--kill-every", type=float, default=KILL_EVERY, metavar="S", help=every)
    made.add_argument("--seed", type=int, help="kill and pause as another run with this seed did (default: a new one)")
    options = made.parse_args(arguments)
    if not 0 < options.minutes <= LONGEST_MINUTES or options.kill_every <= 0:
        made.error(f"--minutes is more than 0 and at most {LONGEST_MINUTES:g}, --kill-every more than 0")
    return run(_soak, options)


def _soak(options: argparse.Namespace) -> int:
    sandbox = Sandbox(State.locate().outputs())
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    try:
        with console(stderr=True).status(f"{options.minutes:g} minutes with the seed {seed} ..."):
            outcome = soak(sandbox, seconds=options.minutes * 60, kill_every=options.kill_every, seed=seed)
    finally:
        sandbox.close()
    for failure in outcome.failures:
        print(failure, file=sys.stderr)
    if options.json:
        print_json({"seed": seed, **outcome.document()})
        return FAILED if outcome.failures else DONE
    found = outcome.document()
    print_table(
        ("", "acknowledged", "retries", "p50", "p90", "p99", "most"),
        [
            (kind, row["count"], outcome.ledger.retries[kind], *(f"{row[name]:g} s" for name in list(row)[1:]))
            for kind, row in found["latency"].items()
        ],
    )
    verdict = f"{len(outcome.failures)} failures" if outcome.failures else "nothing acknowledged was lost"
    print(f"\n{outcome.seconds:.0f} s, {outcome.killed.total()} kills, seed {seed}: {verdict}.")
    return FAILED if outcome.failures else DONE


if __name__ == "__main__":
    sys.exit(main())
