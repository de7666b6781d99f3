#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <string>

#include "espalier/base/error.h"
#include "kernel_table.h"

namespace espalier::cpu {

namespace {

#if defined(__x86_64__)
// Returns true where the processor multiplies bf16 in matrix tiles, and the system lets this process use them. A process has to ask for
// that once, since the tiles make the state of a thread larger by 8 KB.
bool has_matrix_tiles() {
  if (!__builtin_cpu_supports("amx-tile") || !__builtin_cpu_supports("amx-bf16")) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of arch_prctl, and the number of the state
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

const Kernels& narrowest() {
#if defined(__aarch64__)
  return kernels_neon();
#else
  return kernels_portable();
#endif
}

const Kernels& widest_of() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) return has_matrix_tiles() ? kernels_avx512_amx() : kernels_avx512_bf16();
  if (avx512) return kernels_avx512();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kernels_avx2();
#endif
  return narrowest();
}

const Kernels& widest() {
  static const Kernels& found = widest_of();
  return found;
}

const Kernels& choose() {
  const char* wanted = std::getenv("ESPALIER_CPU_ISA");
  return wanted && *wanted ? kernels_named(wanted) : widest();
}

}  // namespace

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> all{&narrowest()};
#if defined(__x86_64__)
  for (const Kernels* k : {&kernels_avx2(), &kernels_avx512(), &kernels_avx512_bf16(), &kernels_avx512_amx()}) {
    if (all.back() == &widest()) break;
    all.push_back(k);
  }
#endif
  return all;
}

const Kernels& kernels_named(const std::string& name) {
  for (const Kernels* k : available_kernels())
    if (name == k->name) return *k;
  throw Error(ErrorCode::kNotSupported, "ESPALIER_CPU_ISA",
              "'" + name + "' is unknown or wider than this processor; the widest here is " + widest().name);
}

const Kernels& select_kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace espalier::cpu
