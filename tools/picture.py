"""Draw the picture of the README: `dex top` of a running demo, as an SVG.

dex demo --no-top &                        # let it trade for some minutes
python tools/picture.py docs/images/top.svg [host:port] [seconds to watch]
"""

from __future__ import annotations

import re
import sys
import time
from io import StringIO
from pathlib import Path

import trio
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from dexnode.top.screen import Screen
from dexnode.top.watcher import Watcher, wait_for_state
from dexsdk import Client, Interval

MARKET_ID = "BTC-USDC.eth"
NETWORK_ID = "triodex-demo"
WIDTH, HEIGHT = 132, 40
# A page must not fetch fonts from elsewhere: every reader has a monospace font.
SVG_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


async def draw(address: str, watch_seconds: float) -> str:
    """Watch the demo for a while and draw one frame."""
    async with Client(address, network_id=NETWORK_ID) as client:
        state = await wait_for_state(client, MARKET_ID, 60.0)
        screen = Screen(state, Interval.S1, {"gRPC": "127.0.0.1:7400"}, "a simulated market")
        with trio.move_on_after(watch_seconds):
            await Watcher(client, state).run()
        state.set_connected(True)
        console = Console(record=True, width=WIDTH, height=HEIGHT, file=StringIO())
        console.print(screen.frame(WIDTH, HEIGHT, time.time_ns()))
        return console.export_svg(title="dex top", code_format=SVG_FORMAT)


if __name__ == "__main__":
    given_address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:7400"
    given_seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 5.0
    Path(sys.argv[1]).write_text(trio.run(draw, given_address, given_seconds))
