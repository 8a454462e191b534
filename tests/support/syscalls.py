"""Makes the kernel refuse some system calls of this process, from now on and for all its threads (seccomp, Linux).

A disk that cannot be made to lie on demand is replaced by a kernel that says so: a `fdatasync` that fails must be
noticed by whoever claims that something is durable.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

# asm-generic/unistd.h and arch/x86/entry/syscalls/syscall_64.tbl
NUMBERS = {
    "x86_64": {"fsync": 74, "fdatasync": 75, "msync": 26, "sync_file_range": 277, "seccomp": 317},
    "aarch64": {"fsync": 82, "fdatasync": 83, "msync": 227, "sync_file_range": 84, "seccomp": 277},
}
SYNCING = ("fsync", "fdatasync", "msync", "sync_file_range")

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1
_LOAD_NUMBER = struct.pack("HBBI", 0x20, 0, 0, 0)  # BPF_LD | BPF_W | BPF_ABS: seccomp_data.nr
_ALLOW = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)  # BPF_RET: SECCOMP_RET_ALLOW
_FAIL = struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | errno.EIO)  # BPF_RET: SECCOMP_RET_ERRNO


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def fail(*names: str) -> None:
    """Let these calls fail with EIO. There is no way back; do it in a process made for it."""
    numbers = NUMBERS[platform.machine()]
    jumps = [
        struct.pack("HBBI", 0x15, len(names) - index, 0, numbers[name])  # BPF_JMP | BPF_JEQ | BPF_K: to _FAIL
        for index, name in enumerate(names)
    ]
    code = ctypes.create_string_buffer(b"".join((_LOAD_NUMBER, *jumps, _ALLOW, _FAIL)))
    program = _Program(len(names) + 3, ctypes.cast(code, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    arguments = (_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program))
    if libc.syscall(numbers["seccomp"], *arguments) != 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
