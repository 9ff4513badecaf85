// tests/fuzz/bytes.hpp
//
// A fuzzer's input as a source of choices; zeros once it is used up. Each choice takes whole bytes, so that a byte that
// the fuzzer changes changes one choice and does not shift the meaning of those behind it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace outrigger::fuzz {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  bool left() const { return at_ < size_; }
  std::uint8_t next() { return left() ? data_[at_++] : std::uint8_t{0}; }
  bool flag() { return (next() & 1) != 0; }
  /// 0..most
  std::uint32_t up_to(std::uint32_t most) { return next() % (most + 1); }
  template <class T, std::size_t N>
  T one_of(const std::array<T, N>& choices) {
    return choices[next() % N];
  }
  /// One of the first `count` values of an enumeration.
  template <class T>
  T value(std::uint32_t count) {
    return static_cast<T>(next() % count);
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

}  // namespace outrigger::fuzz
