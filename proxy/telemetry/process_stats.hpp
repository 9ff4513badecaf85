// proxy/telemetry/process_stats.hpp
//
// What the kernel says about this process, for the process_* families every Prometheus exporter has. Read from /proc at
// scrape time; what cannot be read is 0.
#pragma once

namespace outrigger::telemetry {

struct ProcessStats {
  double cpu_seconds = 0;
  double resident_bytes = 0;
  double open_fds = 0;
  double max_fds = 0;
  double start_unix_seconds = 0;
};

ProcessStats read_process_stats();

}  // namespace outrigger::telemetry
