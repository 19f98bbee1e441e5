"""``dex token``: an access token, for clients that are not ours."""

from __future__ import annotations

from pathlib import Path

import click

from dexnode.cli.common import Target, print_json, target_options
from dexsdk import Key, Session


@click.command()
@click.option(
    "--key", "key_path", type=click.Path(path_type=Path), help="Key file.  [default: your own]"
)
@click.option("--operator", is_flag=True, help="Sign with the operator's key.")
@target_options
def token(target: Target, key_path: Path | None, operator: bool) -> None:
    """Print the authorization header of an access token, good for an hour at most.

    \b
    Example:
      grpcurl -plaintext -H "$(dex token --operator)" localhost:7400 \\
        dex.admin.v1.Admin/GetNodeStatus
    """
    if key_path is not None:
        key = Key.load(key_path)
    elif operator:
        loaded = target.load_operator_key()
        if loaded is None:
            raise click.ClickException("a client certificate needs no token")
        key = loaded
    else:
        key, _ = target.credentials()
    session = Session(target.network_id, key, "")
    name, value = session.authorization()[0]
    if target.as_json:
        print_json({str(name): str(value)})
    else:
        click.echo(f"{name}: {value}")
