// proxy/policy/cached_response.hpp
//
// A stored response: written once while it arrives, then shared and never changed. Whoever was given it may send it for
// as long as that takes; the cache forgets it meanwhile without asking. Its memory counts as taken until the last one
// lets go, because that is how long it is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/cache_terms.hpp"
#include "proxy/base/header_view.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/field_copy.hpp"
#include "proxy/policy/field_selection.hpp"

namespace outrigger::policy {

/// How much memory all caches and others may take together. Threads: any; called without locks held.
class CacheMemory {
 public:
  /// Takes `bytes`; false, and nothing taken, where they do not fit.
  virtual bool take(std::uint64_t bytes) noexcept = 0;
  virtual void give_back(std::uint64_t bytes) noexcept = 0;

 protected:
  ~CacheMemory() = default;
};

class CachedResponse {
 public:
  CachedResponse(std::uint16_t status, HeaderView fields, const CacheTerms& terms, TimePoint arrived,
                 CacheMemory& memory)
      : status_(status), terms_(terms), arrived_(arrived), fields_(fields), memory_(memory) {}
  CachedResponse(const CachedResponse&) = delete;
  CachedResponse& operator=(const CachedResponse&) = delete;
  ~CachedResponse() { memory_.give_back(bytes_); }

  std::uint16_t status() const noexcept { return status_; }
  /// As they arrived, without those of one connection or transfer; Age and Content-Length are the sender's to add.
  HeaderView fields() const noexcept { return fields_.view(); }
  std::string_view body() const noexcept { return body_; }
  /// How long ago it was made, as far as anybody said.
  Nanos age(TimePoint now) const noexcept { return terms_.initial_age + (now - arrived_); }
  const CacheTerms& terms() const noexcept { return terms_; }
  /// Whether it is the variant that a request with these fields would get.
  bool is_for(HeaderView fields) const noexcept { return selects(names_, fields, selection_); }
  /// What it costs to keep.
  std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  friend class Cache;

  std::uint16_t status_;
  CacheTerms terms_;
  TimePoint arrived_;
  FieldCopy fields_;
  std::string body_;
  FieldNames names_;       // of the request fields it was chosen by
  std::string selection_;  // and their text
  CacheMemory& memory_;
  std::uint64_t bytes_ = 0;       // taken from memory_
  std::uint64_t head_bytes_ = 0;  // of these, for all but the body
};

using CachedRef = std::shared_ptr<const CachedResponse>;

}  // namespace outrigger::policy
