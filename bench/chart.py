#!/usr/bin/env python3
"""Draws a result of bench/serve.py: server CPU per request by file size, in multiples of the bare loop.

    bench/chart.py bench/results/serve-linux-6.18.json > docs/serve.svg

Colours are presentation attributes, so that any viewer of SVG shows them.
"""
import json, sys
from html import escape
from pathlib import Path

COLOURS = ["#0969da", "#d4a72c", "#8250df", "#bf3989", "#57606a", "#1a7f37", "#cf222e"]
LEFT, TOP, GROUP, HEIGHT, MOST = 60, 70, 150, 240, 3.0


def draw(run, servers=None):
    rows = [row for row in run["table"] if row["server"] != run["limit"]]
    names = servers or list(dict.fromkeys(
        row["server"] for row in rows if not row["server"].startswith("karez,")))
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    width = LEFT + GROUP * len(sizes) + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{TOP + HEIGHT + 50}" '
           f'viewBox="0 0 {width} {TOP + HEIGHT + 50}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{TOP + HEIGHT + 50}" fill="#ffffff"/>',
           f'<text x="{LEFT}" y="20" font-size="14" fill="#1f2328">Server CPU per request, in multiples of '
           f'a bare epoll loop ({escape(run["congestion"])})</text>']
    for number, name in enumerate(names):
        x = LEFT + number * (width - LEFT) // len(names)
        out.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{COLOURS[number % 7]}"/>'
                   f'<text x="{x + 16}" y="46" fill="#1f2328">{escape(name)}</text>')
    for tick in [0, 1, 2, 3]:
        y = TOP + HEIGHT * (1 - tick / MOST)
        dash = '' if tick in (0,) else ' stroke-dasharray="3 3"'
        out.append(f'<line x1="{LEFT}" x2="{width - 20}" y1="{y}" y2="{y}" stroke="#afb8c1"{dash}/>'
                   f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end" fill="#57606a">{tick} ×</text>')
    bar = (GROUP - 20) / len(names)
    for place, size in enumerate(sizes):
        for number, name in enumerate(names):
            row = next((row for row in rows if (row["size"], row["server"]) == (size, name)), None)
            if row is None:
                continue
            ratio = row["ratio"]["median"]
            x, shown = LEFT + place * GROUP + 10 + number * bar, min(ratio, MOST)
            y = TOP + HEIGHT * (1 - shown / MOST)
            title = f'{name}, {size}: {row["us"]["median"]:.1f} µs, {ratio:.2f} ×'
            out.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar - 2:.1f}" '
                       f'height="{TOP + HEIGHT - y:.1f}" fill="{COLOURS[number % 7]}">'
                       f'<title>{escape(title)}</title></rect>')
            if ratio > MOST:
                out.append(f'<text x="{x + bar / 2:.1f}" y="{TOP - 4}" text-anchor="middle" '
                           f'font-size="10" fill="#57606a">{ratio:.1f}</text>')
        out.append(f'<text x="{LEFT + place * GROUP + GROUP / 2}" y="{TOP + HEIGHT + 20}" '
                   f'text-anchor="middle" fill="#1f2328">{size}</text>')
    out.append('</svg>\n')
    return "\n".join(out)


if __name__ == "__main__":
    sys.stdout.write(draw(json.loads(Path(sys.argv[1]).read_text())["runs"][0]))
