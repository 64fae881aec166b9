"""`millrace import`: weights and token files that others made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import friendly_errors, output, print_json, styled
from flows.cli.weights import import_weights

import_commands = typer.Typer(no_args_is_help=True)
import_commands.command("weights")(import_weights)


@import_commands.command("tokens")
def import_token_files(
    sources: Annotated[
        list[str], typer.Argument(help="SOURCE=PREFIX of PREFIX.bin and PREFIX.idx. Repeat it for more files.")
    ],
    tokenizer: Annotated[str, typer.Option(help="The tokenizer of these files: a file or a folder.")],
    name: Annotated[str, typer.Option(help="Name of the build, such as corpus/pile.")],
    end_of_document: Annotated[str, typer.Option(help="Token behind every document.")] = "<|endoftext|>",
    validation: Annotated[list[str] | None, typer.Option(help="SOURCE=PREFIX of files for validation.")] = None,
    held_out: Annotated[list[str] | None, typer.Option(help="SOURCE=PREFIX of files to evaluate on.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Import Megatron's token files, with their tokenizer, as a corpus to train on."""
    with friendly_errors(as_json):
        from infra.store.lake import Lake
        from infra.store.names import Reference, check_name, point
        from tasks.imported_tokens import TokenSource, TokensRefused, import_tokens
        from tasks.token_artifact import HELD_OUT, VALIDATION

        check_name(name)
        found: dict[tuple[str, str], list[Path]] = {}
        for split, given in (("", sources), (VALIDATION, validation or []), (HELD_OUT, held_out or [])):
            for item in given:
                source, sign, prefix = item.partition("=")
                if not sign or not prefix:
                    raise TokensRefused(f"{item!r} is not SOURCE=PREFIX, such as pile=pile/document")
                found.setdefault((source, split), []).append(Path(prefix.removesuffix(".bin").removesuffix(".idx")))
        opened = Lake.open(lake)
        listed = [TokenSource(source, tuple(pairs), split) for (source, split), pairs in found.items()]
        record = import_tokens(opened, name.rpartition("/")[2], listed, Path(tokenizer), end_of_document)
        point(opened, name, Reference("build", record.key, record.digest))
        if as_json:
            wanted = {"key": record.key, "digest": record.digest, "documents": record.documents}
            print_json({**wanted, "tokens": record.tokens, "name": name})
            return
        counts = f"{record.documents:,} documents, {record.tokens:,} tokens"
        output.print(styled("{}: [bold]{}[/]", counts, name))
