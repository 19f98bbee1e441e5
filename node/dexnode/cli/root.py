"""The command ``dex`` and its groups; each group is loaded when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

import click

from dexnode.cli.common import ENVIRONMENT_HELP, printable, report_error
from dexnode.config import ConfigError
from dexnode.start import CannotStart
from dexsdk import DexError

# Group or command -> (module, attribute, help). Loading a group costs its imports, so
# `dex --help` loads none.
COMMANDS: Final = {
    "demo": ("dexnode.cli.demo_commands", "demo", "Run a node with a live demo market."),
    "top": ("dexnode.cli.top_command", "top", "Watch a market live in the terminal."),
    "account": ("dexnode.cli.account_commands", "account", "Keys, balances, deposits."),
    "order": ("dexnode.cli.order_commands", "order", "Place, amend and cancel orders."),
    "quote": ("dexnode.cli.quote_commands", "quote", "Large sizes on request: ask, accept, make."),
    "swap": ("dexnode.cli.swap_command", "swap", "A size at once: book, pool or a maker's quote."),
    "pool": ("dexnode.cli.pool_commands", "pool", "Liquidity pools: show, provide, trade with."),
    "market": ("dexnode.cli.market_commands", "market", "List, watch, create, import, replay."),
    "kline": ("dexnode.cli.kline_commands", "kline", "K-lines (candles)."),
    "node": ("dexnode.cli.node_commands", "node", "Run a node, ask it how it is, stop it."),
    "journal": ("dexnode.cli.journal_commands", "journal", "Verify, replay, back up, mend."),
    "audit": ("dexnode.cli.audit_commands", "audit", "Signed heads, proofs, checking offline."),
    "backtest": (
        "dexnode.cli.backtest_command",
        "backtest",
        "Recorded streams through the matching engine.",
    ),
    "sim": ("dexnode.cli.sim_command", "sim", "Run the node in a simulation of faults."),
    "doctor": ("dexnode.cli.doctor_command", "doctor", "Check that a node can run here."),
    "token": ("dexnode.cli.token_command", "token", "An access token for grpcurl and others."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Names in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry[0]), entry[1])
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=ENVIRONMENT_HELP,
)
@click.version_option(package_name="triodex", prog_name="dex")
def dex() -> None:
    """Triodex: run an exchange, trade on it, read it.

    \b
    New here?  Start a node in one terminal and trade in another:
      dex demo                                         a node with bots that trade
      dex account create                               your key and account
      dex demo faucet                                  play money for it
      dex order place BTC-USDC.eth buy 0.01 --market   an order that fills
      dex account show                                 what you own now
    """


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; ends the process with an exit code.

    0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    try:
        code: Any = dex.main(arguments, prog_name="dex", standalone_mode=False)
    except click.NoSuchOption as error:
        if not error.option_name[1:2].isdigit():
            error.show()
        else:
            # Of -0.5 click took the first letter for an option.
            cut = error.option_name
            number = next((each for each in arguments if each.startswith(cut)), cut)
            click.UsageError(f"{number}: a number cannot be negative here", error.ctx).show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        # It may quote a file that somebody else wrote.
        said = printable(error.format_message(), keep="\n")
        click.echo(f"Error: {said}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (DexError, ConfigError, CannotStart, OSError) as error:
        report_error(error, as_json=as_json)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
