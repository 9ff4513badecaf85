#include "proxy/server/cpus.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace outrigger::server {
namespace {

double cgroup_v2_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return HUGE_VAL;
  return std::stod(quota) / period;
}

double cgroup_v1_quota() {
  std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (!(quota_file >> quota) || !(period_file >> period) || quota <= 0 || period <= 0) return HUGE_VAL;
  return quota / period;
}

}  // namespace

std::uint32_t usable_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  const double allowed = ::sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
  const double count = std::min({allowed, std::ceil(cgroup_v2_quota()), std::ceil(cgroup_v1_quota())});
  return static_cast<std::uint32_t>(std::clamp(count, 1.0, 256.0));
}

}  // namespace outrigger::server
