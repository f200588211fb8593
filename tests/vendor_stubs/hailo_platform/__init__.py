"""Stands in for `hailo_platform` of HailoRT: its classes, their order and refusals, no device.

A network here is a header of 24 bytes, a float32, then the names of its outputs, each after a
zero byte; its features are that number times the mean of each channel.
"""

from enum import Enum

import numpy as np

CALLS = []


class HailoRTException(Exception):  # noqa: N818
    """Whatever goes wrong in the library."""


class FormatType(Enum):
    UINT8 = 1
    FLOAT32 = 3


class HailoStreamInterface(Enum):
    PCIe = 0
    INTEGRATED = 1


class _Info:
    def __init__(self, name, shape):
        self.name, self.shape = name, shape


class HEF:
    def __init__(self, hef_source):
        if not isinstance(hef_source, (str, bytes)):
            raise ValueError("HEF can only be created from a file path (str) or a buffer (bytes)")
        if hef_source.endswith(b"OTHER DEVICE"):
            raise HailoRTException("HEF format is not compatible with device.")
        self.factor = float(np.frombuffer(hef_source, np.float32, 1, 24)[0])
        self.outputs = hef_source[29:].decode().split("\0")

    def get_input_vstream_infos(self):
        return [_Info("net/input_layer1", (2, 2, 3))]

    def get_output_vstream_infos(self):
        return [_Info(name, (3,)) for name in self.outputs]


class ConfigureParams:
    @staticmethod
    def create_from_hef(hef, interface):
        if not isinstance(interface, HailoStreamInterface):
            raise HailoRTException("no interface")
        return {"net": object()}


class _Activated:
    def __init__(self, group):
        self.group = group

    def __enter__(self):
        CALLS.append("activate")
        self.group.active = True
        return self

    def __exit__(self, *args):
        CALLS.append("deactivate")
        self.group.active = False
        return False


class _Group:
    def __init__(self, hef, device):
        self.name, self.hef, self.device, self.active = "net", hef, device, False

    def create_params(self):
        return object()

    def activate(self, network_group_params=None):
        return _Activated(self)


class VDevice:
    taken = False

    def __enter__(self):
        if VDevice.taken:
            raise HailoRTException("Failed to create vdevice. there are not enough free devices.")
        CALLS.append("device")
        VDevice.taken = True
        return self

    def __exit__(self, *args):
        CALLS.append("release device")
        VDevice.taken = False
        return False

    def configure(self, hef, configure_params_by_name):
        return [_Group(hef, self)]


class _Params:
    @classmethod
    def make(cls, configured_network, quantized=None, format_type=None):
        return {"format": format_type}


class InputVStreamParams(_Params):
    """Of the inputs."""


class OutputVStreamParams(_Params):
    """Of the outputs."""


class InferVStreams:
    def __init__(self, configured_net_group, input_vstreams_params, output_vstreams_params):
        self.group = configured_net_group
        self.given, self.taken = input_vstreams_params, output_vstreams_params

    def __enter__(self):
        CALLS.append("streams")
        return self

    def __exit__(self, *args):
        CALLS.append("close streams")
        return False

    def infer(self, input_data):
        if not self.group.active:
            raise HailoRTException("Trying to use a network group that is not activated")
        ((name, x),) = input_data.items()
        if name != "net/input_layer1" or self.given["format"] is not FormatType.UINT8:
            raise HailoRTException("no such input")
        if x.dtype != np.uint8 or x.shape[1:] != (2, 2, 3) or not x.flags.c_contiguous:
            raise HailoRTException(f"{name} numpy array item size is {x.itemsize}, not 1")
        CALLS.append(("infer", x.shape))
        mean = np.float32(self.group.hef.factor) * x.astype(np.float32).mean((1, 2))
        return {output: (i + 1) * mean for i, output in enumerate(self.group.hef.outputs)}
