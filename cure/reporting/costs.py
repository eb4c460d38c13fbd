"""Read the estimated cost of rows that were not run from reports/costs.csv, which `make costs` writes."""

from dataclasses import dataclass
from pathlib import Path

from cure.storage.files import csv_lines

COLUMNS = ["dataset", "model", "method", "tflops", "gpu_hours"]


@dataclass(frozen=True)
class Costs:
    """GPU-hours of one seed of each row, by setting and method, at an achieved speed in TFLOP/s; empty if unknown."""

    hours: dict[tuple[str, str], float]
    tflops: float

    def told(self, setting: str, method: str, seeds: int) -> str:
        """Return `not run yet: 3.1 GPU-hours` for all seeds together, or `not run yet` if there is no estimate."""
        found = self.hours.get((setting, method))
        return "not run yet" if found is None else f"not run yet: {digits(seeds * found)} GPU-hours"


def digits(number: float) -> str:
    """Format a number with two significant digits and without an exponent."""
    return f"{float(f'{number:.2g}'):.12g}"


def load(path: Path) -> Costs:
    """Read costs.csv; return no estimates if the file does not exist."""
    lines = csv_lines(path, COLUMNS, ["tflops", "gpu_hours"], "make costs")
    hours = {(f"{line['dataset']}/{line['model']}", line["method"]): float(line["gpu_hours"]) for line in lines}
    return Costs(hours, float(lines[0]["tflops"]) if lines else 0.0)
