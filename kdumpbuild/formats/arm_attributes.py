"""The build attributes of an ARM ELF file: for which CPU and ABI it was made.

Form and tag numbers: "Addenda to, and Errata in, the ABI for the Arm Architecture" (Arm IHI 0045), section 2.
pyelftools reads them too, but does not end on a subsection of length 0.
"""

from __future__ import annotations

from dataclasses import dataclass

CPU_ARCH = {
    1: "v4", 2: "v4T", 3: "v5T", 4: "v5TE", 5: "v5TEJ", 6: "v6", 7: "v6KZ", 8: "v6T2", 9: "v6K", 10: "v7",
    11: "v6-M", 12: "v6S-M", 13: "v7E-M", 14: "v8", 15: "v8-R", 16: "v8-M.base", 17: "v8-M.main", 21: "v8.1-M.main",
    22: "v9",
}  # fmt: skip

_TAG_CPU_ARCH, _TAG_THUMB, _TAG_FP, _TAG_SIMD, _TAG_VFP_ARGS = 6, 9, 10, 12, 28
_COMPATIBILITY = 32
_STRINGS = (4, 5, 67)  # CPU_raw_name, CPU_name, conformance


@dataclass(frozen=True)
class ArmAttributes:
    """What the attributes of the whole file say. 0 is "not used" throughout."""

    cpu_arch: int = 0
    thumb: int = 0
    fp_arch: int = 0
    simd_arch: int = 0
    vfp_args: int = 0

    @property
    def cpu_arch_name(self) -> str:
        """``v7`` for 10 and so on; empty when not said."""
        return CPU_ARCH.get(self.cpu_arch, f"architecture {self.cpu_arch}" if self.cpu_arch else "")

    @property
    def hard_float(self) -> bool:
        """Whether floats are passed in VFP registers."""
        return self.vfp_args == 1


def parse_attributes(data: bytes, *, little: bool) -> ArmAttributes:
    """Read the content of section .ARM.attributes. Raises ValueError when it is damaged."""
    if data[:1] != b"A":
        raise ValueError("unknown version of .ARM.attributes")
    order = "little" if little else "big"
    tags: dict[int, int] = {}
    at = 1
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little" if order == "little" else "big")
        if length < 5 or at + length > len(data):
            raise ValueError(f"subsection of {length} bytes in .ARM.attributes")
        section = data[at + 4 : at + length]
        vendor, _, body = section.partition(b"\0")
        if vendor == b"aeabi":
            _file_scope(body, tags, little=little)
        at += length
    return ArmAttributes(
        cpu_arch=tags.get(_TAG_CPU_ARCH, 0),
        thumb=tags.get(_TAG_THUMB, 0),
        fp_arch=tags.get(_TAG_FP, 0),
        simd_arch=tags.get(_TAG_SIMD, 0),
        vfp_args=tags.get(_TAG_VFP_ARGS, 0),
    )


def _file_scope(body: bytes, tags: dict[int, int], *, little: bool) -> None:
    at = 0
    while at + 5 <= len(body):
        size = int.from_bytes(body[at + 1 : at + 5], "little" if little else "big")
        if size < 5 or at + size > len(body):
            raise ValueError(f"{size} bytes of attributes in .ARM.attributes")
        if body[at] == 1:  # Tag_File; sections and symbols are of no concern here
            _pairs(body[at + 5 : at + size], tags)
        at += size


def _pairs(data: bytes, tags: dict[int, int]) -> None:
    at = 0
    while at < len(data):
        tag, at = _uleb128(data, at)
        if tag == _COMPATIBILITY:
            _, at = _uleb128(data, at)
            at = _after_string(data, at)
        elif tag in _STRINGS or (tag > _COMPATIBILITY and tag % 2):
            at = _after_string(data, at)
        else:
            tags[tag], at = _uleb128(data, at)


def _uleb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            raise ValueError("a number in .ARM.attributes is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number in .ARM.attributes is too long")


def _after_string(data: bytes, at: int) -> int:
    end = data.find(b"\0", at)
    if end < 0:
        raise ValueError("a string in .ARM.attributes is cut short")
    return end + 1
