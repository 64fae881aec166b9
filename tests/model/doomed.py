"""`model.train` where only the rank that `DOOMED_RANK` names can reach a fault, so that which one dies is no race."""

from __future__ import annotations

import os

from model.train import main

if __name__ == "__main__":
    if os.environ["RANK"] != os.environ["DOOMED_RANK"]:
        del os.environ["MILLRACE_FAULT"]
    main()
