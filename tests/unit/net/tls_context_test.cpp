#include "proxy/net/tls_context.hpp"

#include <doctest/doctest.h>

#include "proxy/config/check.hpp"
#include "tests/support/tls_pair.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;

namespace {

config::FileConfig file(std::string path, std::string text, int line) {
  return {.path = std::move(path), .text = std::move(text), .at = {.file = "t.yaml", .line = line, .col = 7}};
}

std::vector<std::string> wrong_with(const config::Config& config) {
  std::vector<std::string> lines;
  for (const config::Diagnostic& diagnostic : check_tls(config)) lines.push_back(config::to_string(diagnostic));
  return lines;
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("a configuration without TLS has none, and nothing is wrong with it") {
    config::Config config;
    config.listeners.resize(2);
    config.upstreams.resize(1);
    config::Diagnostics errors;
    const auto contexts = build_tls(config, errors);
    REQUIRE(contexts);
    CHECK(contexts->listeners == std::vector<std::shared_ptr<const TlsContext>>(2));
    CHECK(contexts->upstreams == std::vector<std::shared_ptr<const TlsContext>>(1));
  }

  TEST_CASE("what is wrong with a file is told at the place that names it, all at once") {
    const Authority authority;
    const Identity one = authority.issue();
    const Identity other = authority.issue();
    config::Config config;
    config.listeners.push_back({.name = "a",
                                .tls = config::ListenerTlsConfig{.certificate = file("c.pem", "no such thing", 3),
                                                                 .private_key = file("k.pem", one.key, 4)}});
    config.listeners.push_back({.name = "b",
                                .tls = config::ListenerTlsConfig{.certificate = file("c.pem", one.certificate, 5),
                                                                 .private_key = file("k.pem", other.key, 6),
                                                                 .client_ca = file("ca.pem", one.key, 7)}});
    config.listeners.push_back({.name = "c",
                                .tls = config::ListenerTlsConfig{.certificate = file("c.pem", one.certificate, 8),
                                                                 .private_key = file("k.pem", "", 9)}});
    config.upstreams.push_back({.name = "up", .tls = config::UpstreamTlsConfig{.ca = file("ca.pem", "-----", 10)}});
    CHECK(wrong_with(config) ==
          std::vector<std::string>{
              "t.yaml:3:7: error: listeners[0].tls.certificate: c.pem has no certificate in PEM form",
              "t.yaml:6:7: error: listeners[1].tls.private_key: k.pem does not belong to the certificate: key values "
              "mismatch",
              "t.yaml:7:7: error: listeners[1].tls.client_ca: ca.pem has no certificate in PEM form",
              "t.yaml:9:7: error: listeners[2].tls.private_key: k.pem has no private key in PEM form without a "
              "passphrase",
              "t.yaml:10:7: error: upstreams.up.tls.ca: ca.pem has no certificate in PEM form"});
    config::Diagnostics errors;
    CHECK_FALSE(build_tls(config, errors));
  }

  TEST_CASE("a key of another type than the certificate does not belong to it, for clients and for upstreams") {
    const Authority authority;
    const Identity one = authority.issue();
    const std::string other = rsa_key();
    config::Config config;
    config.listeners.push_back({.name = "a",
                                .tls = config::ListenerTlsConfig{.certificate = file("c.pem", one.certificate, 3),
                                                                 .private_key = file("k.pem", other, 4)}});
    config.upstreams.push_back({.name = "up",
                                .tls = config::UpstreamTlsConfig{.certificate = file("c.pem", one.certificate, 5),
                                                                 .private_key = file("k.pem", other, 6)}});
    CHECK(wrong_with(config) ==
          std::vector<std::string>{
              "t.yaml:4:7: error: listeners[0].tls.private_key: k.pem does not belong to the certificate: key type "
              "mismatch",
              "t.yaml:6:7: error: upstreams.up.tls.private_key: k.pem does not belong to the certificate: key type "
              "mismatch"});
  }

  TEST_CASE("a chain that breaks off in the middle of a certificate is refused, not cut short") {
    const Authority authority;
    const Identity one = authority.issue();
    const std::string broken =
        one.certificate + authority.certificate().substr(0, 200) + "\n-----END CERTIFICATE-----\n";
    config::Config config;
    config.listeners.push_back({.name = "a",
                                .tls = config::ListenerTlsConfig{.certificate = file("c.pem", broken, 3),
                                                                 .private_key = file("k.pem", one.key, 4)}});
    const auto lines = wrong_with(config);
    REQUIRE(lines.size() == 1);
    CHECK(lines.front().starts_with(
        "t.yaml:3:7: error: listeners[0].tls.certificate: c.pem has a certificate that cannot be read: "));
  }

  TEST_CASE("what expires first of a chain is what counts") {
    const Authority authority;  // two hours
    const Identity one = authority.issue({.valid_until = 3600});
    const auto alone = server_context(shown(one))->expires();
    REQUIRE(alone);
    config::ListenerTlsConfig chain = shown(one);
    chain.certificate.text += authority.certificate();
    CHECK(server_context(chain)->expires() == alone);
    config::ListenerTlsConfig own = shown(authority.issue({.valid_until = 10'000}));
    own.certificate.text += authority.certificate();
    const auto bounded = server_context(own)->expires();
    REQUIRE(bounded);
    CHECK(*bounded - *alone > 3500);
    CHECK(*bounded - *alone < 3700);
    CHECK_FALSE(client_context({})->expires());
  }

  TEST_CASE("settings of an upstream are told apart by all that matters") {
    const config::UpstreamTlsConfig plain;
    std::vector<config::UpstreamTlsConfig> others(5);
    others[0].sni = "a";
    others[1].verify = false;
    others[2].min_version = config::TlsVersion::v1_3;
    others[3].ca = as_file("x");
    others[4].certificate = as_file("x");
    CHECK(fingerprint(plain) == fingerprint({}));
    for (const auto& other : others) CHECK(fingerprint(other) != fingerprint(plain));
    CHECK(fingerprint(others[3]) != fingerprint(others[4]));
  }
}
