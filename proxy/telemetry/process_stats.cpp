#include "proxy/telemetry/process_stats.hpp"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <limits>
#include <sstream>
#include <string>

namespace outrigger::telemetry {
namespace {

constexpr int kStartTimeField = 22;  // of /proc/self/stat, counted from 1; see proc(5)
constexpr int kResidentField = 24;

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

double boot_unix_seconds() {
  std::ifstream stat("/proc/stat");
  std::string name;
  while (stat >> name) {
    double value = 0;
    if (name == "btime" && stat >> value) return value;
    stat.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

void read_stat(ProcessStats& stats) {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  // The second field is the program's name in brackets and may contain anything, spaces included.
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return;
  std::istringstream fields(line.substr(name_end + 1));
  std::string field;
  for (int i = 3; fields >> field; ++i) {
    if (i == kStartTimeField) {
      stats.start_unix_seconds = boot_unix_seconds() + std::stod(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
    }
    if (i == kResidentField) stats.resident_bytes = std::stod(field) * static_cast<double>(sysconf(_SC_PAGESIZE));
  }
}

double count_open_fds() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  double entries = 0;
  while (readdir(directory) != nullptr) ++entries;
  closedir(directory);
  return entries - 3;  // ".", "..", and the directory itself
}

}  // namespace

ProcessStats read_process_stats() {
  ProcessStats stats;
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) stats.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) stats.max_fds = static_cast<double>(files.rlim_cur);
  read_stat(stats);
  stats.open_fds = count_open_fds();
  return stats;
}

}  // namespace outrigger::telemetry
