#!/usr/bin/env python3
"""Makes faults and attacks, one by one, and reports what karez and nginx do: with the same clients, files and limits.

Each fault starts each server anew, in a network and mount namespace of its own. The table has the row of
docs/RELIABILITY.md, the promise, the figure of both servers, and whether karez keeps the promise ("not met" is
printed, not hidden). Faults that this machine cannot make are skipped with the reason. Latencies depend on what
else runs; counts do not.

    cargo build --profile dist --locked -p karez
    sudo bench/faults.py [--only NAME] [--quick] [--json] [--out FILE.json]

Needs root, nginx and openssl; some faults need bindfs, strace, ss or cgroup v1.
"""
import argparse, json, os, resource, signal, sys, tempfile, traceback
from pathlib import Path

import servers as peers
from hung import private_mounts
from serve import forked
from faults import Bed, Fault


def measure(fault, kind, variant, program, args):
    """Makes a fault with one server, in a process of its own. Returns its figures, or the failure."""
    def work(*_):
        def late(*_):
            raise TimeoutError(f"not done after {fault.seconds} s")
        signal.signal(signal.SIGALRM, late)
        signal.alarm(fault.seconds)
        if not args.shared_namespaces:
            peers.in_namespace("cubic")
            private_mounts()
        with tempfile.TemporaryDirectory(dir=args.directory, ignore_cleanup_errors=True) as place:
            try:
                return fault.run(Bed(kind, variant, program, place, args.quick))
            except Exception as error:
                traceback.print_exc()
                return {"figure": f"failed: {error}", "met": None}
    try:
        return forked(work, "cubic", args)
    except SystemExit:
        return {"figure": "failed", "met": None}


def show(results):
    print("| row | fault | promise | karez | nginx | karez keeps it | nginx |")
    print("|---|---|---|---|---|---|---|")
    for one in results:
        cells, kept = [], []
        for kind in ["karez", "nginx"]:
            mine = [figure for figure in one["figures"] if figure["server"] == kind]
            cells.append("; ".join((f"`{figure['variant']}`: " if figure["variant"] else "") + figure["figure"]
                                   for figure in mine))
            states = [figure["met"] for figure in mine if figure["met"] is not None]
            kept.append("" if not states else "yes" if all(states) else "no" if not any(states) else "in part")
        print(f"| {one['row']} | {one['fault']} ({one['name']}) | {one['promise']} | {' | '.join(cells)} "
              f"| {' | '.join(kept)} |")


def run(faults, merge, programs, args):
    results = []
    for fault in sorted(faults, key=lambda one: (one.row, one.name)):
        if missing := fault.missing():
            print(f"skipped: {fault.name}: {missing}", file=sys.stderr)
            continue
        figures = []
        for kind, variant in fault.kinds:
            if kind not in programs or args.kind not in [None, kind]:
                continue
            print(f"{fault.name}: {kind} {variant}", file=sys.stderr)
            figure = measure(fault, kind, variant, programs[kind], args)
            print(f"    {figure['figure']}", file=sys.stderr)
            figures.append({"server": kind, "variant": variant, **figure})
        results.append({"row": fault.row, "name": fault.name, "fault": fault.title, "promise": fault.promise,
                        "quick": args.quick, "figures": figures})
        if args.out:
            write(args.out, results, merge, programs)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME",
                        help="make these faults only (repeatable): " + ", ".join(one.name for one in Fault.every))
    parser.add_argument("--server", action="append", default=[], metavar="PROGRAM=PATH", help="another karez or nginx")
    parser.add_argument("--kind", choices=["karez", "nginx"], help="run one of the two servers only")
    parser.add_argument("--quick", action="store_true", help="a tenth of the tries, and shorter timeouts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, help="write JSON to a file; with --only, replace these faults in it")
    parser.add_argument("--directory", default="/var/tmp", help="directory for the served files (default: /var/tmp)")
    parser.add_argument("--shared-namespaces", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("root is needed")
    unknown = set(args.only) - {one.name for one in Fault.every}
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    args.congestion, args.karez = "cubic", []
    only, args.only = args.only, ["nginx, tuned"]
    programs = {name.split(",")[0]: path for name, (path, _) in peers.chosen(args).items()
                if name in ["karez", "nginx, tuned"]}
    with peers.allowed(["cubic"]):
        results = run([one for one in Fault.every if not only or one.name in only], bool(only), programs, args)
    print(json.dumps(results, indent=1)) if args.json else show(results)


def write(out, results, merge, programs):
    before = json.loads(out.read_text())["faults"] if merge and out.exists() else []
    names = {one["name"] for one in results}
    kept = sorted([one for one in before if one["name"] not in names] + results,
                  key=lambda one: (one["row"], one["name"]))
    versions = peers.versions({name: (path, None) for name, path in programs.items()})
    out.write_text(json.dumps({"benchmark": "faults", "versions": versions, "faults": kept}, indent=1) + "\n")


if __name__ == "__main__":
    main()
