#!/usr/bin/env python3
"""Measures the CPU of Rust servers that send files by karez-hyper, and by what they would use without it.

    [sudo] bench/library.py [--rounds N] [--mib N] [--congestion NAME] [--out FILE]

Each way is a server on one thread (bench/library), pinned to the first core; the client is on the last. The
ways of one size run in random order within a round. A round sends about --mib MiB over one connection, after
one request to warm up. CPU time is that of the server, all its threads, per GB and per request. `cold`
drops the file from the page cache before each request. On loopback the kernel does the client's TCP work
in the server's context, so all ways include it, and there is no network card. As root it runs in a network
namespace with --congestion (default: cubic), since bbr paces: its timers send in small bursts also on loopback,
which then costs several times as much as the way itself. Each ratio is one of the same round.
"""
import argparse, json, os, platform, random, socket, statistics, subprocess, sys, tempfile

import servers as peers
from serve import forked

# Without the name of the build.
KERNEL = platform.release().split("-")[0]

HERE = os.path.dirname(os.path.abspath(__file__))
WAYS = ["hyper-reader-stream", "hyper-karez", "axum-tower-http", "axum-karez"]
# What each way of karez is compared with.
BESIDE = {"hyper-karez": "hyper-reader-stream", "axum-karez": "axum-tower-http"}
SIZES = {"1 KiB": 1 << 10, "128 KiB": 128 << 10, "64 MiB": 64 << 20}


def build():
    manifest = os.path.join(HERE, "library", "Cargo.toml")
    subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--manifest-path", manifest],
                   check=True)
    out = subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--no-deps",
                                   "--manifest-path", manifest])
    return os.path.join(json.loads(out)["target_directory"], "release", "library-servers")


def cpu_seconds(pid):
    """The time of all threads, in nanoseconds where the scheduler has it."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def receive(client, name, buffer):
    client.sendall(f"GET /{name} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(16 << 10)
    head, body = head.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 "), head
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    left = int(fields[b"content-length"]) - len(body)
    while left:
        count = client.recv_into(buffer, min(left, len(buffer)))
        assert count, "the connection ended early"
        left -= count


def drop(path):
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(program, way, directory, name, requests, core, cold):
    path, buffer = os.path.join(directory, name), bytearray(1 << 20)
    server = subprocess.Popen(["taskset", "-c", str(core), program, way, directory],
                              stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            receive(client, name, buffer)
            before = cpu_seconds(server.pid)
            for _ in range(requests):
                if cold:
                    drop(path)
                receive(client, name, buffer)
            return (cpu_seconds(server.pid) - before) / requests
    finally:
        server.kill()
        server.wait()


def run(congestion, args):
    if not peers.in_namespace(congestion):
        print("not root: the congestion control is that of the machine", file=sys.stderr)
    program, cores = build(), sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    runs = []
    # Not a temporary directory: it may be tmpfs, which has no cold files.
    with tempfile.TemporaryDirectory(dir=os.path.dirname(HERE), prefix=".bench-") as directory:
        for name, size in SIZES.items():
            with open(os.path.join(directory, name.replace(" ", "")), "wb") as file:
                file.write(random.Random(1).randbytes(size))
                os.fsync(file.fileno())
        for number in range(args.rounds):
            for label, size in SIZES.items():
                for cold in (False, True):
                    requests = min(args.most, max(1, (args.mib << 20) // size))
                    requests = max(1, requests // 20) if cold else requests
                    for way in random.sample(args.ways, len(args.ways)):
                        seconds = measure(program, way, directory, label.replace(" ", ""), requests,
                                          cores[0], cold)
                        runs.append({"round": number, "size": label, "bytes": size, "cold": cold,
                                     "way": way, "requests": requests, "cpu_seconds": seconds})
    return {"kernel": KERNEL, "cores": len(cores), "load": os.getloadavg(),
            "congestion": peers.congestion(), "runs": runs}


def spread(each, digits):
    return (f"{statistics.median(each):.{digits}f} "
            f"({min(each):.{digits}f}-{max(each):.{digits}f})")


def show(result, ways):
    def seconds(label, cold, way):
        return {run["round"]: run["cpu_seconds"] for run in result["runs"]
                if (run["size"], run["cold"], run["way"]) == (label, cold, way)}
    print(f"{'':>8} {'':>4} {'way':<20} {'CPU us per request':>26} {'CPU ms per GB':>26} {'ratio':>18}")
    for label, size in SIZES.items():
        for cold in (False, True):
            for way in ways:
                each, other = seconds(label, cold, way), seconds(label, cold, BESIDE.get(way))
                ratios = [each[number] / other[number] for number in each if number in other]
                requests = spread([value * 1e6 for value in each.values()], 0)
                bytes_ = spread([value / size * 1e12 for value in each.values()], 0)
                print(f"{label:>8} {'cold' if cold else 'hot':>4} {way:<20} {requests:>26} {bytes_:>26} "
                      f"{spread(ratios, 2) if ratios else '':>18}")
    print(f"{result['congestion']}, load average {result['load'][0]:.1f}, Linux {KERNEL}, "
          f"{result['cores']} cores")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--most", type=int, default=5000, help="requests of one round at most")
    parser.add_argument("--ways", nargs="*", default=WAYS)
    parser.add_argument("--congestion", default="cubic")
    parser.add_argument("--out")
    args = parser.parse_args()
    with peers.allowed([args.congestion]):
        result = forked(run, args.congestion, args)
    show(result, args.ways)
    if args.out:
        with open(args.out, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
