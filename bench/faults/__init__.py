"""The faults of bench/faults.py, by what they are made on."""
from .bed import Bed, Fault
from . import clients, files, http1, http2, network, process, storage, tls

__all__ = ["Bed", "Fault"]
