"""Commands that use model files: convert, screen, sign, verify and detonate."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from antivenom.cli.app import app
from antivenom.core.errors import Tampered, UnsafeFile

REFUSED = 1


@app.command("convert")
def convert_command(
    source: Annotated[Path, typer.Argument(help="A file of tensors, such as a state dict saved by torch.")],
    out: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    only: Annotated[str, typer.Option(help="Convert only this part: a key, with dots if nested.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    allow: Annotated[list[Path], typer.Option(help="A team's allow list. Repeatable.")] = [],  # noqa: B006
    growth: Annotated[float, typer.Option(min=1, help="Limit: bytes of tensors for each byte of the file.")] = 4.0,
) -> None:
    """Convert a file of tensors to safetensors, a format that cannot hold code.

    Exit codes: 0 written, 1 the file is not known to be safe, 2 it cannot be read or written, 4 usage.
    """
    from antivenom.artifacts import convert
    from antivenom.scan import allow_list

    try:
        count = convert(source, out, force, only=only, allow=allow_list().extended(allow), growth=growth)
    except UnsafeFile as error:
        raise refused(error) from error
    typer.echo(f"{out} written: {count} tensors")


@app.command("screen")
def screen_command(
    path: Annotated[Path, typer.Argument(help="A file of tensors.")],
    reference: Annotated[
        Path | None, typer.Option(help="The same model from a source you trust, such as before fine-tuning.")
    ] = None,
    only: Annotated[str, typer.Option(help="Screen only this part: a key, with dots if nested.")] = "",
    allow: Annotated[list[Path], typer.Option(help="A team's allow list. Repeatable.")] = [],  # noqa: B006
) -> None:
    """Search weights for traces that honest training does not leave: NaN, drift, payloads, imprints, traps.

    Weights without a remark are not proven clean: see the guide on leakage through weights.

    Exit codes: 0 no remark, 1 remarks or a file not known to be safe, 2 it cannot be read, 4 usage.
    """
    from antivenom.artifacts import read_tensors
    from antivenom.leakage import screen
    from antivenom.scan import allow_list

    listed = allow_list().extended(allow)
    try:
        state = read_tensors(path, only, listed)
        trusted = read_tensors(reference, only, listed) if reference else None
    except UnsafeFile as error:
        raise refused(error) from error
    remarks = screen(state, trusted)
    for remark in remarks:
        line = f"{remark.kind:<14} {remark.name}: {remark.why} ({remark.value:.3g}, limit {remark.threshold:.3g})"
        typer.echo(printable(line))
    typer.echo(f"{len(state)} tensors, {len(remarks)} remarks")
    raise typer.Exit(REFUSED if remarks else 0)


@app.command("sign")
def sign_command(
    folder: Annotated[Path, typer.Argument(help="The folder to sign.")],
    key: Annotated[
        Path,
        typer.Option(
            help="A private EC key in PEM: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY"
        ),
    ],
) -> None:
    """Sign all files of a folder: writes `model.sig` into it, in the format of OpenSSF model signing.

    Exit codes: 0 written, 2 folder or key cannot be used, 4 usage.
    """
    from antivenom.artifacts import sign

    typer.echo(f"{sign(folder, key)} written")


@app.command("verify")
def verify_command(
    folder: Annotated[Path, typer.Argument(help="A signed folder.")],
    key: Annotated[Path, typer.Option(help="The signer's public key in PEM: openssl pkey -in KEY -pubout -out PUB")],
) -> None:
    """Check that a folder holds exactly the files that were signed.

    Exit codes: 0 it does, 1 it differs or the signature is not of this key, 2 it cannot be read, 4 usage.
    """
    from antivenom.artifacts import verify

    try:
        count = verify(folder, key)
    except Tampered as error:
        for difference in error.differences:
            typer.echo(printable(str(difference)))
        raise refused(error) from error
    typer.echo(f"{folder}: {count} files as signed")


@app.command("detonate")
def detonate_command(
    path: Annotated[Path, typer.Argument(help="The file. ITS CODE IS RUN.")],
    loader: Annotated[str, typer.Option(help="auto, pickle, torch, joblib or numpy.")] = "auto",
    seconds: Annotated[int, typer.Option(min=1, help="Limit: CPU seconds of the load.")] = 60,
    memory: Annotated[int, typer.Option(min=1, help="Limit: MiB that the load may add.")] = 2048,
    unconfined: Annotated[
        bool, typer.Option("--unconfined", help="Run even if the kernel offers no confinement: the file could escape.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """RUN a file's code in a confined process and report what it attempts; for files that a scan cannot judge.

    Use a disposable virtual machine for a hostile file, because no sandbox of this kind is safe for sure.

    Exit codes: 0 it loaded and no attempt was seen, 1 it tried something, 2 it could not be run, 3 cannot tell, 4 usage.
    """
    from antivenom.artifacts import detonate

    found = detonate(path, loader, seconds=seconds, memory=memory << 20, unconfined=unconfined)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"exit_code": found.exit_code}, indent=1))
        raise typer.Exit(found.exit_code)
    for event in found.events:
        typer.echo(printable(f"{'REFUSED' if event.refused else 'seen':<8} {event.name:<18} {event.detail}"))
    error = f": {found.error}" if found.error else ""
    typer.echo(printable(f"{path}: {found.ended} by {found.loader} in {found.seconds:.1f} s{error}"))
    typer.echo(f"Walls: {', '.join(found.isolation)}")
    typer.echo(f"{len(found.attempts)} attempts; exit {found.exit_code}")
    raise typer.Exit(found.exit_code)


def refused(error: Exception) -> typer.Exit:
    typer.echo(f"antivenom: {printable(str(error))}", err=True)
    return typer.Exit(REFUSED)


def printable(text: str) -> str:
    """Text from a file with control characters replaced, so that it cannot steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
