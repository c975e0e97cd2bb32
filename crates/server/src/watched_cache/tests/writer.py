"""Makes one change for each line of standard input, and answers when it has completed."""
import ctypes, mmap, os, platform, shutil, struct, subprocess, sys

libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"


def call(name, *arguments):
    number = {
        "io_setup": 206 if x86 else 0,
        "io_submit": 209 if x86 else 2,
        "io_getevents": 208 if x86 else 4,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "copy_file_range": 326 if x86 else 285,
        "fallocate": 285 if x86 else 47,
        "process_vm_writev": 311 if x86 else 271,
    }[name]
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name + ": " + os.strerror(ctypes.get_errno()))
    return result


def aio(path, content, flags=0):
    context, block = ctypes.c_ulong(0), mmap.mmap(-1, 4096)
    if flags:
        content = content.ljust(4096, b".")
    block[: len(content)] = content
    view = (ctypes.c_char * 4096).from_buffer(block)
    fd = os.open(path, os.O_WRONLY | flags)
    call("io_setup", 4, ctypes.byref(context))
    command = ctypes.create_string_buffer(
        struct.pack("=QIIHHIQQqQII", 0, 0, 0, 1, 0, fd, ctypes.addressof(view), len(content), 0, 0, 0, 0)
    )
    pointer = ctypes.c_void_p(ctypes.addressof(command))
    call("io_submit", context, ctypes.c_long(1), ctypes.byref(pointer))
    event = ctypes.create_string_buffer(32)
    call("io_getevents", context, ctypes.c_long(1), ctypes.c_long(1), event, None)
    result = struct.unpack("=QQqq", event.raw)[2]
    os.close(fd)
    if result != len(content):
        raise OSError(0, "aio: %d" % result)


def uring(path, content, flags=0):
    parameters = ctypes.create_string_buffer(120)
    ring = call("io_uring_setup", 4, parameters)
    fields = struct.unpack("=30I", parameters.raw)
    entries, submission, completion = fields[0], fields[10:20], fields[20:30]
    length = max(submission[6] + entries * 4, completion[5] + fields[1] * 16)
    queue = mmap.mmap(ring, length, offset=0)
    requests = mmap.mmap(ring, entries * 64, offset=0x10000000)
    block = mmap.mmap(-1, 4096)
    if flags:
        content = content.ljust(4096, b".")
    block[: len(content)] = content
    view = (ctypes.c_char * 4096).from_buffer(block)
    fd = os.open(path, os.O_WRONLY | flags)
    # IORING_OP_WRITE, by a thread of the kernel (IOSQE_ASYNC) where the caller asks for it.
    requests[:64] = struct.pack(
        "=BBHiQQIIQ24x", 23, 16 if flags else 0, 0, fd, 0, ctypes.addressof(view), len(content), 0, 7
    )
    tail = struct.unpack_from("=I", queue, submission[1])[0]
    struct.pack_into("=I", queue, submission[6], 0)
    struct.pack_into("=I", queue, submission[1], tail + 1)
    call("io_uring_enter", ring, 1, 1, 1, None, 0)
    result = struct.unpack_from("=Qi", queue, completion[5])[1]
    os.close(fd)
    os.close(ring)
    if result != len(content):
        raise OSError(0, "io_uring: %d" % result)


def mapped(path, content):
    with open(path, "r+b") as file:
        view = mmap.mmap(file.fileno(), 0)
        view[: len(content)] = content
        view.flush()
        view.close()


mappings = {}


def stored(path, content):
    """Stores to a mapping that stays, whose pages may be writable from the store before."""
    if path not in mappings:
        with open(path, "r+b") as file:
            mappings[path] = mmap.mmap(file.fileno(), 0)
    mappings[path][: len(content)] = content


def spliced(path, content):
    reader, writer = os.pipe()
    os.write(writer, content)
    fd = os.open(path, os.O_WRONLY)
    offset = ctypes.c_longlong(0)
    libc.splice(reader, None, fd, ctypes.byref(offset), ctypes.c_size_t(len(content)), 0)
    for it in (reader, writer, fd):
        os.close(it)


def copied(path, content, sendfile):
    source = os.memfd_create("x") if sendfile else os.open(path + ".source", os.O_RDWR | os.O_CREAT)
    os.write(source, content)
    os.lseek(source, 0, 0)
    fd = os.open(path, os.O_WRONLY)
    if sendfile:
        os.sendfile(fd, source, 0, len(content))
    else:
        call("copy_file_range", source, None, fd, None, ctypes.c_size_t(len(content)), 0)
    os.close(source)
    os.close(fd)


def punched(path):
    fd = os.open(path, os.O_RDWR)
    call("fallocate", fd, 3, ctypes.c_longlong(0), ctypes.c_longlong(2))
    os.close(fd)


def written(path, content, flags=os.O_TRUNC):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    os.write(fd, content)
    os.close(fd)


def replaced(path, content):
    written("replacement", content)
    os.rename("replacement", path)


def linked(target, path):
    try:
        os.unlink("temporary")
    except FileNotFoundError:
        pass
    os.symlink(target, "temporary")
    os.rename("temporary", path)


def anew(path, content):
    shutil.rmtree(path)
    os.mkdir(path)
    written(path + "/0", content)


def toggled(path):
    if os.path.lexists(path):
        os.rename(path, path + ".away")
    elif os.path.lexists(path + ".away"):
        os.rename(path + ".away", path)


def restored():
    """Undoes what `toggled` renamed, and removes siblings."""
    for directory, names, files in os.walk("."):
        for name in names + files:
            path = os.path.join(directory, name)
            if name.endswith(".away") and not os.path.lexists(path[:-5]):
                os.rename(path, path[:-5])
            elif name.endswith((".gz", ".br", ".zst")):
                os.unlink(path)


def hard(path, other):
    if os.path.lexists(path):
        os.unlink(path)
    os.link(other, path)


def change(kind, path, text):
    content = text.encode()
    if kind == "write":
        written(path, content)
    elif kind == "append":
        written(path, content, os.O_APPEND)
    elif kind == "pwrite":
        fd = os.open(path, os.O_WRONLY)
        os.pwritev(fd, [content, b"!"], 1)
        os.close(fd)
    elif kind == "truncate":
        os.truncate(path, len(content))
    elif kind == "replace":
        replaced(path, content)
    elif kind == "unlink":
        os.unlink(path)
    elif kind == "mode":
        os.chmod(path, 0o500 | (os.stat(path).st_mode ^ 0o044) & 0o777)
    elif kind == "link":
        linked(text, path)
    elif kind == "anew":
        anew(path, content)
    elif kind == "toggle":
        toggled(path)
    elif kind == "hard":
        hard(path, text)
    elif kind == "restore":
        restored()
    elif kind == "run":
        subprocess.run(["sh", "-ec", (path + " " + text).strip()], check=True)
    elif kind == "aio":
        aio(path, content)
    elif kind == "aio-direct":
        aio(path, content, os.O_DIRECT)
    elif kind == "uring":
        uring(path, content)
    elif kind == "uring-direct":
        uring(path, content, os.O_DIRECT)
    elif kind == "map":
        mapped(path, content)
    elif kind == "store":
        stored(path, content)
    elif kind == "splice":
        spliced(path, content)
    elif kind == "sendfile":
        copied(path, content, True)
    elif kind == "copy":
        copied(path, content, False)
    elif kind == "punch":
        punched(path)
    else:
        raise ValueError(kind)


for line in sys.stdin:
    kind, path, text = (line.rstrip("\n").split(" ", 2) + ["", ""])[:3]
    try:
        change(kind, path, text)
        print("ok", flush=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print("failed: %s" % error, flush=True)
