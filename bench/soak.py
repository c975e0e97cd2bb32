#!/usr/bin/env python3
"""Runs a server for a while among faults, and checks each byte of each response (docs/RELIABILITY.md, "Soak").

    bench/soak.py                                         # an hour
    bench/soak.py --seconds 300 --karez '--model uring'
    bench/soak.py --strict                                # 10^6 requests, 20 upgrades and 20 reloads

Clients of HTTP/1.1 and HTTP/2, plain and over TLS, slow and hostile ones, meet files that are written, replaced
and removed; reloads, upgrades, SIGSTOP and missing descriptors; with `hang` in `--faults`, as root and with bindfs, a
file system that hangs. The seed is printed; it determines the requests and the faults, but not their exact order in
time. Exit status 1: a wrong byte, a connection whose end was not announced, or memory or descriptors that grow or stay.

The program is a test of crates/karez (tests/soak), which this script builds and runs.
"""
import argparse, os, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STRICT = {"requests": 1_000_000, "upgrades": 20, "reloads": 20, "faults": "write,reload,upgrade"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="default: the time")
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--requests", type=int, help="end after so many right responses; upgrades and reloads are spread over them")
    parser.add_argument("--strict", action="store_true", help="only faults after which no request may fail: " + str(STRICT))
    parser.add_argument("--clients", type=int, default=12, help="default: 12")
    parser.add_argument("--rate", type=int, default=0, help="requests per second of all clients; 0 for any")
    parser.add_argument("--faults", help="of write,hostile,reload,upgrade,stop,descriptors,hang; default: all but hang")
    parser.add_argument("--pause", type=int, metavar="MS",
                        help="mean time between faults; default: a sixtieth of the run, 0.5 to 8 s")
    parser.add_argument("--upgrades", type=int, default=2, help="without --requests in the first quarter of the run")
    parser.add_argument("--reloads", type=int, default=20, help="with --requests")
    parser.add_argument("--karez", metavar="FLAGS", default="", help="flags of the server, such as '--model uring'")
    parser.add_argument("--server", help="program; default: the one that is built")
    parser.add_argument("--json", metavar="FILE", help="write counts, slopes and samples")
    parser.add_argument("--profile", default="release", help="Cargo profile of program and test; default: release")
    options = parser.parse_args()
    values = {"SEED": options.seed, "SECONDS": options.seconds, "REQUESTS": options.requests,
              "CLIENTS": options.clients, "RATE": options.rate, "FAULTS": options.faults, "PAUSE": options.pause,
              "UPGRADES": options.upgrades, "RELOADS": options.reloads, "FLAGS": options.karez, "SERVER": options.server,
              "JSON": options.json and os.path.abspath(options.json)}
    if options.strict:
        values.update({name.upper(): value for name, value in STRICT.items()})
    environment = {f"KAREZ_SOAK_{name}": str(value) for name, value in values.items() if value is not None}
    command = ["cargo", "test", "--profile", options.profile, "-p", "karez", "--test", "soak", "--",
               "--exact", "each_byte_is_right_and_no_connection_ends_unannounced", "--nocapture"]
    sys.exit(subprocess.run(command, cwd=ROOT, env=os.environ | environment).returncode)


if __name__ == "__main__":
    main()
