#!/usr/bin/env python3
"""Measures the cost of TLS: karez, nginx and h2o with the same certificate and cipher, on pinned cores.

Each server runs alone on one core, the load (h2load) on another, by TLS 1.3 with AES-128-GCM. In every
round every server serves every file size over HTTP/1.1 and HTTP/2 for a few seconds, in random order.
Reported are, as the median of the rounds with their range: CPU time of the server (user and system) and
of the whole machine per request, and the ratio of the server's to that of the best peer and to HTTP/1.1
of the same server, within each round. Then the CPU time of a handshake, full and resumed, from which
the handshakes per second of a core follow; and the private memory of an idle connection that has served
one request.

    cargo build --profile dist --locked -p karez
    bench/tls.py [--rounds N] [--seconds S] [--only 'nginx, tuned'] [--out FILE.json]

Needs h2load, openssl and taskset. The client verifies no certificate, as h2load does.
"""
import argparse, json, os, random, re, shutil, socket, ssl, subprocess, sys, tempfile
from multiprocessing import Process
from pathlib import Path

import servers as peers
from serve import forked

SIZES = {"1k": 1 << 10, "16k": 16 << 10, "128k": 128 << 10, "1m": 1 << 20, "64m": 64 << 20}
CIPHER = "TLS_AES_128_GCM_SHA256"
PROTOCOLS = ["http/1.1", "h2"]

NGINX = peers.NGINX.replace(
    "listen 127.0.0.1:{port} backlog=4096;",
    "listen 127.0.0.1:{port} ssl http2 backlog=4096; ssl_certificate {dir}/cert.pem;"
    " ssl_certificate_key {dir}/key.pem; ssl_protocols TLSv1.3;"
    " ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;")
H2O = peers.H2O.replace(
    "port: {port} }}",
    "port: {port}, ssl: {{ certificate-file: {dir}/cert.pem, key-file: {dir}/key.pem }} }}")


def karez(*flags):
    def command(program, directory, root, port):
        pair = ["--tls-cert", directory / "cert.pem", "--tls-key", directory / "key.pem"]
        return peers.karez(*pair, *flags)(program, directory, root, port)
    return command


# name: (program, command line)
SERVERS = {
    "karez": ("karez", karez("--threads", "1")),
    "nginx, tuned": ("nginx", peers.configured("nginx-tls", NGINX, "-c", extra="")),
    "h2o": ("h2o", peers.configured("h2o-tls", H2O, "-c")),
}


def h2load(server, name, protocol, args):
    """Loads for some seconds. Returns how many requests succeeded."""
    large = SIZES[name] >= 1 << 20  # fewer at once, so that some are complete when the time is over
    clients = 1 if SIZES[name] >= 64 << 20 else args.connections
    streams = ["--h1"] if protocol == "http/1.1" else [f"--max-concurrent-streams={1 if large else 10}"]
    argv = ["taskset", "-c", str(args.load_core), "h2load", f"--duration={args.seconds}",
            f"--clients={clients}", f"--tls13-ciphers={CIPHER}", *streams,
            f"https://127.0.0.1:{server.port}/{name}"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    used = re.search(r"Application protocol: (\S+)", text), re.search(r"Cipher: (\S+)", text)
    if not found or int(found[3]) or [one and one[1] for one in used] != [protocol, CIPHER]:
        sys.exit(f"{server.name}, {name}, {protocol}: {text}")
    return int(found[2])


def measure(server, name, protocol, args):
    before = server.cpu(), peers.machine_cpu()
    requests = h2load(server, name, protocol, args)
    if not requests:
        sys.exit(f"{server.name}, {name}, {protocol}: no request was complete; more --seconds are needed")
    return {"requests": requests, "us": (server.cpu() - before[0]) / requests * 1e6,
            "machine_us": (peers.machine_cpu() - before[1]) / requests * 1e6}


def client():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def fetch(context, port, session=None):
    """Connects, requests the small file and returns the connection."""
    connection = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), session=session)
    connection.sendall(b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = b""
    while len(got) < 1024 or not got.endswith(b"end"):
        part = connection.recv(16384)
        if not part:
            sys.exit(f"port {port}: the connection ended after {len(got)} bytes")
        got += part
    return connection


def handshakes(port, count, resumes, core):
    os.sched_setaffinity(0, [core])
    context, session = client(), None
    for _ in range(count):
        connection = fetch(context, port, session)
        if session and not connection.session_reused:
            sys.exit(f"port {port}: a session was not resumed")
        if resumes:
            session = connection.session
        connection.close()


def in_child(work, *arguments):
    child = Process(target=work, args=arguments)
    child.start()
    child.join()
    if child.exitcode:
        sys.exit(1)


def handshake_cpu(server, args):
    """CPU of a connection with one small request, µs: a full handshake, and a resumed one."""
    result = {}
    for kind, resumes in [("full", False), ("resumed", True)]:
        before = server.cpu()
        in_child(handshakes, server.port, args.handshakes, resumes, args.load_core)
        result[kind] = (server.cpu() - before) / args.handshakes * 1e6
    return result


def idle_memory(server, args):
    """Private bytes of an idle connection."""
    context = client()
    fetch(context, server.port).close()
    before = server.user_memory()
    connections = [fetch(context, server.port) for _ in range(args.idle)]
    used = (server.user_memory() - before) / args.idle
    for connection in connections:
        connection.close()
    return used


def summarize(raw):
    """Per size, protocol and server: medians, ranges, and ratios within each round."""
    table = []
    for name in SIZES:
        for protocol in PROTOCOLS:
            of = {server: [one[name][protocol]["us"] for one in rounds]
                  for server, rounds in raw.items()}
            others = [values for server, values in of.items() if not server.startswith("karez")]
            for server, rounds in raw.items():
                row = {"size": name, "protocol": protocol, "server": server}
                for key in ["us", "machine_us"]:
                    row[key] = peers.spread([one[name][protocol][key] for one in rounds])
                if others:
                    best = [min(values) for values in zip(*others)]
                    row["to_best_peer"] = peers.spread(
                        [one / limit for one, limit in zip(of[server], best)])
                row["to_own_http1"] = peers.spread(
                    [one[name][protocol]["us"] / one[name]["http/1.1"]["us"] for one in rounds])
                table.append(row)
    return table


def show(table, connections):
    print(f"\nTLS 1.3, {CIPHER}\n")
    print("| file | protocol | server | server CPU µs/request | to the best peer | to own HTTP/1.1 |"
          " machine CPU µs/request |")
    print("|---|---|---|---|---|---|---|")
    for row in table:
        cells = []
        for key, digits in [("us", 1), ("to_best_peer", 2), ("to_own_http1", 2), ("machine_us", 1)]:
            value = row.get(key)
            cells.append("" if value is None else f"{value['median']:.{digits}f} "
                         f"({value['min']:.{digits}f}–{value['max']:.{digits}f})")
        print(f"| {row['size']} | {row['protocol']} | {row['server']} | {' | '.join(cells)} |")
    print("\n| server | full handshake, CPU µs | per second | resumed, CPU µs | per second |"
          " bytes of an idle connection |")
    print("|---|---|---|---|---|---|")
    for server, rounds in connections.items():
        cells = []
        for kind in ["full", "resumed"]:
            value = peers.spread([one[kind] for one in rounds])["median"]
            cells.append(f"{value:.0f} | {1e6 / value:.0f}" if value else "0 | ")
        memory = peers.spread([one["idle_bytes"] for one in rounds])["median"]
        print(f"| {server} | {' | '.join(cells)} | {memory:.0f} |")


def files(directory, root, algorithm=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    subprocess.run(["openssl", "req", "-x509", "-newkey", *algorithm,
                    "-nodes", "-keyout", directory / "key.pem", "-out", directory / "cert.pem",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    os.chmod(directory / "key.pem", 0o644)  # h2o reads it as user nobody
    for name, size in SIZES.items():
        (root / name).write_bytes(os.urandom(size - 3) + b"end")
        os.utime(root / name, (1.7e9, 1.7e9))


def with_flags(args):
    """The servers, and other configurations of karez (--karez), with TLS."""
    ways = dict(SERVERS)
    for one in args.karez:
        name, _, flags = one.partition("=")
        ways[f"karez, {name}"] = ("karez", karez("--threads", "1", *flags.split()))
    args.karez = []
    return ways


def run(congestion, args):
    peers.in_namespace(congestion)
    args.server_core, args.load_core = peers.cores()
    chosen = peers.chosen(args, with_flags(args))
    with tempfile.TemporaryDirectory() as place:
        directory, root = Path(place), Path(place) / "root"
        root.mkdir()
        os.chmod(place, 0o777)
        files(directory, root)
        running, raw, connections = [], {}, {}
        try:
            for name, (program, command) in chosen.items():
                running.append(peers.Server(name, program, command, directory, root, args.server_core))
            for number in range(-1, args.rounds):
                print(f"round {number + 1}/{args.rounds}", file=sys.stderr)
                results = {server.name: {} for server in running}
                for name in SIZES:
                    for protocol in PROTOCOLS:
                        for server in random.sample(running, len(running)):
                            results[server.name].setdefault(name, {})[protocol] = measure(
                                server, name, protocol, args)
                if number >= 0:  # the first round warms up
                    for server in running:
                        raw.setdefault(server.name, []).append(results[server.name])
                        connections.setdefault(server.name, []).append(
                            {**handshake_cpu(server, args), "idle_bytes": idle_memory(server, args)})
        finally:
            for server in running:
                server.stop()
    table = summarize(raw)
    show(table, connections)
    return {"congestion": peers.congestion(), "cipher": CIPHER, "table": table,
            "connections": connections, "raw": raw, "versions": peers.versions(chosen)}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--handshakes", type=int, default=1000,
                        help="of each kind in a round (default: 1000)")
    parser.add_argument("--idle", type=int, default=1000, help="idle connections (default: 1000)")
    parser.add_argument("--out", type=Path)
    peers.arguments(parser)
    parser.add_argument("--size", action="append", choices=SIZES,
                        help="measure this size only, besides 1k (repeatable)")
    args = parser.parse_args()
    for name in [name for name in SIZES if args.size and name not in args.size and name != "1k"]:
        del SIZES[name]
    for needed in ["h2load", "openssl", "taskset"]:
        if not shutil.which(needed):
            sys.exit(f"{needed} is not installed")
    congestion = args.congestion.split(",")[0]
    with peers.allowed([congestion]):
        result = forked(run, congestion, args)
    if args.out:
        args.out.write_text(json.dumps({"benchmark": "tls", "rounds": args.rounds, "seconds": args.seconds,
                                        "connections": args.connections, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
