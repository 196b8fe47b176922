"""Defences on rows and on models. Aggregation rules and client detectors live in `antivenom.federated`."""
