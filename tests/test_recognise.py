"""A board is recognised by the names in its device tree, else by its architecture."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_cl.device import load_profile
from edge_cl.device.recognise import GENERIC, recognise
from edge_cl.device.system import System


def record(root, compatible=(), machine="aarch64"):
    """Write what a board's /proc says, and what `uname` answered."""
    tree = root / "proc/device-tree"
    tree.mkdir(parents=True)
    if compatible:
        (tree / "compatible").write_bytes(b"".join(c.encode() + b"\0" for c in compatible))
    (root / "programs").mkdir()
    (root / "programs/uname -m").write_text(machine + "\n", encoding="utf-8")
    return System(root)


@pytest.mark.parametrize(
    ("compatible", "name"),
    [
        (["raspberrypi,model-zero-2-w", "brcm,bcm2837"], "raspberry-pi-zero-2-w"),
        (["raspberrypi,3-model-b-plus", "brcm,bcm2837"], "raspberry-pi-3b-plus"),
        (["raspberrypi,4-model-b", "brcm,bcm2711"], "raspberry-pi-4"),
        (["raspberrypi,5-model-b", "brcm,bcm2712"], "raspberry-pi-5"),
        (["nvidia,p3450-0000", "nvidia,tegra210"], "jetson-nano"),
        (["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"],
         "jetson-nano"),
        (["nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"],
         "jetson-orin-nano"),
        (["nvidia,p3737-0000+p3701-0005", "nvidia,tegra234"], "jetson-agx-orin"),
        (["google,imx8mq-phanbell", "fsl,imx8mq"], "coral-dev-board"),
        (["xunlong,orangepi-5", "rockchip,rk3588s"], "orange-pi-5"),
        (["rockchip,rk3588s-orangepi-5", "rockchip,rk3588"], "orange-pi-5"),
        (["radxa,rock-5b", "rockchip,rk3588"], "rock-5b"),
        (["qcom,qcs6490-rb3gen2", "qcom,qcm6490"], "rb3-gen-2"),
        (["fsl,imx8mp-evk", "fsl,imx8mp"], "imx8m-plus"),
        (["radxa,rock-5b-plus", "rockchip,rk3588"], "generic-arm64"),  # names are matched whole
        (["raspberrypi,400", "brcm,bcm2711"], "generic-arm64"),
        ([], "generic-arm64"),
    ],
)  # fmt: skip
def test_a_board_is_recognised_by_its_device_tree(tmp_path, compatible, name):
    found, profile = recognise(record(tmp_path, compatible))
    assert found == name
    assert profile == load_profile(name)


def test_a_machine_without_a_device_tree_is_one_of_its_architecture(tmp_path):
    assert recognise(record(tmp_path / "a", machine="x86_64"))[0] == GENERIC["x86_64"]
    assert recognise(record(tmp_path / "b", machine="riscv64")) is None
    assert recognise(System(tmp_path / "nothing")) is None


@given(st.permutations(["raspberrypi,5-model-b", "a,b", "c,d"]))
def test_the_place_in_the_list_does_not_matter(names):
    with tempfile.TemporaryDirectory() as folder:
        assert recognise(record(Path(folder), names))[0] == "raspberry-pi-5"
