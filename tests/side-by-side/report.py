"""The tables of a run: medians of windows with the smallest and the largest, and ratios to tokend."""

import statistics


def tables(tables, bases):
    """Returns all tables in Markdown. `bases` has, for each table, the row that the others are compared with."""
    return "\n\n".join(_table(name, rows, bases[name]) for name, rows in tables.items() if rows)


def _table(name, rows, base):
    lines = [
        f"| {name} | CPU ms / 1,000 | ratio of CPU | p50, us | p99, us | calls/s | driver's CPU ms / 1,000 |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, windows in rows.items():
        # Windows of the same pass are next to each other in time, so their ratio depends least on the machine.
        of_base = zip(windows, rows.get(base, ()), strict=base in rows)
        ratios = [own.cpu / other.cpu for own, other in of_base]
        cells = [
            title,
            _spread(window.cpu for window in windows),
            "1" if title == base else _spread(ratios),
            _spread(window.load.p50 for window in windows),
            _spread(window.load.p99 for window in windows),
            _number(statistics.median(window.load.calls / window.seconds for window in windows)),
            _number(statistics.median(window.load.driver / window.load.calls * 1e6 for window in windows)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values):
    """Returns the median with the smallest and the largest value."""
    values = list(values)
    if not values:
        return "-"
    return f"{_number(statistics.median(values))} [{_number(min(values))}, {_number(max(values))}]"


def _number(value):
    """Returns a number with three significant figures; a run repeats no more of them."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{float(f'{value:.3g}'):,.{digits}f}"


def idleness(tables):
    """Returns what the machine did during all windows, besides this run."""
    windows = [window for rows in tables.values() for row in rows.values() for window in row]
    meanings = {"idle": "idle", "steal": "taken by other guests of the host", "others": "used by other programs"}
    lines = []
    for share, meaning in meanings.items():
        percents = [window.machine[share] * 100 for window in windows]
        middle, low, high = statistics.median(percents), min(percents), max(percents)
        lines.append(f"- {meaning}: {middle:.1f} % of its time [{low:.1f}, {high:.1f}]")
    return "\n".join(lines)
