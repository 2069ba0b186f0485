"""The commands, with their help. The work is done elsewhere."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedsight import __version__
from fedsight.cli.importing import import_app
from fedsight.cli.mapping import map_app
from fedsight.errors import UsageError

app = typer.Typer(
    name="fedsight",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Observability for federated learning.\n\n"
        "[bold]fedsight view runs[/] opens the dashboard over a folder of journals. "
        "[bold]fedsight serve[/] starts a collector that many machines ship to. "
        "[bold]fedsight demo[/] trains a small federation to look at."
    ),
)
token_app = typer.Typer(
    no_args_is_help=True, help="Make, list and revoke the tokens that open a collector. A running one follows at once."
)
app.add_typer(token_app, name="token")
emitters_app = typer.Typer(no_args_is_help=True, help="Where a run's events can go besides its journal.")
app.add_typer(emitters_app, name="emitters")
app.add_typer(import_app, name="import")
app.add_typer(map_app, name="map")


def build(arguments: list[str]) -> typer.Typer:
    """The command line. The demo's options are loaded only when it is called: it needs packages of its own."""
    if arguments[:1] == ["demo"]:
        from fedsight.demo.command import demo

        app.command("demo")(demo)
    else:
        app.command("demo", help="Train a small federation on this machine, and watch it in the dashboard.")(_elsewhere)
    # These two need the recorder alone, and are carried out before any of this is imported.
    app.command("monitor", help="Run any program, and say what it has cost: CPU, memory, GPU, energy.")(_elsewhere)
    app.command("probes", help="Show what this machine can measure, and what would make it measure more.")(_elsewhere)
    return app


def _elsewhere() -> None:
    """Stands for a command in the list of commands."""


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"fedsight {__version__}")
        raise typer.Exit


@app.command()
def serve(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder for journals, index and tokens. [dim]FEDSIGHT_DATA; default fedsight-data[/]",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on. 127.0.0.1 is open to this machine alone; 0.0.0.0 to the network, with tokens. "
            "[dim]FEDSIGHT_HOST; default 127.0.0.1[/]",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port; 0 for any free one. [dim]FEDSIGHT_PORT; default 8083[/]", show_default=False
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Certificate (PEM, with those between it and the CA): speak HTTPS. [dim]FEDSIGHT_TLS_CERT[/]",
            show_default=False,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its key (PEM, no password). [dim]FEDSIGHT_TLS_KEY[/]", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file with settings and sources. [dim]FEDSIGHT_CONFIG; default fedsight.toml, if there[/]",
            show_default=False,
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show the configuration in force and where it comes from, and exit.")
    ] = False,
) -> None:
    """Start a collector: it takes journals in, keeps them, and shows them.

    The first start makes a token for producers and shows it once. They ship with
    [bold]FEDSIGHT_COLLECTOR[/]=URL and [bold]FEDSIGHT_TOKEN[/]=TOKEN in their environment.
    """
    import logging

    from fedsight.cli.running import run
    from fedsight.collector.configuration import read_configuration, settings_of, shown

    given = {"data": data, "host": host, "port": port, "tls.cert": tls_cert, "tls.key": tls_key}
    flags = {key: None if value is None else str(value) for key, value in given.items()}
    configuration = read_configuration(config, flags)
    settings = settings_of(configuration)
    if print_config:
        typer.echo(shown(configuration))
        return
    for note in configuration.notes:
        typer.echo(f"fedsight: {note}", err=True)
    level = settings.log_level.upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It would tell every question that is asked of a source.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    run(settings, port_was_asked_for=configuration.origin("port") != "default")


@app.command()
def view(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of journals; it is only read.")] = Path("runs"),
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on. [dim]FEDSIGHT_HOST; default 127.0.0.1[/]", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port; 0 for any free one. [dim]FEDSIGHT_PORT; default 7070[/]", show_default=False
        ),
    ] = None,
) -> None:
    """Open the dashboard over a folder of journals, those of live runs included."""
    from fedsight.cli.running import run
    from fedsight.collector.settings import view_settings

    if not folder.is_dir():
        raise UsageError("DIR", f"{folder} is no folder. Runs write their journals to ./runs unless told otherwise.")
    run(view_settings(folder, host=host, port=port), port_was_asked_for=_port_was_asked_for(port))


def _port_was_asked_for(port: int | None) -> bool:
    return port is not None or bool(os.environ.get("FEDSIGHT_PORT"))


@app.command()
def reindex(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA|DIR]",
            help="A collector's data folder, or a folder of journals. [dim]FEDSIGHT_DATA; default fedsight-data[/]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Build the index anew from the journals. The old one stays until the new one is whole; stop the collector first.

    Exit status 1 when a journal could not be read: the others are indexed then, and those are named.
    """
    from fedsight.cli.reindexing import reindex as rebuild

    rebuild(folder or Path(os.environ.get("FEDSIGHT_DATA") or "fedsight-data"), Console())


@app.command()
def sync(
    paths: Annotated[list[Path], typer.Argument(help="Journals, or folders of them.")],
    to: Annotated[
        str, typer.Option(metavar="NAME", help="An emitter (`fedsight emitters list`), or MODULE:CLASS.")
    ] = "collector",
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of that emitter; may be repeated."),
    ] = None,
    url: Annotated[str | None, typer.Option(envvar="FEDSIGHT_COLLECTOR", help="The collector's address.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="FEDSIGHT_TOKEN", help="A token that may ship.", show_envvar=True)
    ] = None,
) -> None:
    """Deliver to a collector, or to any emitter, what earlier processes could not.

    It goes on where they stopped. Exit status 1 when something is still pending.
    """
    from fedsight.cli.syncing import deliver

    if not deliver(paths, to, options or [], url, token, typer.echo):
        raise typer.Exit(1)


# ── emitters ──────────────────────────────────────────────────────────────────────────────────


@emitters_app.command("list")
def emitters_list() -> None:
    """Show which emitters there are, those of other packages included, and whether what they need is installed."""
    from fedsight.emitters.registry import entries

    table = Table("name", "class", "from", "installed")
    for entry in entries():
        state = "yes" if entry.is_installed else f"no: {escape(entry.pip_command or '')}"
        own = entry.origin == "fedsight"
        table.add_row(entry.name, entry.target.partition(":")[2] if own else entry.target, entry.origin, state)
    Console().print(table)


# ── tokens ────────────────────────────────────────────────────────────────────────────────────


class TokenRoleName(str, Enum):
    """The roles, as the command line offers them."""

    ADMIN = "admin"
    PRODUCER = "producer"
    VIEWER = "viewer"


DataOption = Annotated[
    Path | None,
    typer.Option(help="The collector's data folder. [dim]FEDSIGHT_DATA; default fedsight-data[/]", show_default=False),
]


@token_app.command("create")
def token_create(
    role: Annotated[
        TokenRoleName,
        typer.Option(help="viewer reads, producer ships journals, admin does both."),
    ] = TokenRoleName.PRODUCER,
    name: Annotated[str | None, typer.Option(help="What it is for, for the list.")] = None,
    run: Annotated[str | None, typer.Option(help="Bind a producer to this run.")] = None,
    client: Annotated[str | None, typer.Option(help="Bind a producer to this client.")] = None,
    data: DataOption = None,
) -> None:
    """Make a token. It is shown once; only its hash is kept."""
    from fedsight.collector.access import Tokens
    from fedsight.collector.settings import serve_settings

    path = serve_settings(data).tokens
    assert path is not None
    token, grant = Tokens(path).create(role.value, name=name, run=run, client=client)
    typer.echo(token)
    typer.echo(f"{grant.role} token {grant.id}; kept as a hash in {path}. It can't be shown again.", err=True)


@token_app.command("list")
def token_list(data: DataOption = None) -> None:
    """Show which tokens there are (not the tokens themselves)."""
    from fedsight.collector.access import Tokens
    from fedsight.collector.settings import serve_settings

    path = serve_settings(data).tokens
    assert path is not None
    table = Table("id", "role", "name", "run", "client", "created")
    for grant in Tokens(path).grants():
        created = datetime.fromtimestamp(grant.created_at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        table.add_row(grant.id, grant.role, grant.name or "", grant.run or "any", grant.client or "any", created)
    Console().print(table)


@token_app.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `fedsight token list` shows it.")],
    data: DataOption = None,
) -> None:
    """Take a token away, at once."""
    from fedsight.collector.access import Tokens
    from fedsight.collector.settings import serve_settings

    path = serve_settings(data).tokens
    assert path is not None
    grant = Tokens(path).revoke(token_id)
    typer.echo(f"Revoked {grant.role} token {grant.id}.")
