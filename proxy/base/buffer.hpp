// proxy/base/buffer.hpp
//
// Bytes that grow at the end and leave at the front: edited heads, bodies waiting for a slow side, replay copies. A
// std::string would zero what it is about to overwrite and cannot drop a consumed prefix without moving the rest; a
// chain of blocks would make one send() several. Memory is kept until `release`, so that a recycled owner does not
// allocate again; whoever bounds the content bounds the memory (capacity is at most twice the peak content).
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace outrigger {

class Buffer {
 public:
  std::size_t size() const noexcept { return end_ - begin_; }
  bool empty() const noexcept { return begin_ == end_; }
  std::size_t capacity() const noexcept { return capacity_; }
  const char* data() const noexcept { return bytes_.get() + begin_; }
  char* data() noexcept { return bytes_.get() + begin_; }
  std::string_view view() const noexcept { return {data(), size()}; }

  void append(std::string_view text) {
    if (text.empty()) return;
    std::memcpy(prepare(text.size()), text.data(), text.size());
    end_ += text.size();
  }
  void push_back(char c) { append(std::string_view{&c, 1}); }

  /// Room for `count` more bytes after the content; say how many were written with `commit`.
  char* prepare(std::size_t count) {
    if (capacity_ - end_ < count) grow(count);
    return bytes_.get() + end_;
  }
  void commit(std::size_t count) noexcept { end_ += count; }

  /// Forgets `count` bytes at the front.
  void consume(std::size_t count) noexcept {
    begin_ += count;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  /// Keeps only the first `count` bytes.
  void truncate(std::size_t count) noexcept { end_ = begin_ + count; }
  void clear() noexcept { begin_ = end_ = 0; }
  /// Forgets everything and gives the memory back.
  void release() noexcept {
    bytes_.reset();
    begin_ = end_ = capacity_ = 0;
  }

 private:
  void grow(std::size_t count) {
    const std::size_t used = size();
    if (capacity_ - used >= count && begin_ >= capacity_ / 2) {
      std::memmove(bytes_.get(), bytes_.get() + begin_, used);
    } else {
      std::size_t wanted = capacity_ == 0 ? 512 : capacity_ * 2;
      while (wanted - used < count) wanted *= 2;
      std::unique_ptr<char[]> larger(new char[wanted]);
      if (used != 0) std::memcpy(larger.get(), data(), used);
      bytes_ = std::move(larger);
      capacity_ = wanted;
    }
    begin_ = 0;
    end_ = used;
  }

  std::unique_ptr<char[]> bytes_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace outrigger
