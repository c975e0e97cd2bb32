"""Floods of HTTP/2 frames (RFC 9113, RFC 7541) over a connection without TLS."""
import socket, struct, time

from .bed import Fault, ended

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
STEP = 10     # units between two looks at the answer, which is the precision of the count
MOST = 20_000
LARGE = 64 << 20


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(index, value):
    """A literal field without indexing, whose name is an entry of the static table."""
    first = bytes([index]) if index < 15 else bytes([15, index - 15])
    return first + (bytes([len(value)]) if len(value) < 127 else bytes([127]) + number(len(value) - 127)) + value


def number(value):
    text = b""
    while value > 127:
        text, value = text + bytes([value & 127 | 128]), value >> 7
    return text + bytes([value])


def block(path=b"/f", method=b"\x82"):
    return method + b"\x86" + literal(4, path) + literal(1, b"localhost")  # :scheme http, :path, :authority


def headers(stream, flags=END_HEADERS | END_STREAM, **options):
    return frame(HEADERS, flags, stream, block(**options))


# The unit with a number, by the name of the flood.
FLOODS = {
    "rapid-reset": lambda n: headers(2 * n + 1) + frame(RST_STREAM, 0, 2 * n + 1, struct.pack(">I", 8)),
    "made-you-reset": lambda n: headers(2 * n + 1) + frame(WINDOW_UPDATE, 0, 2 * n + 1, bytes(4)),
    "continuation": lambda n: frame(HEADERS, 0, 1, b"\x82") if not n else frame(CONTINUATION, 0, 1, b""),
    "settings": lambda n: frame(SETTINGS, 0, 0),
    "ping": lambda n: frame(PING, 0, 0, bytes(8)),
    "priority": lambda n: frame(PRIORITY, 0, 1, b"\0\0\0\3\0"),
    "empty-data": lambda n: headers(1, END_HEADERS, method=b"\x83") if not n else frame(DATA, 0, 1),
    "window-update": lambda n: headers(1) if not n else frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
}


def begin(server):
    """A connection that has exchanged settings, and reads nothing by itself."""
    client = server.connect(port=server.h2, timeout=5)
    client.sendall(PREFACE + frame(SETTINGS, 0, 0))
    client.recv(65536)
    client.sendall(frame(SETTINGS, ACK, 0))
    time.sleep(0.05)
    return client


def goaway(received):
    """The error code of the last GOAWAY in these frames, or None."""
    code = None
    while len(received) >= 9:
        length, kind = int.from_bytes(received[:3], "big"), received[3]
        if kind == GOAWAY and len(received) >= 17:
            code = int.from_bytes(received[13:17], "big")
        received = received[9 + length:]
    return code


class Frames:
    """Frames as they arrive: the code of the last GOAWAY, and nothing else, is kept."""

    def __init__(self):
        self.rest, self.code = bytearray(), None

    def add(self, part):
        self.rest += part
        at = 0
        while len(self.rest) - at >= 9:
            length = int.from_bytes(self.rest[at:at + 3], "big")
            if len(self.rest) - at < 9 + length:
                break
            if self.rest[at + 3] == GOAWAY:
                self.code = int.from_bytes(self.rest[at + 13:at + 17], "big")
            at += 9 + length
        del self.rest[:at]


def units_until_end(server, unit):
    """Sends units until the server ends the connection. Returns (units or None, how, GOAWAY code)."""
    client, frames = begin(server), Frames()
    with client:
        for first in range(0, MOST, STEP):
            try:
                client.settimeout(2)
                client.sendall(b"".join(unit(n) for n in range(first, first + STEP)))
                client.settimeout(0.001)
                for _ in range(20):  # no more, since a server may send for as long as it is read
                    part = client.recv(1 << 20)
                    frames.add(part)
                    if not part or frames.code not in [None, 0]:
                        return first + STEP, "closed", frames.code
            except (TimeoutError, socket.timeout):
                pass
            except OSError:
                return first + STEP, "reset", frames.code
        return None, "open", frames.code


CODES = {0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 11: "ENHANCE_YOUR_CALM", 9: "COMPRESSION_ERROR"}


def define(name):
    @Fault(21, f"h2-{name}", f"HTTP/2: {name.replace('-', ' ')} flood", "the connection ends within 1,000 units")
    def flood(bed):
        bed.file("f", b"x" * (1 << 20))
        with bed.start() as server:
            cpu = server.cpu()
            count, how, code = units_until_end(server, FLOODS[name])
            cpu = server.cpu() - cpu
            good = server.get("/f").status == 200
        text = f"{how} within {count:,} units" if count else f"open after {MOST:,} units"
        text += f", GOAWAY {CODES.get(code, code)}" if code is not None else ""
        return {"figure": text + ("" if good else ", then no answer"), "units": count, "how": how, "goaway": code,
                "cpu_seconds": cpu, "met": good and count is not None and count <= 1000}


for flood_name in FLOODS:
    define(flood_name)


@Fault(21, "h2-hpack-bomb", "HTTP/2: a field of 4,000 bytes, referred to 12,000 times in each of 100 requests",
       "an error, and memory does not grow with the expanded size (4.8 GB)")
def hpack_bomb(bed):
    bed.file("f", b"x" * 1000)
    entry = b"\x40" + b"\x01a" + b"\x7f" + number(4000 - 127) + b"v" * 4000   # with incremental indexing
    with bed.start() as server:
        before, ends, most = server.memory("VmHWM"), {}, 0
        for _ in range(100):
            with begin(server) as client:
                try:
                    client.sendall(frame(HEADERS, END_HEADERS | END_STREAM, 1, block() + entry + b"\xbe" * 12_000))
                    how, _, received = ended(client, 0.3)
                except OSError:
                    how, received = "reset", b""
            code = goaway(received)
            status = {b"\x8d": "404", b"\x88": "200"}.get(received[9:10])
            end = f"{how}" + (f", GOAWAY {CODES.get(code, code)}" if code is not None else "")
            if how == "open":
                end = "answered" if received else "no answer"
            ends[end] = ends.get(end, 0) + 1
            most = max(most, server.memory("VmHWM") - before)
        good = server.get("/f").status == 200
    text = "; ".join(f"{count} × {end}" for end, count in ends.items())
    return {"figure": f"{text}; memory + {most / 1e6:.1f} MB", "met": good and most < 50e6, "ends": ends,
            "memory": most}


@Fault(8, "h2-no-window", "HTTP/2: a client opens no window for 100 streams of 1 MiB",
       "streams end by the send timeout, memory is bounded")
def no_window(bed):
    bed.file("f", b"x" * (1 << 20))
    limit = bed.scale(10, 4)
    with bed.start(timeouts=(10, 60, limit)) as server:
        before = server.memory()
        client = begin(server)
        client.sendall(b"".join(headers(2 * n + 1) for n in range(100)))
        time.sleep(1)
        grown, begun, received, count = server.memory() - before, time.monotonic(), b"", 0
        while time.monotonic() - begun < 3 * limit:
            client.settimeout(0.5)
            try:
                part = client.recv(1 << 20)
            except (TimeoutError, socket.timeout):
                continue
            except OSError:
                break
            if not part:
                break
            received += part
            count = streams_reset(received)
            if count >= 100:
                break
        took = time.monotonic() - begun
        closed = not part
    done = closed or count >= 100
    return {"figure": f"{count} streams reset{', connection closed' if closed else ''} after {took:.1f} s "
                      f"(limit {limit} s), memory + {grown / 1024:.0f} KiB", "met": done, "reset": count,
            "seconds": took, "memory": grown}


def streams_reset(received):
    streams = set()
    while len(received) >= 9:
        length, kind, stream = int.from_bytes(received[:3], "big"), received[3], received[5:9]
        if kind == RST_STREAM:
            streams.add(stream)
        received = received[9 + length:]
    return len(streams)
