"""Changes a file, then asks for it: no answer may be older than the change that came before."""
import os, random, socket, sys

port, name, rounds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
random.seed(name)
connection = socket.create_connection(("127.0.0.1", port))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
answers = connection.makefile("rb")


def change(version):
    """Makes a change whose states in between are no file or a whole version."""
    kind = random.randrange(4)
    if kind == 0:
        fd = os.open(name, os.O_WRONLY)
        os.pwrite(fd, version.encode(), 0)
        os.close(fd)
    elif kind < 3:
        with open(name + ".new", "w") as file:
            file.write(version)
        if kind == 1:
            os.unlink(name)
        os.rename(name + ".new", name)
    return kind < 3


version = "%08d" % 0
with open(name, "w") as file:
    file.write(version)
for number in range(rounds):
    # One request after each change; now and then more are under way, each behind its own change.
    expected = []
    for _ in range(random.choice((1, 1, 1, 3))):
        following = "%08d" % (number * 4 + len(expected) + 1)
        if change(following):
            version = following
        expected.append(version)
        connection.sendall((name + "\n").encode())
    for oldest in expected:
        answer = answers.readline().decode().strip()
        if not oldest <= answer <= version:
            sys.exit("%s: got %r, but %r was there before" % (name, answer, oldest))
