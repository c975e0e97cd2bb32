#!/usr/bin/env python3
"""Builds karez, runs every benchmark of servers and stores results and a chart.

    sudo bench/all.py [--rounds N] [--quick]

Writes bench/results/{serve,idle,storm}-linux-VERSION.json and docs/serve.svg. `--quick` makes one short
round of each, to see that everything runs. Needs an idle machine.
"""
import argparse, json, platform, subprocess, sys
from pathlib import Path

import chart
import servers as peers

BENCH = Path(__file__).resolve().parent


def run(name, *flags):
    version = ".".join(platform.release().split(".")[:2])
    out = BENCH / f"results/{name}-linux-{version}.json"
    subprocess.run([sys.executable, BENCH / f"{name}.py", "--out", out, *flags], check=True)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    for package in [["-p", "karez"], ["-p", "karez-reactor", "--example", "bare_loop"]]:
        subprocess.run(["cargo", "build", "--profile", "dist", "--locked", *package], check=True,
                       cwd=peers.REPOSITORY)
    rounds, short = str(args.rounds), []
    if args.quick:
        rounds, short = "1", ["--seconds", "1"]
    ways = ["--karez", "sendfile=--via sendfile", "--karez", "uring=--model uring"]
    serve = run("serve", "--rounds", rounds, "--congestion", "cubic,bbr", *short, *ways)
    run("idle", "--rounds", "1" if args.quick else "3", "--karez", "uring=--model uring")
    run("storm", "--rounds", "1" if args.quick else "3", "--karez", "uring=--model uring")
    drawing = chart.draw(json.loads(serve.read_text())["runs"][0])
    (peers.REPOSITORY / "docs/serve.svg").write_text(drawing)


if __name__ == "__main__":
    main()
