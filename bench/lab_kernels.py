#!/usr/bin/env python3
"""Runs the claims and the exercises of `karez lab` under several kernels, and lists the verdicts that differ.

    bench/lab_kernels.py claims KERNEL...       KERNEL: 6.1 or 6.12 (Debian's, in qemu by .ci/vm), or `here`
    bench/lab_kernels.py exercises KERNEL...
    bench/lab_kernels.py claims:N,N KERNEL...   these only, which replace those in the stored report; exercises likewise
    bench/lab_kernels.py layouts                traces of the three layouts of a Reactor on this kernel
    bench/lab_kernels.py table                  prints the differing verdicts as Markdown, from bench/results

The first four write bench/results/lab-{claims,exercises,layouts}-linux-SERIES.json. They use the program in KAREZ
(default: target/release/karez), in qemu on an empty ext4 disk. LAB_SECONDS (900) limits one claim or exercise there.

In qemu the CPU is emulated: counts and results of calls are those of the kernel, but times are those of the
emulation, where a copy and a system call have other costs. So the verdicts of claims that follow from times (TIMED) differ
without a difference of the kernels; the table lists them apart.
"""
import base64, gzip, json, os, re, subprocess, sys
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "bench" / "results"
KAREZ = os.environ.get("KAREZ", str(REPOSITORY / "target" / "release" / "karez"))
# The right predictions of the exercises.
MIB = 1 << 20
ANSWERS = [0, 0, 1, 0, 1, 1, 3, 3, 1, 0, 1, 2, 0, 4096, 2 * MIB, MIB, 32, MIB, 2, 0]
# Claims whose verdict follows from times.
TIMED = {6, 8, 10, 13, 14, 16, 36, 38, 39, 40, 41, 44, 45, 46, 48, 52, 56, 57, 58, 59, 61}
CLAIMS = 64
# Limit of one claim or exercise in qemu.
SECONDS = int(os.environ.get("LAB_SECONDS", 900))
MODULES = "veth dummy tcp_bbr"
KERNELS = ["6.1", "6.12", "6.18"]


def claims_script(numbers, directory, out, options):
    """Returns for each claim its name and a shell command that writes it as JSON."""
    for number in numbers:
        yield f"{number:02}", f"{KAREZ} lab claims {options} --dir {directory} --json {out}/{number:02} --claim {number}"


def exercises_script(numbers, directory, out, _options):
    """Returns for each exercise its name and a shell command that writes it as JSON."""
    for number in numbers:
        predict = f"{KAREZ} lab exercise {number} --predict {ANSWERS[number - 1]}"
        yield f"{number:02}", f"{predict} --dir {directory} --json {out}/{number:02}"


def in_qemu(series, script):
    """Returns the reports by name, as far as the machine came."""
    out = "/mnt/out"
    lines = ["mkdir -p /mnt/lab /mnt/out", "mkfs.ext4 -q /dev/vda", "mount /dev/vda /mnt/lab"]
    for name, run in script("/mnt/lab", out, "--quick"):
        # Status 1: another number; 2: not measurable; 124: it did not end.
        lines.append(f"timeout {SECONDS} {run} >/dev/null; echo run {name}: status $?")
        lines.append(f"[ ! -e {out}/{name} ] || {{ echo begin {name}; gzip -c {out}/{name} | base64; echo end; }}")
    env = dict(os.environ, VM_DISK="1024", VM_MODULES=MODULES)
    env.setdefault("VM_SECONDS", "7200")
    command = [str(REPOSITORY / ".ci" / "vm"), series, "; ".join(lines)]
    output = ""
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as machine:
        for line in machine.stdout:
            output += line
            if line.startswith("run "):
                print(f"Linux {series}, {line}", end="", file=sys.stderr, flush=True)
    reports = {}
    for name, text in re.findall(r"^begin (\w+)$(.*?)^end$", output, re.M | re.S):
        report = gzip.decompress(base64.b64decode(text))
        if report:
            reports[name] = json.loads(report)
    if not reports:
        sys.exit(f"{series}: no report\n{output[-2000:]}")
    return reports


def here(script):
    import tempfile
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        for _, run in script("/var/tmp", directory, ""):
            # The status of an exercise says whether the prediction was right.
            subprocess.run(run, shell=True, check=False, stdout=subprocess.DEVNULL)
        return {path.name: json.loads(path.read_text()) for path in Path(directory).iterdir()}


def merged(stored, measured, key):
    """Returns the entries of two reports; those of the second one replace those of the first one."""
    entries = {entry[key]: entry for entry in stored + measured}
    return [entries[number] for number in sorted(entries)]


def run(name, kernel):
    name, _, only = name.partition(":")
    every = range(1, (CLAIMS if name == "claims" else len(ANSWERS)) + 1)
    numbers = [int(number) for number in only.split(",")] if only else every
    script = partial(claims_script if name == "claims" else exercises_script, numbers)
    by_name = here(script) if kernel == "here" else in_qemu(kernel, script)
    reports = [by_name[key] for key in sorted(by_name)]
    series = ".".join(reports[0]["machine"]["kernel"].split(".")[:2])
    path = RESULTS / f"lab-{name}-linux-{series}.json"
    for report in reports:
        # Without the name of the build.
        report["machine"]["kernel"] = report["machine"]["kernel"].split("-")[0]
    stored = json.loads(path.read_text()) if only and path.exists() else None
    if name == "claims":
        claims = [claim for report in reports for claim in report["claims"]]
        claims = merged(stored["claims"] if stored else [], claims, "number")
        report = {**(stored or reports[0]), "claims": claims}
        wrong = []
    else:
        report = merged(stored or [], reports, "exercise")
        wrong = [one["exercise"] for one in report if not one["right"]]
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    missing = sorted({f"{number:02}" for number in numbers} - by_name.keys())
    print(f"{path.name}: stored {len(by_name)}, missing: {missing}, not as expected: {wrong}")


def layouts():
    """Traces one request for a file on the disk in each layout, and stores the reports."""
    reports = []
    for topology in ["single", "workers", "multi"]:
        trace = [KAREZ, "lab", "trace", "--via", "sendfile", "--topology", topology, "--cold"]
        run = subprocess.run([*trace, "--json", "-"], check=True, stdout=subprocess.PIPE)
        report = json.loads(run.stdout)
        report["machine"]["kernel"] = report["machine"]["kernel"].split("-")[0]
        reports.append(report)
    machine = reports[0]["machine"]
    series = ".".join(machine["kernel"].split(".")[:2])
    path = RESULTS / f"lab-layouts-linux-{series}.json"
    path.write_text(json.dumps({"machine": machine, "reports": reports}, indent=2, ensure_ascii=False) + "\n")
    print(path.name)


def verdicts(series):
    """Returns the claims of a kernel by number; those of `karez lab all` where no other run has them."""
    everything = {}
    every = RESULTS / f"lab-linux-{series}.json"
    if every.exists():
        for report in json.loads(every.read_text())["reports"]:
            everything |= {claim["number"]: claim for claim in report.get("claims", [])}
    report = json.loads((RESULTS / f"lab-claims-linux-{series}.json").read_text())
    return everything | {claim["number"]: claim for claim in report["claims"]}


def table():
    by_kernel = {series: verdicts(series) for series in KERNELS}
    for title, is_timed in [("by counts and results of calls", False), ("by times", True)]:
        print(f"{title}:\n\n| claim | " + " | ".join(KERNELS) + " |\n|---" + "|---" * len(KERNELS) + "|")
        for number, claim in by_kernel[KERNELS[-1]].items():
            row = [by_kernel[series].get(number, {}) for series in KERNELS]
            if (number in TIMED) == is_timed and len({(one.get("verdict"), one.get("details")) for one in row}) > 1:
                cells = [one.get("verdict", "–") + (f": {one['details']}" if one.get("details") else "") for one in row]
                print(f"| {number}. {claim['claim']} | " + " | ".join(cells) + " |")
        print()


def main():
    match sys.argv[1:]:
        case [name, *kernels] if kernels and name.partition(":")[0] in ("claims", "exercises"):
            for kernel in kernels:
                run(name, kernel)
        case ["layouts"]:
            layouts()
        case ["table"]:
            table()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
