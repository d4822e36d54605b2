"""The system calls that sandboxed code may not make, as a BPF program for the Linux kernel.

Covered: calls that reach outside a namespace or widen the kernel's attack surface (new namespaces,
mounts, keyrings, io_uring, userfaultfd, ptrace, bpf, perf), sockets of other families than UNIX,
INET, INET6 and NETLINK, system calls of a foreign architecture.
Not covered: flaws of the kernel in the calls that Python needs.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

# linux/filter.h and linux/seccomp.h
_LOAD_WORD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
# Offsets in struct seccomp_data; both architectures are little-endian, so the low word is first.
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENT_0_AT = 0, 4, 16

_X32_BIT = 0x40000000
_NAMESPACE_FLAGS = 0x7E020080  # CLONE_NEW*: user, pid, net, ipc, uts, cgroup, mount, time
_SOCKET_FAMILIES = (1, 2, 10, 16)  # UNIX, INET, INET6, NETLINK


@dataclass(frozen=True, slots=True)
class _Architecture:
    audit_number: int
    clone: int
    socket: int
    denied: tuple[int, ...]
    has_x32: bool = False


_CLONE3 = 435
# From number 424 on all architectures share one table.
_DENIED_EVERYWHERE = (
    *(425, 426, 427),  # io_uring_setup, io_uring_enter, io_uring_register
    *(428, 429, 430, 431, 432, 433, 442),  # open_tree to fspick, mount_setattr
    *(438, 440, 448),  # pidfd_getfd, process_madvise, process_mrelease
)
_ARCHITECTURES = {
    "x86_64": _Architecture(
        audit_number=0xC000003E,
        clone=56,
        socket=41,
        denied=(
            *(101, 310, 311, 312),  # ptrace, process_vm_readv, process_vm_writev, kcmp
            *(103, 163, 179, 167, 168, 169),  # syslog, acct, quotactl, swapon, swapoff, reboot
            *(154, 172, 173),  # modify_ldt, iopl, ioperm
            *(155, 161, 165, 166, 272, 308),  # pivot_root, chroot, mount, umount2, unshare, setns
            *(175, 176, 313, 246, 320),  # init_module, delete_module, finit_module, kexec_*
            *(248, 249, 250),  # add_key, request_key, keyctl
            *(298, 321, 323, 300),  # perf_event_open, bpf, userfaultfd, fanotify_init
            *(
                303,
                304,
                212,
                180,
            ),  # *_handle_at, lookup_dcookie, nfsservctl
            *(159, 164, 170, 171, 227, 305),  # clocks and names of the machine
        ),
        has_x32=True,
    ),
    "aarch64": _Architecture(
        audit_number=0xC00000B7,
        clone=220,
        socket=198,
        denied=(
            *(117, 270, 271, 272),  # ptrace, process_vm_readv, process_vm_writev, kcmp
            *(116, 89, 60, 224, 225, 142),  # syslog, acct, quotactl, swapon, swapoff, reboot
            *(41, 51, 40, 39, 97, 268),  # pivot_root, chroot, mount, umount2, unshare, setns
            *(105, 106, 273, 104, 294),  # init_module, delete_module, finit_module, kexec_*
            *(217, 218, 219),  # add_key, request_key, keyctl
            *(241, 280, 282, 262),  # perf_event_open, bpf, userfaultfd, fanotify_init
            *(264, 265, 18, 42),  # *_handle_at, lookup_dcookie, nfsservctl
            *(171, 170, 161, 162, 112, 266),  # clocks and names of the machine
        ),
    ),
}


def is_supported() -> bool:
    """Tell whether the system calls of this machine's architecture are known."""
    return platform.machine() in _ARCHITECTURES


def program() -> bytes:
    """Return the filter for this machine as an array of `struct sock_filter`.

    Raises:
        KeyError: the architecture is not supported.
    """
    architecture = _ARCHITECTURES[platform.machine()]
    return b"".join(
        [
            _instruction(_LOAD_WORD, _ARCHITECTURE_AT),
            _instruction(_JUMP_EQUAL, architecture.audit_number, if_true=1),
            _instruction(_RETURN, _KILL_PROCESS),
            _instruction(_LOAD_WORD, _NUMBER_AT),
            *(_answer_from(_X32_BIT, errno.ENOSYS) if architecture.has_x32 else ()),
            # The C library falls back to clone, whose flags lie where a filter can read them.
            *_answer(_CLONE3, errno.ENOSYS),
            *(
                instruction
                for number in (*architecture.denied, *_DENIED_EVERYWHERE)
                for instruction in _answer(number, errno.EPERM)
            ),
            *_refuse_new_namespaces(architecture.clone),
            *_refuse_other_sockets(architecture.socket),
            _instruction(_RETURN, _ALLOW),
        ]
    )


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _answer(number: int, error: int) -> list[bytes]:
    return [
        _instruction(_JUMP_EQUAL, number, if_false=1),
        _instruction(_RETURN, _ERRNO | error),
    ]


def _answer_from(number: int, error: int) -> list[bytes]:
    return [
        _instruction(_JUMP_AT_LEAST, number, if_false=1),
        _instruction(_RETURN, _ERRNO | error),
    ]


def _refuse_new_namespaces(clone: int) -> list[bytes]:
    return [
        _instruction(_JUMP_EQUAL, clone, if_false=4),
        _instruction(_LOAD_WORD, _ARGUMENT_0_AT),
        _instruction(_JUMP_ANY_BIT, _NAMESPACE_FLAGS, if_false=1),
        _instruction(_RETURN, _ERRNO | errno.EPERM),
        _instruction(_RETURN, _ALLOW),
    ]


def _refuse_other_sockets(socket: int) -> list[bytes]:
    families = [
        _instruction(_JUMP_EQUAL, family, if_true=len(_SOCKET_FAMILIES) - place)
        for place, family in enumerate(_SOCKET_FAMILIES)
    ]
    return [
        _instruction(_JUMP_EQUAL, socket, if_false=len(families) + 2),
        _instruction(_LOAD_WORD, _ARGUMENT_0_AT),
        *families,
        _instruction(_RETURN, _ERRNO | errno.EAFNOSUPPORT),
    ]
