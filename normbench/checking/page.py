"""A check as a page: plain text for a terminal, Markdown, a table of pandas."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from normbench.checking.facts import Row
from normbench.checking.hazards import Hazard
from normbench.checking.price import Cost, Price
from normbench.words import count, fixed

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 24  # longer tables are printed with one row for layers that are alike
MOST_PATHS = 4  # that a printed hazard names
WIDTH = 100
MARKS = {"danger": "!!", "warning": "! ", "note": "- "}
HEAD = ("layer", "kind", "channels", "groups", "numbers per statistic", "parameters", "forward time")

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """What `check` found. Printed, it is a page of plain text.

    Attributes:
        name: of the network's class.
        shape: of the example, with the batch.
        parameters: how many the network has.
        rows: one per normalization layer.
        hazards: what is dangerous, worst first.
        price: what each arm costs; None if it was not measured.
        remark: why times were not measured; "" if they were.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    rows: tuple[Row, ...]
    hazards: tuple[Hazard, ...]
    price: Price | None
    remark: str = ""

    def frame(self) -> "pd.DataFrame":
        """Return the rows as a table of pandas."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows], columns=list(Row.__dataclass_fields__))

    def prices(self) -> "pd.DataFrame":
        """Return the price as a table of pandas: an arm per row, seconds and bytes."""
        import pandas as pd

        costs = [asdict(cost) for cost in self.price.costs] if self.price is not None else []
        return pd.DataFrame(costs, columns=list(Cost.__dataclass_fields__)).set_index("arm")

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, every_row: bool = False) -> str:
        """Return the page; in a long table layers that are alike share a row, unless every row is wanted."""
        table, shortened = self._table(every_row)
        parts = [self.title, _text_table(HEAD, table) if table else "It has no normalization layer."]
        if shortened:
            parts.append(_wrapped(shortened))
        if self.remark:
            parts.append(_wrapped(self.remark))
        parts += ["Hazards, worst first" if self.hazards else "No hazards found."]
        parts += [_text_of(hazard) for hazard in self.hazards]
        if self.price is not None:
            parts += ["Price", price_text(self.price)]
        return "\n\n".join(parts)

    def to_markdown(self, every_row: bool = False) -> str:
        """Return the page in Markdown."""
        table, shortened = self._table(every_row)
        parts = [f"# {self.title}", _markdown_table(HEAD, table) if table else "It has no normalization layer."]
        parts += [text for text in (shortened, self.remark) if text]
        parts += ["## Hazards, worst first" if self.hazards else "No hazards found."]
        if self.hazards:
            parts.append("\n".join(_markdown_of(hazard) for hazard in self.hazards))
        if self.price is not None:
            parts += ["## Price", _markdown_table(*_price_table(self.price.costs))]
            parts += [*_failures(self.price.costs), self.price.note]
        return "\n\n".join(parts) + "\n"

    def _total(self) -> list[Cells]:
        if len(self.rows) < 2:
            return []
        return [("together", "", "", "", "", *_cells("", self.rows)[-2:])]

    @property
    def title(self) -> str:
        """What was looked at."""
        shape = "×".join(map(str, self.shape[1:])) or "1"
        layers = count(len(self.rows), "normalization layer")
        return f"{self.name}: {layers}, {self.parameters:,} parameters; batches of {self.shape[0]}, inputs {shape}"

    def _table(self, every_row: bool) -> tuple[list[Cells], str]:
        """The rows as text, and what to say where layers that are alike share one."""
        if every_row or len(self.rows) <= MOST_ROWS:
            return [*(_cells(_shown(row.path), [row]) for row in self.rows), *self._total()], ""
        alike: dict[tuple[object, ...], list[Row]] = {}
        for row in self.rows:
            key = (row.layer, row.kind, row.channels, row.groups, row.numbers)
            alike.setdefault(key, []).append(row)
        cells = [
            _cells(_shown(rows[0].path) + (f" and {len(rows) - 1} more" if len(rows) > 1 else ""), rows)
            for rows in alike.values()
        ]
        return [
            *cells,
            *self._total(),
        ], "Layers that are alike share a row, with their sums; --verbose and frame() have a row for each."


def _shown(path: str) -> str:
    return path or "(the network itself)"


def _cells(name: str, rows: Sequence[Row]) -> Cells:
    row = rows[0]
    times = [r.share_of_time for r in rows if r.share_of_time is not None]
    called = row.shape is not None
    return (
        name,
        row.kind,
        _number(row.channels),
        _number(row.groups),
        _number(row.numbers) if called else "not called",
        _share(sum(r.share_of_parameters for r in rows)),
        f"{fixed(100 * sum(times), 1)} %" if times else "–",
    )


def _share(share: float) -> str:
    return "< 0.01 %" if 0 < share < 5e-5 else f"{fixed(100 * share)} %"


def _number(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


class PriceTable(NamedTuple):
    """A price as text: the head of a table, and its rows."""

    head: Cells
    rows: list[Cells]


def price_table(price: Price) -> PriceTable:
    """Return the price as the cells of a table."""
    return PriceTable(*_price_table(price.costs))


def price_text(price: Price) -> str:
    """Return the price as plain text: the table, what cannot be used, and how it was measured."""
    return "\n\n".join([_text_table(*_price_table(price.costs)), *_failures(price.costs), _wrapped(price.note)])


def _price_table(costs: Sequence[Cost]) -> tuple[Cells, list[Cells]]:
    """The price's head and rows: each in its unit, and the change against the network as it is."""
    own = costs[0]
    head: Cells = ("normalization", "training step", "inference", "kept for backward")
    peaks = own.peak is not None
    rows = []
    for cost in costs:
        row = [
            "own (as it is)" if cost is own else cost.arm,
            _with_change(cost.step, own.step, 1000, "ms"),
            _with_change(cost.inference, own.inference, 1000, "ms"),
            _with_change(cost.kept, own.kept, 2**-20, "MiB"),
        ]
        rows.append(tuple([*row, _with_change(cost.peak, own.peak, 2**-20, "MiB")] if peaks else row))
    return ((*head, "peak memory") if peaks else head), rows


def _with_change(value: float | None, own: float | None, factor: float, unit: str) -> str:
    if value is None:
        return "–"
    scaled = factor * value
    digits = 0 if scaled >= 100 else 1 if scaled >= 10 else 2
    text = f"{fixed(scaled, digits)} {unit}"
    if not own or value == own:
        return text
    change = round(100 * (value / own - 1))
    return f"{text} ({change:+d} %)".replace("-", "−") if change else f"{text} (±0 %)"


def _failures(costs: Sequence[Cost]) -> list[str]:
    return [_wrapped(f"{cost.arm} cannot be used here: {cost.failure}.") for cost in costs if cost.failure]


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - MOST_PATHS} more" if len(paths) > MOST_PATHS else ""
    return ", ".join(map(_shown, paths[:MOST_PATHS])) + more


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text_of(hazard: Hazard) -> str:
    indent = "   "
    lines = [
        _wrapped(f"{MARKS[hazard.level]} {_capital(hazard.title)}", indent),
        _wrapped(f"{indent}At {_named(hazard.paths)}.", indent),
        _wrapped(f"{indent}{hazard.reason}", indent),
        _wrapped(f"{indent}→ {hazard.remedy}", indent + "  "),
    ]
    return "\n".join(lines)


def _markdown_of(hazard: Hazard) -> str:
    paths = _named([f"`{_shown(path)}`" for path in hazard.paths])
    return f"- **{_capital(hazard.title)}** ({hazard.level}): {paths}. {hazard.reason} *{hazard.remedy}*"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _text_table(head: Cells, rows: Sequence[Cells]) -> str:
    """Columns side by side: the first two to the left, numbers to the right; heads of two lines where they are long."""
    heads = [textwrap.wrap(cell, max(11, *map(len, cell.split()))) for cell in head]
    height = max(map(len, heads))
    lines = [[lines[i] if i < len(lines) else "" for lines in heads] for i in range(height)] + [list(r) for r in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    left = {i for i in range(len(head)) if i == 0 or head[i] == "kind"}
    texts = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    ]
    texts.insert(height, "  ".join("-" * width for width in widths))
    return "\n".join(text.rstrip() for text in texts)


def _markdown_table(head: Cells, rows: Sequence[Cells]) -> str:
    aligned = [":--" if i == 0 or cell == "kind" else "--:" for i, cell in enumerate(head)]
    lines = [head, aligned, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
