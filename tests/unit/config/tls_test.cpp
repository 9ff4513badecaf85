#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <doctest/doctest.h>

#include "proxy/config/dump.hpp"
#include "proxy/config/snapshot.hpp"
#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

namespace fs = std::filesystem;

/// A folder with a configuration and the files that it names.
struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "outrigger-tls-XXXXXX").string();
    path = ::mkdtemp(name.data());
    for (const char* file : {"c.pem", "k.pem", "ca.pem"}) write(file, "text of " + std::string(file));
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { fs::remove_all(path); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name) << text;
    return (path / name).string();
  }
  LoadResult load(const Sample& sample) const { return load_file(write("t.yaml", sample.text())); }
  Lines findings(const Sample& sample) const {
    Lines lines;
    for (const Diagnostic& diagnostic : load(sample).diagnostics) {
      std::string line = to_string(diagnostic);
      const std::string prefix = path.string() + "/";
      for (std::size_t at = line.find(prefix); at != std::string::npos; at = line.find(prefix)) {
        line.erase(at, prefix.size());
      }
      lines.push_back(line);
    }
    return lines;
  }

  fs::path path;
};

TEST_SUITE("config") {
  TEST_CASE("a listener's files are read with the configuration, relative to the file that names them") {
    const Folder folder;
    const LoadResult result = folder.load({.listener = ", tls: {certificate: c.pem, private_key: k.pem}"});
    REQUIRE(result.ok());
    const auto& tls = result.config.listeners[0].tls;
    REQUIRE(tls);
    CHECK(tls->certificate.path == (folder.path / "c.pem").string());
    CHECK(tls->certificate.text == "text of c.pem");
    CHECK(tls->certificate.at.line == 3);
    CHECK(tls->private_key.text == "text of k.pem");
    CHECK(tls->client_ca.path.empty());
    CHECK(tls->min_version == TlsVersion::v1_2);
    CHECK(result.config.files.size() == 3);
  }

  TEST_CASE("an upstream's block may be empty, which switches TLS on with all its defaults") {
    const LoadResult result = load(Sample{.upstream = ", tls: {}"}.text());
    REQUIRE(result.ok());
    CHECK(result.diagnostics.empty());
    const auto& tls = result.config.upstreams[0].tls;
    REQUIRE(tls);
    CHECK(tls->verify);
    CHECK(tls->sni.empty());
    CHECK(tls->min_version == TlsVersion::v1_2);
    CHECK_FALSE(load(Sample{}.text()).config.upstreams[0].tls);
  }

  TEST_CASE("what is dumped of TLS names files, shows nothing of them, and loads again") {
    const Folder folder;
    const LoadResult first =
        folder.load({.listener = ", tls: {certificate: c.pem, private_key: k.pem, client_ca: ca.pem, min_version: 1.3}",
                     .upstream = ", tls: {ca: ca.pem, certificate: c.pem, private_key: k.pem, sni: a.example.com, "
                                 "verify: true, min_version: 1.3}"});
    REQUIRE(first.ok());
    const std::string once = dump(first.config);
    CHECK(once.find("text of") == std::string::npos);
    const LoadResult again = load_file(folder.write("again.yaml", once));
    REQUIRE(again.ok());
    CHECK(dump(again.config) == once);
    CHECK(again.config.upstreams[0].tls->ca.text == "text of ca.pem");
    CHECK(again.config.upstreams[0].tls->min_version == TlsVersion::v1_3);
  }

  TEST_CASE("what is wrong with a block is told where it stands") {
    const Folder folder;
    CHECK(folder.findings({.listener = ", tls: {certificate: c.pem}"}) ==
          Lines{"t.yaml:3:42: error: listeners[0].tls.private_key: required, but missing"});
    CHECK(folder.findings({.listener = ", tls: {certificate: none.pem, private_key: k.pem, min_version: 1.1}"}) ==
          Lines{"t.yaml:3:56: error: listeners[0].tls.certificate: none.pem cannot be read: no such file",
                "t.yaml:3:99: error: listeners[0].tls.min_version: must be 1.2 or 1.3, got \"1.1\" (did you mean "
                "\"1.2\"?)"});
    CHECK(folder.findings({.upstream = ", tls: {private_key: k.pem, sni: 'a:80'}"}) ==
          Lines{"t.yaml:5:41: error: upstreams.up.tls.certificate: required, but missing",
                "t.yaml:5:67: error: upstreams.up.tls.sni: must be a host name without a port, got \"a:80\""});
    CHECK(folder.findings({.upstream = ", tls: {certs: x}"}) ==
          Lines{"t.yaml:5:42: error: upstreams.up.tls.certs: unknown key"});
  }

  TEST_CASE("an upstream whose certificate is not checked is warned about") {
    CHECK(findings(Sample{.upstream = ", tls: {verify: false}"}.text()) ==
          Lines{"t.yaml:5:50: warning: upstreams.up.tls.verify: the upstream's certificate is not checked: anybody in "
                "between can pass for it"});
  }

  TEST_CASE("a socket's path is no name that a certificate could bear") {
    const auto text = [](const std::string& tls) {
      std::string sample = Sample{.upstream = ", tls: " + tls}.text();
      return sample.replace(sample.find("'127.0.0.1:1'"), 13, "'unix:/run/a.sock'");
    };
    CHECK(
        findings(text("{}")) ==
        Lines{"t.yaml:5:46: error: upstreams.up.tls: sni is required, but missing: a Unix socket has no name that its "
              "certificate could bear"});
    CHECK(findings(text("{sni: a}")).empty());
    CHECK(load(text("{verify: false}")).ok());
  }

  TEST_CASE("another content of a file is another configuration") {
    const Folder folder;
    StateRegistry registry(1);
    const auto hash = [&] {
      LoadResult loaded = folder.load({.listener = ", tls: {certificate: c.pem, private_key: k.pem}"});
      REQUIRE(loaded.ok());
      const auto built = build_snapshot(std::move(loaded.config), "i", 1, {{}}, registry);
      return std::get<std::shared_ptr<const Snapshot>>(built)->content_hash;
    };
    const std::string before = hash();
    CHECK(hash() == before);
    folder.write("k.pem", "another text");
    CHECK(hash() != before);
  }

  TEST_CASE("a listener's socket is given once, and its clients are trusted with priorities") {
    const std::string two =
        "version: 1\nlisteners:\n- {name: a, listen: 'unix:/run/a.sock'}\n- {name: b, listen: 'unix:/run/a.sock'}\n"
        "upstreams:\n  up: {endpoints: ['unix:/run/up.sock']}\nroutes:\n- {match: {listener: any}, upstream: up}\n";
    CHECK(findings(two) ==
          Lines{"t.yaml:4:21: error: listeners[1].listen: the address is taken: unix:/run/a.sock (first "
                "at t.yaml:3:21)"});
    CHECK(load(two).config.listeners[0].trust_priority);
    CHECK(load(two).config.upstreams[0].endpoints[0].address.path == "/run/up.sock");
  }
}

}  // namespace
}  // namespace outrigger::config
