// tests/fuzz/chunked_fuzz.cpp
//
// The first byte is the size of the pieces in which the rest arrives. A chunked body must decode to the same bytes in
// one piece and in many, and what is written for it must decode to those bytes again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "proxy/base/ensure.hpp"
#include "proxy/http/chunked.hpp"

using namespace outrigger::http;

namespace {

constexpr ChunkLimits kLimits{.max_extensions = 64, .max_trailers = 256};

struct Decoded {
  ChunkDecoder::State state = ChunkDecoder::State::need_more;
  std::string data;
  std::string trailers;
  std::size_t consumed = 0;
};

Decoded decode(const std::vector<char>& bytes, std::size_t step) {
  ChunkDecoder decoder{kLimits};
  Decoded result;
  for (std::size_t at = 0; at < bytes.size() && result.state == ChunkDecoder::State::need_more; at += step) {
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    std::vector<char> piece(begin, begin + static_cast<std::ptrdiff_t>(std::min(step, bytes.size() - at)));
    const ChunkDecoder::Step done = decoder.decode(piece);
    result.state = done.state;
    result.data += done.data;
    result.consumed += done.consumed;
  }
  result.trailers = decoder.trailers();
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::vector<char> bytes(data + 1, data + size);
  const Decoded whole = decode(bytes, bytes.size() + 1);
  const Decoded pieces = decode(bytes, data[0] % 16 + 1u);
  ENSURE(whole.state == pieces.state);
  ENSURE(whole.data == pieces.data);
  if (whole.state != ChunkDecoder::State::done) return 0;
  ENSURE(whole.trailers == pieces.trailers);
  ENSURE(whole.consumed == pieces.consumed);

  std::string written;
  if (!whole.data.empty()) {
    written += ChunkHeader{whole.data.size()}.view();
    written += whole.data;
    written += kChunkEnd;
  }
  written += kLastChunk;
  written += whole.trailers;
  written += kChunkEnd;
  const Decoded again = decode({written.begin(), written.end()}, 7);
  ENSURE(again.state == ChunkDecoder::State::done);
  ENSURE(again.data == whole.data && again.trailers == whole.trailers);
  return 0;
}
