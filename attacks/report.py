"""What an attack sent, what it was answered, and what must not have been."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """The outcome of an attack."""

    sent: Counter[str] = field(default_factory=Counter)
    """Cases by operation or kind."""
    answers: Counter[str] = field(default_factory=Counter)
    """Answers by status, or by type and code."""
    failures: list[str] = field(default_factory=list)
    """What must not be, each with what it takes to do it again."""

    @property
    def cases(self) -> int:
        """Everything that was sent."""
        return self.sent.total()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "cases": self.cases,
            "sent": dict(sorted(self.sent.items())),
            "answers": dict(sorted(self.answers.items())),
            "failures": self.failures,
        }
