"""The process of the server: system calls that fail, its rights, its end, its logs, a stop for a minute."""
import os, signal, socket, subprocess, time
from pathlib import Path

from .bed import Fault, ended, latencies, percentile, read_answer, request, tls_context, until

# (call of karez, call of nginx, what strace injects)
INJECTIONS = [
    (("sendfile", "sendfile"), "error=EIO:when=3"), (("sendfile", "sendfile"), "error=EINTR:when=2+2"),
    (("recvfrom", "recvfrom"), "error=EINTR:when=1"), (("recvfrom", "recvfrom"), "error=ECONNRESET:when=1"),
    (("accept4", "accept4"), "error=EMFILE:when=1..2"), (("accept4", "accept4"), "error=ECONNABORTED:when=1"),
    (("openat2", "openat"), "error=ENFILE:when=1..2"), (("openat2", "openat"), "error=EIO:when=1"),
    (("openat2", "openat"), "error=ENOMEM:when=1"), (("epoll_pwait", "epoll_wait"), "error=EINTR:when=1..3"),
    (("epoll_ctl", "epoll_ctl"), "error=ENOMEM:when=1"), (("statx", "newfstatat"), "error=EIO:when=1"),
    (("sendto", "writev"), "error=ENOBUFS:when=1"), (("sendto", "writev"), "error=EPIPE:when=1"),
]


@Fault(5, "system-calls", "14 system calls fail once or more (strace -e inject) during downloads",
       "right bytes, an error status, or a visible end; then everything is served", needs=["strace"])
def system_calls(bed):
    content = os.urandom(4 << 20)
    results, wrong, stuck, dead = {}, 0, 0, 0
    for number, (calls, what) in enumerate(INJECTIONS):
        call = calls[bed.kind == "nginx"]
        bed.file("f", content)
        for one in range(4):
            bed.file(f"new-{one}", content)
        with bed.start() as server:
            assert server.get("/f").body == content
            tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                                       "-e", f"inject={call}:{what}", "-p", str(server.worker())],
                                      stderr=subprocess.PIPE, text=True)
            until(lambda: "TracerPid:\t0" not in Path(f"/proc/{server.worker()}/status").read_text(), 5)
            outcomes = []
            for one in range(4):
                try:
                    answer = server.get(f"/new-{one}", timeout=5)
                    if answer.whole and answer.status == 200:
                        outcomes.append("right" if answer.body == content else "wrong")
                    else:
                        outcomes.append(str(answer.status) if answer.whole else answer.end)
                except OSError:
                    outcomes.append("reset")
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            alive = server.alive() and server.get("/f").body == content
        wrong += outcomes.count("wrong")
        stuck += outcomes.count("timeout")
        dead += not alive
        results[f"{call}:{what}"] = outcomes
    right = sum(one.count("right") for one in results.values())
    total = 4 * len(INJECTIONS)
    return {"figure": f"{right} right, {total - right - wrong - stuck} errors or ends, {wrong} wrong, {stuck} without end "
                      f"of {total} downloads; not served afterwards in {dead} of {len(INJECTIONS)}",
            "met": not wrong and not stuck and not dead, "outcomes": results, "wrong": wrong, "stuck": stuck,
            "dead": dead}


@Fault(9, "rights", "an attacker runs code in the process: which rights it has (/proc/PID/status)",
       "no capabilities, no new privileges, a filter of system calls, nothing outside readable")
def rights(bed):
    with bed.start() as server:
        status = Path(f"/proc/{server.worker()}/status")
        until(lambda: "Uid:\t0" not in status.read_text(), 5)  # nginx's worker begins as root
        text = status.read_text()
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        dumpable = os.stat(f"/proc/{server.worker()}").st_uid
    figure = {name: fields[name].split()[0] for name in ["Uid", "CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp"]}
    figure["owner"] = dumpable
    return {"figure": f"user {figure['Uid']}, effective capabilities {int(figure['CapEff'], 16):#x}, bounding set "
                      f"{int(figure['CapBnd'], 16):#x}, no_new_privs {figure['NoNewPrivs']}, seccomp {figure['Seccomp']}",
            "met": not int(figure["CapEff"], 16) and figure["NoNewPrivs"] == "1" and figure["Seccomp"] == "2",
            "status": figure}


@Fault(23, "abort", "the serving process ends by SIGABRT under 100 open connections",
       "served again within 100 ms, the other connections are kept", karez=["", "--supervise"])
def abort(bed):
    bed.file("f", b"x" * 1000)
    with bed.start() as server:
        clients = [server.ask("/f") for _ in range(100)]
        for client in clients:
            read_answer(client)
        os.kill(server.worker(), signal.SIGABRT)
        def served():
            try:
                return server.get("/f", timeout=0.2).status == 200
            except OSError:
                return False
        back = until(served, 3, 0.001)
        kept = 0
        for client in clients:
            try:
                client.settimeout(1)
                client.sendall(request("/f"))
                kept += read_answer(client).status == 200
            except OSError:
                pass
    return {"figure": (f"served again after {back * 1e3:.0f} ms" if back is not None else "the server has ended")
                      + f", {kept} of 100 connections kept", "met": back is not None and back <= 0.1,
            "back_seconds": back, "kept": kept}


def count_answers(server, count):
    """Requests on one connection, pipelined by ten. Returns the responses of status 200, and the slowest in ms."""
    right, slowest = 0, 0
    with server.connect(timeout=5) as client:
        for _ in range(count // 10):
            begin, answers, buffer = time.monotonic(), 0, b""
            client.sendall(request("/f") * 10)
            while answers < 10:
                try:
                    part = client.recv(65536)
                except OSError:
                    part = b""
                if not part:
                    return right, 5000
                buffer += part
                answers = buffer.count(b"x" * 100)
            right += answers
            slowest = max(slowest, (time.monotonic() - begin) * 1e3)
    return right, slowest


@Fault(35, "log-pipe", "the access log is a FIFO whose reader does not read", "lines are lost, responses wait for nothing")
def log_pipe(bed):
    bed.file("f", b"x" * 100)
    fifo = bed.place / "log"
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    holder = os.open(fifo, os.O_RDWR)
    count = bed.scale(20_000, 5_000)
    try:
        with bed.start(karez=["--log", "combined", "--access-log", fifo], site=f"access_log {fifo} combined;") as server:
            right, slowest = count_answers(server, count)
            # A process that waits for the pipe does not end by a signal until it is read.
            until(lambda: drained(holder), 1, 0.2)
    finally:
        os.close(holder)
    return {"figure": f"{right:,} of {count:,} answered, slowest {slowest:.0f} ms", "met": right == count,
            "answered": right, "count": count, "slowest_ms": slowest}


def drained(descriptor):
    os.set_blocking(descriptor, False)
    try:
        while os.read(descriptor, 1 << 20):
            pass
    except BlockingIOError:
        pass
    return False


@Fault(35, "log-disk-full", "the disk of the access log is full", "lines are lost, responses wait for nothing")
def log_disk_full(bed):
    bed.file("f", b"x" * 100)
    disk = bed.place / "logs"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=777", "tmpfs", disk], check=True)
    count = bed.scale(20_000, 5_000)
    try:
        with bed.start(karez=["--log", "combined", "--access-log", disk / "log"],
                       site=f"access_log {disk}/log combined;") as server:
            right, slowest = count_answers(server, count)
            lines = server.log_lines()
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
    return {"figure": f"{right:,} of {count:,} answered, slowest {slowest:.0f} ms, {lines} lines in the error log",
            "met": right == count, "answered": right, "slowest_ms": slowest, "error_lines": lines}


@Fault(36, "stopped", "the process is stopped (SIGSTOP) for 60 s, and continues",
       "requests sent meanwhile are answered, downloads go on, deadlines do not fire for what has arrived")
def stopped(bed):
    content = os.urandom(24 << 20)
    bed.file("f", b"x" * 1000)
    bed.file("large", content)
    seconds = bed.scale(60, 4)
    timeouts = bed.scale((10, 60, 30), (2, 2, 2))
    with bed.start(timeouts=timeouts) as server:
        idle = [server.ask("/f", timeout=20) for _ in range(50)]
        for client in idle:
            read_answer(client)
        halves = [server.connect(timeout=20) for _ in range(20)]
        for client in halves:
            client.sendall(request("/f")[:20])
        downloads = [server.ask("/large", timeout=20, receive_buffer=65536) for _ in range(10)]
        time.sleep(0.5)
        for pid in server.pids():
            os.kill(pid, signal.SIGSTOP)
        for client in idle:
            client.sendall(request("/f"))
        for client in halves:
            client.sendall(request("/f")[20:])
        received = [drain_now(client) for client in downloads]
        time.sleep(seconds)
        for pid in server.pids():
            os.kill(pid, signal.SIGCONT)
        answered = sum(read_answer(client).status == 200 for client in idle)
        begun = sum(read_answer(client).status == 200 for client in halves)
        whole = 0
        for client, before in zip(downloads, received):
            answer = read_answer(client, before)
            whole += answer.whole and answer.body == content
    return {"figure": f"after {seconds} s: {answered} of 50 requests answered, {begun} of 20 half sent ones, "
                      f"{whole} of 10 downloads whole", "met": (answered, begun, whole) == (50, 20, 10),
            "seconds": seconds, "answered": answered, "half": begun, "downloads": whole}


def drain_now(client):
    parts = []
    client.setblocking(False)
    try:
        while part := client.recv(1 << 20):
            parts.append(part)
            if sum(map(len, parts)) > 20 << 20:
                break
    except OSError:
        pass
    client.settimeout(20)
    return b"".join(parts)
