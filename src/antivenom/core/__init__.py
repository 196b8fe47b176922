"""The files to read first: who the attacker is, what plugins look like, verdicts, errors, random streams, the registry."""
