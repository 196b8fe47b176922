"""The arrows, end to end: each scenario is a frozen dataclass with `run(attack, defence, seed) -> Outcome`."""
