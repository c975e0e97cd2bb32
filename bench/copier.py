#!/usr/bin/env python3
"""Measures `karez copy -a` beside `cp -a`: a tree of small files, and one large file.

    [sudo] bench/copier.py [--rounds N] [--dir DIR] [--out FILE]

The ways run in random order within a round, on all cores. The sources are in the page cache; before each run
the file system is synchronized. CPU is user and system time of the process; the kernel's writeback threads are not in it.

As root each round has a new ext4 file system (a file in --dir, by the loop device, in a mount namespace) for the
tree, else it is in --dir. Copies of the tree are not removed between the runs: ext4 does not use an inode again that
was deleted in the last minutes, and looks at each such inode for each new file (`recently_deleted`), which here was three
quarters of the CPU time of cp, and ten times its other work. The large file and its copies, one inode each, are in --dir.

`cp twice` is a control: two processes that copy one half of the tree each. It shows what the kernel makes two
writers of one file system pay, with nothing shared in user space. `busy` is the same copy beside one process on
each core that never sleeps.
"""
import argparse, contextlib, json, os, platform, random, statistics, subprocess, sys, tempfile, time

# Without the name of the build.
KERNEL = platform.release().split("-")[0]
HERE = os.path.dirname(os.path.abspath(__file__))
FILES, DIRECTORIES = 6527, 1287


def make_tree(root):
    """A tree like one of sources: many directories, most files of a few kilobytes. The same in each run."""
    draw, directories = random.Random(1), [os.path.join(root, half) for half in "01"]
    for half in directories:
        os.makedirs(half)
    # Both halves have as many directories.
    while len(directories) < DIRECTORIES - 1:
        directories.append(os.path.join(draw.choice(directories[len(directories) % 2::2][:200]),
                                        f"d{len(directories)}"))
        os.mkdir(directories[-1])
    for number in range(FILES):
        size = min(1 << 20, int(draw.lognormvariate(8.2, 1.3)))
        with open(os.path.join(directories[number % len(directories)], f"f{number}"), "wb") as file:
            file.write(draw.randbytes(size))


def make_large(path, size):
    with open(path, "wb") as file:
        block = random.Random(2).randbytes(1 << 20)
        for _ in range(size >> 20):
            file.write(block)


def read(path):
    """Brings everything below a path into the page cache."""
    # Not to /dev/null, for which tar reads nothing.
    command = ["tar", "c", "-C", path, "."] if os.path.isdir(path) else ["cat", path]
    reading = subprocess.Popen(command, stdout=subprocess.PIPE)
    while reading.stdout.read(1 << 20):
        pass
    if reading.wait():
        sys.exit(f"{command} failed")


def run(commands):
    """Runs commands at once; returns the time until the last has ended, and the CPU time of all."""
    begin = time.monotonic()
    started = [subprocess.Popen(command) for command in commands]
    user = system = 0.0
    for process in started:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{process.args} ended with {process.returncode}")
        user, system = user + usage.ru_utime, system + usage.ru_stime
    return {"seconds": time.monotonic() - begin, "user": user, "system": system}


def copies(karez, source, target, is_tree):
    """The commands of each way."""
    def jobs(number):
        return [karez, "copy", "-a", "--quiet", "--jobs", str(number), source, target]
    if not is_tree:
        return {"cp": [["cp", "-a", source, target]], "karez": [jobs(2)]}
    halves = [["cp", "-a", os.path.join(source, half), os.path.join(target, half)] for half in "01"]
    return {"cp": [["cp", "-a", source, target]], "cp twice": halves,
            "karez, 1 job": [jobs(1)], "karez, 2 jobs": [jobs(2)]}


@contextlib.contextmanager
def file_system(place):
    """A new and empty ext4 file system, or without permission a directory."""
    mounted = os.path.join(place, "mounted")
    os.makedirs(mounted, exist_ok=True)
    if os.geteuid():
        with tempfile.TemporaryDirectory(dir=mounted) as directory:
            yield directory
        return
    image = os.path.join(place, "image")
    with open(image, "wb") as file:
        file.truncate(8 << 30)
    # All tables are written now, not by a thread of the kernel during the runs.
    subprocess.run(["mkfs.ext4", "-qF", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)
        os.unlink(image)


@contextlib.contextmanager
def loads(count):
    """So many processes that never sleep."""
    started = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        for load in started:
            load.kill()
            load.wait()


def round_of(args, source, target, busy):
    """Runs each way once, in random order; yields the name and the result of each."""
    ways = copies(args.karez, source, target, os.path.isdir(source))
    for way in random.sample(sorted(ways), len(ways)):
        subprocess.run(["rm", "-rf", target], check=True)
        subprocess.run(["sync", "-f", os.path.dirname(target)], check=True)
        read(source)
        if way.startswith("cp twice"):
            os.mkdir(target)
        with loads(os.cpu_count() if busy else 0):
            result = run(ways[way])
        yield way, result
        if os.path.isdir(target):
            os.rename(target, f"{target}-{'busy' if busy else 'quiet'}-{way}")
    subprocess.run(["rm", "-rf", target], check=True)


def measure(args, place):
    large, runs = os.path.join(place, "large"), []
    if "large" in args.cases:
        make_large(large, args.mib << 20)
    for number in range(args.rounds):
        with file_system(place) as small:
            tree = os.path.join(small, "tree")
            make_tree(tree)
            cases = [("tree", tree, os.path.join(small, "copy"), False),
                     ("tree, busy", tree, os.path.join(small, "copy"), True),
                     ("large", large, os.path.join(place, "copy"), False)]
            for case, *where in cases:
                if case in args.cases:
                    runs += [{"round": number, "case": case, "way": way, **result}
                             for way, result in round_of(args, *where)]
    return runs


def cell(each, first):
    median = statistics.median(each)
    return f"{median:7.3f} ({min(each):.3f}-{max(each):.3f}) {median / first:5.2f}"


def table(runs):
    print(f"{'':<11} {'way':<14} {'s':>28} {'x cp':>5} {'CPU s':>22} {'x cp':>5} {'user s':>7}")
    for case in dict.fromkeys(run["case"] for run in runs):
        first = {}
        for way in ["cp", "cp twice", "karez", "karez, 1 job", "karez, 2 jobs"]:
            some = [run for run in runs if (run["case"], run["way"]) == (case, way)]
            if not some:
                continue
            wall = [run["seconds"] for run in some]
            cpu = [run["user"] + run["system"] for run in some]
            first = first or {"wall": statistics.median(wall), "cpu": statistics.median(cpu)}
            user = statistics.median(run["user"] for run in some)
            print(f"{case:<11} {way:<14} {cell(wall, first['wall']):>34} {cell(cpu, first['cpu']):>28} "
                  f"{user:>7.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mib", type=int, default=2048, help="size of the large file")
    parser.add_argument("--dir", default=os.path.dirname(HERE))
    parser.add_argument("--cases", nargs="*", default=["tree", "tree, busy", "large"])
    parser.add_argument("--karez", default=os.path.join(os.path.dirname(HERE), "target/release/karez"))
    parser.add_argument("--out")
    args = parser.parse_args()
    if not os.geteuid() and "KAREZ_BENCH_NAMESPACE" not in os.environ:
        os.environ["KAREZ_BENCH_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    with tempfile.TemporaryDirectory(dir=args.dir, prefix=".bench-") as place:
        runs = measure(args, place)
        system = subprocess.check_output(["stat", "-f", "-c", "%T", place], text=True).strip()
        system += "" if os.geteuid() else " (of the tree: ext4 in a file of it)"
    load, cores = os.getloadavg(), os.cpu_count()
    table(runs)
    version = subprocess.check_output(["cp", "--version"], text=True).splitlines()[0]
    print(f"{version}, {system}, load average {load[0]:.1f}, Linux {KERNEL}, {cores} cores")
    if args.out:
        with open(args.out, "w") as file:
            json.dump({"kernel": KERNEL, "cores": cores, "load": load, "file_system": system, "cp": version,
                       "runs": runs}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
