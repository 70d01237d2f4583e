"""Where the network is fitted: on a GPU if there is one that this MXNet can use, else on the CPU.

Only the image with ``mxnet-cu112`` can (trainer/images/trainer.Dockerfile). What may go wrong: that
image on a node without NVIDIA's driver; its MXNet does not even import there.
"""

from typing import Any

from trainer.localization.mxnet_loader import load_mxnet


def device() -> Any:  # an MXNet context, which has no type
    """The context to fit in; arrays that are made ``with`` it lie there."""
    mx = load_mxnet()
    return mx.gpu() if mx.context.num_gpus() > 0 else mx.cpu()


def device_name() -> str:
    """The same in words, for logs and lineage: ``cpu`` or ``gpu``."""
    return str(device().device_type)
