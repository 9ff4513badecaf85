// proxy/base/cache_terms.hpp
//
// What a request and a response say about being answered from memory, as numbers: proxy/http reads them out of the
// fields, proxy/policy obeys them, and neither needs to know the other. The wall clock ends here: all that is left of a
// Date or an Expires is how old the response was on arrival and for how long it is good, which the steady clock carries
// on from there.
//
// Source: RFC 9111 4.2 (freshness, age), 5.2.1 (what a request may ask), 5.2.2 (what a response may allow).
#pragma once

#include <optional>

#include "proxy/base/time.hpp"

namespace outrigger {

/// What a request asks of an answer from memory.
struct CacheDemand {
  bool no_store = false;        // its own response is not to be kept
  bool no_cache = false;        // only an answer made for it will do
  bool only_if_cached = false;  // it does not want an upstream asked
  Nanos max_age = kForever;
  Nanos min_fresh{0};  // how much longer it must be good
  Nanos max_stale{0};  // how long it may have been good no more; kForever: any time
};

/// What a response allows.
struct CacheTerms {
  bool storable = false;
  bool may_be_stale = true;            // no directive forbids using it when it is good no more
  std::optional<Nanos> lifetime = {};  // counted from when it was made; nullopt: it does not say
  Nanos initial_age{0};                // when it arrived
};

}  // namespace outrigger
