// Functions that the programs of the binary packages take from here, so that they load with glibc 2.28:
//  - those that the C++ library, which is linked in, expects of a newer C library;
//  - mathematical functions of which the linker would take a version of glibc 2.29 (--wrap in toolchain.cmake). The older versions compute
//    the same values, and also set errno.
#include <pthread.h>
#include <sys/random.h>
#include <time.h>

#include <cstdint>

#if defined(__x86_64__)
#define OLDEST "GLIBC_2.2.5"
#else
#define OLDEST "GLIBC_2.17"
#endif
#define HIDDEN __attribute__((visibility("hidden")))
#define OLDEST_OF(function) __asm__(".symver oldest_" #function "," #function "@" OLDEST)

extern "C" {

HIDDEN char __libc_single_threaded = 0;  // 0 is always right, and costs an atomic operation

HIDDEN uint32_t arc4random(void) {
  uint32_t random;
  while (getrandom(&random, sizeof random, 0) != sizeof random) {
  }
  return random;
}

// Waits until a time of `clock`, which is converted to the clock of the condition.
HIDDEN int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const struct timespec* until) {
  constexpr int64_t kSecond = 1000000000;
  timespec now, real;
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &real);
  const int64_t left = (until->tv_sec - now.tv_sec) * kSecond + until->tv_nsec - now.tv_nsec;
  const int64_t nanoseconds = (left > 0 ? left : 0) + real.tv_nsec;
  const timespec at{real.tv_sec + nanoseconds / kSecond, nanoseconds % kSecond};
  return pthread_cond_timedwait(condition, mutex, &at);
}

double oldest_exp(double), oldest_exp2(double), oldest_log(double), oldest_log2(double), oldest_pow(double, double);
OLDEST_OF(exp);
OLDEST_OF(exp2);
OLDEST_OF(log);
OLDEST_OF(log2);
OLDEST_OF(pow);
HIDDEN double __wrap_exp(double x) { return oldest_exp(x); }
HIDDEN double __wrap_exp2(double x) { return oldest_exp2(x); }
HIDDEN double __wrap_log(double x) { return oldest_log(x); }
HIDDEN double __wrap_log2(double x) { return oldest_log2(x); }
HIDDEN double __wrap_pow(double x, double y) { return oldest_pow(x, y); }
}
