#!/usr/bin/env python3
"""Measures the cost of a request by I/O model, alone and beside 5,000 idle connections.

    bench/models.py [--rounds N] [--seconds S] [--out FILE.json]

For each model: CPU time of the server per request for 1 KiB with 64 busy connections; the same with
5,000 idle connections beside them, each of which has had one response; and system calls per request. Every
server is `--topology single` on the first core; the load is wrk on the last core or, without
wrk, a built-in client; the idle connections belong to a sleeping process. One server runs at a
time, a new one for each measurement, and the models alternate in random order, so that changes of
the machine's speed affect all equally. The first round is a warm-up and does not count.

CPU time is the server's process clock (clock_getcpuclockid(3)): all its threads to the nanosecond,
including ended ones, which /proc/PID/task/*/schedstat lacks. The kernel's work for a socket is
accounted to the running thread; on loopback that is mostly the sender. The busy polling of
`nonblocking` is included, so its number only shows how many requests a core serves: it is not
comparable with models that sleep.

System calls are counted by `strace -c` over a fixed number of requests, in a separate run, since
tracing distorts timing: all calls of all threads, including glibc's. A traced server is slower, so
more events are ready at once and each wait serves more requests than untraced.
"""
import argparse, json, os, platform, random, re, resource, selectors, shutil, signal, socket
import statistics, subprocess, sys, tempfile, threading, time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# In the order of `karez serve --help`.
MODELS = ["epoll-edge", "epoll-level", "poll", "select", "signal", "linux-aio", "uring",
          "posix-aio", "nonblocking", "blocking"]
BUSY, IDLE, COUNTED = 64, 5000, 12800
PER_ADDRESS = 2000  # connections from one source address, far fewer than it has ports
TIMEOUT = 60  # seconds
REQUEST = b"GET /1k HTTP/1.1\r\nHost: bench\r\n\r\n"
CORES = sorted(os.sched_getaffinity(0))


# The two helpers run this program again: `--helper NAME PORT COUNT`.

def connect(port, number):
    peer = socket.socket()
    peer.settimeout(TIMEOUT)
    # Otherwise a source address and port are reserved for all peers, not for this one alone.
    peer.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    peer.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
    peer.connect(("127.0.0.1", port))
    return peer


def answer(peer):
    """The length of one response, which must be successful."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = peer.recv(65536)
        if not more:
            raise OSError("the server has closed the connection")
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        more = peer.recv(65536)
        if not more:
            raise OSError("the server has closed the connection")
        body += more
    if not head.startswith(b"HTTP/1.1 200 ") or len(body) != length:
        raise OSError(f"not a good answer: {head!r}")
    return len(head) + 4 + length


def rest(port, count):
    """Opens this number of connections, makes one request on each, and holds them until its input ends."""
    held, problem = [], ""
    try:
        while len(held) < count:
            # In batches: models with a linear scan per event would take half a minute otherwise.
            part = range(len(held), min(len(held) + 250, count))
            came = [connect(port, number) for number in part]
            for peer in came:
                peer.sendall(REQUEST)
            for peer in came:
                answer(peer)
                held.append(peer)
    except OSError as error:
        problem = f"connection {len(held) + 1}: {error}"
    print(json.dumps({"held": len(held), "problem": problem}), flush=True)
    sys.stdin.readline()
    # Connections that the server has closed meanwhile are readable.
    gone = 0
    for peer in held:
        peer.setblocking(False)
        try:
            gone += peer.recv(1) == b""
        except BlockingIOError:
            pass
        except OSError:
            gone += 1
    print(json.dumps({"gone": gone}), flush=True)


def ask(port, count, seconds=0.0):
    """Makes requests on 64 connections, up to a number or a time, and prints their number."""
    ready, done, sent = selectors.EpollSelector(), 0, 0
    for number in range(BUSY):
        peer = connect(port, number)
        peer.sendall(REQUEST)
        length = answer(peer)  # the same for all following responses
        ready.register(peer, selectors.EVENT_READ, [length, 0])
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + (seconds or 10 * TIMEOUT)
    for key in list(ready.get_map().values()):
        key.fileobj.sendall(REQUEST)
        sent += 1
    while done < sent:
        for key, _ in ready.select(TIMEOUT) or sys.exit("no more answers"):
            got = key.fileobj.recv(65536)
            if not got:
                sys.exit("the server has closed a busy connection")
            key.data[1] += len(got)
            if key.data[1] < key.data[0]:
                continue
            key.data[1] = 0
            done += 1
            if time.monotonic() < end and (seconds or sent < count):
                key.fileobj.sendall(REQUEST)
                sent += 1
    print(done, flush=True)


class Helper:
    """Runs one of the functions above in a new process, on the last core."""

    def __init__(self, *words):
        argv = ["taskset", "-c", str(CORES[-1]), sys.executable, __file__, "--helper"]
        self.process = subprocess.Popen(argv + [str(word) for word in words], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def hears(self):
        line = self.process.stdout.readline()
        return line.strip() or sys.exit("a helper ended early")

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)


def end(process, gently=None):
    """Terminates a child process and waits for it."""
    if process.poll() is None and gently is not None:
        process.send_signal(gently)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            pass
    if process.poll() is None:
        process.kill()
    process.wait()


class Server:
    def __init__(self, program, model, root):
        # Above the number of connections, so that none is evicted, and without idle timeout.
        argv = ["taskset", "-c", str(CORES[0]), program, "serve", root, "--listen", "127.0.0.1:0",
                "--model", model, "--topology", "single", "--log", "off", "--idle-timeout", "1h",
                "--max-connections", str(IDLE + 4 * BUSY)]
        self.process = subprocess.Popen([str(word) for word in argv], text=True,
                                        stderr=subprocess.PIPE)
        self.said = self.process.stderr.readline().strip()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.said)
        if not found:
            end(self.process)
            raise RuntimeError(f"{model}: {self.said}")
        self.port = int(found[1])

    def cpu(self):
        """CPU time of all threads so far, including ended ones, in seconds."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def facts(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        of = lambda name: int(re.search(rf"^{name}:\s+(\d+)", status, re.M)[1])
        return {"threads": of("Threads"), "rss_kib": of("VmRSS")}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process, signal.SIGTERM)


def load(port, seconds):
    """Requests in this number of seconds on 64 connections, and the failed ones among them."""
    if not shutil.which("wrk"):
        with Helper("ask", port, 0, seconds) as helper:
            helper.hears()
            helper.go()
            return int(helper.hears())
    argv = ["taskset", "-c", str(CORES[-1]), "wrk", "-t1", f"-c{BUSY}", f"-d{seconds}s",
            "--timeout", "20s", f"http://127.0.0.1:{port}/1k"]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True,
                         timeout=seconds + TIMEOUT)
    if "Non-2xx" in ran.stdout or "Socket errors" in ran.stdout:
        raise RuntimeError(ran.stdout)
    return int(re.search(r"(\d+) requests in", ran.stdout)[1])


def measure(server, seconds):
    began, before = time.monotonic(), server.cpu()
    requests = load(server.port, seconds)
    cpu, elapsed = server.cpu() - before, time.monotonic() - began
    return {"requests": requests, "cpu_s": cpu, "elapsed_s": elapsed,
            "us_per_request": cpu / requests * 1e6, **server.facts()}


def visit(program, model, root, seconds):
    """Measures a new server alone and beside idle connections."""
    with Server(program, model, root) as server:
        run = {"model": model, "alone": measure(server, seconds)}
        with Helper("rest", server.port, IDLE) as crowd:
            run["crowd"] = json.loads(crowd.hears())
            if run["crowd"]["held"] == IDLE and not run["crowd"]["problem"]:
                run["beside"] = measure(server, seconds)
            crowd.go()
            run["crowd"] |= json.loads(crowd.hears())
        return run


def calls(program, model, root, directory):
    """Calls per request by name, over a fixed number of requests."""
    out = directory / "calls"
    with Server(program, model, root) as server, Helper("ask", server.port, COUNTED) as client:
        client.hears()
        tracer = subprocess.Popen(["strace", "-c", "-f", "-U", "name,calls", "-o", out, "-p",
                                   str(server.process.pid)], stderr=subprocess.PIPE, text=True)
        try:
            if "attached" not in (said := tracer.stderr.readline()):
                raise RuntimeError(f"strace: {said}")
            # strace prints a line for each new thread, and would block on a full pipe.
            threading.Thread(target=tracer.stderr.read, daemon=True).start()
            client.go()
            requests = int(client.hears())
        finally:
            end(tracer, signal.SIGINT)
    found = {}
    for line in out.read_text().splitlines():
        call, _, count = line.strip().partition(" ")
        if count.strip().isdigit() and call != "total" and int(count) / requests >= 0.005:
            found[call] = round(int(count) / requests, 2)
    return {"requests": requests, "calls": found}


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def show(runs, counted):
    print("| model | CPU µs/request, 64 busy | with 5,000 idle beside | ratio | calls/request |")
    print("|---|---:|---:|---:|---|")
    for model in MODELS:
        own = [run for run in runs if run["model"] == model]
        alone = [run["alone"]["us_per_request"] for run in own if "alone" in run]
        pairs = [(run["alone"]["us_per_request"], run["beside"]["us_per_request"])
                 for run in own if "beside" in run]
        made = sorted(counted.get(model, {}).get("calls", {}).items(), key=lambda one: -one[1])
        made = f"{sum(count for _, count in made):.1f}: " + ", ".join(
            f"{call} {count:g}" for call, count in made) if made else "–"
        beside = spread([after for _, after in pairs]) if pairs else "–"
        ratio = f"{statistics.median(b / a for a, b in pairs):.2f}" if pairs else "–"
        print(f"| `{model}` | {spread(alone) if alone else '–'} | {beside} | {ratio} | {made} |")
    for problem in sorted({f"{run['model']}: {run.get('problem') or run['crowd']['problem']}"
                           for run in runs if run.get("problem") or run["crowd"]["problem"]}):
        print(f"\n{problem}")


def program():
    out = subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--no-deps"],
                                  cwd=REPOSITORY)
    subprocess.run(["cargo", "build", "--profile", "dist", "--quiet", "--package", "karez"], check=True,
                   cwd=REPOSITORY)
    return Path(json.loads(out)["target_directory"]) / "dist" / "karez"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    karez, runs, counted, seed = program(), [], {}, random.randrange(1 << 32)
    order = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        directory, root = Path(place), Path(place) / "root"
        root.mkdir()
        (root / "1k").write_bytes(order.randbytes(1024))
        os.utime(root / "1k", (1.7e9, 1.7e9))
        for number in range(-1, args.rounds):
            for model in order.sample(args.models, len(args.models)):
                print(f"round {number + 1}/{args.rounds}, {model}", file=sys.stderr)
                try:
                    run = visit(karez, model, root, args.seconds if number >= 0 else 1)
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    run = {"model": model, "problem": str(error)}
                    print(run, file=sys.stderr)
                if number >= 0:  # the first round warms up
                    runs.append({"round": number} | run)
        for model in args.models:
            if not shutil.which("strace"):
                print("skipped: strace is missing, so calls are not counted", file=sys.stderr)
                break
            print(f"calls of {model}", file=sys.stderr)
            try:
                counted[model] = calls(karez, model, root, directory)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                print(f"{model}: {error}", file=sys.stderr)
    kernel = platform.release().split("-")[0]
    client = "wrk" if shutil.which("wrk") else "the script's own client"
    print(f"Linux {kernel}, {os.cpu_count()} cores, {args.rounds} rounds of {args.seconds} s, "
          f"load by {client}; median (least – most)\n")
    show(runs, counted)
    if args.out:
        result = {"kernel": kernel, "cores": os.cpu_count(), "load": client, "busy": BUSY,
                  "idle": IDLE, "rounds": args.rounds, "seconds": args.seconds, "seed": seed,
                  "calls_per_request": counted, "runs": runs}
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    # The helpers and the server need a descriptor for each connection, or two.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1:2] == ["--helper"]:
        {"rest": rest, "ask": ask}[sys.argv[2]](int(sys.argv[3]), int(sys.argv[4]),
                                               *map(float, sys.argv[5:]))
    else:
        # A signal terminates the child processes, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
        main()
