#!/usr/bin/env python3
"""Measures requests for a cached file while many clients read uncached files from a slow disk.

64 clients read 4 MiB files, each another one that is not in the page cache, from a disk that gives
20 MB/s (an image on a loop device, slowed by the blkio controller of cgroup v1). Meanwhile wrk requests
a cached 1 KiB file over 8 connections. Reported are: the rate and the 50th and 99th percentile of the hot
requests, quiet and in the storm; the bytes per second of the cold clients until all have their files, since a
server may read some MiB ahead for each; and with `perf` the longest system call of the server's event loop in
the storm (waits excluded).

    sudo bench/storm.py [--seconds S] [--rate BYTES] [--out FILE.json]

Needs root, losetup, mkfs.ext4, wrk and the blkio controller of cgroup v1.
"""
import argparse, asyncio, json, os, random, re, shutil, subprocess, sys, tempfile, threading, time
from contextlib import contextmanager
from pathlib import Path

import servers as peers
from serve import forked

BLKIO = Path("/sys/fs/cgroup/blkio")
CLIENTS = 64
PATIENCE = 120  # seconds for all cold files
FILE = 4 << 20
STORM_SERVERS = {**{name: peers.SERVERS[name] for name in peers.SERVERS if name != "bare loop"},
                 "nginx, aio threads": peers.NGINX_AIO}
WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "io_uring_enter", "futex", "poll", "ppoll",
         "pselect6", "select", "clock_nanosleep", "rt_sigtimedwait", "io_getevents", "io_pgetevents"}


@contextmanager
def slow_disk(rate, files):
    """Mounts an ext4 image of files that no process has read, and a cgroup in which reading it is slow."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        image, mount = Path(place) / "image", Path(place) / "disk"
        mount.mkdir()
        size = (files * FILE >> 20) + 200
        subprocess.run(["truncate", "-s", f"{size}M", image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
        device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", image], check=True,
                                capture_output=True, text=True).stdout.strip()
        group = BLKIO / f"karez-bench-{os.getpid()}"
        try:
            subprocess.run(["mount", device, mount], check=True)
            mount.chmod(0o755)
            for number in range(files):
                with open(mount / f"cold-{number}", "wb") as file:
                    file.write(os.urandom(FILE))
            (mount / "hot").write_bytes(b"x" * 1024)
            os.utime(mount / "hot", (1.7e9, 1.7e9))
            os.sync()
            stat = os.stat(device)
            group.mkdir()
            limit = f"{os.major(stat.st_rdev)}:{os.minor(stat.st_rdev)} {rate}"
            (group / "blkio.throttle.read_bps_device").write_text(limit)
            yield mount, group
        finally:
            subprocess.run(["umount", "-l", mount], check=False)
            subprocess.run(["losetup", "--detach", device], check=False)
            for _ in range(50):
                try:
                    group.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)


def drop_cache(mount):
    """Drops the pages of the cold files (posix_fadvise(2))."""
    for path in mount.glob("cold-*"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Storm:
    """The cold clients, on a thread of this process."""

    def __init__(self, port, files):
        self.port, self.files, self.received, self.over = port, list(range(files)), 0, False
        random.shuffle(self.files)
        self.failed, self.took = 0, None
        self.thread = threading.Thread(target=lambda: asyncio.run(self.blow()))

    async def client(self):
        while not self.over and self.files:
            number = self.files.pop()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(f"GET /cold-{number} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
                while not self.over:
                    part = await asyncio.wait_for(reader.read(1 << 16), 60)
                    if not part:
                        break
                    self.received += len(part)
                writer.close()
            except (OSError, asyncio.TimeoutError):
                self.failed += 1

    async def blow(self):
        begin = time.monotonic()
        tasks = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]
        while not self.over and any(not task.done() for task in tasks):
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.took = time.monotonic() - begin


def seconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def hot(server, duration, args):
    text = subprocess.run(["taskset", "-c", str(args.load_core), "wrk", "-t1", "-c8", "--latency",
                           "--timeout", "30s", f"-d{duration}s", f"http://127.0.0.1:{server.port}/hot"],
                          capture_output=True, text=True, check=True).stdout
    count = int(re.search(r"(\d+) requests in", text)[1])
    share = {int(name): seconds(value) for name, value in re.findall(r"^\s+(50|99)%\s+(\S+)", text, re.M)}
    return {"per_second": count / duration, "p50_ms": share.get(50, 0) * 1e3 if count else None,
            "p99_ms": share.get(99, 0) * 1e3 if count else None}


def longest_call(server, duration):
    """The longest call of the busiest thread by `perf trace -s`, waits excluded: (name, ms)."""
    if not shutil.which("perf"):
        return None
    ran = subprocess.run(["perf", "trace", "-s", "-p", str(server.process.pid), "--", "sleep",
                          str(duration)], capture_output=True, text=True)
    threads = re.split(r"\n\s*\S.*\((\d+)\), (\d+) events", ran.stdout + ran.stderr)
    best, events = None, -1
    for number in range(1, len(threads) - 2, 3):
        if int(threads[number + 1]) <= events:
            continue
        events = int(threads[number + 1])
        rows = re.findall(r"^\s+(\w+)\s+\d+\s+\d+\s+[\d.]+\s+[\d.]+\s+[\d.]+\s+([\d.]+)",
                          threads[number + 2], re.MULTILINE)
        calls = [(float(most), call) for call, most in rows if call not in WAITS]
        best = max(calls, default=None)
    return best and {"call": best[1], "ms": best[0]}


def measure(name, program, command, directory, mount, group, args):
    join = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    server = peers.Server(name, program, command, directory, mount, args.server_core, join)
    try:
        hot(server, 1, args)
        result = {"quiet": hot(server, args.seconds, args)}
        drop_cache(mount)
        storm = Storm(server.port, args.files)
        storm.thread.start()
        time.sleep(1)
        result["storm"] = hot(server, args.seconds, args)
        result["longest_call"] = longest_call(server, 3)
        storm.thread.join(timeout=PATIENCE)
        storm.over = True
        storm.thread.join()
        result["cold_mb_per_second"] = storm.received / storm.took / 1e6
        result["failed"] = storm.failed
    finally:
        server.stop()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--files", type=int, default=96, help="cold files of 4 MiB (default: 96)")
    parser.add_argument("--rate", type=int, default=20_000_000, help="bytes a second of the disk")
    parser.add_argument("--out", type=Path)
    peers.arguments(parser)
    args = parser.parse_args()
    if os.geteuid() != 0 or not BLKIO.is_dir():
        sys.exit("root and the blkio controller of cgroup v1 are needed")
    for needed in ["wrk", "losetup", "mkfs.ext4"]:
        if not shutil.which(needed):
            sys.exit(f"{needed} is not installed")
    congestion = args.congestion.split(",")[0]
    with peers.allowed([congestion]):
        result = forked(run, congestion, args)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def run(congestion, args):
    peers.in_namespace(congestion)
    args.server_core, args.load_core = peers.cores()
    chosen = peers.chosen(args, STORM_SERVERS)
    raw = {name: [] for name in chosen}
    with slow_disk(args.rate, args.files) as (mount, group), tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        for number in range(args.rounds):
            for name in random.sample(list(chosen), len(chosen)):
                print(f"round {number + 1}/{args.rounds}, {name}", file=sys.stderr)
                raw[name].append(measure(name, *chosen[name], Path(place), mount, group, args))
    show(raw)
    return {"benchmark": "storm", "rate": args.rate, "clients": CLIENTS, "file": FILE,
            "congestion": peers.congestion(), "raw": raw, "versions": peers.versions(chosen)}


def show(raw):
    def cell(values, digits):
        values = [value for value in values if value is not None]
        if not values:
            return "none answered"
        one = peers.spread(values)
        return f"{one['median']:.{digits}f} ({one['min']:.{digits}f}–{one['max']:.{digits}f})"
    print("\n| server | hot requests/s quiet | p99 ms | in the storm | p99 ms | cold MB/s | longest call ms |")
    print("|---|---|---|---|---|---|---|")
    for name, rounds in raw.items():
        longest = [one["longest_call"] for one in rounds if one["longest_call"]]
        call = max(longest, key=lambda one: one["ms"], default=None)
        call = "" if call is None else f"{call['ms']:.1f} ({call['call']})"
        print(f"| {name} | {cell([one['quiet']['per_second'] for one in rounds], 0)} "
              f"| {cell([one['quiet']['p99_ms'] for one in rounds], 2)} "
              f"| {cell([one['storm']['per_second'] for one in rounds], 0)} "
              f"| {cell([one['storm']['p99_ms'] for one in rounds], 2)} "
              f"| {cell([one['cold_mb_per_second'] for one in rounds], 1)} "
              f"| {call} |")


if __name__ == "__main__":
    main()
