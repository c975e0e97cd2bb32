"""Many clients at once: slow, idle, more than descriptors or memory, and ones that reset."""
import os, select, signal, socket, subprocess, time
from pathlib import Path

from .bed import Fault, ended, latencies, percentile, read_answer, request, reset, until

MEMORY = Path("/sys/fs/cgroup/memory")
LARGE = 64 << 20
IDLE = int(os.environ.get("KAREZ_IDLE", "14000"))
STORM = int(os.environ.get("KAREZ_STORM", "200000"))


def sparse(bed, name="large", size=LARGE):
    path = bed.root / name
    with open(path, "wb") as file:
        file.truncate(size)
    os.utime(path, (1.7e9, 1.7e9))


def watch(clients, seconds):
    """Counts the first answers of clients, and their ends, until none is awaited."""
    states, poll, waiting = {"200": 0, "503": 0, "other": 0, "ended": 0}, select.poll(), {}
    for client in clients:
        waiting[client.fileno()] = client
        poll.register(client, select.POLLIN)
    end = time.monotonic() + seconds
    while waiting and time.monotonic() < end:
        for number, _ in poll.poll(100):
            try:
                part = waiting[number].recv(4096, socket.MSG_PEEK)
            except OSError:
                part = b""
            status = part[9:12].decode("latin-1") if part.startswith(b"HTTP/1.1") else "other"
            states["ended" if not part else status if status in states else "other"] += 1
            poll.unregister(number)
            del waiting[number]
    return {**states, "open": len(waiting)}


@Fault(8, "slow-readers", "200 clients read 500 bytes a second of 64 MiB",
       "ended by the minimum rate; bounded memory; others are served as before")
def slow_readers(bed):
    sparse(bed)
    bed.file("f", b"x" * 1000)
    count, limit = 200, bed.scale(10, 5)
    with bed.start(timeouts=(10, 60, limit)) as server:
        alone = latencies(server, "/f", 200)
        time.sleep(0.2)
        before, base, clients = server.private(), server.sockets(), []
        for _ in range(count):
            clients.append(server.ask("/large", receive_buffer=4096))
            clients[-1].setblocking(False)
        begin, held, beside, memory = time.monotonic(), count, [], 0
        while held and time.monotonic() - begin < 5 * limit:
            for client in clients:
                try:
                    client.recv(500)
                except OSError:
                    pass
            # Ended for the server: the client may still read what the kernel has.
            held = max(0, server.sockets() - base)
            memory = max(memory, server.private() - before)
            beside += latencies(server, "/f", 5)
            time.sleep(max(0, 1 - (time.monotonic() - begin) % 1))
        took = time.monotonic() - begin
        for client in clients:
            client.close()
    done = count - held
    return {"figure": f"{done} of {count} ended in {took:.0f} s (limit {limit} s), {memory / count:.0f} B each; others "
                      f"p99 {percentile(beside, 0.99):.1f} ms ({percentile(alone, 0.99):.1f} alone)",
            "met": not held, "ended": done, "seconds": took, "bytes_each": memory / count,
            "p99_ms": percentile(beside, 0.99), "p99_alone_ms": percentile(alone, 0.99)}


@Fault(19, "descriptors", "1,000 clients and 64 descriptors, all in use by stalled downloads",
       "no spin; the first answer within 50 ms of a free descriptor; everybody is served, no 503",
       karez=["", "--model uring"])
def descriptors(bed):
    sparse(bed)
    bed.file("f", b"x" * 1000)
    with bed.start(prefix=["prlimit", "--nofile=64:64"], timeouts=(60, 60, 60)) as server:
        stalled, waiting = stall(server), []
        for _ in range(1000):
            client = server.connect()
            client.sendall(request("/f", "Connection: close"))
            waiting.append(client)
        time.sleep(0.5)
        early = watch(waiting, 0.2)
        spin = server.busy(2)
        poll = select.poll()
        for client in waiting:
            poll.register(client, select.POLLIN)
        begin = time.monotonic()
        reset(stalled[0])
        first = (time.monotonic() - begin) * 1e3 if early["open"] == 1000 and poll.poll(5000) else None
        for client in stalled[1:]:
            reset(client)
        states = watch(waiting, 15)
        took = time.monotonic() - begin
        for client in waiting:
            client.close()
    seen = f"first answer {first:.0f} ms after a descriptor is free" if first is not None else \
        f"{1000 - early['open']} answered before a descriptor is free"
    return {"figure": f"{seen}; "
                      f"{states['200']} × 200, {states['503']} × 503, {states['other']} others, {states['ended']} ended, "
                      f"{states['open']} without answer, all in {took:.1f} s; CPU {spin * 100:.0f} % while waiting",
            "met": first is not None and first <= 50 and states["200"] == 1000 and spin < 0.05, "first_ms": first,
            "early": early, "states": states, "seconds": took, "busy": spin}


def stall(server):
    """Downloads that are not read, until a further one is not answered, or by an error."""
    clients = []
    while True:
        client = server.ask("/large", receive_buffer=4096, timeout=1)
        try:
            good = client.recv(12)[9:12] == b"200"
        except OSError:
            good = False
        if not good:
            reset(client)
            return clients
        clients.append(client)


@Fault(20, "memory", "10,000 clients that take nothing of 64 MiB, memory limit 64 MiB (cgroup v1)",
       "no end by the OOM killer; a further client is served, gets 503, or waits until the others have left",
       karez=["", "--model uring", "--model blocking", "--model posix-aio"], nginx=["open_file_cache max=100;"], needs=[str(MEMORY)])
def memory_limit(bed):
    sparse(bed)
    bed.file("f", b"x" * 1000)
    group, count = MEMORY / f"karez-faults-{os.getpid()}", bed.scale(10_000, 1_000)
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(64 << 20))
        join = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        with bed.start(prefix=join, timeouts=(300, 300, 300)) as server:
            clients, failed = [], 0
            for number in range(count):
                try:
                    clients.append(server.ask("/large", receive_buffer=4096, timeout=2,
                                              source=f"127.0.0.{2 + number % 4}"))
                except OSError:
                    failed += 1
                    if failed > 20:
                        break
            states = watch(clients, 10)
            alive = server.alive()
            used = int((group / "memory.max_usage_in_bytes").read_text())
            private = server.private() if alive else None
            kills = int((group / "memory.oom_control").read_text().split("oom_kill ")[1].split()[0])
            try:
                further = server.get("/f", timeout=3).status if alive else None
            except OSError:
                further = None
            for client in clients:
                reset(client)
            try:
                behind = server.get("/f", timeout=10).status if alive else None
            except OSError:
                behind = None
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().strip(), 5, 0.1)
        try:
            group.rmdir()
        except OSError:
            pass
    return {"figure": f"{len(clients) + failed:,} clients: {states['200']:,} × 200, {states['503']:,} × 503, "
                      f"{states['ended'] + failed:,} ended, {states['open']:,} without answer; "
                      f"{(private or 0) / 1e6:.0f} MB private, {used / 1e6:.0f} MB charged, {kills} OOM kills; "
                      f"a further client: {further or 'waits'}, behind them: {behind}",
            "met": not kills and behind == 200, "clients": count, "states": states, "private": private,
            "charged": used, "oom_kills": kills, "further": further, "behind": behind}


@Fault(32, "idle", f"{IDLE:,} idle connections",
       "at most 600 bytes of user memory each; requests beside them are as fast, and each can still send one",
       karez=["", "--model uring"], seconds=600 + IDLE // 20)
def idle(bed):
    bed.file("f", b"x" * 1000)
    count = bed.scale(IDLE, 2_000)
    most, hours = count + 1000, 24 * 3600
    # nginx closes idle connections when a sixteenth of worker_connections is free.
    with bed.start(timeouts=(hours, hours, 300), karez=["--max-connections", str(most)], connections=most * 9 // 8) as server:
        alone = latencies_of_connections(server, 200)
        before, clients, begin = server.private(), [], time.monotonic()
        for number in range(count):
            clients.append(server.connect(source=f"127.0.0.{2 + number // 10_000}"))
            if number % 1000 == 999:
                server.get("/f")  # the queue of the listener is empty: a full one drops connections that have begun
        opened = time.monotonic() - begin
        beside = latencies_of_connections(server, 200)
        each = (server.private() - before) / count
        old = clients[::max(1, count // 1000)]
        for client in old:
            client.sendall(request("/f"))
        answered = sum(read_answer(client).status == 200 for client in old)
        for client in clients:
            reset(client)
    return {"figure": f"{count:,} connections, {each:.0f} B each; a new connection p99 {percentile(beside, 0.99):.1f} ms "
                      f"({percentile(alone, 0.99):.1f} alone); {answered} of {len(old)} old ones answered",
            "met": each <= 600 and answered == len(old), "connections": count, "opened_seconds": opened,
            "answered": answered, "asked": len(old), "p50_ms": percentile(beside, 0.5),
            "p50_alone_ms": percentile(alone, 0.5), "bytes_each": each, "p99_ms": percentile(beside, 0.99), "p99_alone_ms": percentile(alone, 0.99)}


def latencies_of_connections(server, count):
    took = []
    for _ in range(count):
        begin = time.perf_counter()
        server.get("/f")
        took.append((time.perf_counter() - begin) * 1e3)
    return took


@Fault(33, "reset-storm", "connections that are reset at once, a third of them in the middle of a download",
       "no descriptor or memory is kept, no line logged for each, no spin; served behind them", seconds=600 + STORM // 200)
def reset_storm(bed):
    sparse(bed)
    bed.file("f", b"x" * 1000)
    count = bed.scale(STORM, 5_000)
    with bed.start() as server:
        # What a server keeps for later, such as open files and pipes, is made before.
        for _ in range(5):
            server.get("/f")
            with server.ask("/large") as client:
                client.recv(1000)
                reset(client)
        time.sleep(0.5)
        base, memory, lines = server.descriptors(), None, server.log_lines()
        begin = time.monotonic()
        for number in range(count):
            client = server.connect()
            if number % 3:
                client.sendall(request("/large" if number % 3 == 1 else "/f"))
            reset(client)
            if number == count // 10:
                memory = server.private()
        took = time.monotonic() - begin
        first = latencies(server, "/f", 1)[0]
        until(lambda: server.descriptors() <= base, 5)
        kept = server.descriptors() - base
        grown, spin, lines = server.private() - memory, server.busy(1), server.log_lines() - lines
    return {"figure": f"{count:,} in {took:.0f} s; then an answer in {first:.0f} ms, memory + {grown / 1024:.0f} KiB since "
                      f"a tenth of them, {kept} descriptors kept, {lines} lines logged, "
                      f"CPU {spin * 100:.0f} % at rest",
            "met": kept <= 0 and spin < 0.05 and grown < 4 << 20 and lines < count / 100, "count": count,
            "kept": kept, "seconds": took, "first_ms": first, "memory": grown, "lines": lines, "busy": spin}


@Fault(33, "half-closed", "clients close their direction behind the request for 8 MiB",
       "the whole response arrives")
def half_closed(bed):
    sparse(bed, "large", 8 << 20)
    count, whole = bed.scale(200, 20), 0
    with bed.start() as server:
        for _ in range(count):
            with server.ask("/large") as client:
                client.shutdown(socket.SHUT_WR)
                _, _, received = ended(client, 10)
                whole += len(received) > 8 << 20 and len(received) - received.index(b"\r\n\r\n") - 4 == 8 << 20
    return {"figure": f"{whole} of {count} whole", "met": whole == count, "whole": whole, "count": count}


@Fault(33, "ss-kill", "the kernel destroys 100 connections in the middle of downloads (`ss -K`)",
       "descriptors are free at once, others are served", needs=["ss"])
def ss_kill(bed):
    sparse(bed)
    bed.file("f", b"x" * 1000)
    with bed.start(timeouts=(60, 60, 60)) as server:
        server.get("/f")
        base = server.descriptors()
        clients = [server.ask("/large", receive_buffer=4096) for _ in range(100)]
        until(lambda: server.descriptors() >= base + 100, 5)
        begin, lines = time.monotonic(), server.log_lines()
        subprocess.run(["ss", "-K", "state", "established", f"( sport = :{server.port} )"], capture_output=True)
        freed = until(lambda: server.descriptors() <= base + 2, 10)
        status = server.get("/f").status
        lines = server.log_lines() - lines
        for client in clients:
            client.close()
    text = f"free after {freed * 1e3:.0f} ms" if freed is not None else "not free after 10 s"
    return {"figure": f"{text}, then {status}, {lines} lines logged", "met": freed is not None and status == 200,
            "freed_seconds": freed, "lines": lines}
