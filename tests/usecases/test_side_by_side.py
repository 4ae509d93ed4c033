from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.world import World


def test_callbacks_get_their_turn_while_rules_are_applied(world: World) -> None:
    """A callback that waits longer than ZEGO does is lost; a large inventory takes minutes to decide anew."""
    world.keep("30d")
    world.add(8_000)
    waited: list[float] = []
    over = threading.Event()

    def arrive() -> None:
        while not over.is_set():
            started = time.monotonic()
            world.send(f"new-{len(waited)}")
            waited.append(time.monotonic() - started)

    arriving = threading.Thread(target=arrive)
    arriving.start()
    started = time.monotonic()
    world.keep("20d")
    took = time.monotonic() - started
    over.set()
    arriving.join()
    assert len(waited) >= 16, f"{len(waited)} callbacks in {took:.1f} s"
    assert max(waited) < took / 2, f"one waited {max(waited):.1f} s of {took:.1f} s"
