"""How the dataflow grows: ingest, plan, infer and derive of 2,000, 10,000 and 40,000 notes.

python benchmarks/growth.py                     # all sizes, each in a process of its own
python benchmarks/growth.py --notes 2000 10000
python benchmarks/growth.py --fixed             # seconds of small runs in one session

The notes are the first characters (`--characters`) of real ones (`--from`, JSON lines with `text`),
copied; in copies every digit is drawn anew (seeded), so sentences with numbers are new. The
extractor is the dictionary: nearly all of the time is the dataflow's own. It prints Markdown:
seconds of wall clock and of processor (of the driver, the JVM and the workers; other work on the
machine does not count), bytes written to shuffles, memory and Delta commits of each step, and the
slope between the last two sizes, log(ratio of seconds) / log(ratio of notes): 1 is linear.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTES = ROOT.parent / "shared" / "corpora" / "mtsamples_notes" / "notes.jsonl"
SIZES = (2_000, 10_000, 40_000)
STEPS = ("ingest", "plan", "infer", "derive")
SEED = 42


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--notes", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--from", type=Path, default=NOTES, dest="source", metavar="FILE")
    parser.add_argument(
        "--characters", type=int, default=800, metavar="N", help="of each note; 0: whole notes"
    )
    parser.add_argument("--fixed", action="store_true", help="seconds of small runs instead")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        with tempfile.TemporaryDirectory() as folder:
            result = measure_growth(
                arguments.one, arguments.source, arguments.characters, Path(folder)
            )
            print(json.dumps(result))
        return
    print(f"{platform.machine()}, {instruction_sets()}, 2 cores, seed {SEED}\n", flush=True)
    if arguments.fixed:
        with tempfile.TemporaryDirectory() as folder:
            print_fixed(Path(folder), arguments.source, arguments.characters)
        return
    results = []
    for size in arguments.notes:
        call = [sys.executable, __file__, "--one", str(size), "--from", str(arguments.source)]
        call += ["--characters", str(arguments.characters)]
        run = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
        results.append(json.loads(run.stdout.splitlines()[-1]))
        say(f"{size} notes: {json.dumps(results[-1])}")
    print_growth(results)


def measure_growth(size: int, source: Path, characters: int, folder: Path) -> dict[str, Any]:
    """Run the four steps over `size` notes and return what each took."""
    from spanlake.config.extract import ExtractConfig, IngestConfig
    from spanlake.spark.extract import extract
    from spanlake.spark.ingest import ingest

    write_notes(size, source, characters, folder / "notes.jsonl")
    spark, tables = open_tables(folder)
    places = {"tables": {"location": str(folder / "tables")}}
    given = {"format": "jsonl", "path": str(folder / "notes.jsonl")}
    config = ExtractConfig.model_validate(
        {**places, "extractor": {"kind": "dictionary"}, "driver_notes": 0}
    )
    steps: dict[str, Callable[[], Any]] = {
        "ingest": lambda: ingest(tables, IngestConfig.model_validate({**places, "source": given})),
        **{step: lambda step=step: extract(tables, config, step) for step in STEPS[1:]},
    }
    result: dict[str, Any] = {"notes": size, "text_bytes": (folder / "notes.jsonl").stat().st_size}
    for step, run in steps.items():
        say(f"{size} notes: {step}")
        before = shuffled(spark), commits(folder), processor_seconds()
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        result[step] = {
            "seconds": seconds,
            "processor": processor_seconds() - before[2],
            "shuffle_bytes": shuffled(spark) - before[0],
            "commits": commits(folder) - before[1],
        }
    timings = tables.view("timings").selectExpr("sum(task_seconds)", "max(wave) + 1").first()
    result["task_seconds"], result["waves"] = float(timings[0]), int(timings[1])
    result["units"] = tables.read("plan_units").count()
    result["entities"] = tables.read("entities").count()
    result["jvm_gb"] = peak_rss(spark) / 2**30
    result["driver_python_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    spark.stop()
    return result


def open_tables(folder: Path) -> tuple[Any, Any]:
    from spanlake.config.extract import TablesConfig
    from spanlake.spark.session import get_session
    from spanlake.spark.tables import Tables

    settings = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "true",
        "spark.ui.retainedStages": "100000",
        "spark.ui.retainedJobs": "100000",
        "spark.local.dir": str(folder / "spark"),
    }
    spark = get_session("spanlake growth", settings)
    return spark, Tables(spark, TablesConfig(location=str(folder / "tables")))


def write_notes(size: int, source: Path, characters: int, target: Path) -> None:
    """Write copies of the source's notes with other numbers as JSON lines."""
    with source.open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"][: characters or None] for line in file]
    chance = random.Random(SEED)  # noqa: S311
    with target.open("w", encoding="utf-8") as file:
        for number in range(size):
            text = texts[number % len(texts)]
            if number >= len(texts):
                text = re.sub(r"\d", lambda _: str(chance.randrange(10)), text)
            row = {"note_id": f"n{number}", "patient_id": f"p{number % 977}", "note_text": text}
            file.write(json.dumps(row) + "\n")


def shuffled(spark: Any) -> int:
    """Return the bytes that all completed stages have written to shuffles."""
    context = spark.sparkContext
    url = f"{context.uiWebUrl}/api/v1/applications/{context.applicationId}/stages"
    with urllib.request.urlopen(url) as answer:  # noqa: S310  # our own driver
        return sum(stage["shuffleWriteBytes"] for stage in json.load(answer))


def processor_seconds() -> float:
    """Return the processor time of this process and all that it has started, so far."""
    parents, times = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            parents[path.parent.name] = fields[1]
            times[path.parent.name] = sum(map(int, fields[11:15]))  # its own and dead children's
    total, tree = 0, {str(os.getpid())}
    while tree:
        total += sum(times.get(pid, 0) for pid in tree)
        tree = {pid for pid, parent in parents.items() if parent in tree}
    return total / os.sysconf("SC_CLK_TCK")


def commits(folder: Path) -> int:
    return len(list((folder / "tables").glob("*/_delta_log/*[0-9].json")))


def peak_rss(spark: Any) -> int:
    """Return the peak resident memory of the JVM, in bytes (in local mode the executor's too)."""
    pid = spark._jvm.java.lang.ProcessHandle.current().pid()
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]


def instruction_sets() -> str:
    flags = set(re.findall(r"\S+", Path("/proc/cpuinfo").read_text(encoding="ascii")))
    names = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "amx_tile": "AMX"}
    return ", ".join(name for flag, name in names.items() if flag in flags)


def print_growth(results: list[dict[str, Any]]) -> None:
    print("| notes | MB | sentences | step | wall, s | processor, s | shuffle, MB | commits |")
    print("|---|---|---|---|---|---|---|---|")
    for result in results:
        head = f"{result['notes']:,} | {result['text_bytes'] / 1e6:.0f} | {result['units']:,}"
        for step in STEPS:
            took = result[step]
            shuffle = f"{took['shuffle_bytes'] / 1e6:.1f}"
            seconds = f"{took['seconds']:.1f} | {took['processor']:.1f}"
            print(f"| {head} | {step} | {seconds} | {shuffle} | {took['commits']} |")
    print("\n| notes | waves | infer, task seconds / 2 | infer, rest | JVM, GB | driver, GB |")
    print("|---|---|---|---|---|---|")
    for result in results:
        busy = result["task_seconds"] / 2
        rest = result["infer"]["seconds"] - busy
        memory = f"{result['jvm_gb']:.1f} | {result['driver_python_gb']:.2f}"
        print(f"| {result['notes']:,} | {result['waves']} | {busy:.1f} | {rest:.1f} | {memory} |")
    if len(results) > 1:
        first, last = results[-2:]
        growth = math.log(last["notes"] / first["notes"])
        print("\n| step | slope of wall | of processor | of shuffle |\n|---|---|---|---|")
        for step in STEPS:
            slopes = [
                math.log(max(last[step][key], 1e-3) / max(first[step][key], 1e-3)) / growth
                for key in ("seconds", "processor", "shuffle_bytes")
            ]
            print(f"| {step} | " + " | ".join(f"{slope:.2f}" for slope in slopes) + " |")


def print_fixed(folder: Path, source: Path, characters: int) -> None:
    """Print the seconds and commits of small runs with the model `small`, with the JVM up."""
    from spanlake.config.extract import ExtractConfig, IngestConfig
    from spanlake.spark.extract import extract
    from spanlake.spark.ingest import ingest

    write_notes(330, source, characters, folder / "notes.jsonl")
    lines = (folder / "notes.jsonl").read_text(encoding="utf-8").splitlines()
    spark, tables = open_tables(folder)
    places = {"tables": {"location": str(folder / "tables")}}
    given = {"format": "jsonl", "path": str(folder / "source.jsonl")}
    config = ExtractConfig.model_validate(places)
    source_config = IngestConfig.model_validate({**places, "source": given})

    def run(name: str, notes: list[str]) -> None:
        (folder / "source.jsonl").write_text("\n".join(notes) + "\n", encoding="utf-8")
        before, rows, start = commits(folder), runs(), time.perf_counter()
        ingest(tables, source_config)
        middle = time.perf_counter()
        extract(tables, config)
        end = time.perf_counter()
        print(
            f"| {name} | {end - start:.1f} | {middle - start:.1f} | {end - middle:.1f}"
            f" | {commits(folder) - before} | {runs() - rows} |",
            flush=True,
        )

    def runs() -> int:
        return tables.read("runs").count() if tables.exists("runs") else 0

    changed = [lines[0].replace('"note_text": "', '"note_text": "No fever today. '), *lines[1:300]]
    print(
        "| run | seconds | ingest | extract | commits | rows in `runs` |\n|---|---|---|---|---|---|"
    )
    run("first: 300 notes", lines[:300])
    for _ in range(2):
        run("one changed note", changed)
        run("nothing to do", changed)
        run("back to the first text", lines[:300])
    run("30 new notes", lines)
    spark.stop()


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    main()
