"""Requests that can be read two ways, and slow ones."""
import socket, time

from .bed import Fault, ended, request

HOST = b"Host: localhost\r\n"
SECOND = b"GET /second HTTP/1.1\r\n" + HOST + b"\r\n"


def ambiguous():
    """(name, bytes): requests whose end two readers may see in two places, each with a second request in doubt."""
    def post(name, fields, body=b""):
        return name, b"POST /f HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body
    chunk = b"0\r\n\r\n"
    cases = [
        post("both lengths", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunk),
        post("both, other order", b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunk),
        post("two lengths", b"Content-Length: 0\r\nContent-Length: 61\r\n"),
        post("list of lengths", b"Content-Length: 0, 61\r\n"),
    ]
    for value in [b"+5", b"-0", b"0x5", b"5 5", b"5,", b"", b"1e1", b"00000000000000000000000", b"18446744073709551616"]:
        cases.append(post(f"length {value.decode()!r}", b"Content-Length: " + value + b"\r\n"))
    for value in [b"xchunked", b"chunked, identity", b"identity, chunked", b"chunked\x0b", b"\x0bchunked", b"chunked, chunked",
                  b"gzip, chunked", b"\"chunked\"", b"chunked;q=1", b",chunked", b"identity", b"chunk"]:
        cases.append(post(f"coding {value.decode('latin-1')!r}", b"Transfer-Encoding: " + value + b"\r\n", chunk))
    for name in [b"Transfer-Encoding :", b"Transfer_Encoding:", b" Transfer-Encoding:", b"Transfer-Encoding\t:",
                 b"Transfer-Encoding\x00:", b"Content-Length :", b"\x0bContent-Length:", b"Content\rLength:"]:
        value = b" 61" if b"Length" in name else b" chunked"
        cases.append(post(f"name {name.decode('latin-1')!r}", name + value + b"\r\n"))
    for size in [b"+0", b"-0", b"0x0", b" 0", b"0 ", b"0;", b"", b"g", b"0\n", b"00000000000000000", b"FFFFFFFFFFFFFFFFF"]:
        cases.append(post(f"chunk {size.decode()!r}", b"Transfer-Encoding: chunked\r\n", size + b"\r\n\r\n"))
    cases += [
        post("chunk without its end", b"Transfer-Encoding: chunked\r\n", b"1\r\nxx\r\n0\r\n\r\n"),
        post("chunk by LF", b"Transfer-Encoding: chunked\r\n", b"0\n\n"),
        post("extension by LF", b"Transfer-Encoding: chunked\r\n", b"0;a\nb\r\n\r\n"),
        post("trailer with a length", b"Transfer-Encoding: chunked\r\n", b"0\r\nContent-Length: 61\r\n\r\n"),
        post("folded field", b"X: a\r\n Transfer-Encoding: chunked\r\n"),
        post("CR in a value", b"X: a\rTransfer-Encoding: chunked\r\n"),
        post("NUL in a value", b"X: a\x00b\r\n"),
        post("LF ends a line", b"X: a\nContent-Length: 0\r\n"),
        ("coding in HTTP/1.0", b"POST /f HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n" + chunk),
        ("two hosts", b"GET /f HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n"),
        ("no host", b"GET /f HTTP/1.1\r\n\r\n"),
        ("HTTP/1.2.3", b"GET /f HTTP/1.2.3\r\n" + HOST + b"\r\n"),
        ("HTTP/0.9", b"GET /f\r\n"),
        ("space before the name", b"GET /f HTTP/1.1\r\n " + HOST + b"\r\n"),
        ("two spaces", b"GET  /f HTTP/1.1\r\n" + HOST + b"\r\n"),
        ("space in the target", b"GET /f x HTTP/1.1\r\n" + HOST + b"\r\n"),
        ("tab", b"GET\t/f HTTP/1.1\r\n" + HOST + b"\r\n"),
        ("GET with a length", b"GET /f HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n12345"),
        ("HEAD with a length", b"HEAD /f HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n12345"),
    ]
    return cases


# Requests of the list that RFC 9112 lets a server accept: their end is not in doubt.
HARMLESS = {"identity", "GET with a length", "HEAD with a length", "chunk '0;'", "trailer with a length", "LF ends a line",
            "chunk '00000000000000000'", "length '00000000000000000000000'", "name 'Transfer_Encoding:'", "two spaces"}


@Fault(4, "smuggling", "requests whose length or form is in doubt, each with a second one behind",
       "one response, then the connection ends")
def smuggling(bed):
    bed.file("f", b"f" * 10)
    bed.file("second", b"second")
    accepted, refused, silent = [], 0, []
    cases = ambiguous()
    with bed.start(timeouts=(1, 1, 5)) as server:
        for name, text in cases:
            with server.connect() as client:
                client.sendall(text + SECOND)
                how, _, received = ended(client, 3)
            if name in HARMLESS:
                continue
            count = received.count(b"HTTP/1.1 ")
            if count > 1:
                accepted.append(name)
            elif count == 0 and how == "open":
                silent.append(name)
            else:
                refused += 1
    tested = len(cases) - len(HARMLESS & {name for name, _ in cases})
    return {"figure": f"{len(accepted)} of {tested} with a second response", "accepted": accepted, "silent": silent,
            "refused": refused, "tested": tested, "met": not accepted and not silent}


def drip(server, first, piece, pause, limit):
    """Sends a byte now and then until the server ends the connection. Returns (how, status, seconds)."""
    with server.connect() as client:
        begin, received = time.monotonic(), b""
        client.sendall(first)
        while time.monotonic() - begin < limit:
            client.settimeout(pause)
            try:
                part = client.recv(65536)
                if not part:
                    return "closed", received[9:12].decode(), time.monotonic() - begin
                received += part
                continue
            except (TimeoutError, socket.timeout):
                pass
            except OSError:
                return "reset", received[9:12].decode(), time.monotonic() - begin
            try:
                client.sendall(piece)
            except OSError:
                return "reset", received[9:12].decode(), time.monotonic() - begin
        return "open", received[9:12].decode(), limit


@Fault(22, "slow-requests", "slow head, slow body, idle connection (each timeout 3 s)",
       "ended by the timeout as a whole, 408 where a request has begun")
def slow_requests(bed):
    bed.file("f", b"x" * 100)
    with bed.start(timeouts=(3, 3, 5)) as server:
        results = {
            "silent": drip(server, b"", b"", 0.25, 15),
            "head": drip(server, b"GET /f HTTP/1.1\r\nX: ", b"a", 0.25, 15),
            "body": drip(server, b"POST /f HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n", b"b", 0.25, 15),
            "idle": drip(server, request("/f"), b"", 0.25, 15),
        }
    text = "; ".join(f"{name}: {how} after {took:.1f} s{' (' + status + ')' if status else ''}"
                     for name, (how, status, took) in results.items())
    return {"figure": text, "met": all(how != "open" and took < 6 for how, _, took in results.values()),
            "results": results}
