// proxy/main.cpp
//
// The command line: flags to configuration to server, nothing else.

#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "proxy/config/check.hpp"
#include "proxy/config/load.hpp"
#include "proxy/net/tls_context.hpp"
#include "proxy/server/demo.hpp"
#include "proxy/server/server.hpp"
#include "proxy/server/version.hpp"

namespace {

using namespace outrigger;

struct RunFlags {
  std::string config_file;
  std::string log_level;
  bool check_only = false;
  bool allow_chaos = false;
};

int run(const RunFlags& flags) {
  if (flags.check_only) return config::check_files({flags.config_file}, std::cerr, net::check_tls);
  config::LoadResult loaded = config::load_file(flags.config_file);
  config::print(loaded.diagnostics, std::cerr);
  if (!loaded.ok()) return 1;
  server::ServerOptions options;
  options.config_file = flags.config_file;
  if (!flags.log_level.empty()) options.log_level = flags.log_level;
  options.allow_chaos = flags.allow_chaos;
  options.ready = [](const std::string& line) { std::cout << line << std::endl; };
  return server::Server(std::move(loaded.config), std::move(options)).run();
}

int command_line(int argc, char** argv) {
  CLI::App app("Outrigger: a resilience sidecar. `outrigger FILE` is `outrigger run --config FILE`.", "outrigger");
  app.require_subcommand(0, 1);
  app.failure_message(CLI::FailureMessage::help);
  std::string plain_file;
  app.add_option("FILE", plain_file, "the configuration to run");

  RunFlags flags;
  CLI::App* run_command = app.add_subcommand("run", "run the proxy");
  run_command->add_option("--config", flags.config_file, "the configuration file")->required();
  run_command->add_flag("--check-only", flags.check_only, "validate the configuration and exit");
  run_command->add_flag("--allow-chaos", flags.allow_chaos, "let chaos act where the configuration has it enabled");
  run_command->add_option("--log-level", flags.log_level, "overrides telemetry.log.level")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));

  std::vector<std::string> files;
  CLI::App* check_command = app.add_subcommand("check", "validate configuration files");
  check_command->add_option("FILE", files, "configuration files")->required();

  CLI::App* demo_command = app.add_subcommand("demo", "a sidecar in front of a flaky upstream, with commands to try");
  server::DemoOptions demo;
  demo_command->add_option("--port", demo.port, "port of the proxy (another one if it is in use)");
  demo_command->add_option("--admin-port", demo.admin_port, "port of the admin API (likewise)");
  CLI::App* version_command = app.add_subcommand("version", "print the version");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? 0 : 2;
  }
  if (*version_command) {
    std::cout << "outrigger " << server::kVersion << '\n';
    return 0;
  }
  if (*check_command) return config::check_files(files, std::cerr, net::check_tls);
  if (*demo_command) return server::run_demo(demo);
  if (*run_command) return run(flags);
  if (!plain_file.empty()) return run({.config_file = plain_file});
  std::cerr << app.help();
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return command_line(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "outrigger: " << error.what() << '\n';
    return 1;
  }
}
