// Functions of newer C libraries for the programs of a pack (gpu_check.sh pack), which may meet an older one. The compiler's own libraries
// and the headers of a newer glibc ask for them under names that glibc 2.35, that of Ubuntu 22.04, does not have.
#include <sys/random.h>

#include <cstdarg>
#include <cstdint>
#include <cstdlib>

extern "C" {

// The functions by their old names. Headers of glibc 2.38 would give them new ones.
long old_strtol(const char*, char**, int) __asm__("strtol");
unsigned long old_strtoul(const char*, char**, int) __asm__("strtoul");
long long old_strtoll(const char*, char**, int) __asm__("strtoll");
unsigned long long old_strtoull(const char*, char**, int) __asm__("strtoull");
int old_vsscanf(const char*, const char*, va_list) __asm__("vsscanf");

// The new functions differ in that they read binary numbers, "0b1", if the base allows it. The programs read none.
long __isoc23_strtol(const char* text, char** end, int base) { return old_strtol(text, end, base); }
unsigned long __isoc23_strtoul(const char* text, char** end, int base) { return old_strtoul(text, end, base); }
long long __isoc23_strtoll(const char* text, char** end, int base) { return old_strtoll(text, end, base); }
unsigned long long __isoc23_strtoull(const char* text, char** end, int base) { return old_strtoull(text, end, base); }

int __isoc23_sscanf(const char* text, const char* format, ...) {
  va_list values;
  va_start(values, format);
  const int read = old_vsscanf(text, format, values);
  va_end(values);
  return read;
}

uint32_t arc4random() noexcept {
  uint32_t value = 0;
  if (getrandom(&value, sizeof(value), 0) != sizeof(value)) std::abort();
  return value;
}
}
