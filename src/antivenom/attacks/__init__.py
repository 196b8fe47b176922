"""Attacks on rows, on training code and on pretrained models. Malicious agents live in `antivenom.federated`."""
