#!/usr/bin/env python3
"""Measures the cost of a request for a cached file: karez, its peers and a bare loop, on pinned cores.

Each server runs alone on one core, the load (wrk) on another. In every round every server serves every
file size for a few seconds, in random order, so that changes of the machine's speed affect all equally. Reported are, as the median of the rounds with their range: CPU time of the
server (user and system, /proc/PID/stat) and of the whole machine (/proc/stat) per request, and the ratio
to the bare loop (crates/reactor/examples/bare_loop.rs), which sends prepared replies: the limit for an
epoll server. On loopback work moves between sender and receiver, so both figures are needed.

`--working-set N` serves N files of each size in turn: with more bytes than the last-level cache holds, the
contents come from memory.

Then `strace -c` counts system calls per request, in a separate run, since tracing distorts timing.

    cargo build --profile dist --locked -p karez && cargo build --profile dist --locked -p karez-reactor --example bare_loop
    bench/serve.py [--rounds N] [--seconds S] [--congestion cubic,bbr] [--out FILE.json]

Needs wrk, strace and taskset; setting the congestion control needs root (a network namespace is made).
"""
import argparse, json, os, random, re, shutil, signal, subprocess, sys, tempfile, time, traceback
from pathlib import Path

import servers as peers

SIZES = {"1k": 1 << 10, "16k": 16 << 10, "64k": 64 << 10, "128k": 128 << 10, "1m": 1 << 20}


def lua(name, count):
    """A wrk script that requests the files of a working set in turn."""
    return f"""local n = 0
request = function()
  n = (n + 1) % {count}
  return wrk.format("GET", "/{name}-" .. n)
end
"""


def wrk(server, name, seconds, args, directory):
    url = f"http://127.0.0.1:{server.port}/{name}"
    argv = ["taskset", "-c", str(args.load_core), "wrk", "-t1", f"-c{args.connections}",
            f"-d{seconds}s", url]
    if args.working_set > 1:
        script = directory / f"{name}.lua"
        script.write_text(lua(name, args.working_set))
        argv[-1:-1] = ["-s", script]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"{server.name}, {name}: {text}")
    return int(re.search(r"(\d+) requests in", text)[1])


def measure(server, name, args, directory):
    before = server.cpu(), peers.machine_cpu()
    requests = wrk(server, name, args.seconds, args, directory)
    server_cpu, machine = server.cpu() - before[0], peers.machine_cpu() - before[1]
    return {"requests": requests, "us": server_cpu / requests * 1e6,
            "machine_us": machine / requests * 1e6}


def system_calls(server, name, args, directory):
    """Calls per request, by name, over about a second."""
    out = directory / "calls"
    tracer = subprocess.Popen(["strace", "-c", "-f", "-U", "name,calls", "-o", out, "-p",
                               str(server.process.pid)], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    requests = wrk(server, name, 1, args, directory)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    calls = {}
    for line in out.read_text().splitlines():
        call, _, count = line.strip().partition(" ")
        if count.strip().isdigit() and call != "total" and int(count) / requests >= 0.01:
            calls[call] = round(int(count) / requests, 2)
    return calls


def summarize(raw):
    """Per size and server: medians, ranges and the ratios within each round."""
    table = []
    limit = "bare loop" if "bare loop" in raw else "karez"
    for name in SIZES:
        for server, rounds in raw.items():
            pairs = list(zip([r[name] for r in rounds], [r[name] for r in raw[limit]]))
            table.append({
                "size": name, "server": server,
                "us": peers.spread([one["us"] for one, _ in pairs]),
                "machine_us": peers.spread([one["machine_us"] for one, _ in pairs]),
                "ratio": peers.spread([one["us"] / base["us"] for one, base in pairs]),
                "machine_ratio": peers.spread(
                    [one["machine_us"] / base["machine_us"] for one, base in pairs]),
            })
    return table, limit


def show(table, limit, calls, congestion):
    print(f"\nCongestion control {congestion}; ratios to {limit}\n")
    print("| file | server | server CPU µs/request | ratio | machine CPU µs/request | ratio | calls/request |")
    print("|---|---|---|---|---|---|---|")
    for row in table:
        made = calls.get(f"{row['server']} / {row['size']}")
        made = "" if made is None else f"{sum(made.values()):.1f}: " + ", ".join(
            f"{call} {count:g}" for call, count in sorted(made.items(), key=lambda one: -one[1]))
        cells = []
        for key, ratio in [("us", "ratio"), ("machine_us", "machine_ratio")]:
            value, part = row[key], row[ratio]
            cells.append(f"{value['median']:.1f} ({value['min']:.1f}–{value['max']:.1f})")
            cells.append(f"{part['median']:.2f} ({part['min']:.2f}–{part['max']:.2f})")
        print(f"| {row['size']} | {row['server']} | {' | '.join(cells)} | {made} |")


def files(root, args):
    for name, size in SIZES.items():
        names = [name] + [f"{name}-{n}" for n in range(args.working_set if args.working_set > 1 else 0)]
        for one in names:
            (root / one).write_bytes(os.urandom(size))
            os.utime(root / one, (1.7e9, 1.7e9))


def run(congestion, args):
    """One run under one congestion control, in a namespace of its own."""
    if not peers.in_namespace(congestion):
        print("skipped: no network namespace may be made; the machine's congestion control "
              f"({peers.congestion()}) is in force", file=sys.stderr)
    args.server_core, args.load_core = peers.cores()
    chosen = peers.chosen(args)
    with tempfile.TemporaryDirectory() as place:
        directory, root = Path(place), Path(place) / "root"
        root.mkdir()
        os.chmod(place, 0o777)  # h2o writes its files as user nobody
        files(root, args)
        running = []
        try:
            for name, (program, command) in chosen.items():
                running.append(peers.Server(name, program, command, directory, root, args.server_core))
            raw = {server.name: [] for server in running}
            for number in range(-1, args.rounds):
                print(f"{congestion}: round {number + 1}/{args.rounds}", file=sys.stderr)
                results = {}
                for name in SIZES:
                    for server in random.sample(running, len(running)):
                        results.setdefault(server.name, {})[name] = measure(
                            server, name, args, directory)
                if number >= 0:  # the first round warms up
                    for name, result in results.items():
                        raw[name].append(result)
            calls = {}
            if args.calls:
                calls = {f"{server.name} / {name}": system_calls(server, name, args, directory)
                         for server in running for name in ["1k", "128k"]}
        finally:
            for server in running:
                server.stop()
    table, limit = summarize(raw)
    show(table, limit, calls, peers.congestion())
    return {"congestion": peers.congestion(), "limit": limit, "table": table,
            "calls_per_request": calls, "raw": raw, "versions": peers.versions(chosen)}


def forked(work, congestion, args):
    """Runs `work` in a child process, since a process stays in its namespace."""
    with tempfile.NamedTemporaryFile() as result:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                Path(result.name).write_text(json.dumps(work(congestion, args)))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            sys.exit(1)
        return json.loads(Path(result.name).read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--working-set", type=int, default=1, metavar="N",
                        help="files of each size, requested in turn (default: 1)")
    parser.add_argument("--no-calls", dest="calls", action="store_false",
                        help="do not count system calls")
    parser.add_argument("--out", type=Path)
    peers.arguments(parser)
    args = parser.parse_args()
    for needed in ["wrk", "taskset"] + ["strace"] * args.calls:
        if not shutil.which(needed):
            sys.exit(f"{needed} is not installed")
    congestions = args.congestion.split(",")
    with peers.allowed(congestions):
        runs = [forked(run, congestion, args) for congestion in congestions]
    if args.out:
        result = {"benchmark": "serve", "rounds": args.rounds, "seconds": args.seconds,
                  "connections": args.connections, "working_set": args.working_set, "runs": runs}
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
