"""Inert files, one for each published bypass of a scanner. Their payloads create a marker and do nothing else."""

from antivenom.scan.samples import arrays, containers, formats, gaps, listed, routes
from antivenom.scan.samples.assembly import Sample

SAMPLES: tuple[Sample, ...] = (
    *routes.SAMPLES,
    *listed.SAMPLES,
    *gaps.SAMPLES,
    *containers.SAMPLES,
    *arrays.SAMPLES,
    *formats.SAMPLES,
)

__all__ = ["SAMPLES", "Sample"]
