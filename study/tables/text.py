"""A table as text."""

from collections.abc import Iterable, Sequence


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Make a Markdown table; the numbers of a column stand at the right if its head ends with ">"."""
    lines = ["| " + " | ".join(head.removesuffix(">") for head in heads) + " |"]
    lines.append("|" + "|".join("--:" if head.endswith(">") else "---" for head in heads) + "|")
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)
