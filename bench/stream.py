#!/usr/bin/env python3
"""Measures a hot set while a tree that is larger than memory is streamed.

The server runs in a memory cgroup (default: 256 MiB), so that its page cache is small. 2000 files of
32 KiB are requested over and over, one after the other; meanwhile four clients stream a tree of files of
64 MiB (default: 2 GiB in all). Reported are the 50th and 99th percentile of the hot requests, quiet and
in the stream; the hit rate, the part of the hot pages that were in the page cache when they were asked
for (cachestat(2)); and the speed of the stream.

    sudo bench/stream.py [--memory BYTES] [--tree BYTES] [--out FILE.json]

Needs root, the memory controller of cgroup v1 or v2, Linux 6.5 and space for the tree in /var/tmp.
"""
import argparse, ctypes, http.client, json, os, random, sys, tempfile, threading, time
from contextlib import contextmanager
from pathlib import Path

import servers as peers
from serve import forked

FILE = 64 << 20
HOT_FILES, HOT_SIZE = 2000, 32 << 10
STREAMS = 4
CACHESTAT = 451
LIBC = ctypes.CDLL(None, use_errno=True)
NGINX = {"nginx, tuned": "", "nginx, directio": "directio 1m;",
         "nginx, directio, aio threads": "directio 1m; aio threads;"}
STREAM_SERVERS = {
    "karez": peers.SERVERS["karez"],
    **{f"karez, --cache '/stream/**={policy}'":
       ("karez", peers.karez("--threads", "1", "--cache", f"/stream/**={policy}"))
       for policy in ["drop", "uncached", "direct"]},
    **{name: ("nginx", peers.configured("nginx-stream", peers.NGINX, "-c", extra=extra))
       for name, extra in NGINX.items()},
}


class Range(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class Cached(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64)
                for name in ["cached", "dirty", "writeback", "evicted", "recently_evicted"]]


def cached_pages(fd):
    """Pages of a file in the page cache."""
    found = Cached()
    if LIBC.syscall(CACHESTAT, fd, ctypes.byref(Range(0, HOT_SIZE)), ctypes.byref(found), 0) != 0:
        sys.exit("cachestat: " + os.strerror(ctypes.get_errno()))
    return found.cached


@contextmanager
def memory_group(limit):
    """Yields a cgroup whose processes have so much memory, page cache included."""
    v1 = Path("/sys/fs/cgroup/memory")
    parent, name = (v1, "memory.limit_in_bytes") if v1.is_dir() else (Path("/sys/fs/cgroup"), "memory.max")
    group = parent / f"karez-bench-{os.getpid()}"
    group.mkdir()
    try:
        (group / name).write_text(str(limit))
        yield group
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)


@contextmanager
def tree(size):
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        root = Path(place)
        (root / "stream").mkdir()
        (root / "hot").mkdir()
        block = os.urandom(1 << 20)
        for number in range(size // FILE):
            with open(root / f"stream/{number}", "wb") as file:
                for _ in range(FILE >> 20):
                    file.write(block)
        for number in range(HOT_FILES):
            (root / f"hot/{number}").write_bytes(block[:HOT_SIZE])
            os.utime(root / f"hot/{number}", (1.7e9, 1.7e9))
        os.sync()
        yield root


def drop_cache(root):
    for path in root.glob("*/*"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Stream:
    """The clients that read the tree, each file once."""

    def __init__(self, port, count):
        self.port, self.files, self.received, self.failed = port, list(range(count)), 0, 0
        self.threads = [threading.Thread(target=self.read) for _ in range(STREAMS)]
        for thread in self.threads:
            thread.start()

    def read(self):
        buffer = bytearray(1 << 20)
        while True:
            try:
                number = self.files.pop()
            except IndexError:
                return
            try:
                client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                client.request("GET", f"/stream/{number}")
                response = client.getresponse()
                while count := response.readinto(buffer):
                    self.received += count
                client.close()
            except (OSError, http.client.HTTPException):
                self.failed += 1

    def is_over(self):
        return not any(thread.is_alive() for thread in self.threads)


def hot(port, descriptors, over):
    """Requests hot files until it is `over`: percentiles in ms and the hit rate."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took, cached, pages = [], 0, 0
    while not over():
        number = random.randrange(HOT_FILES)
        cached += cached_pages(descriptors[number])
        pages += HOT_SIZE >> 12
        begin = time.perf_counter()
        client.request("GET", f"/hot/{number}")
        client.getresponse().read()
        took.append(time.perf_counter() - begin)
    took.sort()
    return {"requests": len(took), "hit_rate": cached / pages, "p50_ms": took[len(took) // 2] * 1e3,
            "p99_ms": took[len(took) * 99 // 100] * 1e3}


def measure(name, program, command, place, root, group, descriptors, args):
    drop_cache(root)
    join = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    server = peers.Server(name, program, command, place, root, args.server_core, join)
    try:
        client = http.client.HTTPConnection("127.0.0.1", server.port)
        for _ in range(3):
            for number in range(HOT_FILES):
                client.request("GET", f"/hot/{number}")
                client.getresponse().read()
        end = time.monotonic() + 3
        result = {"quiet": hot(server.port, descriptors, lambda: time.monotonic() > end)}
        begin = time.monotonic()
        stream = Stream(server.port, args.tree // FILE)
        result["stream"] = hot(server.port, descriptors, stream.is_over)
        result["stream_mb_per_second"] = stream.received / (time.monotonic() - begin) / 1e6
        result["failed"] = stream.failed
    finally:
        server.stop()
    return result


def run(congestion, args):
    peers.in_namespace(congestion)
    args.server_core, _ = peers.cores()
    chosen = peers.chosen(args, STREAM_SERVERS)
    raw = {name: [] for name in chosen}
    with tree(args.tree) as root, memory_group(args.memory) as group, \
            tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        descriptors = [os.open(root / f"hot/{number}", os.O_RDONLY) for number in range(HOT_FILES)]
        for number in range(args.rounds):
            for name in random.sample(list(chosen), len(chosen)):
                print(f"round {number + 1}/{args.rounds}, {name}", file=sys.stderr)
                raw[name].append(measure(name, *chosen[name], Path(place), root, group, descriptors, args))
        for descriptor in descriptors:
            os.close(descriptor)
    show(raw, args)
    return {"benchmark": "stream", "memory": args.memory, "tree": args.tree, "hot": HOT_FILES * HOT_SIZE,
            "congestion": peers.congestion(), "raw": raw, "versions": peers.versions(chosen)}


def show(raw, args):
    def cell(values, digits):
        one = peers.spread(values)
        return f"{one['median']:.{digits}f} ({one['min']:.{digits}f}–{one['max']:.{digits}f})"
    print(f"\n{args.tree >> 20} MiB streamed, {args.memory >> 20} MiB of memory, "
          f"{HOT_FILES * HOT_SIZE >> 20} MiB hot\n")
    print("| server | hit rate quiet | in the stream | p99 ms quiet | in the stream | stream MB/s |")
    print("|---|---|---|---|---|---|")
    for name, rounds in raw.items():
        cells = [cell([one[when][key] for one in rounds], digits)
                 for key, digits in [("hit_rate", 3), ("p99_ms", 2)] for when in ["quiet", "stream"]]
        cells.append(cell([one["stream_mb_per_second"] for one in rounds], 0))
        print(f"| {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=256 << 20)
    parser.add_argument("--tree", type=int, default=2 << 30)
    parser.add_argument("--out", type=Path)
    peers.arguments(parser)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("root is needed")
    congestion = args.congestion.split(",")[0]
    with peers.allowed([congestion]):
        result = forked(run, congestion, args)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
