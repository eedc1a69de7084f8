"""What memory is left, the computer's own and its cards'."""

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def free_host_bytes(meminfo: Path = _MEMINFO, group: Path = _GROUP) -> int | None:
    """Host memory free without swapping, cached files included; None if nothing says so.

    On Linux it is no more than the control group leaves, as of a container; elsewhere psutil is asked where
    it is installed, as it is beside ComfyUI.
    Source: proc(5), MemAvailable; kernel.org, admin-guide/cgroup-v2.
    """
    amounts = [amount for amount in (_of_system(meminfo), _of_group(group)) if amount is not None]
    return min(amounts, default=None)


def free_bytes(device: torch.device) -> int | None:
    """Device memory free for tensors, PyTorch's reserve included; None if nothing says so."""
    if device.type == "cpu":
        return free_host_bytes()
    if device.type != "cuda":
        return None
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + held


def _of_system(meminfo: Path) -> int | None:
    if meminfo.is_file():
        return _numbers(meminfo).get("MemAvailable:", 0) * 1024 or None
    try:
        import psutil  # not one of our own requirements
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _of_group(group: Path) -> int | None:
    """None where there is no limit."""
    try:
        most, taken = ((group / f"memory.{name}").read_text(encoding="ascii") for name in ("max", "current"))
        stat = _numbers(group / "memory.stat")
    except OSError:
        return None
    if not most.strip().isdecimal():
        return None
    files = stat.get("active_file", 0) + stat.get("inactive_file", 0)
    return max(0, int(most) - int(taken) + files)


def _numbers(table: Path) -> dict[str, int]:
    """The lines that begin with a word and a number."""
    rows = (line.split() for line in table.read_text(encoding="ascii", errors="replace").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
