"""How far a build is: one line that says the same of 3 fleets and of 10,000.

    fleets 1,234/10,000  64 running  2 failed  812.0 concepts/min  ends 2026-05-01 14:32 (in 2 h 10 min)

At a terminal the line is rewritten in place; in a pipe or a file (a cluster job's log) a new one comes now and then.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rich.live import Live
from rich.text import Text

from pipeline.executors.attempts import Outcome
from pipeline.run_folder.shard_plan import FleetTask
from zoo.progress import console, lines, say


@dataclass
class Tally:
    """Counts of one launch: fleets and concepts in all, and what became of them so far."""

    fleets: int
    concepts: int
    stage: str = "fleets"
    drawn: int = 0
    done: int = 0
    failed: int = 0
    concepts_done: int = 0

    def line(self, seconds: float, now: datetime) -> str:
        """Say how far it is after `seconds`."""
        parts = [
            f"{self.stage} {self.done:,}/{self.fleets:,}",
            f"{self.drawn - self.done - self.failed:,} running",
            f"{self.failed:,} failed",
        ]
        if self.concepts_done and seconds > 0:
            rate = self.concepts_done / seconds
            left = timedelta(seconds=(self.concepts - self.concepts_done) / rate)
            ends = (now + left).strftime("%Y-%m-%d %H:%M")
            parts += [f"{60 * rate:,.1f} concepts/min", f"ends {ends} (in {duration(left)})"]
        return "  ".join(parts)


class FleetProgress:
    """Shows a :class:`Tally` on stderr while it counts; silent where the console is."""

    def __init__(self, tasks: Sequence[FleetTask], stage: str = "fleets") -> None:
        self.tally = Tally(len(tasks), sum(len(task.concepts) for task in tasks), stage)
        self._started = time.monotonic()
        self._shown = ExitStack()

    def __enter__(self) -> "FleetProgress":
        if console.is_terminal and not console.quiet:
            self._shown.callback(lambda: say(self._line()))
            self._shown.enter_context(Live(get_renderable=self._text, console=console, transient=True))
        else:
            self._shown.enter_context(lines(self._line))
        return self

    def __exit__(self, *raised: Any) -> None:
        self._shown.__exit__(*raised)

    def draw(self, tasks: Iterable[FleetTask]) -> Iterator[FleetTask]:
        """Pass `tasks` on to an executor, which draws them when it has room."""
        for task in tasks:
            self.tally.drawn += 1
            yield task

    def settle(self, outcome: Outcome) -> None:
        """Count a finished fleet."""
        if outcome.error:
            self.tally.failed += 1
        else:
            self.tally.done += 1
            self.tally.concepts_done += len(outcome.task.concepts)

    def _line(self) -> str:
        return self.tally.line(time.monotonic() - self._started, datetime.now())

    def _text(self) -> Text:
        return Text(self._line(), no_wrap=True)


def duration(span: timedelta) -> str:
    """Return a time span in its two largest units: `2 d 3 h`, `2 h 10 min`, `4 min`."""
    minutes = max(1, round(span.total_seconds() / 60))
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
