"""`scripts/bench SUBJECT`: each subject measures one thing and compares it with a named baseline of the same run."""

import argparse
from pathlib import Path

from benchmarks import cold_start, concurrency, synth, turn, voice
from benchmarks.report import show

ENVIRONMENTS = ["dev", "staging", "prod"]
XQUAD = Path("../shared/data/xquad")
STEPS = [10, 50, 100, 200, 400, 800, 1600]


def main() -> None:
    """Measure the subject that was asked for and show the result."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object with an entry per thing measured")
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")

    def subject(name: str, about: str, *, rounds: int | None) -> argparse.ArgumentParser:
        command = subjects.add_parser(name, help=about, description=about)
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        if rounds:
            command.add_argument("--rounds", type=int, default=rounds, help=f"samples of each case (default {rounds})")
        return command

    subject("cold-start", "process start to first answer, per HTTP function", rounds=15)
    subject("turn", "what a warm chat turn costs beside the model and the database", rounds=300)
    subject("synth", "cdk synth per environment", rounds=3).add_argument(
        "--env", action="append", dest="environments", help=f"an environment (default: {', '.join(ENVIRONMENTS)})"
    )
    crowd = subject("concurrency", "simultaneous WebSocket sessions against the running sandbox", rounds=None)
    crowd.add_argument("--steps", type=int, nargs="+", default=STEPS, help="sessions at once, rising")
    library = subject("knowledge", "retrieval quality, chunking, the FAISS store, overhead", rounds=3)
    library.add_argument("--data", type=Path, default=XQUAD, help="data sets in SQuAD's format (default: %(default)s)")
    library.add_argument("--part", action="append", dest="parts", choices=["quality", "chunking", "faiss", "query"])
    speech = subject("voice", "latency, calls at once, cost, sizes; word errors with --recordings", rounds=None)
    speech.add_argument("--part", action="append", dest="parts", choices=voice.PARTS, help="one of them (default: all)")
    speech.add_argument("--steps", type=int, nargs="+", default=voice.STEPS, help="calls at once, rising")
    speech.add_argument("--seconds", type=float, default=60, help="how long each call lasts (default 60)")
    speech.add_argument(
        "--recordings", type=Path, metavar="DIR", help="word errors of recordings, NAME.wav and NAME.txt"
    )
    speech.add_argument("--env", dest="environment", help="with --recordings: also calls and uploads there")
    speech.add_argument("--language", help="with --recordings: what is spoken, for example en-US")
    arguments = parser.parse_args()

    match arguments.subject:
        case "cold-start":
            title, baseline = "Cold start", "a bare script's first Converse answer at the same endpoint"
            measured = cold_start.measure(rounds=arguments.rounds)
        case "turn":
            title, baseline = "A warm chat turn without its AWS calls", "one bare Converse call without its waiting"
            measured = turn.measure(rounds=arguments.rounds)
        case "synth":
            title, baseline = "cdk synth", "an app with one bucket"
            measured = synth.measure(arguments.environments or ENVIRONMENTS, rounds=arguments.rounds)
        case "concurrency":
            title, baseline = "Time to the whole answer, median", "one session alone"
            measured = concurrency.measure(arguments.steps)
        case "knowledge":
            # Its peers take a second to import.
            from benchmarks import knowledge

            title, baseline = "Knowledge", "see each note; without one, LangChain's RecursiveCharacterTextSplitter"
            parts = arguments.parts or knowledge.PARTS
            measured = knowledge.measure(data=arguments.data, parts=parts, rounds=arguments.rounds)
        case "voice":
            title, baseline = "Voice", "the limit that it is to keep; of word errors, the open recogniser"
            measured = voice.measure(
                parts=arguments.parts or voice.PARTS,
                steps=arguments.steps,
                seconds=arguments.seconds,
                recordings=arguments.recordings,
                environment=arguments.environment,
                language=arguments.language,
            )
    show(title, baseline, measured, as_json=arguments.json)


if __name__ == "__main__":
    main()
