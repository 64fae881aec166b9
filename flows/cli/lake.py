"""Commands for a lake: list, ledger, verification, deletion, upgrade."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.build import print_funnels
from flows.cli.opening import open_lake, place
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import CommandFailed, friendly_errors, output, print_json, print_table, progress_bars
from infra.scratch import scratch_folder

if TYPE_CHECKING:
    from infra.store.lake import Lake
    from infra.store.manifest import Manifest

lake_commands = typer.Typer(no_args_is_help=True)
ArtifactArgument = Annotated[
    str, typer.Argument(help="A name such as corpus/crawl, or the first characters of the key of a build or artifact.")
]


def artifacts(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """List the names, builds and artifacts of a lake."""
    with friendly_errors(as_json):
        from infra.store.manifest import manifest_from_json
        from infra.store.names import all_names
        from tasks.builds import all_builds

        opened = open_lake(lake)
        names = {name: reference.key for name, reference in all_names(opened)}
        builds = list(all_builds(opened))
        found = [manifest_from_json(opened.read_json(entry.path)) for entry in opened.list("artifacts")]
        if as_json:
            print_json(
                {
                    "names": names,
                    "builds": [
                        {"key": build.key, "digest": build.digest, "created": build.created} for build in builds
                    ],
                    "artifacts": [
                        {"stage": item.stage, "key": item.key, "digest": item.digest, "created": item.created}
                        for item in found
                    ],
                }
            )
            return
        by_key = {key: name for name, key in names.items()}
        rows = [[by_key.get(b.key, ""), b.key[:12], b.documents, b.tokens, b.created] for b in builds]
        print_table("Builds", ["name", "key", "documents", "tokens", "made"], rows)
        print_table(
            "Artifacts",
            ["stage", "key", "parts", "rows", "worker seconds", "made"],
            [
                [m.stage, m.key[:12], len(m.parts), max(m.rows, 0), m.cost.get("worker_seconds", 0), m.created]
                for m in sorted(found, key=lambda manifest: manifest.created)
            ],
        )


def ledger(artifact: ArtifactArgument, lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """Show the record counts of a build or an artifact: in, kept, dropped and failed."""
    with friendly_errors(as_json):
        from infra.store.errors import StoreError
        from tasks.builds import find_build

        opened = open_lake(lake)
        try:
            build = find_build(opened, artifact)
        except StoreError:
            if "/" in artifact:
                raise
            manifest = _find_artifact(opened, artifact)
            account = asdict(manifest.account)
            if as_json:
                print_json({"stage": manifest.stage, "key": manifest.key, "account": account})
                return
            rows = [[name, str(value)] for name, value in account.items() if name != "failures"]
            print_table(f"{manifest.stage} {manifest.key[:12]}", ["", ""], rows)
            _print_failures(manifest)
            return
        if as_json:
            values = {"key": build.key, "digest": build.digest, "ledger": build.ledger}
            print_json({**values, "source_ledgers": build.source_ledgers})
            return
        print_funnels(build.ledger, build.source_ledgers)
        for source in build.sources:
            _print_failures(build.manifest(opened, f"{source}/documents"))


def verify(
    artifact: ArtifactArgument,
    lake: LakeOption = DEFAULT_LAKE,
    forget: Annotated[bool, typer.Option(help="Delete what is broken, so that the next build makes it again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every part of a build or an artifact, and check all digests."""
    with (
        friendly_errors(as_json),
        scratch_folder() as cache,
        progress_bars(as_json) as show,
    ):
        from infra.audit import forget_artifact, verify_artifact

        opened = open_lake(lake)
        faults: list[dict[str, Any]] = []
        parts = 0
        for manifest in _manifests(opened, artifact):
            found = verify_artifact(opened, manifest, cache, show)
            parts += len(manifest.parts)
            faults += [{"stage": manifest.stage, **asdict(fault)} for fault in found]
            if found and forget:
                forget_artifact(opened, manifest, found)
        if as_json:
            print_json({"parts": parts, "faults": faults})
        elif not faults:
            output.print(f"[green]All {parts} parts match their digests.[/]")
        else:
            rows = [[fault["stage"], fault["part"], fault["problem"], fault["path"]] for fault in faults]
            print_table("Broken", ["stage", "part", "problem", "path"], rows)
            output.print("Deleted." if forget else "Add --forget and then build again to replace the broken parts.")
        if faults:
            raise CommandFailed


def gc(
    lake: LakeOption = DEFAULT_LAKE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be deleted.")] = False,
    older_than_hours: Annotated[float, typer.Option(help="Keep objects younger than this.", min=0)] = 24.0,
    as_json: JsonOption = False,
) -> None:
    """Delete all objects that no name and no run needs any more."""
    with friendly_errors(as_json):
        from infra.store.garbage import plan_sweep, sweep
        from tasks.roots import find_roots

        opened = open_lake(lake)
        planned = plan_sweep(opened, find_roots, older_than_hours * 3600)
        if not dry_run:
            sweep(opened, planned, find_roots)
        if as_json:
            result = {"objects": len(planned.entries), "bytes": planned.bytes, "kept": planned.kept_objects}
            print_json({**result, "deleted": not dry_run})
            return
        verb = "would be deleted" if dry_run else "deleted"
        output.print(
            f"{len(planned.entries):,} objects of {planned.bytes:,} bytes {verb}; {planned.kept_objects:,} kept"
        )


@lake_commands.command("upgrade")
def upgrade_lake(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """Upgrade a lake of an older Millrace version to the current format. Parts do not change."""
    with friendly_errors(as_json), progress_bars(as_json) as show:
        from infra.store.lake import FORMAT
        from tasks.upgrade import upgrade

        opened = place(lake)
        done = upgrade(opened, show)
        if as_json:
            print_json({"format": FORMAT, **(asdict(done) if done is not None else {})})
        elif done is None:
            output.print(f"{opened.uri} already has format {FORMAT}.", markup=False)
        else:
            output.print(
                f"{opened.uri} now has format {FORMAT}: {done.builds} builds, {done.sources} sources and {done.names} "
                "names were carried over. The next build recomputes annotations; runs resume where they stopped.",
                markup=False,
            )


def _manifests(lake: Lake, name: str) -> list[Manifest]:
    from infra.store.errors import StoreError
    from tasks.builds import find_build

    try:
        build = find_build(lake, name)
    except StoreError:
        if "/" in name:
            raise
        return [_find_artifact(lake, name)]
    return [build.manifest(lake, artifact) for artifact in build.artifacts]


def _find_artifact(lake: Lake, key: str) -> Manifest:
    from infra.store.errors import StoreError
    from infra.store.manifest import manifest_from_json

    found = [entry.path for entry in lake.list("artifacts") if entry.path.rpartition("/")[2].startswith(key)]
    if len(found) != 1:
        raise StoreError(
            f"{len(found)} builds and artifacts of {lake.uri} have keys that start with {key}; "
            "`millrace artifacts` lists them"
        )
    return manifest_from_json(lake.read_json(found[0]))


def _print_failures(manifest: Manifest) -> None:
    rows = [
        [
            failure.get("file") or failure.get("document"),
            failure.get("offset", ""),
            failure["reason"],
            failure.get("example", ""),
        ]
        for failure in manifest.account.failures[:20]
    ]
    if rows:
        print_table("Failures (the first 20)", ["where", "byte", "reason", "example"], rows)
