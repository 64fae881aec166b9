"""How the ranks of a run find each other."""

from __future__ import annotations

import os
from typing import Any

MEETING_FILE = "MILLRACE_MEETING_FILE"  # the file by which the ranks of one machine find each other


def meeting() -> dict[str, Any]:
    """Where a rank meets the others: arguments for `torch.distributed.init_process_group`.

    Ranks of one machine exchange their addresses through the private file that `model.agent` gives them. They do not
    use ``env://`` there: its TCPStore listens on all interfaces, and anybody who reaches it can read and change what it
    holds. Without that file there are no arguments, and the default is ``env://``, with the variables of torchrun.
    """
    file = os.environ.get(MEETING_FILE)
    if file is None:
        return {}
    place = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
    return {"init_method": f"file://{file}", **place}
