#!/usr/bin/env python3
"""Measures TLS connections that do not transfer: their memory, and a flood of handshakes beside a transfer.

Memory: N connections that have sent nothing; that have sent a ClientHello, received the server's flight and
stopped (half a handshake); and that are established, have served one request and are idle. Private memory of the
process (/proc/PID/smaps_rollup) before and after, divided by N. Memory of the kernel (sockets) is not in it.

Flood: a client requests a 1 KiB file over one established connection again and again, alone and beside other
clients that only make the server sign: each connects, sends a ClientHello, receives the server's flight and
closes. Reported are the latency of the requests, handshakes per second, and the bytes per second of a 64 MiB
file beside the same flood; with a key for ECDSA (P-256) and for RSA (2048 bits). The server has one core, the
clients have another.

    cargo build --release --locked -p karez
    bench/handshakes.py [--connections N] [--seconds S] [--rounds N] [--only 'nginx, tuned'] [--out FILE.json]

Needs openssl and taskset. The client verifies no certificate.
"""
import argparse, json, os, random, resource, shutil, socket, ssl, sys, tempfile, time
from multiprocessing import Event, Process, Queue
from pathlib import Path

import servers as peers
import tls
from serve import forked

KEYS = {"ECDSA P-256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "RSA 2048": ["rsa:2048"]}
FLOOD = 32  # connections at once
MOST_IDLE = 2000  # a client that keeps them needs 40 KiB for each


def client_hello():
    """The first flight of a client; the same for all, since no handshake is completed."""
    sent = ssl.MemoryBIO()
    client = tls.client().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()


def connect(port, number=0):
    """Connects from one of several loopback addresses, since one has about 28,000 ports."""
    client = socket.socket()
    client.bind((f"127.0.0.{2 + number // 10000}", 0))
    client.connect(("127.0.0.1", port))
    return client


def opened(server, count, kind):
    """Opens connections. Returns them, all in the same state."""
    hello, context, clients = client_hello(), tls.client(), []
    for number in range(count):
        if kind == "idle":
            clients.append(tls.fetch(context, server.port))
            continue
        client = connect(server.port, number)
        if kind == "half":
            client.sendall(hello)
        clients.append(client)
    if kind == "half":
        for client in clients:
            if not client.recv(1):  # the rest is left to the kernel
                sys.exit(f"{server.name}: a handshake ended")
    # A request behind them all: the server has accepted each.
    tls.fetch(context, server.port).close()
    return clients


def memory(server, kind, count):
    """Private bytes of a connection, without those that the first ones need anyway."""
    first = opened(server, count // 10, kind)
    before = server.user_memory()
    clients = opened(server, count, kind)
    used = (server.user_memory() - before) / count
    for client in first + clients:
        client.close()
    return used


def flood(port, hello, stop, counts, core):
    """Has the server sign until the event is set."""
    os.sched_setaffinity(0, [core])
    done = 0
    while not stop.is_set():
        clients = [connect(port) for _ in range(FLOOD)]
        for client in clients:
            client.sendall(hello)
        for client in clients:
            done += bool(client.recv(1))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()  # a reset, so that no port stays in TIME_WAIT
    counts.put(done)


def receive(connection, length):
    """Receives a response with so many bytes of body."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(16384)
        if not part:
            sys.exit("the connection ended")
        head += part
    left = length - len(head.partition(b"\r\n\r\n")[2])
    while left > 0:
        part = connection.recv(1 << 18)
        if not part:
            sys.exit("the connection ended")
        left -= len(part)


def transfer(server, seconds, core):
    """Percentiles of the latency of small requests, and bytes per second of a large file."""
    os.sched_setaffinity(0, [core])
    connection = tls.fetch(tls.client(), server.port)
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        connection.sendall(b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n")
        receive(connection, 1 << 10)
        times.append(time.monotonic() - begun)
    times.sort()
    begun = time.monotonic()
    connection.sendall(b"GET /64m HTTP/1.1\r\nHost: localhost\r\n\r\n")
    receive(connection, 64 << 20)
    rate = (64 << 20) / (time.monotonic() - begun)
    connection.close()
    return {"requests": len(times), "p50_ms": times[len(times) // 2] * 1e3,
            "p99_ms": times[len(times) * 99 // 100] * 1e3, "mb_per_second": rate / 1e6}


def beside_flood(server, args):
    alone = transfer(server, args.seconds, args.load_core)
    stop, counts, begun = Event(), Queue(), time.monotonic()
    client = Process(target=flood, args=(server.port, client_hello(), stop, counts, args.load_core))
    client.start()
    try:
        beside = transfer(server, args.seconds, args.load_core)
    finally:
        stop.set()
        signed = counts.get(timeout=60)
        client.join()
    beside["handshakes_per_second"] = signed / (time.monotonic() - begun)
    return {"alone": alone, "beside": beside}


def measured(name, program, command, directory, root, args):
    """Each kind of memory in a process of its own, whose heap has no holes."""
    result = {"memory": {}, "flood": {}}
    tls.files(directory, root, KEYS["ECDSA P-256"])
    for kind in ["unused", "half", "idle"]:
        server = peers.Server(name, program, command, directory, root, args.server_core)
        try:
            count = min(args.connections, MOST_IDLE) if kind == "idle" else args.connections
            result["memory"][kind] = memory(server, kind, count)
        finally:
            server.stop()
    for key, algorithm in KEYS.items():
        tls.files(directory, root, algorithm)
        server = peers.Server(name, program, command, directory, root, args.server_core)
        try:
            result["flood"][key] = beside_flood(server, args)
        finally:
            server.stop()
    return result


def show(raw, args):
    print(f"\nPrivate bytes of each of {args.connections} connections (idle: at most {MOST_IDLE})\n")
    print("| server | nothing sent | half a handshake | established and idle |\n|---|---|---|---|")
    for name, rounds in raw.items():
        cells = [peers.spread([one["memory"][kind] for one in rounds]) for kind in ["unused", "half", "idle"]]
        print(f"| {name} | " + " | ".join(f"{cell['median']:.0f}" for cell in cells) + " |")
    print(f"\nA transfer alone → beside a flood of {FLOOD} handshakes at once\n")
    print("| server | key | handshakes/s | requests, p50 ms | p99 ms | 64 MiB, MB/s |\n|---|---|---|---|---|---|")
    for name, rounds in raw.items():
        for key in KEYS:
            def cell(what, digits, key=key, rounds=rounds):
                alone, beside = [peers.spread([one["flood"][key][when][what] for one in rounds])["median"]
                                 for when in ["alone", "beside"]]
                return f"{alone:.{digits}f} → {beside:.{digits}f}"
            flooded = [one["flood"][key]["beside"]["handshakes_per_second"] for one in rounds]
            print(f"| {name} | {key} | {peers.spread(flooded)['median']:.0f} | {cell('p50_ms', 2)} | "
                  f"{cell('p99_ms', 1)} | {cell('mb_per_second', 0)} |")


def run(congestion, args):
    peers.in_namespace(congestion)
    args.server_core, args.load_core = peers.cores()
    chosen = peers.chosen(args, tls.with_flags(args))
    raw = {name: [] for name in chosen}
    for number in range(args.rounds):
        for name in random.sample(list(chosen), len(chosen)):
            print(f"round {number + 1}/{args.rounds}, {name}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as place:
                directory, root = Path(place), Path(place) / "root"
                root.mkdir()
                os.chmod(place, 0o777)
                raw[name].append(measured(name, *chosen[name], directory, root, args))
    show(raw, args)
    return {"congestion": peers.congestion(), "raw": raw, "versions": peers.versions(chosen)}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    peers.arguments(parser)
    args = parser.parse_args()
    for needed in ["openssl", "taskset"]:
        if not shutil.which(needed):
            sys.exit(f"{needed} is not installed")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < args.connections * 1.2 + 1000:
        sys.exit(f"the limit of open files is {most} (ulimit -Hn)")
    congestion = args.congestion.split(",")[0]
    with peers.allowed([congestion]):
        result = forked(run, congestion, args)
    if args.out:
        args.out.write_text(json.dumps({"benchmark": "handshakes", "rounds": args.rounds,
                                        "connections": args.connections, "seconds": args.seconds,
                                        **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
