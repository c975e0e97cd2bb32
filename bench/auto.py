#!/usr/bin/env python3
"""Measures CPU per request by via and file size: from which size on zero-copy is cheaper than copying.

    cargo build --profile dist -p karez && bench/auto.py [--rounds N] [--sizes KIB,…] [--vias NAME,…] [--out FILE]

One karez for each via, topology single, on the first core; wrk with 16 connections on the last; the
vias alternate in random order, a second each. CPU is that of the server's threads
(/proc/PID/task/*/schedstat). The files are hot in the caches of the CPU. Needs wrk.
"""
import argparse, json, os, platform, random, re, statistics, subprocess, tempfile

# Without the name of the build.
KERNEL = platform.release().split("-")[0]

KAREZ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "target", "dist", "karez")


def cpu_seconds(pid):
    threads = os.listdir(f"/proc/{pid}/task")
    return sum(int(open(f"/proc/{pid}/task/{one}/schedstat").read().split()[0])
               for one in threads) / 1e9


def start(via, root, core):
    server = subprocess.Popen(
        ["taskset", "-c", str(core), KAREZ, "serve", root, "--listen", "127.0.0.1:0", "--log", "off",
         "--via", via, "--topology", "single"], stderr=subprocess.PIPE, text=True)
    return server, re.search(r"http://(\S+)/", server.stderr.readline()).group(1)


def measure(server, address, size, core):
    before = cpu_seconds(server.pid)
    said = subprocess.check_output(
        ["taskset", "-c", str(core), "wrk", "-t1", "-c16", "-d1s", f"http://{address}/{size}"],
        text=True)
    requests = int(re.search(r"(\d+) requests", said).group(1))
    if not requests:
        raise SystemExit(f"no request of {size} KiB was answered within a second: the machine is busy")
    return (cpu_seconds(server.pid) - before) * 1e6 / requests


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="64,128,192,256,1024")
    parser.add_argument("--vias", default="copy,sendfile,auto")
    parser.add_argument("--out")
    args = parser.parse_args()
    sizes, vias = [int(size) for size in args.sizes.split(",")], args.vias.split(",")
    cores = sorted(os.sched_getaffinity(0))
    runs, servers = [], {}
    with tempfile.TemporaryDirectory() as root:
        for size in sizes:
            with open(os.path.join(root, str(size)), "wb") as file:
                file.write(os.urandom(size << 10))
        try:
            for via in vias:
                servers[via] = start(via, root, cores[0])
            for number in range(-1, args.rounds):
                for size in sizes:
                    for via in random.sample(vias, len(vias)):
                        cost = measure(*servers[via], size, cores[-1])
                        if number >= 0:  # the first round warms up
                            runs.append({"kib": size, "via": via, "cpu_us": cost})
        finally:
            for server, _ in servers.values():
                server.terminate()
                server.wait()
    print(f"Linux {KERNEL}, CPU µs a request, median (range) of {args.rounds}\n")
    print("| KiB |" + "".join(f" {via} |" for via in vias))
    print("|---:|" + "---:|" * len(vias))
    for size in sizes:
        row = f"| {size} |"
        for via in vias:
            own = sorted(run["cpu_us"] for run in runs if (run["kib"], run["via"]) == (size, via))
            row += f" {statistics.median(own):.1f} ({own[0]:.1f}–{own[-1]:.1f}) |"
        print(row)
    if args.out:
        with open(args.out, "w") as file:
            json.dump({"kernel": KERNEL, "runs": runs}, file, indent=0)


if __name__ == "__main__":
    main()
