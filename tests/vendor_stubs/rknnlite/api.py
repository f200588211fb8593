"""Stands in for `rknnlite.api` of Rockchip: its calls, their codes and refusals, no NPU.

A network here is the eight bytes that begin a `.rknn` file, a float32, and zeros up to 64 bytes;
its features are that number times the mean of each channel. With `CRASH` at the end it crashes.
"""

import os
import signal
import stat
from pathlib import Path

import numpy as np

CALLS = []


class RKNNLite:
    NPU_CORE_AUTO = 0
    NPU_CORE_0 = 1
    NPU_CORE_1 = 2
    NPU_CORE_2 = 4
    NPU_CORE_0_1_2 = 7

    def __init__(self, verbose=False, verbose_file=None):
        self.rknn_data = None
        self.rknn_runtime = None

    def load_rknn(self, path):
        if not os.path.exists(path):
            return -1
        CALLS.append(("load_rknn", path, stat.S_IMODE(os.stat(path).st_mode)))
        self.rknn_data = Path(path).read_bytes()
        return 0

    def init_runtime(self, target=None, device_id=None, async_mode=False, core_mask=NPU_CORE_AUTO):
        CALLS.append(("init_runtime", core_mask))
        if self.rknn_data is None:
            return -1
        if self.rknn_data.endswith(b"CRASH"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.rknn_data.endswith(b"OTHER CHIP"):
            return -1
        self.rknn_runtime = float(np.frombuffer(self.rknn_data, np.float32, 1, 8)[0])
        return 0

    def inference(
        self,
        inputs,
        data_type=None,
        data_format=None,
        inputs_pass_through=None,
        get_frame_id=False,
    ):
        CALLS.append(("inference", inputs[0].shape, inputs[0].dtype.name, data_format))
        if self.rknn_runtime is None or inputs[0].ndim != 4 or len(inputs[0]) != 1:
            return None  # it logs, and raises nothing
        if self.rknn_data.endswith(b"FAILS"):
            return None
        mean = inputs[0].astype(np.float32).mean((1, 2))
        return [np.float32(self.rknn_runtime) * mean]

    def release(self):
        CALLS.append(("release",))
        self.rknn_runtime = None
