"""Run records and manifests in the store."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from nbrewind import checkpoints
from nbrewind._native import (
    CannotWriteError,
    Memory,
    MissingError,
    Sources,
    Store,
    StoreError,
    record_texts,
)
from nbrewind.fingerprint.arrays import place_of
from nbrewind.kernel.namespace import CoVariable


@dataclass
class _Piece:
    """Bytes in the store, or in memory."""

    store: Store
    sources: Sources
    names: list[str]
    n_bytes: int

    def fill(self, flat: Any) -> None:
        """Read them into an array of bytes that is as long."""
        self.sources.fill(self.store, self.names, flat)

    def read(self) -> bytearray:
        """Read them."""
        found = bytearray(self.n_bytes)
        self.fill(found)
        return found


class History:
    """What was recorded in one store, and how more is added."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.store = Store(path, "rw")
            self.is_writable = True
        except StoreError:
            if not os.path.isdir(path):
                raise
            self.store = Store(path, "r")
            self.is_writable = False
        self._manifests: dict[str, CoVariable] = {}
        # Whether replays were noted since the last commit.
        self._has_notes = False

    def refresh(self) -> None:
        """See what other writers have added."""
        self.store.refresh()

    def damage(self) -> str | None:
        """A sentence for whoever misses a run, when a log of the store is damaged."""
        if not self.store.stats()["n_damaged_logs"]:
            return None
        return (
            f"A log in the store {self.path} is damaged, so runs may be missing. `nbrewind verify` says where, and "
            "which cells to run again"
        )

    def runs_of_source(self, source_fp: str) -> list[dict[str, Any]]:
        """Records of runs of this code, oldest first."""
        runs = [json.loads(text) for _, text in record_texts(self.store, "run", source_fp)]
        for run in runs:
            if run.get("unsettled"):
                settled = self.store.records("settled", run["run_id"])
                if settled:
                    run["inputs"]["files"].update(json.loads(settled[-1]["payload"])["files"])
                else:
                    run["replayable"] = False
                    run["why_not"] = [
                        *run["why_not"],
                        "what its tasks read after the cell had ended is not known",
                    ]
        return runs

    def all_runs(self) -> list[dict[str, Any]]:
        """Every run record, oldest first."""
        return [json.loads(record["payload"]) for record in self.store.records("run")]

    def checkpoints(self) -> list[dict[str, Any]]:
        """Every state to restore, as a run record; the one that a page showed last at the end."""
        if self._has_notes:
            # The store lists what is durable.
            self.flush()
        return checkpoints.of_store(self.store)

    def run(self, run_id: str) -> dict[str, Any] | None:
        """One run record."""
        return next((run for run in self.all_runs() if run["run_id"] == run_id), None)

    def n_bytes(self, run: dict[str, Any]) -> int:
        """Bytes of everything that the run left in the namespace."""
        found = 0
        for manifest_id in set(run["state"].values()):
            try:
                found += self.manifest(manifest_id).n_bytes
            except MissingError:
                continue
        return found

    def manifest(self, manifest_id: str) -> CoVariable:
        """One version of a co-variable. Raises `MissingError` when the store does not have it."""
        known = self._manifests.get(manifest_id)
        if known is None:
            records = self.store.records("manifest", manifest_id)
            if not records:
                raise MissingError(
                    f"manifest {manifest_id} is not in {self.path}; run the cells that made it again"
                )
            known = CoVariable.from_payload(json.loads(records[-1]["payload"]))
            self._manifests[manifest_id] = known
        return known

    def has_manifest(self, manifest_id: str) -> bool:
        """True when this version was recorded before, with its bytes, and was not cleaned away since."""
        if not self.store.records("manifest", manifest_id):
            self._manifests.pop(manifest_id, None)
            return False
        try:
            return self.manifest(manifest_id).data is not None
        except MissingError:
            return False

    def knows_manifest(self, manifest_id: str) -> bool:
        """True when this version was recorded before, be it that it cannot be stored."""
        try:
            self.manifest(manifest_id)
        except MissingError:
            return False
        return True

    def put_manifest(self, version: CoVariable) -> None:
        """Add a version to the next commit; its chunks are already put."""
        self.store.append(
            "manifest", version.manifest_id, json.dumps(version.to_payload()), version.chunks()
        )
        self._manifests[version.manifest_id] = version

    def put_value(
        self, head: bytes, buffers: list[Any], pieces: list[Any], memory: Memory
    ) -> dict[str, Any]:
        """Store a pickle, its buffers and its pieces; returns where they are. What `memory` knows is not hashed."""
        # The buffers may be where others were that are gone.
        memory.begin_look()
        found = []
        n_bytes = len(head)
        for buffer in buffers:
            raw = buffer.raw()
            n_bytes += raw.nbytes
            chunks = memory.put(self.store, raw)
            found.append({"chunks": chunks, "len": raw.nbytes, "readonly": raw.readonly})
        kept = []
        for piece in pieces:
            n_bytes += piece.nbytes
            place = place_of(piece)
            chunks = (
                memory.put_items(self.store, place)
                if place is not None
                else memory.put(self.store, piece)
            )
            kept.append({"chunks": chunks, "len": piece.nbytes})
        return {
            "format": "pickle5",
            "head": self.store.put(head),
            "buffers": found,
            "columns": kept,
            "bytes": n_bytes,
        }

    def get_value(
        self, data: dict[str, Any], sources: Sources
    ) -> tuple[bytes, list[Any], list[_Piece]]:
        """The pickle, its buffers and its pieces again; read-only buffers stay so."""
        buffers: list[Any] = []
        for buffer in data["buffers"]:
            content = self.store.get(buffer["chunks"])
            buffers.append(bytes(content) if buffer["readonly"] else content)
        pieces = [
            _Piece(self.store, sources, piece["chunks"], piece["len"])
            for piece in data.get("columns", ())
        ]
        return bytes(self.store.get(data["head"])), buffers, pieces

    def note_replay(self, note: dict[str, Any]) -> None:
        """Remember which text a cell was last shown for, and the state then; durable with the next commit."""
        ambient = note.get("left", {}).get("ambient", {}).values()
        needs = [chunk for item in ambient if item is not None for chunk in item["chunks"]]
        if self.is_writable:
            try:
                payload = json.dumps(note)
                self._has_notes = True
                self.store.append(
                    "replay", note["cell_id"] or "", payload, list(dict.fromkeys(needs))
                )
            except CannotWriteError:
                self.is_writable = False

    def settle(self, run_id: str, files: dict[str, str | None]) -> None:
        """What the tasks of a run read that went on after its cell."""
        if self.is_writable:
            self.store.append("settled", run_id, json.dumps({"files": files}))
            self.store.commit()

    def flush(self) -> None:
        """Make notes durable. A store that cannot be written has nothing to lose."""
        self._has_notes = False
        if self.is_writable:
            try:
                self.store.commit()
            except CannotWriteError:
                self.is_writable = False

    def append_run(self, record: dict[str, Any], needs: list[str]) -> None:
        """Add a run record and make it durable."""
        self.store.append("run", record["source_fp"], json.dumps(record), needs)
        self.store.commit()
