"""Run the jobs that NBRewind is for, on both demo notebooks, and print what happened.

Each step is a new process and uses only the `nbrewind` command line, as a user would. Whatever a repeat
gives is compared with a run of the same edited notebook from scratch, in the plain kernel and a folder of
its own. The exit code is 1 when any expectation is broken.

    python demo/run.py [--work FOLDER] [--only climate|classify] [--small] [--shadow] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

HERE = Path(__file__).resolve().parent
STEP_LIMIT = 900.0

# Tasks with these in their names read, filter or aggregate: job B must run none of them.
BEFORE_RISK_SCORE = re.compile(
    r"read.?parquet|notnull|groupby|shuffle|agg|_call_with_list_arg", re.I
)
CUT_TEXT = 60


class Stop(Exception):
    """A step that failed so that nothing after it makes sense."""


# --- Notebooks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """One change of text in one cell."""

    cell: str
    old: str
    new: str


def load(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def write_edited(source: Path, target: Path, edits: list[Edit]) -> None:
    """Save `source` as `target` with the edits made; an edit that changes nothing is a mistake of ours."""
    notebook = load(source)
    for edit in edits:
        (cell,) = [cell for cell in notebook.cells if cell.id == edit.cell]
        if cell.source.count(edit.old) != 1:
            raise Stop(f"{source.name}: {edit.old!r} is not once in cell {edit.cell}")
        cell.source = cell.source.replace(edit.old, edit.new)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def outputs_of(path: Path) -> dict[str, list[Any]]:
    """What a reader sees of each cell, without execution counts and however a stream was cut."""
    seen = {}
    for cell in load(path).cells:
        if cell.cell_type != "code":
            continue
        outputs: list[Any] = []
        for output in cell.outputs:
            entry = {key: value for key, value in output.items() if key != "execution_count"}
            last = outputs[-1] if outputs else {}
            if entry["output_type"] == "stream" and last.get("name") == entry["name"]:
                last["text"] += entry["text"]
            else:
                outputs.append(json.loads(json.dumps(entry)))
        seen[cell.id] = outputs
    return seen


def differences(found: Path, expected: Path) -> list[str]:
    """The cells whose outputs differ from those of the run from scratch."""
    if not found.exists():
        return [f"{found.name} was not written"]
    ours, scratch = outputs_of(found), outputs_of(expected)
    return [cell for cell in scratch if ours.get(cell) != scratch[cell]]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "absent"


def n_bytes(folder: Path) -> int:
    if not folder.exists():
        return 0
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# --- Processes ---------------------------------------------------------------------------------------


@dataclass
class Step:
    """One process: how long it took from start to end, what it printed as JSON."""

    seconds: float
    code: int
    result: dict[str, Any]
    errors: str


def run(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> Step:
    # Files and not pipes: a kernel that outlives the command must not keep us waiting for its end.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            # A group of its own, so that a step that hangs is ended together with its children.
            start_new_session=True,
        )
        try:
            process.wait(timeout=STEP_LIMIT)
        except subprocess.TimeoutExpired:
            raise Stop(f"{' '.join(command)} took more than {STEP_LIMIT:.0f} s") from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = time.monotonic() - started
        out.seek(0)
        err.seek(0)
        text, errors = out.read(), err.read()
    try:
        result = json.loads(text) if text.strip() else {}
    except json.JSONDecodeError:
        result = {}
        errors += f"\n(standard output is not JSON alone: {text[:150]!r} ...)"
    return Step(seconds, process.returncode, result if isinstance(result, dict) else {}, errors)


@contextlib.contextmanager
def running_kernel(connection_file: str) -> Iterator[Callable[[str], str]]:
    """Evaluate text in the kernel that a restore left for its user, which is ended afterwards."""
    from jupyter_client import BlockingKernelClient

    client = BlockingKernelClient(connection_file=connection_file)
    client.load_connection_file()
    client.start_channels()

    def evaluate(expression: str) -> str:
        reply = client.execute(
            "", silent=True, user_expressions={"value": expression}, reply=True, timeout=300
        )
        value = reply["content"]["user_expressions"]["value"]
        return (
            value["data"]["text/plain"]
            if value["status"] == "ok"
            else f"{value['ename']}: {value['evalue']}"
        )

    try:
        client.wait_for_ready(timeout=60)
        yield evaluate
    finally:
        client.shutdown()
        client.stop_channels()


def nbrewind(arguments: list[str], cwd: Path, env: dict[str, str] | None = None) -> Step:
    program = Path(sys.executable).with_name("nbrewind")
    if not program.exists():
        raise Stop(f"{program} is missing: install the package into this environment")
    return run([str(program), *arguments], cwd, env)


def plain(notebook: Path) -> Step:
    """The notebook in the plain kernel, in a new process, outputs written over it."""
    step = run([sys.executable, __file__, "--plain", str(notebook)], notebook.parent)
    if step.code:
        raise Stop(f"the plain run of {notebook.name} failed:\n{step.errors[-3000:]}")
    return step


def run_plain(path: Path) -> None:
    from nbclient import NotebookClient

    notebook = load(path)
    client = NotebookClient(notebook, kernel_name="python3", timeout=None)
    client.resources = {"metadata": {"path": str(path.parent)}}
    client.execute()
    nbformat.write(notebook, path)
    print("{}")


@contextlib.contextmanager
def dask_cluster(folder: Path) -> Iterator[str]:
    """A scheduler and two workers of their own, as a colleague's cluster would be; gives the address."""
    folder.mkdir(parents=True)
    log = (folder / "log").open("w")
    processes = []

    def start(*arguments: str) -> None:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )

    try:
        where = folder / "scheduler.json"
        start(
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(where),
        )
        address = None
        for _ in range(300):
            with contextlib.suppress(OSError, ValueError, KeyError):
                address = json.loads(where.read_text())["address"]
                break
            time.sleep(0.1)
        if address is None:
            raise Stop(f"the scheduler did not start: {(folder / 'log').read_text()[-2000:]}")
        for number in (1, 2):
            start(
                *("worker", address, "--nthreads", "1", "--no-dashboard"),
                *("--local-directory", str(folder / f"worker-{number}")),
            )
        yield address
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.close()


# --- What is expected and what happened --------------------------------------------------------------


@dataclass
class Line:
    """One line of the summary."""

    job: str
    seconds: float
    statuses: dict[str, str] = field(default_factory=dict)
    hit: int | None = None
    ran: int | None = None
    plain: float | None = None
    audit: float | None = None
    equal: bool | None = None
    store: int | None = None
    data: int | None = None

    def count(self, *wanted: str) -> int:
        return sum(status in wanted for status in self.statuses.values())


class Report:
    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.broken: list[str] = []

    def expect(self, holds: bool, job: str, claim: str, found: object = None) -> None:
        if not holds:
            text = f"{job}: {claim}" + (f" (found {found})" if found is not None else "")
            self.broken.append(text)
            print(f"  BROKEN  {text}", flush=True)

    def add(self, line: Line) -> None:
        self.lines.append(line)


def text_of(value: object) -> str:
    """A reason as one line; the command line gives text, a list of texts or a table."""
    if value is None:
        return ""
    if isinstance(value, dict):
        value = [f"{key}: {text_of(entry)}" for key, entry in value.items()]
    if isinstance(value, list):
        return "; ".join(text_of(entry) for entry in value)
    return str(value)


def show_cells(step: Step) -> None:
    for cell in step.result.get("cells", []):
        seconds = cell.get("seconds") or 0.0
        why = text_of(cell.get("why"))
        why = why if len(why) <= CUT_TEXT else why[: CUT_TEXT - 3] + "..."
        print(f"  {cell.get('id', '?'):<12} {cell.get('status', '?'):<9} {seconds:7.2f} s  {why}")
    tasks = step.result.get("tasks") or {}
    if tasks:
        why = text_of(tasks.get("why"))
        counts = ", ".join(
            f"{tasks[key]} {key}" for key in ("hit", "run", "pruned") if key in tasks
        )
        print(f"  tasks: {counts}" + (f" ({why})" if why else ""))
    saved = step.result.get("seconds_saved")
    if saved is not None:
        print(f"  {step.seconds:.2f} s, {saved:.2f} s saved")
    sys.stdout.flush()


def statuses_of(step: Step) -> dict[str, str]:
    return {cell["id"]: cell["status"] for cell in step.result.get("cells", [])}


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


# --- The jobs ----------------------------------------------------------------------------------------


@dataclass
class Scratch:
    """A run from scratch in the plain kernel: the truth every repeat is held against."""

    notebook: Path
    seconds: float


class Demo:
    """One notebook, its folder and its store."""

    def __init__(self, name: str, work: Path, report: Report, preset: list[Edit]) -> None:
        self.name = name
        self.report = report
        self.work = work / name
        shutil.rmtree(self.work, ignore_errors=True)
        self.original = self.work / "original" / f"{name}.ipynb"
        write_edited(HERE / f"{name}.ipynb", self.original, preset)
        self.home = self.work / "here"
        self.notebook = self.home / f"{name}.ipynb"
        write_edited(self.original, self.notebook, [])
        self.audit_seconds: float | None = None
        # The first run from scratch, of the notebook without edits.
        self.unchanged: Path | None = None
        self.files: list[str] = []
        self.package = self.work / "package"
        self.n_code_cells = len(outputs_of(self.original))

    def scratch(self, label: str, edits: list[Edit]) -> Scratch:
        path = self.work / f"scratch-{label}" / self.notebook.name
        write_edited(self.original, path, edits)
        heading(f"{self.name}: {label} from scratch, plain kernel")
        step = plain(path)
        print(f"  {step.seconds:.2f} s", flush=True)
        self.report.add(Line(f"{self.name} plain, {label}", step.seconds))
        if self.unchanged is None:
            self.unchanged = path
        else:
            # Else the comparison of the repeat with this run would show nothing.
            differ = differences(path, self.unchanged)
            self.report.expect(bool(differ), f"{self.name} {label}", "the edit changes an output")
        return Scratch(path, step.seconds)

    def data_bytes(self, home: Path) -> int:
        return n_bytes(home / "data")

    def audit(self, truth: Scratch) -> None:
        heading(f"{self.name}: audit")
        out = self.home / "audited.ipynb"
        step = nbrewind(["audit", self.notebook.name, "-o", out.name, "--json"], self.home)
        if step.code:
            raise Stop(f"nbrewind audit {self.name} ended with {step.code}:\n{step.errors[-3000:]}")
        show_cells(step)
        self.audit_seconds = step.seconds
        self._close("audit", self.home, step, out, truth)
        # What the colleague of job C is given, and what each edit starts from.
        shutil.copytree(self.home / ".nbrewind", self.package)

    def reset(self) -> None:
        """The store as the audit left it: an edit is then made to what was audited, and finds only that."""
        shutil.rmtree(self.home / ".nbrewind")
        shutil.copytree(self.package, self.home / ".nbrewind")

    def repeat(
        self,
        job: str,
        edits: list[Edit],
        truth: Scratch,
        executed: set[str],
        *,
        home: Path | None = None,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        check_tasks: Callable[[str, list[dict[str, Any]]], None] | None = None,
    ) -> Step:
        """Edit, repeat in a new process, hold cells, outputs and files against what must be."""
        home = home or self.home
        notebook = home / self.notebook.name
        write_edited(self.original, notebook, edits)
        heading(f"{self.name}: {job}")
        out = home / "repeated.ipynb"
        out.unlink(missing_ok=True)
        log = home / "tasks.jsonl"
        log.unlink(missing_ok=True)
        arguments = ["repeat", str(notebook), "-o", str(out), "--task-log", str(log), "--json"]
        step = nbrewind(arguments, cwd or home, env)
        show_cells(step)
        ended = f"nbrewind repeat ended with {step.code}: {step.errors.strip()[-600:]}"
        self.report.expect(step.code == 0, f"{self.name} {job}", ended)
        found = {cell for cell, status in statuses_of(step).items() if status == "executed"}
        self.report.expect(
            found == executed,
            f"{self.name} {job}",
            f"the cells that execute are {sorted(executed)}",
            sorted(found),
        )
        self._close(job, home, step, out, truth)
        ran = [json.loads(text) for text in log.read_text().splitlines()] if log.exists() else []
        if check_tasks is not None:
            check_tasks(f"{self.name} {job}", ran)
        return step

    def _close(self, job: str, home: Path, step: Step, out: Path, truth: Scratch) -> None:
        name = f"{self.name} {job}"
        differ = differences(out, truth.notebook)
        self.report.expect(not differ, name, "outputs equal a run from scratch", differ)
        files_differ = [
            file
            for file in self.files
            if digest(home / file) != digest(truth.notebook.parent / file)
        ]
        self.report.expect(not files_differ, name, "files equal a run from scratch", files_differ)
        n_seen = len(statuses_of(step))
        self.report.expect(
            n_seen == self.n_code_cells, name, f"{self.n_code_cells} cells are reported", n_seen
        )
        failed = [cell for cell, status in statuses_of(step).items() if status == "failed"]
        self.report.expect(not failed, name, "no cell fails", failed)
        tasks = step.result.get("tasks") or {}
        self.report.add(
            Line(
                name,
                step.seconds,
                statuses_of(step),
                tasks.get("hit"),
                tasks.get("run"),
                truth.seconds,
                self.audit_seconds if job != "audit" else None,
                not differ and not files_differ,
                n_bytes(home / ".nbrewind"),
                self.data_bytes(home),
            )
        )

    def stale(
        self, job: str, edits: list[Edit], expected: set[str], home: Path | None = None
    ) -> dict:
        home = home or self.home
        write_edited(self.original, home / self.notebook.name, edits)
        step = nbrewind(["stale", self.notebook.name, "--json"], home)
        name = f"{self.name} {job}"
        self.report.expect(
            step.code == 0,
            name,
            f"nbrewind stale ended with {step.code}: {step.errors.strip()[-600:]}",
        )
        named = set(step.result.get("stale", []))
        reasons = step.result.get("reasons", {})
        for cell in sorted(named):
            print(f"  stale: {cell}: {reasons.get(cell, '')}")
        self.report.expect(named == expected, name, f"stale are {sorted(expected)}", sorted(named))
        return reasons

    def shadow(self) -> None:
        """Execute what would be replayed and compare: a difference is a false hit, the worst bug there is."""
        write_edited(self.original, self.notebook, [])
        heading(f"{self.name}: shadow")
        step = nbrewind(["repeat", self.notebook.name, "--shadow", "--json"], self.home)
        show_cells(step)
        job = f"{self.name} shadow"
        ended = f"nbrewind repeat --shadow ended with {step.code}: {step.errors.strip()[-600:]}"
        self.report.expect(step.code == 0, job, ended)
        told = step.result.get("shadow")
        self.report.expect(isinstance(told, dict), job, "the shadow run reports what it compared")
        if isinstance(told, dict):
            print(f"  {text_of(told)}")
            differs = told.get("differs", told.get("differences", told.get("false_hits")))
            n_differ = len(differs) if isinstance(differs, list) else differs
            self.report.expect(n_differ == 0, job, "nothing differs", differs)
        self.report.add(Line(job, step.seconds, statuses_of(step)))


def no_tasks(report: Report) -> Callable[[str, list[dict[str, Any]]], None]:
    def check(job: str, ran: list[dict[str, Any]]) -> None:
        report.expect(not ran, job, "no task runs", [task.get("task") for task in ran][:5])

    return check


def no_early_tasks(
    report: Report, *, must_run: bool
) -> Callable[[str, list[dict[str, Any]]], None]:
    def check(job: str, ran: list[dict[str, Any]]) -> None:
        early = sorted(
            {
                str(task.get("task"))
                for task in ran
                if BEFORE_RISK_SCORE.search(str(task.get("task")))
            }
        )
        report.expect(not early, job, "no task reads, filters or aggregates", early[:5])
        report.expect(bool(ran) or not must_run, job, "the task log names the tasks that ran")

    return check


def climate(work: Path, report: Report, *, small: bool, shadow: bool) -> None:
    preset = []
    if small:
        preset = [
            Edit("make-data", "N_ROWS = 24_000_000", "N_ROWS = 1_600_000"),
            Edit("make-data", "N_REGIONS = 2_500", "N_REGIONS = 200"),
        ]
    demo = Demo("climate", work, report, preset)
    demo.files = ["high_risk_24-06.parquet"]
    threshold = [Edit("c3", "> 10.0", "> 5.0")]
    formula = [Edit("c2", "0.1 * row", "0.12 * row")]

    truth = demo.scratch("unchanged", [])
    truth_a = demo.scratch("A", threshold)
    truth_b = demo.scratch("B", formula)

    demo.audit(truth)
    demo.repeat("unchanged", [], truth, set(), check_tasks=no_tasks(report))
    demo.reset()
    demo.stale("A", threshold, {"c3"})
    demo.repeat("A", threshold, truth_a, {"c3"}, check_tasks=no_early_tasks(report, must_run=True))
    demo.reset()
    reasons = demo.stale("B", formula, {"c2", "c3"})
    report.expect(
        "daily_stats" in str(reasons.get("c3", "")),
        "climate B",
        "c3 is stale because of daily_stats",
        reasons.get("c3"),
    )
    demo.repeat(
        "B", formula, truth_b, {"c2", "c3"}, check_tasks=no_early_tasks(report, must_run=True)
    )
    if shadow:
        demo.reset()
        demo.shadow()
    elsewhere(demo, (threshold, truth_a), (formula, truth_b))


def elsewhere(demo: Demo, a: tuple[list[Edit], Scratch], b: tuple[list[Edit], Scratch]) -> None:
    """Job C: another root, HOME, working directory and cluster; what the audit knew is out of reach."""
    report = demo.report
    # Nothing may be read where the audit was: that folder gets another name.
    demo.home.rename(demo.work / "gone")
    with (
        tempfile.TemporaryDirectory(prefix="colleague-") as name,
        dask_cluster(Path(name) / "cluster") as address,
    ):
        root = Path(name)
        home, user, cwd = root / "project", root / "home", root / "cwd"
        for folder in (home, user, cwd):
            folder.mkdir()
        env = {"HOME": str(user), "DASK_SCHEDULER_ADDRESS": address}
        for job, (edits, truth), cells in (("C-A", a, {"c3"}), ("C-B", b, {"c2", "c3"})):
            # Each job starts from the package, so that B finds nothing that A has left.
            shutil.rmtree(home)
            shutil.copytree(demo.package, home / ".nbrewind")
            if job == "C-A":
                restore(demo, home, cwd, env)
            check = no_early_tasks(report, must_run=True)
            demo.repeat(job, edits, truth, cells, home=home, cwd=cwd, env=env, check_tasks=check)


def restore(demo: Demo, home: Path, cwd: Path, env: dict[str, str]) -> None:
    """The state after `c2`, brought back without executing anything but what cannot be stored."""
    write_edited(demo.original, home / demo.notebook.name, [])
    job = "climate C, restore to c2"
    heading(job)
    step = nbrewind(["restore", str(home / demo.notebook.name), "--to", "c2", "--json"], cwd, env)
    report = demo.report
    report.expect(
        step.code == 0,
        job,
        f"nbrewind restore ended with {step.code}: {step.errors.strip()[-600:]}",
    )
    report.expect(
        bool(step.result), job, "nbrewind restore --json prints JSON", step.errors.strip()[-400:]
    )
    names = step.result.get("names", {})
    if isinstance(names, list):
        names = {entry.get("name"): entry for entry in names}
    for name, told in names.items():
        print(f"  {name:<14} {text_of(told)[:CUT_TEXT]}")
    for name in ("daily_stats", "risk_score", "stats_ref", "raw_df", "client"):
        status = text_of(names.get(name))
        report.expect(
            name in names and not re.search("stub|lost|missing|failed", status),
            job,
            f"{name} comes back",
            status or "nothing",
        )
    # The dataset is what the recipe of the client must not make again.
    report.expect(not (home / "data").exists(), job, "the recipe of the client makes no data")
    connection_file = step.result.get("connection_file")
    report.expect(bool(connection_file), job, "the restore names its running kernel")
    if connection_file:
        with running_kernel(connection_file) as evaluate:
            # Not from what the restore says of itself: from the objects, on the colleague's cluster.
            found = evaluate("len(stats_ref) == N_REGIONS * N_DAYS")
            report.expect(found == "True", job, "stats_ref has one row per region and day", found)
            found = evaluate(
                "risk_score({('anomaly', 'mean'): 2.0, ('precipitation', 'sum'): 10.0})"
            )
            report.expect(found == "3.0", job, "risk_score is the function of c2", found)
            found = evaluate("type(raw_df).__name__, list(daily_stats.columns)[-1][0]")
            report.expect(
                found == "('DataFrame', 'risk_score')",
                job,
                "raw_df and daily_stats are what they were",
                found,
            )
    report.add(Line(job, step.seconds))


def classify(work: Path, report: Report, *, small: bool, shadow: bool) -> None:
    preset = [Edit("load", "N_TREES = 300", "N_TREES = 60")] if small else []
    demo = Demo("classify", work, report, preset)
    constant = [Edit("fit-svc", "C=4.0", "C=0.5")]
    helper = [Edit("augment", "by, axis=1", "by, axis=0")]
    comment = [Edit("load", "# a view: what happens", "# What happens")]

    truth = demo.scratch("unchanged", [])
    truth_constant = demo.scratch("constant", constant)
    truth_helper = demo.scratch("helper", helper)

    demo.audit(truth)
    demo.repeat("unchanged", [], truth, set())
    demo.repeat("comment", comment, truth, set())
    after_svc = {"fit-svc", "figure"}
    demo.reset()
    demo.stale("constant", constant, after_svc)
    demo.repeat("constant", constant, truth_constant, after_svc)
    after_augment = {"augment", "split", "fit-linear", "fit-forest", "fit-svc", "figure"}
    demo.reset()
    demo.stale("helper", helper, after_augment)
    demo.repeat("helper", helper, truth_helper, after_augment)
    if shadow:
        demo.reset()
        demo.shadow()


# --- The tables --------------------------------------------------------------------------------------


def ratio(before: float | None, after: float) -> str:
    return f"{before / after:.1f}x" if before else ""


def megabytes(count: int | None) -> str:
    return f"{count / 1e6:.1f}" if count is not None else ""


def show_summary(report: Report) -> None:
    titles = (
        *("job", "executed", "replayed", "restored", "task hits", "tasks run", "seconds"),
        *("vs plain", "vs audit", "equal", "store MB", "data MB"),
    )
    rows = [titles]
    for line in report.lines:
        cells = (
            [str(line.count(status)) for status in ("executed", "replayed", "restored")]
            if line.statuses
            else ["", "", ""]
        )
        rows.append(
            (
                line.job,
                *cells,
                "" if line.hit is None else str(line.hit),
                "" if line.ran is None else str(line.ran),
                f"{line.seconds:.1f}",
                ratio(line.plain, line.seconds),
                ratio(line.audit, line.seconds),
                {None: "", True: "yes", False: "NO"}[line.equal],
                megabytes(line.store),
                megabytes(line.data),
            )
        )
    widths = [max(len(row[idx]) for row in rows) for idx in range(len(titles))]
    heading("Summary")
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work", type=Path, help="folder to work in; emptied first (default: a temporary one)"
    )
    parser.add_argument("--only", choices=["climate", "classify"])
    parser.add_argument(
        "--small", action="store_true", help="a fifteenth of the data: a check, not a measurement"
    )
    parser.add_argument(
        "--shadow", action="store_true", help="also execute and compare what would be replayed"
    )
    parser.add_argument("--json", type=Path, help="write the summary here as well")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        run_plain(arguments.plain)
        return 0

    # So that a cluster is taken down as well when somebody ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    with contextlib.ExitStack() as stack:
        work = arguments.work
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nbrewind-demo-")))
        work = work.resolve()
        for name, job in (("climate", climate), ("classify", classify)):
            if arguments.only in (None, name):
                try:
                    job(work, report, small=arguments.small, shadow=arguments.shadow)
                except Stop as reason:
                    report.expect(False, name, str(reason))
        show_summary(report)
    if arguments.json:
        lines = [line.__dict__ for line in report.lines]
        arguments.json.write_text(json.dumps({"lines": lines, "broken": report.broken}, indent=1))
    if report.broken:
        print(f"\n{len(report.broken)} broken:")
        for text in report.broken:
            print(f"  {text}")
    else:
        print("\nAll as expected.")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
