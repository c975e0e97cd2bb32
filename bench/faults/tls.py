"""Floods of TLS handshakes."""
import socket, time

from handshakes import client_hello
from .bed import Fault, percentile, request, tls_context, until
from .clients import watch


def tls_get(server, context):
    with context.wrap_socket(server.connect(port=server.https, timeout=10), server_hostname="localhost") as client:
        client.sendall(request("/f", "Connection: close"))
        return client.recv(65536)[9:12] == b"200"


@Fault(29, "tls-half", "10,000 handshakes that stop in the middle of ClientHello, or behind it",
       "each ends by its deadline of 10 s, memory is bounded, others are served", needs=["openssl"])
def half_handshakes(bed):
    bed.file("f", b"x" * 100)
    count, hello, context = bed.scale(10_000, 1_000), client_hello(), tls_context()
    with bed.start(tls=True) as server:
        assert tls_get(server, context)
        alone = []
        for _ in range(50):
            start = time.perf_counter()
            tls_get(server, context)
            alone.append((time.perf_counter() - start) * 1e3)
        before, base = server.private(), server.sockets()
        begin, clients, cpu = time.monotonic(), [], server.cpu()
        for number in range(count):
            client = server.connect(port=server.https, source=f"127.0.0.{2 + number % 4}")
            client.sendall(hello if number % 2 else hello[:20])
            clients.append(client)
        opened, held, memory = time.monotonic() - begin, 0, 0
        start = time.monotonic()
        while time.monotonic() - start < 2:
            if (now := server.sockets() - base) > held:
                held, memory = now, server.private() - before
            time.sleep(0.05)
        start = time.monotonic()
        try:
            served = tls_get(server, context)
            behind = (time.monotonic() - start) * 1e3 if served else None
        except OSError:
            behind = None
        cpu = server.cpu() - cpu
        # A server that has already ended the first of them holds fewer.
        freed = until(lambda: server.sockets() - base <= 2, 40, 0.2)
        total = None if freed is None else time.monotonic() - begin
        states = watch(clients, 5)
        for client in clients:
            client.close()
    each = memory / max(held, 1)
    text = (f"{held:,} held at once, {each / 1024:.1f} KiB each; "
            + (f"all ended {total:.1f} s after the first began" if freed is not None else f"{states['open']:,} still open")
            + "; another handshake behind them: "
            + ("not done in 10 s" if behind is None else f"{behind:.0f} ms ({percentile(alone, 0.5):.0f} alone)") + f", {cpu:.1f} s of CPU")
    return {"figure": text, "met": freed is not None and freed < 15 and behind is not None, "held": held, "bytes_each": each,
            "freed_seconds": freed, "opened_seconds": opened, "total": total, "states": states, "cpu_seconds": cpu,
            "behind_ms": behind, "alone_ms": percentile(alone, 0.5)}


@Fault(29, "tls-fragmented", "ClientHello in records of one byte, each in a segment of its own",
       "served, or ended by an alert; never a wait", needs=["openssl"])
def fragmented(bed):
    bed.file("f", b"x" * 100)
    hello = client_hello()[5:]
    with bed.start(tls=True) as server:
        with server.connect(port=server.https, timeout=12) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begin, received = time.monotonic(), None
            try:
                for byte in hello:
                    client.sendall(b"\x16\x03\x01\0\1" + bytes([byte]))
                received = client.recv(65536)
            except (TimeoutError, socket.timeout):
                received = None
            except OSError:
                received = b""
            took = time.monotonic() - begin
        good = tls_get(server, tls_context())
    what = "no answer" if received is None else "reset" if not received else \
        {22: "handshake goes on", 21: "alert"}.get(received[0], "other bytes")
    return {"figure": f"{what} after {took * 1e3:.0f} ms ({len(hello)} records)", "met": received is not None and good,
            "what": what, "ms": took * 1e3}
