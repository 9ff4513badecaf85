#include "proxy/base/ensure.hpp"

#include <cstdio>
#include <cstdlib>

namespace outrigger {

void ensure_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "outrigger: invariant broken: %s (%s:%d)\n", condition, file, line);
  std::fflush(stderr);
  std::abort();
}

}  // namespace outrigger
