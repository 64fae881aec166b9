"""Energy and carbon of GPU hours, by the formulas of the LLaMA paper (Touvron et al. 2023, section 6 and table 15)."""

from __future__ import annotations

A100_WATTS = 400.0  # thermal design power of the A100-80GB that the paper assumes for every model it compares
POWER_USAGE_EFFECTIVENESS = 1.1  # of the data centre: total power over the power of its computers
TONNES_PER_MEGAWATT_HOUR = 0.385  # of CO2 equivalent: the average in the United States


def megawatt_hours(
    gpu_hours: float, watts: float = A100_WATTS, power_usage_effectiveness: float = POWER_USAGE_EFFECTIVENESS
) -> float:
    """GPU hours × watts of a GPU × PUE, in MWh. An estimate: assumes that every GPU always draws `watts`."""
    return gpu_hours * watts * power_usage_effectiveness / 1e6


def tonnes_co2e(megawatt_hours: float, tonnes_per_megawatt_hour: float = TONNES_PER_MEGAWATT_HOUR) -> float:
    """Tonnes of CO2 equivalent of an amount of electricity."""
    return megawatt_hours * tonnes_per_megawatt_hour
