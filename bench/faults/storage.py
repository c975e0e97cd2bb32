"""Disks that fail, are full, or hang."""
import os, shutil, subprocess, time

from hung import HUNG, tree
from .bed import Fault, latencies, percentile, read_answer, request, until


@Fault(1, "hung-storage", "a FUSE file system hangs under 20 requests (bindfs, SIGSTOP)",
       "requests for other files are served; hung ones end by a deadline; it recovers by itself", needs=["bindfs"])
def hung_storage(bed):
    count = bed.scale(500, 100)
    with tree(10) as (root, bindfs):
        os.chmod(root.parent, 0o755)
        flags = ["--lookup-timeout", "5s"]
        with bed.start(root=root, karez=flags, timeouts=(5, 60, 5)) as server:
            before = latencies(server, "/hot", count)
            bindfs.send_signal(19)
            hung = [server.ask(f"/slow/file-{number}", timeout=1) for number in range(HUNG)]
            time.sleep(0.5)
            meanwhile = latencies(server, "/hot", 1, timeout=2)
            if meanwhile[0] < 1999:
                meanwhile += latencies(server, "/hot", count, timeout=2)
            begin, ends = time.monotonic(), {}
            for client in hung:
                client.settimeout(max(0.1, begin + 15 - time.monotonic()))
                answer = read_answer(client)
                end = str(answer.status or answer.end)
                ends[end] = ends.get(end, 0) + 1
            took = time.monotonic() - begin
            bindfs.send_signal(18)
            back = until(lambda: server.get("/slow/file-1", timeout=1).status == 200, 10)
        served = sum(one < 1999 for one in meanwhile)
        p99, p99_before = percentile(meanwhile, 0.99), percentile(before, 0.99)
        others = f"{served} of {len(meanwhile)} served, p99 {p99:.1f} ms" if served else "none served"
        text = (f"others: {others} ({p99_before:.1f} ms before); hung: "
                + ", ".join(f"{number} × {end}" for end, number in ends.items()) + f" in {took:.1f} s; "
                + (f"back after {back * 1e3:.0f} ms" if back is not None else "not back in 10 s"))
        good = served == len(meanwhile) and "timeout" not in ends and back is not None
        return {"figure": text, "met": good, "p99_ms": p99, "p99_before_ms": p99_before, "ends": ends,
                "seconds": took, "back_seconds": back, "served": served, "asked": len(meanwhile)}


class Image:
    """An ext4 image on a loop device, mounted read-only at `root`."""

    def __init__(self, bed, files, mebibytes):
        self.image, self.mount = bed.place / "image", bed.place / "disk"
        self.mount.mkdir()
        subprocess.run(["truncate", "-s", f"{mebibytes}M", self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", self.image], check=True)
        self.attach("rw")
        for name, content in files:
            (self.mount / name).write_bytes(content)
        self.detach()
        self.attach("ro")

    def attach(self, how):
        run = subprocess.run(["losetup", "--find", "--show", self.image], check=True, capture_output=True, text=True)
        self.device = run.stdout.strip()
        subprocess.run(["mount", "-o", how, self.device, self.mount], check=True)
        self.mount.chmod(0o755) if how == "rw" else None

    def detach(self):
        subprocess.run(["umount", "-l", self.mount], check=False)
        subprocess.run(["losetup", "--detach", self.device], check=False)


@Fault(17, "disk-error", "reads of a file fail by EIO from a place on (the image under a loop device is cut)",
       "right bytes up to there, then the connection ends; it is logged; others are served",
       needs=["losetup", "mkfs.ext4"])
def disk_error(bed):
    content = os.urandom(32 << 20)
    image = Image(bed, [("first", b"f" * 1000), ("large", content)], 64)
    try:
        with bed.start(root=image.mount) as server:
            assert server.get("/first").status == 200
            os.truncate(image.image, 20 << 20)
            subprocess.run(["blockdev", "--flushbufs", image.device], check=False)
            for path in [image.mount / "large"]:
                with open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            lines, begin = server.log_lines(), time.monotonic()
            answer = server.get("/large", timeout=10)
            took = time.monotonic() - begin
            again = server.get("/large", timeout=10)
            other = server.get("/first").status
            good = content.startswith(answer.body) and not answer.whole and again.end != "timeout"
            until(lambda: server.log_lines() > lines, 2)
            logged = server.log_lines() - lines
            return {"figure": f"{len(answer.body):,} of {len(content):,} right bytes, then {answer.end} "
                              f"({took * 1e3:.0f} ms), {logged} lines logged, another file {other}",
                    "met": good and answer.end in ["reset", "eof"] and other == 200 and logged > 0,
                    "bytes": len(answer.body), "end": answer.end, "ms": took * 1e3, "logged": logged, "other": other}
    finally:
        image.detach()


@Fault(18, "disk-full", "the disk is full while a new version of a file is written (karez copy; nginx: PUT)",
       "an error, the old version stays, nothing is left over")
def disk_full(bed):
    disk = bed.place / "full"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=777", "tmpfs", disk], check=True)
    try:
        old = b"old" * 1000
        (disk / "f").write_bytes(old)
        os.chmod(disk / "f", 0o666)
        count, errors, torn = bed.scale(100, 10), 0, 0
        free = os.statvfs(disk).f_bfree
        if bed.kind == "karez":
            source = bed.place / "source"
            source.write_bytes(os.urandom(20 << 20))
            for _ in range(count):
                ran = subprocess.run([bed.program, "copy", source, disk / "f"], capture_output=True)
                errors += ran.returncode != 0
                torn += (disk / "f").read_bytes() != old
            seen = f"{errors} of {count} copies report an error"
        else:
            body, statuses = os.urandom(20 << 20), {}
            (disk / "t").mkdir()
            os.chmod(disk / "t", 0o777)
            free = os.statvfs(disk).f_bfree
            with bed.start(root=disk, site=f"client_max_body_size 100m; client_body_temp_path {disk}/t; "
                                           "dav_methods PUT;") as server:
                for _ in range(count):
                    with server.connect() as client:
                        client.sendall(request("/f", f"Content-Length: {len(body)}", "Connection: close",
                                               method="PUT"))
                        try:
                            client.sendall(body)
                        except OSError:
                            pass
                        status = str(read_answer(client).status)
                    statuses[status] = statuses.get(status, 0) + 1
                    torn += (disk / "f").read_bytes() != old
            errors = sum(number for status, number in statuses.items() if not status.startswith("2"))
            seen = ", ".join(f"{number} × {status}" for status, number in statuses.items())
        left = free - os.statvfs(disk).f_bfree
        return {"figure": f"{seen}, {torn} without the old version, {left} blocks left over",
                "met": errors == count and not torn and left <= 0, "errors": errors, "torn": torn, "left": left}
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
