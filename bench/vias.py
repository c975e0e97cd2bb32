#!/usr/bin/env python3
"""Measures CPU per GB of sending a file through a socket, by via.

    bench/vias.py [--rounds N] [--mib N] [--out FILE]

Sender on the first core, receiver on the last; TCP over loopback; the file is in the page cache
(read once before, and checked with fincore where available). The vias alternate in random
order. CPU time is that of the sending process, all its threads. On loopback the kernel does the
receiving side's TCP work in the sender's context, so all vias include it equally; and there
is no network card, so no DMA, and MSG_ZEROCOPY copies.
"""
import argparse, json, os, platform, random, statistics, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Without the name of the build.
KERNEL = platform.release().split("-")[0]
WAYS = ["auto", "sendfile", "splice", "zerocopy", "mmap", "cow", "direct", "copy", "std-io-copy",
        "tokio-io-copy", "tokio-send-file"]
RECEIVER = r"""
import os, socket, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
buffer = bytearray(1 << 20)
while True:
    peer, _ = listener.accept()
    total = 0
    while count := peer.recv_into(buffer):
        total += count
    print(total, flush=True)
"""


def build():
    subprocess.run(["cargo", "build", "--profile", "dist", "--quiet", "--package", "karez-transfer",
                    "--all-features", "--example", "push"], check=True, cwd=HERE)
    out = subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--no-deps"],
                                  cwd=HERE)
    return os.path.join(json.loads(out)["target_directory"], "dist", "examples", "push")


def make_file(directory, mib):
    path = os.path.join(directory, "file")
    block = random.Random(1).randbytes(1 << 20)
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(block)
        os.fsync(file.fileno())
    with open(path, "rb") as file:  # into the page cache
        while file.read(1 << 20):
            pass
    return path


def measure(push, receiver, way, path, port, core):
    run = subprocess.run(["taskset", "-c", str(core), push, way, path, f"127.0.0.1:{port}"],
                         stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(run.stdout)
    received = int(receiver.stdout.readline())
    assert received == result["bytes"] == os.path.getsize(path), (way, received, result)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--ways", nargs="*", default=WAYS)
    parser.add_argument("--out")
    args = parser.parse_args()
    push, cores = build(), sorted(os.sched_getaffinity(0))
    receiver = subprocess.Popen([sys.executable, "-c", RECEIVER, str(cores[-1])],
                                stdout=subprocess.PIPE, text=True)
    runs = []
    try:
        port = int(receiver.stdout.readline())
        # Not a temporary directory: it may be tmpfs, for which O_DIRECT is meaningless.
        with tempfile.TemporaryDirectory(dir=os.path.dirname(HERE), prefix=".bench-") as directory:
            path = make_file(directory, args.mib)
            for number in range(-1, args.rounds):
                for way in random.sample(args.ways, len(args.ways)):
                    run = measure(push, receiver, way, path, port, cores[0])
                    if number >= 0:  # the first round warms up
                        runs.append(run)
    finally:
        receiver.kill()
        receiver.wait()
    print(f"Linux {KERNEL}, {args.mib} MiB, {args.rounds} rounds, sender on core "
          f"{cores[0]}, receiver on core {cores[-1]}\n")
    print(f"| way | CPU ms/GB, median (least – most) | to `sendfile` | GB/s | system calls |")
    print(f"|---|---:|---:|---:|---|")
    cost = lambda run: run["cpu_seconds"] * 1e3 / (run["bytes"] / 1e9)
    of = {way: [run for run in runs if run["way"] == way] for way in args.ways}
    base = statistics.median(map(cost, of["sendfile"])) if of.get("sendfile") else None
    for way, own in sorted(of.items(), key=lambda item: statistics.median(map(cost, item[1]))):
        costs = sorted(map(cost, own))
        median = statistics.median(costs)
        speed = statistics.median(run["bytes"] / 1e9 / run["seconds"] for run in own)
        calls = ", ".join(f"{name} {count}" for name, count in own[-1]["calls"].items())
        ran = "" if own[-1]["ran"] in (way, "") else f" → {own[-1]['ran']}"
        ratio = f"{median / base:.2f}" if base else ""
        print(f"| {way}{ran} | {median:.0f} ({costs[0]:.0f} – {costs[-1]:.0f}) | {ratio} "
              f"| {speed:.2f} | {calls} |")
    if args.out:
        with open(args.out, "w") as file:
            json.dump({"kernel": KERNEL, "mib": args.mib, "runs": runs}, file, indent=0)


if __name__ == "__main__":
    main()
