"""The loss scalers of the published runs."""

from __future__ import annotations

from model.optim.scaler import ScalerConfig

NEOX_SCALER = ScalerConfig()
# `metaseq/optim/dynamic_loss_scaler.py` since pull request 115, which was made for 66B.
OPT_SCALER = ScalerConfig("metaseq", initial=4.0, window=256, hysteresis=1, minimum=2.0**-5)
