"""Stands in for `onnxruntime_qnn` of Qualcomm, whose library is not one here."""

from pathlib import Path


def get_library_path():
    return str(Path(__file__).with_name("libonnxruntime_providers_qnn.so"))


def get_qnn_htp_path():
    return str(Path(__file__).with_name("libQnnHtp.so"))
