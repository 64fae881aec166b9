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
    from tasks.builds import BuildRecord

lake_commands = typer.Typer(no_args_is_help=True)
ArtifactArgument = Annotated[
    str, typer.Argument(help="A name such as corpus/crawl, or the first characters of the key of a build or artifact.")
]


def artifacts(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """List the names, builds and artifacts of a lake."""
    with friendly_errors(as_json):
        from infra.store.manifest import all_manifests
        from infra.store.names import all_names
        from tasks.builds import all_builds

        opened = open_lake(lake)
        names = {name: reference.key for name, reference in all_names(opened)}
        builds = list(all_builds(opened))
        found = list(all_manifests(opened))
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
        from tasks.report.fits import fit_report, fit_reports, short_rows

        opened = open_lake(lake)
        try:
            build = find_build(opened, artifact)
        except StoreError:
            if "/" in artifact:
                raise
            manifest = _find_artifact(opened, artifact)
            account = asdict(manifest.account)
            report = fit_report(opened, manifest)
            if as_json:
                told = {} if report is None else {"report": report}
                print_json({"stage": manifest.stage, "key": manifest.key, "account": account, **told})
                return
            rows = [[name, str(value)] for name, value in account.items() if name != "failures"]
            print_table(f"{manifest.stage} {manifest.key[:12]}", ["", ""], rows + short_rows(report or {}))
            _print_failures(manifest)
            return
        fits = fit_reports(opened, build)
        if as_json:
            values = {"key": build.key, "digest": build.digest, "ledger": build.ledger}
            print_json({**values, "source_ledgers": build.source_ledgers, "fits": fits})
            return
        print_funnels(build.ledger, build.source_ledgers)
        for name, report in fits.items():
            print_table(f"What {name} says of itself", ["", ""], short_rows(report))
        for source in build.sources:
            _print_failures(build.manifest(opened, f"{source}/documents"))


def verify(
    artifact: ArtifactArgument,
    lake: LakeOption = DEFAULT_LAKE,
    forget: Annotated[bool, typer.Option(help="Delete what is broken, so that the next build makes it again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every part of a build or an artifact, and compare records, names, manifests and parts with each other."""
    with (
        friendly_errors(as_json),
        scratch_folder() as cache,
        progress_bars(as_json) as show,
    ):
        from infra.audit import Fault, forget_artifact, verify_artifact
        from tasks.builds import disagreements, manifests_of

        opened = open_lake(lake)
        faults: list[dict[str, Any]] = []
        build = _find_build(opened, artifact)
        unreadable: dict[str, str] = {}
        doubts: list[Fault] = []
        if build is None:
            made = {artifact: _find_artifact(opened, artifact)}
        else:
            made, unreadable = manifests_of(opened, build)
            doubts = [Fault("", path, problem) for path, problem in disagreements(opened, build, made)]
        for path, problem in unreadable.items():
            faults.append({"stage": path.split("/")[1], **asdict(Fault("", path, problem))})
            if forget:
                opened.delete(path)
        for manifest in made.values():
            found = verify_artifact(opened, manifest, cache, show)
            found += [fault for fault in doubts if fault.path == manifest.path]
            faults += [{"stage": manifest.stage, **asdict(fault)} for fault in found]
            if found and forget:
                damaged = forget_artifact(opened, manifest, found)
                faults += [{"stage": manifest.stage, **asdict(Fault("", "", line))} for line in damaged]
        if build is not None and (wrong := [fault for fault in doubts if fault.path == build.path]):
            faults += [{"stage": "build", **asdict(fault)} for fault in wrong]
            if forget:
                opened.delete(build.path)
        parts = sum(len(manifest.parts) for manifest in made.values())
        if as_json:
            print_json({"parts": parts, "faults": faults})
        elif not faults:
            output.print(f"All {parts} parts match their digests.", style="green")
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
    """Delete all objects that no name and no run needs any more.

    With less than 24 hours, only while no build uses the lake: it may delete what a build has just written.
    """
    with friendly_errors(as_json):
        from infra.store.garbage import GRACE_SECONDS, plan_sweep, sweep
        from tasks.roots import find_roots

        opened = open_lake(lake)
        if older_than_hours * 3600 < GRACE_SECONDS and not dry_run:
            typer.echo(
                f"Keeping objects younger than {older_than_hours:g} hours only: a build that runs now, also on another "
                "machine, may lose what it has written. The default of 24 hours is safe.",
                err=True,
            )
        planned = plan_sweep(opened, find_roots, older_than_hours * 3600)
        if not dry_run:
            sweep(opened, planned, find_roots)
        if as_json:
            result = {"objects": len(planned.entries), "bytes": planned.bytes, "kept": planned.kept_objects}
            print_json({**result, "deleted": not dry_run, "damaged": planned.damaged})
            return
        verb = "would be deleted" if dry_run else "deleted"
        output.print(
            f"{len(planned.entries):,} objects of {planned.bytes:,} bytes {verb}; {planned.kept_objects:,} kept"
        )
        for line in planned.damaged:
            output.print(f"Damaged: {line}")


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
            output.print(f"{opened.uri} already has format {FORMAT}.")
        else:
            output.print(
                f"{opened.uri} now has format {FORMAT}: {done.builds} builds, {done.sources} sources and {done.names} "
                "names were carried over. The next build recomputes annotations; runs resume where they stopped.",
                markup=False,
            )


def _find_build(lake: Lake, name: str) -> BuildRecord | None:
    """The build of that name or key, None if it is none: then it may be an artifact."""
    from infra.store.errors import Corrupt, StoreError
    from tasks.builds import find_build

    try:
        return find_build(lake, name)
    except Corrupt:
        raise
    except StoreError:
        if "/" in name:
            raise
        return None


def _find_artifact(lake: Lake, key: str) -> Manifest:
    from infra.store.errors import StoreError
    from infra.store.manifest import manifest_at

    found = [entry.path for entry in lake.list("artifacts") if entry.path.rpartition("/")[2].startswith(key)]
    if len(found) != 1:
        raise StoreError(
            f"{len(found)} builds and artifacts of {lake.uri} have keys that start with {key}; "
            "`millrace artifacts` lists them"
        )
    return manifest_at(lake, found[0])


def _print_failures(manifest: Manifest) -> None:
    rows = [
        [
            failure.get("file") or failure.get("document"),
            failure.get("offset", ""),
            failure.get("reason", ""),
            failure.get("example", ""),
        ]
        for failure in manifest.account.failures[:20]
    ]
    if rows:
        print_table("Failures (the first 20)", ["where", "byte", "reason", "example"], rows)
