"""A network that loses and delays packets, and a cable that is pulled.

The server and the clients are in two network namespaces, and each packet between them goes through this
process, by two TUN devices (Documentation/networking/tuntap.rst): it is delayed, dropped by chance, or, once the
cable is pulled, dropped always. So no netem is needed. It carries some 20,000 packets a second.
"""
import fcntl, heapq, os, random, select, struct, subprocess, threading, time
from concurrent.futures import ThreadPoolExecutor

import servers as peers
from .bed import Fault, read_answer, request, until

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
SERVER, CLIENT = "10.9.0.1", "10.9.0.2"


def device(own, other, mtu):
    """Makes a TUN device in the namespace of this thread."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", b"karez0", IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "addr", "add", own, "peer", other, "dev", "karez0"], check=True)
    subprocess.run(["ip", "link", "set", "karez0", "up", "mtu", str(mtu)], check=True)
    return descriptor


class Wire:
    """Passes packets on, in both directions, with a delay and losses."""

    def __init__(self, ends, delay, loss):
        self.ends, self.delay, self.loss, self.pulled, self.over = ends, delay, loss, False, False
        self.packets = self.lost = 0
        self.chance = random.Random(34)
        self.thread = threading.Thread(target=self.carry, daemon=True)
        self.thread.start()

    def carry(self):
        other = dict(zip(self.ends, reversed(self.ends)))
        poll, queue, order = select.poll(), [], 0
        for end in self.ends:
            poll.register(end, select.POLLIN)
        while not self.over:
            wait = max(0, min(20, (queue[0][0] - time.monotonic()) * 1e3)) if queue else 20
            for end, _ in poll.poll(wait):
                try:
                    while packet := os.read(end, 65536):
                        self.packets += 1
                        if self.pulled or self.chance.random() < self.loss:
                            self.lost += 1
                            continue
                        order += 1
                        heapq.heappush(queue, (time.monotonic() + self.delay, order, other[end], packet))
                except BlockingIOError:
                    pass
            while queue and queue[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(queue)
                try:
                    os.write(end, packet)
                except OSError:
                    pass


def over_a_wire(bed, work, delay=0.025, loss=0.0, mtu=1500, **options):
    """Starts a server at one end of a wire, and runs work(server, wire) at the other."""
    ends = [device(SERVER, CLIENT, mtu)]
    with bed.start(host=SERVER, **options) as server:
        if not peers.in_namespace("cubic"):
            raise RuntimeError("no second network namespace")
        ends.append(device(CLIENT, SERVER, mtu))
        wire = Wire(ends, delay, loss)
        try:
            return work(server, wire)
        finally:
            wire.over = True
            wire.thread.join()


def downloads(bed, count, **wire):
    content = os.urandom(1 << 20)
    bed.file("large", content)

    def work(server, wire):
        begin = time.monotonic()
        clients = [server.ask("/large", timeout=60) for _ in range(count)]
        with ThreadPoolExecutor(count) as readers:  # one that waits would be a slow reader
            right = sum(answer.whole and answer.body == content for answer in readers.map(read_answer, clients))
        took = time.monotonic() - begin
        return {"figure": f"{right} of {count} right in {took:.1f} s ({wire.lost:,} of {wire.packets:,} packets lost)",
                "met": right == count, "right": right, "count": count, "seconds": took, "packets": wire.packets,
                "lost": wire.lost}
    return over_a_wire(bed, work, **wire)


@Fault(34, "loss", "3 % of packets are lost, 50 ms round trip, downloads of 1 MiB", "right bytes", needs=["/dev/net/tun"])
def loss(bed):
    return downloads(bed, bed.scale(20, 4), loss=0.03)


@Fault(34, "mtu", "packets of at most 576 bytes, 3 % lost", "right bytes", needs=["/dev/net/tun"])
def mtu(bed):
    return downloads(bed, bed.scale(5, 2), loss=0.03, mtu=576)


@Fault(34, "cable", "the cable is pulled during 20 downloads, beside 20 idle connections (timeouts 10 s)",
       "descriptors are free by the timeouts", needs=["/dev/net/tun"])
def cable(bed):
    limit = bed.scale(10, 3)
    with open(bed.root / "large", "wb") as file:
        file.truncate(64 << 20)
    bed.file("f", b"x" * 1000)

    def work(server, wire):
        base = server.sockets()
        idle = [server.ask("/f") for _ in range(20)]
        for client in idle:
            read_answer(client)
        busy = [server.ask("/large") for _ in range(20)]
        for client in busy:
            client.recv(65536)
        wire.pulled = True
        held = server.sockets() - base
        freed = until(lambda: server.sockets() <= base, 6 * limit, 0.05)
        return {"figure": f"{held} held, " + (f"all free after {freed:.1f} s" if freed is not None else
                f"{server.sockets() - base} still held after {6 * limit} s") + f" (limit {limit} s)",
                "met": freed is not None and freed <= 2 * limit + 2, "held": held, "freed_seconds": freed}
    return over_a_wire(bed, work, delay=0.001, timeouts=(limit, limit, limit))
