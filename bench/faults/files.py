"""Files that change, names that attack, special files."""
import ctypes, multiprocessing, os, random, re, signal, socket, stat, subprocess, time, urllib.parse

from .bed import Fault, read_answer, request, until

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def forever(work, *arguments):
    """Runs a function in a process until it is killed."""
    child = multiprocessing.get_context("fork").Process(target=work, args=arguments, daemon=True)
    child.start()
    return child


def rewrite(path, size, truncate):
    """Rewrites a file in place, by one write(2): each version is one byte value, so a mixed body has two.

    With several writes a file would be mixed between two of them, and a response with that is right.
    """
    number, file = 0, os.open(path, os.O_RDWR)
    while True:
        number = number % 250 + 1
        if truncate:
            os.ftruncate(file, 0)
        os.pwrite(file, bytes([number]) * size, 0)
        time.sleep(random.random() * 0.008)


def downloads_under_a_writer(bed, truncate):
    size, count = 2 << 20, bed.scale(1000, 100)
    path = bed.file("changing", b"\x01" * size)
    whole = mixed = 0
    with bed.start() as server:
        writer = forever(rewrite, path, size, truncate)
        try:
            for _ in range(count):
                answer = server.get("/changing")
                if answer.whole and answer.status == 200 and answer.body:
                    whole += 1
                    mixed += answer.body.count(answer.body[:1]) != len(answer.body)
        finally:
            writer.kill()
    return {"figure": f"{mixed} mixed of {whole} complete responses ({count} downloads)", "met": mixed == 0,
            "downloads": count, "complete": whole, "mixed": mixed}


WRITER = "no complete response joins two contents"


@Fault(3, "rewritten", "a file is rewritten in place while it is sent", WRITER, karez=["", "--via copy"])
def rewritten(bed):
    return downloads_under_a_writer(bed, False)


@Fault(3, "refilled", "a file is cut and filled again while it is sent", WRITER, karez=["", "--via copy"])
def refilled(bed):
    return downloads_under_a_writer(bed, True)


def exchange(one, other):
    rename = ctypes.CDLL(None).renameat2
    one, other = os.fsencode(one), os.fsencode(other)
    while True:
        rename(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)


@Fault(14, "symlink-race", "a directory is exchanged with a symbolic link out of the root", "nothing outside is sent",
       nginx=["", "disable_symlinks on;"])
def symlink_race(bed):
    outside = bed.place / "outside"
    outside.mkdir(mode=0o755)
    (outside / "f").write_bytes(b"SECRET" * 10)
    bed.file("d/f", b"inside" * 10)
    (bed.root / "l").symlink_to(outside)
    count, batch, leaks, inside, statuses = bed.scale(100_000, 10_000), 20, 0, 0, {}
    with bed.start() as server:
        attacker = forever(exchange, bed.root / "d", bed.root / "l")
        try:
            client, left = None, count
            while left > 0:
                client = client or server.connect()
                client.sendall(request("/d/f") * batch)
                buffer, answers = b"", 0
                while answers < batch:
                    try:
                        part = client.recv(1 << 20)
                    except OSError:
                        part = b""
                    if not part:
                        client = None
                        break
                    buffer += part
                    answers = len(re.findall(rb"HTTP/1\.1 \d\d\d", buffer)) if buffer.endswith(
                        (b"SECRET", b"inside", b"\n", b">")) else answers
                leaks += buffer.count(b"SECRET" * 10)
                inside += buffer.count(b"inside" * 10)
                for one in re.findall(rb"HTTP/1\.1 (\d\d\d)", buffer):
                    statuses[one.decode()] = statuses.get(one.decode(), 0) + 1
                left -= batch
        finally:
            attacker.kill()
    return {"figure": f"{leaks:,} leaks in {count:,} requests", "met": leaks == 0, "requests": count, "leaks": leaks,
            "inside": inside, "statuses": statuses}


@Fault(16, "truncated", "a file is cut while it is sent, with a second request behind (pipelined)",
       "the connection ends; no response begins inside the promised body")
def truncated(bed):
    size, count, chance = 8 << 20, bed.scale(1000, 100), random.Random(16)
    bed.file("small", b"s" * 100)
    inside = unended = complete = 0
    with bed.start() as server:
        for number in range(count):
            path = bed.root / f"cut-{number}"
            with open(path, "wb") as file:
                file.truncate(size)
            with server.connect(timeout=10, receive_buffer=1 << 16) as client:
                client.sendall(request(f"/cut-{number}") + request("/small"))
                received = client.recv(1 << 16)
                os.truncate(path, chance.randrange(size))
                end = None
                parts = [received]
                while end is None:
                    try:
                        part = client.recv(1 << 20)
                        end = None if part else "closed"
                        parts.append(part)
                    except (TimeoutError, socket.timeout):
                        end = "open"
                    except OSError:
                        end = "reset"
                    if sum(map(len, parts)) > size:  # sent before the cut was seen
                        end = "complete"
            head, _, body = b"".join(parts).partition(b"\r\n\r\n")
            complete += end == "complete"
            inside += b"HTTP/1.1" in body[:size]
            unended += end == "open"
            path.unlink()
    return {"figure": f"{inside} of {count} with a second response inside, {unended} left open", "count": count,
            "met": not inside and not unended, "inside": inside, "open": unended, "complete": complete}


@Fault(30, "ranges", "1,000 ranges, overlapping ranges, and the limits of a file of 2^63-1 bytes",
       "right bytes, bounded responses")
def ranges(bed):
    content = os.urandom(1 << 20)
    bed.file("f", content)
    huge = bed.place / "root/huge"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", bed.root], check=True)
    try:
        bed.root.chmod(0o755)
        bed.file("f", content)
        with open(huge, "wb") as file:
            file.truncate((1 << 63) - 1)
        last = (1 << 63) - 2
        cases = [("/f", "0-0", content[:1]), ("/f", "-5", content[-5:]), ("/f", "1048575-", content[-1:]),
                 ("/f", "100-50", None), ("/f", "1048576-", 416), ("/f", "0-99999999999999999999999", None),
                 ("/f", "-99999999999999999999999", None), ("/f", "x-1", None), ("/f", "-0", 416),
                 ("/huge", "-1", b"\0"), ("/huge", f"{last}-", b"\0"), ("/huge", f"{last}-{last + 5}", b"\0"),
                 ("/huge", f"{last + 1}-", 416), ("/huge", "18446744073709551615-18446744073709551616", None)]
        right, wrong, sizes = 0, [], {}
        with bed.start() as server:
            for path, what, expected in cases:
                answer = server.get(path, f"Range: bytes={what}") if path == "/f" or expected is not None \
                    else head_only(server, path, what)
                if expected is None:   # not a range, or one that ends with the file
                    good = answer.status in [200, 206, 416] and (path == "/huge" or answer.status == 416 or
                                                                 answer.body == content)
                elif expected == 416:
                    good = answer.status == 416
                else:
                    good = answer.status == 206 and answer.body == expected
                right += good
                wrong += [] if good else [what]
            for name, what in [("1,000 of one byte", ",".join(f"{n * 2}-{n * 2}" for n in range(1000))),
                               ("1,000 overlapping", ",".join(f"{n}-" for n in range(1000)))]:
                answer = server.get("/f", f"Range: bytes={what}")
                sizes[name] = {"status": answer.status, "bytes": len(answer.body)}
        bounded = all(one["bytes"] <= 2 * len(content) for one in sizes.values())
        text = "; ".join(f"{name}: {one['status']}, {one['bytes']:,} B" for name, one in sizes.items())
        return {"figure": f"{right} of {len(cases)} right; {text}", "met": bounded and right == len(cases),
                "right": right, "wrong": wrong, "sizes": sizes}
    finally:
        subprocess.run(["umount", "-l", bed.root], check=False)


def head_only(server, path, what):
    """Requests a range by HEAD, where a whole file of 2^63-1 bytes would be the body."""
    with server.connect() as client:
        client.sendall(request(path, f"Range: bytes={what}", "Connection: close", method="HEAD"))
        answer = read_answer(client)
        answer.end = "whole"
        return answer


@Fault(31, "special-files", "FIFO, socket, device, file without permission, link into /proc, loop of links",
       "an error status at once, never a wait")
def special_files(bed):
    os.mkfifo(bed.root / "fifo", 0o644)
    socket.socket(socket.AF_UNIX).bind(str(bed.root / "socket"))
    os.mknod(bed.root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(bed.root / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    os.chmod(bed.root / "socket", 0o666)
    bed.file("secret", b"x").chmod(0)
    (bed.root / "proc").symlink_to("/proc/self/environ")
    (bed.root / "loop").symlink_to("loop")
    statuses, slowest = {}, 0
    with bed.start() as server:
        for name in ["fifo", "socket", "null", "zero", "secret", "proc", "loop"]:
            begin = time.monotonic()
            with server.connect(timeout=3) as client:
                client.sendall(request(f"/{name}"))
                try:
                    part = client.recv(4096)
                    statuses[name] = part[9:12].decode() or "closed"
                except OSError:
                    statuses[name] = "none"
            slowest = max(slowest, time.monotonic() - begin)
    text = ", ".join(f"{name} {status}" for name, status in statuses.items())
    return {"figure": f"{text}; slowest {slowest * 1e3:.0f} ms", "statuses": statuses, "slowest_ms": slowest * 1e3,
            "met": all(status.startswith("4") for status in statuses.values())}


@Fault(38, "names", "names with every byte, of 255 bytes, not UTF-8, with HTML, in a listing",
       "each listed reference leads to its file; no name becomes markup")
def names(bed):
    every = [bytes([97, byte, 98]) for byte in range(1, 256) if byte != 0x2F]
    every += [b"<script>alert(1)<script>", b'"onload="x', b"&amp;", b"a%2Fb", b"%", b"#x", b"?x=1", b"x" * 255,
              "ü".encode() * 127, b"\xff\xfe\xfd", b"a//b".replace(b"/", b"\\"), b" lead", b"trail ",
              b"javascript:alert(1)", b"http:x", "\u202eexe.txt".encode(), b"a\r\nSet-Cookie: x"]
    folder = os.fsencode(bed.root) + b"/d"
    os.mkdir(folder)
    for number, name in enumerate(every):
        with open(folder + b"/" + name, "wb") as file:
            file.write(b"%d" % number)
    with bed.start() as server:
        listing = server.get("/d/").body
        links = set(re.findall(rb'href="([^"]*)"', listing)) | set(re.findall(rb"href='([^']*)'", listing))
        found = set()
        for link in links:
            link = link.replace(b"&amp;", b"&").replace(b"&#39;", b"'").replace(b"&quot;", b'"')
            target = urllib.parse.urljoin("http://localhost/d/", link.decode("utf-8", "surrogateescape"))
            if not target.startswith("http://localhost/d/"):
                continue
            path = target[len("http://localhost"):].partition("#")[0].partition("?")[0]
            answer = server.get(path.encode("utf-8", "surrogateescape")) if path != "/d/" and " " not in path else None
            if answer and answer.status == 200 and answer.body.isdigit():
                found.add(int(answer.body))
        markup = listing.count(b"<script>alert")
    lost = [every[number].decode("latin-1") for number in range(len(every)) if number not in found]
    return {"figure": f"{len(found)} of {len(every)} files reached by the listing, {markup} names as markup",
            "met": len(found) == len(every) and not markup, "reached": len(found), "names": len(every),
            "markup": markup, "lost": lost}
