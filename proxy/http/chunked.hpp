// proxy/http/chunked.hpp
//
// The chunked coding, read strictly and written anew: lines end in CRLF, sizes are hexadecimal digits and nothing else,
// extensions are bounded and dropped, and trailers lose every field that could change framing, routing or identity.
// Chunk boundaries of one side are not repeated on the other.
//
// Decoding is in place. The data of the first chunk in a span stays where it is, so that the usual single chunk costs
// no copy; data of later chunks is moved down to follow it.
//
// The rules, each with a test of its own name in tests/unit/http/chunked_test.cpp. What breaks one that refuses has no
// further meaning: bad_request in a request, protocol_error in a response.
//
//   rule                                                            RFC                where
//   a size is 1 to 16 hexadecimal digits                 refused    9112 7.1           size_byte
//   lines end in CRLF; bare LF or bare CR                refused    9112 2.2, 7.1      framing_byte
//   data is as long as its size says, then CRLF          refused    9112 7.1           framing_byte
//   blanks stand before an extension alone               refused    9112 7.1.1         extension_byte
//   extensions hold no control byte but tab              refused    9112 7.1.1         extension_byte
//   extensions beyond max_extensions in all              refused    9112 7.1.1         size_byte, extension_byte
//     fewer are dropped                                             9112 7.1.1         extension_byte
//   a size of zero ends the data; an empty line the body            9112 7.1           framing_byte
//   a trailer is a field line like any other             refused    9112 7.1.2, 5.1    end_trailer_line
//   trailers beyond max_trailers                         refused    6585 5             trailer_byte
//   trailers that frame, route or identify               dropped    9110 6.5.1         kNotInTrailers
//
// Threads: one owner. Cost: per chunk and per byte of framing, not per data byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "proxy/base/buffer.hpp"

namespace outrigger::http {

struct ChunkLimits {
  std::size_t max_extensions = 4096;     // bytes in all chunk lines of a body
  std::size_t max_trailers = 32 * 1024;  // bytes of the trailer section
};

class ChunkDecoder {
 public:
  enum class State : std::uint8_t { need_more, done, error };
  struct Step {
    State state = State::need_more;
    std::size_t consumed = 0;  // bytes of the input that are dealt with: all of them with need_more
    std::string_view data;     // decoded bytes, somewhere inside the input
  };

  explicit ChunkDecoder(const ChunkLimits& limits = {}) noexcept : limits_{limits} {}

  /// Decodes what it can and overwrites the span doing so. After `done` the bytes behind `consumed` belong to the next
  /// message; after `error` the stream has no further meaning. `data` is valid in all three cases.
  Step decode(std::span<char> bytes);

  /// The trailer fields that may be passed on, each as a line with its CRLF; complete after `done`.
  std::string_view trailers() const noexcept { return trailers_.view(); }

  /// Ready for another body; keeps its memory.
  void reset() noexcept;
  /// Gives back the memory of the trailers.
  void release() noexcept { trailers_.release(); }
  void reset(const ChunkLimits& limits) noexcept {
    limits_ = limits;
    reset();
  }

 private:
  enum class At : std::uint8_t {
    size,
    extension,
    extension_blank,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,
    trailer,
    trailer_lf,
    end_lf,
    done,
    failed,
  };
  bool framing_byte(char c);
  bool size_byte(char c) noexcept;
  bool extension_byte(char c) noexcept;
  bool trailer_byte(char c);
  bool end_trailer_line();

  ChunkLimits limits_;
  At at_ = At::size;
  std::uint8_t digits_ = 0;
  std::uint64_t left_ = 0;  // of the chunk under way
  std::size_t extension_bytes_ = 0;
  std::size_t trailer_bytes_ = 0;
  std::size_t line_start_ = 0;  // of the trailer line under way, in trailers_
  Buffer trailers_;
};

/// The line before a chunk's data.
class ChunkHeader {
 public:
  explicit ChunkHeader(std::uint64_t size) noexcept;
  std::string_view view() const noexcept { return {text_.data(), length_}; }

 private:
  std::array<char, 18> text_;
  std::uint8_t length_ = 0;
};

inline constexpr std::string_view kChunkEnd = "\r\n";
/// The last chunk; trailer lines, then kChunkEnd, follow it.
inline constexpr std::string_view kLastChunk = "0\r\n";

}  // namespace outrigger::http
