"""The worked example of docs/localiser.md; `python -m benchmarks.localise.picture > docs/localiser.svg` draws it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anomaly.localise import Localisation, localise_ratio

ISPS = ("alpha", "beta", "gamma")
MODELS = ("m1", "m2", "m3", "m4")
TOTAL, USUAL, HISTORY = 1000, 20, 5
NOW = ((21, 18, 22, 19), (96, 110, 88, 101), (20, 23, 17, 24))
"""Bad requests of each network and model in the minute to explain; 20 of 1,000 in each minute before."""
MARGIN, CELL_WIDTH, CELL_HEIGHT = 130, 120, 52


def example() -> Localisation:
    """What the localiser says to the example."""
    codes = np.array([[i, m] for i in range(len(ISPS)) for m in range(len(MODELS))])
    bad = np.full((len(codes), HISTORY + 1), USUAL)
    bad[:, -1] = np.array(NOW).ravel()
    total = np.full_like(bad, TOTAL)
    return localise_ratio(codes, bad, total, HISTORY)


def name(where: tuple[tuple[int, int], ...]) -> str:
    """A combination in words."""
    names = {0: ("isp", ISPS), 1: ("model", MODELS)}
    return " and ".join(f"{names[d][0]}={names[d][1][v]}" for d, v in where)


def svg() -> str:
    """The picture: the minute as a grid of leaves, and the gain of each candidate as a bar."""
    height = 90 + CELL_HEIGHT * len(MODELS) + 140
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" viewBox="0 0 760 {height}" '
        'font-family="sans-serif" font-size="14">'
    )
    heading = (
        '<text x="20" y="28" font-size="16" font-weight="bold">Bad requests of 1,000 in the bad minute '
        "(20 in each minute before)</text>"
    )
    lines = [
        opening,
        "<title>Which combination explains the dip: a grid of networks and models, and the gain of candidates</title>",
        f'<rect width="760" height="{height}" fill="#ffffff"/>',
        heading,
        *_grid(),
        *_bars(90 + CELL_HEIGHT * len(MODELS) + 40),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _grid() -> Iterator[str]:
    for i, isp in enumerate(ISPS):
        x = MARGIN + i * CELL_WIDTH
        yield f'<text x="{x + CELL_WIDTH / 2:.0f}" y="58" text-anchor="middle">isp {isp}</text>'
        for m, model in enumerate(MODELS):
            y = 68 + m * CELL_HEIGHT
            if i == 0:
                yield f'<text x="{MARGIN - 12}" y="{y + 31}" text-anchor="end">model {model}</text>'
            bad = NOW[i][m]
            risen = bad > 2 * USUAL
            fill, ink = ("#b3361d", "#ffffff") if risen else ("#e8eef2", "#1c2b33")
            yield (
                f'<rect x="{x + 2}" y="{y}" width="{CELL_WIDTH - 4}" height="{CELL_HEIGHT - 4}" rx="4" fill="{fill}"/>'
                f'<text x="{x + CELL_WIDTH / 2:.0f}" y="{y + 22}" text-anchor="middle" fill="{ink}" '
                f'font-weight="bold">{bad}</text>'
                f'<text x="{x + CELL_WIDTH / 2:.0f}" y="{y + 39}" text-anchor="middle" fill="{ink}" font-size="11">'
                f"{bad / USUAL:.1f} times expected</text>"
            )
    yield (
        f'<rect x="{MARGIN + CELL_WIDTH - 2}" y="64" width="{CELL_WIDTH + 4}" height="{CELL_HEIGHT * len(MODELS) + 4}" '
        'fill="none" stroke="#1c2b33" stroke-width="3" rx="6"/>'
    )
    yield '<text x="520" y="120" font-size="13">The framed column is the answer:</text>'
    yield '<text x="520" y="140" font-size="13">every leaf inside it rose,</text>'
    yield '<text x="520" y="160" font-size="13">no leaf outside it did.</text>'


def _bars(top: int) -> Iterator[str]:
    causes = example().causes
    largest = max(cause.gain for cause in causes)
    yield f'<text x="20" y="{top}" font-size="16" font-weight="bold">Gain of the best combinations, in nats</text>'
    for row, cause in enumerate(causes):
        y = top + 16 + row * 28
        width = 360 * cause.gain / largest
        fill = "#b3361d" if cause.answer else "#8fa3ad"
        yield (
            f'<text x="210" y="{y + 15}" text-anchor="end">{name(cause.where)}</text>'
            f'<rect x="220" y="{y}" width="{width:.0f}" height="20" rx="3" fill="{fill}"/>'
            f'<text x="{228 + width:.0f}" y="{y + 15}">{cause.gain:.0f}</text>'
        )


if __name__ == "__main__":
    print(svg(), end="")
