"""Settings of the gradient-masking report for its tests: those of the published params.yaml, on fewer images."""

from cure.settings.sections import Masking, Threat

RULES = Masking(
    level=0.01,
    slack=0.002,
    steps_gap=0.02,
    losses_gap=0.1,
    radius=8,
    remaining=0.05,
    late_rise=0.1,
    least_rise=0.01,
    exceptions=0.1,
    images=90,
)
THREAT = Threat(eps=0.1, step=0.025)
HOW = {"batch": 100, "seed": 0}
