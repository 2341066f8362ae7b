"""What every command does. Exit codes: 0 done, 1 the notebook failed, 2 wrong arguments, 3 the store refused."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# First: it knows what need not be imported with nbformat.
from nbrewind.cli.notebook import (  # isort: skip
    CodeCell,
    Notebook,
    NotebookError,
    inject_parameters,
    parse_parameter,
    read_notebook,
    write_notebook,
)
from nbrewind import checkpoints, records, roots
from nbrewind._native import Store, StoreError
from nbrewind.cli import analysis, driver, report


def run(options: argparse.Namespace) -> int:
    """Run one command; returns the exit code."""
    try:
        return _COMMANDS[options.command](options)
    except NotebookError as error:
        return fail(str(error), error.exit_code)
    except (driver.Refused, StoreError) as error:
        return fail(str(error), 3)
    except driver.KernelFailed as error:
        return fail(str(error), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def fail(text: str, code: int) -> int:
    """Say why a command ended; returns the code."""
    print(f"nbrewind: {text}", file=sys.stderr)
    return code


def _read(options: argparse.Namespace, path: str | None = None) -> Notebook:
    notebook = read_notebook(path or options.notebook, kernel=options.kernel)
    for text in notebook.warnings:
        print(f"nbrewind: {text}", file=sys.stderr)
    return notebook


def _store(options: argparse.Namespace) -> Path:
    """The store of a command; for commands without a notebook the one in this folder."""
    return driver.store_of(Path(getattr(options, "notebook", "x")), options.store)


def _open_store(options: argparse.Namespace, mode: str = "r") -> Store:
    path = _store(options)
    if not path.is_dir():
        raise driver.Refused(
            f"there is no store at {path}. Audit the notebook first: nbrewind audit NB.ipynb"
        )
    return Store(str(path), mode)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


# --- Running ------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace, mode: str, *, shadow: bool = False) -> int:
    notebook = _read(options)
    parameters = getattr(options, "parameter", [])
    if parameters:
        notebook = inject_parameters(notebook, dict(parse_parameter(text) for text in parameters))
    start = notebook.find(options.start).position if getattr(options, "start", None) else 0
    store = _store(options)
    started = time.perf_counter()

    def shown(cell: CodeCell, found: dict[str, Any]) -> None:
        if found["status"] == "replayed" and cell.position < start:
            found["status"] = "restored"
        if not options.json:
            print(report.cell_line(cell, found), flush=True)

    reports = driver.run(
        driver.run_notebook(
            notebook, mode, store, shadow=shadow, on_cell=shown, process=options.started
        )
    )
    summary = report.summarise(reports, time.perf_counter() - started, shadow=shadow)
    if getattr(options, "output", None):
        write_notebook(notebook, options.output)
    if getattr(options, "task_log", None):
        report.write_task_log(options.task_log, reports)
    if options.json:
        _print_json(summary)
    else:
        print(report.summary_text(summary))
    failed = [found for found in reports if found["status"] == "failed"]
    if failed:
        cell = notebook.find(failed[0]["cell_id"])
        print(f"nbrewind: cell {cell.id} failed: {report.error_of(cell)}", file=sys.stderr)
        return 1
    if shadow and summary["shadow"]["differences"]:
        return 1
    return 0


def _audit(options: argparse.Namespace) -> int:
    return _run(options, "audit")


def _repeat(options: argparse.Namespace) -> int:
    if options.dry_run:
        return _dry_run(options)
    return _run(options, "repeat", shadow=options.shadow)


def _dry_run(options: argparse.Namespace) -> int:
    notebook = _read(options)
    cells = [
        {"id": cell.id, "source": cell.source, "tags": list(cell.tags)}
        for cell in notebook.code_cells()
    ]

    async def ask() -> dict[str, Any]:
        async with driver.Driver(
            notebook, "repeat", _store(options), process=options.started
        ) as kernel:
            return await kernel.ask("plan", cells=cells)

    driver.check_trust(_store(options))
    plan = driver.run(ask())["plan"]
    if options.json:
        _print_json({"cells": plan})
    else:
        for item in plan:
            print(
                f"{item['id']:<14} {item['status']:<10} {item['seconds']:8.2f} s  {'; '.join(item['why'])}"
            )
            if "tasks" in item:
                from nbrewind.tasks.forecast import text_of

                print(f"{'':<14} {text_of(item['tasks'])}")
    return 0


def _check(options: argparse.Namespace) -> int:
    notebook = _read(options)
    store = _store(options)
    if not store.is_dir():
        raise driver.Refused(
            f"there is no store at {store}. Audit the notebook first: nbrewind audit NB.ipynb"
        )
    reports = driver.run(
        driver.run_notebook(notebook, "repeat", store, shadow=True, process=options.started)
    )
    verdicts = report.verdicts(reports)
    if options.json:
        _print_json({"cells": verdicts})
    else:
        for item in verdicts:
            print(f"{item['id']:<14} {item['verdict']:<17} {', '.join(item['differences'])}")
    return 1 if any(item["verdict"] in {"differs", "failed"} for item in verdicts) else 0


def _restore(options: argparse.Namespace) -> int:
    notebook = _read(options)
    cell = notebook.find(options.to)
    store = _store(options)
    driver.check_trust(store)
    if not store.is_dir():
        raise driver.Refused(
            f"there is no store at {store}. Audit the notebook first: nbrewind audit NB.ipynb"
        )

    async def ask() -> tuple[dict[str, Any], str]:
        async with driver.Driver(notebook, "audit", store, stays=True) as kernel:
            found = (await kernel.ask("restore", cell=cell.id, number=options.run))["report"]
            kernel.keep = True
            return found, str(kernel.process.connection_file)

    found, connection = driver.run(ask())
    if options.json:
        _print_json({**found, "connection_file": connection})
        return 0
    if found["source"] != cell.source:
        print(
            f"Cell {cell.id} was edited since. The state is the one that this text left:\n{found['source']}\n"
        )
    print(report.restore_text(found))
    print(f"\nThe kernel is running. Connect with: jupyter console --existing {connection}")
    return 0


# --- Asking -------------------------------------------------------------------------------------------------------


def _cells(notebook: Notebook) -> list[dict[str, Any]]:
    return [
        {"id": cell.id, "source": cell.source, "tags": list(cell.tags)}
        for cell in notebook.code_cells()
    ]


def _analyze(options: argparse.Namespace) -> int:
    found = analysis.analyze(_cells(_read(options)))
    if options.json:
        _print_json(found)
        return 0
    for cell in found["cells"]:
        print(
            f"{cell['id']:<14} reads {', '.join(cell['reads']) or '-'}; writes {', '.join(cell['writes']) or '-'}"
        )
    return 0


def _stale(options: argparse.Namespace) -> int:
    # It brings all that tells tasks apart, which no repeat waits for.
    from nbrewind.cli import history

    if options.audited:
        if options.edited is None:
            raise NotebookError(
                "--audited takes two notebooks: nbrewind stale --audited A.ipynb B.ipynb"
            )
        audited = _cells(_read(options))
        facts = None
        if options.store is not None:
            facts = records.recorded_facts(_open_store(options), audited)
        found = analysis.stale_audited(audited, _cells(_read(options, options.edited)), facts)
    else:
        notebook = _read(options)
        runs = history.latest_runs(_open_store(options), notebook.path.name)
        found = history.stale(_cells(notebook), runs)
    if options.json:
        _print_json(found)
        return 0
    for word in ("stale", "unknown"):
        for cell in found[word]:
            print(f"{word:<8} {cell:<14} {found['reasons'].get(cell, '')}")
    if not found["stale"] and not found["unknown"]:
        print("Every cell is fresh.")
    return 0


def _why(options: argparse.Namespace) -> int:
    from nbrewind.cli import history

    notebook = _read(options)
    store = _open_store(options)
    found = history.why(store, _cells(notebook), notebook, options.subject)
    if options.json:
        _print_json(found)
    else:
        print("\n".join(found["why"]))
    return 0


def _graph(options: argparse.Namespace) -> int:
    print(analysis.graph(_cells(_read(options)), options.format))
    return 0


def _verify(options: argparse.Namespace) -> int:
    damages = _open_store(options).verify()
    if options.json:
        _print_json({"damages": damages})
    else:
        for damage in damages:
            print(f"damaged: {damage['file']} at {damage['offset']}: {damage['what']}")
            for item in damage["records"]:
                print(f"  not usable: {item['count']} {item['kind']} {item['key'][:16]}")
        if not damages:
            print("Every stored byte matches its name.")
    return 3 if damages else 0


def _stats(options: argparse.Namespace) -> int:
    store = _open_store(options)
    found = store.stats() | {
        "disk_bytes": roots.disk_bytes(Path(store.path)),
        "n_live_writers": len(store.live_writers()),
    }
    if options.json:
        _print_json(found)
    else:
        for name, value in found.items():
            shown = f"  ({roots.show_size(value)})" if name.endswith("bytes") else ""
            print(f"{name:<18} {value}{shown}")
    return 0


def _gc(options: argparse.Namespace) -> int:
    try:
        budget = None if options.budget is None else roots.parse_size(options.budget)
    except ValueError:
        return fail(f"{options.budget} is not a size; write for example 10GB", 2)
    if options.keep < 1 or not 0 <= options.grace < 1e9:
        return fail("--keep is at least 1, --grace at least 0 seconds", 2)
    store = _open_store(options, "r" if options.dry_run else "rw")
    choice = roots.choose(store, options.keep)
    found = store.gc(budget, choice.drop, choice.revive, options.grace, options.dry_run)
    if options.json:
        _print_json({**found, "n_kept_checkpoints": choice.n_roots, "dry_run": options.dry_run})
    else:
        print(report.gc_text(found, choice.n_roots, options.dry_run))
    return 0


def _pin(options: argparse.Namespace) -> int:
    store = _open_store(options, "rw")
    found = [run for run in checkpoints.of_store(store) if run["run_id"].startswith(options.run)]
    if len({run["run_id"] for run in found}) != 1:
        what = "no run" if not found else "several runs"
        raise driver.Refused(f"{what} with the id {options.run}; `nbrewind ls` shows them")
    store.append(roots.PIN, found[0]["run_id"], json.dumps({"pinned": not options.remove}), [])
    store.commit()
    if options.json:
        _print_json({"run_id": found[0]["run_id"], "pinned": not options.remove})
    return 0


def _ls(options: argparse.Namespace) -> int:
    from nbrewind.cli import history

    runs = checkpoints.of_store(_open_store(options))
    if options.json:
        _print_json({"runs": [{key: run.get(key) for key in history.SHOWN} for run in runs]})
    else:
        for run in runs:
            print(report.run_line(run))
    return 0


_COMMANDS = {
    "audit": _audit,
    "repeat": _repeat,
    "restore": _restore,
    "check": _check,
    "stale": _stale,
    "why": _why,
    "analyze": _analyze,
    "graph": _graph,
    "verify": _verify,
    "stats": _stats,
    "gc": _gc,
    "pin": _pin,
    "ls": _ls,
}
