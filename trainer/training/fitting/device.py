"""The device of the fit: a GPU if there is one that this MXNet can use, otherwise the CPU.

Only the image with ``mxnet-cu112`` can (trainer/images/trainer.Dockerfile). On a node without
NVIDIA's driver, that MXNet does not even import.
"""

from typing import Any

from trainer.localization.mxnet_loader import load_mxnet


def device() -> Any:  # an MXNet context, which has no type
    """The context to fit in; arrays created in its ``with`` block are on the device."""
    mx = load_mxnet()
    return mx.gpu() if mx.context.num_gpus() > 0 else mx.cpu()


def device_name() -> str:
    """Its name for logs and lineage: ``cpu`` or ``gpu``."""
    return str(device().device_type)
