"""Name the SIMD levels of this machine's architecture."""

import platform

X86 = ["baseline", "avx2", "avx512", "avx512vnni"]


LEVELS = {"x86_64": X86, "AMD64": X86}.get(
    platform.machine(), ["neon" if platform.machine() in ("arm64", "aarch64") else "baseline"]
)
