// tests/fuzz/target_fuzz.cpp
//
// The first byte chooses method and mode. A normalised path is visible ASCII, begins at the root, has no dot segments
// and is its own normal form.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/base/ensure.hpp"
#include "proxy/http/chars.hpp"
#include "proxy/http/target.hpp"

using namespace outrigger;
using namespace outrigger::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Method method = (data[0] & 1) != 0 ? Method::options : Method::get;
  const EscapedSlashes mode = (data[0] & 2) != 0 ? EscapedSlashes::reject : EscapedSlashes::keep;
  // A copy of exactly its size lets the sanitizer see any read beyond it.
  const std::string raw{reinterpret_cast<const char*>(data) + 1, size - 1};
  Buffer scratch;
  const auto target = normalise_target(raw, method, mode, scratch);
  if (!target || target->form == TargetForm::asterisk) return 0;
  const std::string path{target->path};
  ENSURE(path.starts_with('/'));
  ENSURE(all(kTarget, path) && all(kTarget, target->query));
  ENSURE(path.find_first_of("?\\") == std::string::npos);
  ENSURE((path + "/").find("/./") == std::string::npos && (path + "/").find("/../") == std::string::npos);
  ENSURE(target->query.empty() || target->query.starts_with('?'));
  ENSURE(target->form != TargetForm::absolute || is_valid_authority(target->authority));
  Buffer again;
  const auto twice = normalise_target(path, Method::get, mode, again);
  ENSURE(twice && twice->path == path && twice->query.empty());
  return 0;
}
