"""The rendezvous of a run's ranks."""

from __future__ import annotations

import os
from typing import Any

MEETING_FILE = "MILLRACE_MEETING_FILE"  # path of the rendezvous file for the ranks of one machine


def meeting() -> dict[str, Any]:
    """The rendezvous arguments for `torch.distributed.init_process_group`.

    Ranks of one machine exchange their addresses through the private file that `model.agent` creates. They do not use
    ``env://``: its TCPStore listens on all interfaces, and anyone who reaches it can read and change its contents.
    Without that file the result is empty, which selects the default ``env://`` with torchrun's variables.
    """
    file = os.environ.get(MEETING_FILE)
    if file is None:
        return {}
    place = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
    return {"init_method": f"file://{file}", **place}
